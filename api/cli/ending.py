"""How every command ends: with a documented exit code, and at most one line about what went wrong."""

import os
import sys
from collections.abc import Callable

from api.cli.exits import INTERRUPTED, OK, CommandError, ReaderGone
from api.printable import one_line


def ended(command: Callable[[], int]) -> int:
    """The exit code of what `command` does."""
    _open_what_is_closed()
    try:
        code = _code_of(command)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        _forget_output()
        return INTERRUPTED
    except (ReaderGone, BrokenPipeError):
        _forget_output()
        return OK
    except CommandError as error:
        _say(str(error))
        return error.code


def _code_of(command: Callable[[], int]) -> int:
    try:
        return command()
    except SystemExit as leaving:  # argparse's way of ending after --help and after an error
        return leaving.code if isinstance(leaving.code, int) else OK


def _open_what_is_closed() -> None:
    """Who starts us without an output (`>&-`) wants none."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115


def _forget_output() -> None:
    from api.cli.terminal import discard_rest

    discard_rest(sys.stdout)


def _say(text: str) -> None:
    print(f"callboard: {one_line(text)}", file=sys.stderr, flush=True)
