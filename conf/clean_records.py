"""Records of Python's logging without secrets, whoever makes them and whoever writes them down."""

import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Any, Final

from conf.redaction import clean

log = logging.getLogger(__name__)

LONGEST: Final = 8192
"""Characters of a message or a traceback that are kept, half of them from each end."""
VERY_LONG: Final = 8 * LONGEST


class CleanRecord(logging.LogRecord):
    """Made for records that are wanted only, so that others cost nothing. Text is redacted before it is cut:
    half of a secret would not be known for one."""

    def getMessage(self) -> str:
        """What every formatter asks for; the same for all of them."""
        known: tuple[Any, Any, str] | None = self.__dict__.get("_said")
        if known is None or known[0] is not self.msg or known[1] is not self.args:
            known = self.__dict__["_said"] = (self.msg, self.args, _cleaned(self._formatted()))
        return known[2]

    def _formatted(self) -> str:
        try:
            return super().getMessage()
        except Exception as error:  # noqa: BLE001 - what is wrong with a line must not hide that there was one
            return (
                f"{_text(self.msg)} {type(self.args).__name__} ({type(error).__name__} when it was formatted)"
            )

    @property
    def exc_text(self) -> str | None:
        """What formatters write of the exception; they make it themselves only where there is none."""
        if not self.exc_info or self.exc_info[1] is None:
            return None
        known: tuple[Any, str] | None = self.__dict__.get("_traceback")
        if known is None or known[0] is not self.exc_info[1]:
            known = self.__dict__["_traceback"] = (self.exc_info[1], said_of(self.exc_info[1]))
        return known[1]

    @exc_text.setter
    def exc_text(self, text: str | None) -> None:
        """It is not for formatters to say."""

    @property
    def stack_info(self) -> str | None:
        found: str | None = self.__dict__.get("_stack")
        return found

    @stack_info.setter
    def stack_info(self, text: str | None) -> None:
        self.__dict__["_stack"] = text and _cleaned(text)


def said_of(error: BaseException) -> str:
    """Its traceback, without secrets and of bounded length."""
    try:
        lines = traceback.format_exception(error)
    except Exception:  # noqa: BLE001 - `__str__` is anybody's code
        lines = [f"{type(error).__name__} (its text cannot be had)"]
    return _cleaned("".join(lines).rstrip("\n"))


def _text(message: Any) -> str:
    try:
        return str(message)
    except Exception:  # noqa: BLE001 - as above
        return type(message).__name__


def _cleaned(text: str) -> str:
    """Without secrets, and without its middle if it is long; that of a very long one nobody looks at."""
    if len(text) > VERY_LONG:
        head, tail = clean(text[: VERY_LONG // 2]), clean(text[-VERY_LONG // 2 :])
    else:
        head = tail = clean(text)
        if len(head) <= LONGEST:
            return head
    half = LONGEST // 2
    return f"{head[:half]}\n[... {max(0, len(text) - 2 * half)} characters ...]\n{tail[-half:]}"


def install() -> None:
    """From now on all records of this process are clean."""
    logging.setLogRecordFactory(CleanRecord)


def take_uncaught() -> None:
    """What nobody catches, and warnings, become records too."""
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("nobody has caught this", exc_info=(kind, error, trace))


def _uncaught_in_thread(hook: Any) -> None:
    if hook.exc_value is not None and not isinstance(hook.exc_value, SystemExit):
        name = hook.thread.name if hook.thread else "a thread"
        log.critical("%s has ended over this", name, exc_info=hook.exc_value)


def _unraisable(hook: Any) -> None:
    if hook.exc_value is not None:
        what = hook.err_msg or "nobody could be told of this"
        log.error("%s: %s", what, type(hook.object).__name__, exc_info=hook.exc_value)
