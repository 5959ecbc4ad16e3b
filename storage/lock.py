"""One agent per data folder."""

import fcntl
import os
from pathlib import Path

from storage.errors import StorageError


class Lock:
    """An exclusive lock held from construction to `release`, or to the end of the process.

    Raises `StorageError` of kind "locked" when another holds it, OSError when the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            message = f"{path.parent}: in use by another agent (process {holder}, {path})"
            raise StorageError(message, "locked") from error
        except OSError:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        os.close(self._descriptor)
