"""What a request brings of secrets: while it is served they appear in no text, stored or not."""

from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

import msgspec

from conf import redaction
from conf.secret_forms import may_hold, secrets_in


class Entrusted:
    """Holds the secrets of one request, from `look` to the end of the `with`. What is stored of them is then
    held by its row; a login that failed, or a configuration that was only tried, leaves nothing: clients
    could have any word masked else."""

    def __init__(self) -> None:
        self._holds = False

    def __enter__(self) -> Self:
        return self

    def look(self, raw: bytes) -> None:
        """A body, before anything else is made of it; what is no JSON is looked at as a form."""
        if not may_hold(raw):
            return
        try:
            given: Any = msgspec.json.decode(raw)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            given = _form(raw)
        self._holds = True
        with suppress(RecursionError):  # nested deeper than anybody reads
            redaction.keep(self, secrets_in(given))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._holds:
            redaction.drop(self)


def _form(raw: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(raw.decode(), max_num_fields=1000))
    except ValueError:
        return {}
