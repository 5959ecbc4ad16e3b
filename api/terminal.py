"""What is written to a terminal, and what becomes of it when nobody reads it any more."""

import contextlib
import os
from typing import IO


def one_line(text: str) -> str:
    """`text` without control characters, which would move the cursor or worse."""
    return "".join(character if character.isprintable() else " " for character in text)


def discard_rest(output: IO[str]) -> None:
    """Point `output` at /dev/null, so that flushing it at exit does not fail once more."""
    with contextlib.suppress(OSError):  # not every file has a descriptor
        descriptor = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(descriptor, output.fileno())
        finally:
            os.close(descriptor)
