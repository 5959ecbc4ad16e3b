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
        self._path = path
        self._descriptor = _locked(path)

    @property
    def holds(self) -> bool:
        """Whether another agent would find it: its file was neither deleted nor replaced."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def renew(self) -> None:
        """Lock the file that is there now, or a new one. Raises what construction raises."""
        descriptor = _locked(self._path)
        os.close(self._descriptor)
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        message = f"{path.parent}: in use by another agent (process {holder}, {path})"
        raise StorageError(message, "locked") from error
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
