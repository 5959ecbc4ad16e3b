"""The log in files: one entry a line, as JSON (NDJSON), in files of bounded size and number."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from actors.logs.entries import ShownEntry
from storage.secrets import sync_folder
from storage.timestamps import unix_ms

log = logging.getLogger(__name__)

PREFIX: Final = "callboard-"
SUFFIX: Final = ".log"
TAIL: Final = 512 * 1024
"""Bytes of the last run's files that are read at most."""


class LogFolder:
    """The files in a folder; the newest is written to. Blocks; for one thread.

    Each file has the time in ms at which it was begun in its name, and no two the same, however the clock
    is set: their order is that of their names. None is ever renamed, so that a power cut between two steps
    leaves nothing to put right.
    """

    def __init__(self, folder: Path, max_bytes: int, max_files: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.max_files = max_files
        self._descriptor: int | None = None
        self._size = 0
        """Of the file that is written to."""
        self._cleared = 0
        """The `max_files` beyond which there are none."""

    def write(self, lines: list[bytes], durable: bool) -> None:
        """Each line ends with a newline, and is written whole or not at all; those that were are taken from
        the list. Raises OSError.

        `durable`: they outlast a power cut from then on.
        """
        descriptor = self._open()
        while lines:
            fit = self._fitting(lines)
            self._append(descriptor, b"".join(lines[:fit]))
            del lines[:fit]
            if lines:
                descriptor = self._begin()
        if durable:
            os.fdatasync(descriptor)

    def _fitting(self, lines: list[bytes]) -> int:
        """How many of the lines the file has room for; an empty one for the first, whatever its length."""
        size = self._size
        for count, line in enumerate(lines):
            size += len(line)
            if size > self.max_bytes and (count or self._size):
                return count
        return len(lines)

    def close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            try:
                os.fsync(descriptor)
            except OSError as error:
                log.warning("the log file could not be brought to safety: %s", error)
            finally:
                os.close(descriptor)

    def files(self) -> list[Path]:
        """The oldest first."""
        return sorted(self.folder.glob(f"{PREFIX}*{SUFFIX}"), key=_begun)

    def _append(self, descriptor: int, data: bytes) -> None:
        """What a full disk has taken of it is taken back: no line is left torn."""
        written = 0
        try:
            while written < len(data):
                written += os.write(descriptor, data[written:])
        except OSError:
            if written:
                os.ftruncate(descriptor, self._size)
            raise
        self._size += len(data)

    def _open(self) -> int:
        """The newest file; if it was deleted, or is full, a new one."""
        if self._descriptor is not None:
            if os.fstat(self._descriptor).st_nlink:
                return self._descriptor
            os.close(self._descriptor)
            self._descriptor = None
        files = self.files() if self.folder.is_dir() else []
        if files and files[-1].stat().st_size < self.max_bytes and files[-1].is_file():
            self._descriptor = os.open(files[-1], os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            self._size = _mended(self._descriptor)
            return self._descriptor
        return self._begin()

    def _begin(self) -> int:
        """A new file, which may be one too many."""
        self._cleared = 0
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        files = self.files()
        number = max(unix_ms(), _begun(files[-1]) + 1 if files else 0)
        path = self.folder / f"{PREFIX}{number}{SUFFIX}"
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o640)
        self._size = 0
        self.clear_old()
        sync_folder(self.folder)
        return self._descriptor

    def clear_old(self) -> None:
        """Delete the oldest beyond `max_files`, which may change meanwhile."""
        wanted = self.max_files
        for path in self.files()[:-wanted] if wanted != self._cleared else ():
            path.unlink(missing_ok=True)
        self._cleared = wanted

    def last_entries(self, limit: int) -> list[ShownEntry]:
        """The newest entries of earlier runs, oldest first; lines that are not whole are left out."""
        found: list[ShownEntry] = []
        left = TAIL
        for path in reversed(self.files()):
            if left <= 0 or len(found) >= limit:
                break
            lines, size = _tail(path, left)
            left -= size
            found = [*_entries(lines), *found]
        return found[-limit:]


def _begun(path: Path) -> int:
    number = path.name.removeprefix(PREFIX).removesuffix(SUFFIX)
    return int(number) if number.isdecimal() else 0


def _mended(descriptor: int) -> int:
    """The size of a file, less the line at its end that a power cut has torn."""
    size = os.fstat(descriptor).st_size
    end = size
    while end > 0:
        begin = max(0, end - 65_536)
        newline = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        if newline >= 0:
            end = begin + newline + 1
            break
        end = begin
    if end != size:
        os.ftruncate(descriptor, end)
    return end


def _tail(path: Path, most: int) -> tuple[list[bytes], int]:
    """The lines at the end of a file, and how many bytes they are."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most))
            data = file.read(most)
    except OSError:
        return [], 0
    lines = data.split(b"\n")
    return lines[1 if size > most else 0 :], len(data)


def _entries(lines: list[bytes]) -> Iterator[ShownEntry]:
    for line in lines:
        try:
            yield _decode(line)
        except (msgspec.MsgspecError, UnicodeError):
            continue


_decode = msgspec.json.Decoder(ShownEntry).decode
