"""Files that appear whole or not at all, and that nobody else can read."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from api.cli.exits import FAILED, CommandError


@contextlib.contextmanager
def written_whole(target: Path) -> Iterator[IO[bytes]]:
    """A file to write, which has the name `target` once all of it is on the disk. Raises `CommandError`."""
    try:
        descriptor, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise CommandError(f"{target}: cannot be written: {error.strerror}", FAILED) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except OSError as error:
        raise CommandError(f"{target}: cannot be written: {error.strerror or error}", FAILED) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(draft)
