"""The folder of backups: names, what is known of each, complete files only.

A backup is a file of SQLite; beside it is `<file>.meta.json` with its checksum. What is under way has a name
that begins with a dot and is no backup.
"""

import errno
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

import msgspec

from storage.errors import StorageError
from storage.secrets import sync_folder
from storage.timestamps import unix_ms

logger = logging.getLogger(__name__)

Trigger = Literal["manual", "scheduled", "before-reset", "before-restore", "before-update", "uploaded"]

NAME: Final = re.compile(r"callboard-[0-9]{8}T[0-9]{6}Z-([0-9]{1,9})\.sqlite")
SIDECAR: Final = ".meta.json"

KEPT_BEFORE: Final = 3
"""Backups of before a restore, a reset or an update that stay, of each."""

RESERVE: Final = 32 * 1024 * 1024
"""Bytes that stay free on the disk: readings come first."""

CHUNK: Final = 1024 * 1024

Ended = Callable[[], bool]
"""Whether what is under way is to be given up: the agent stops."""


class GivenUp(StorageError):
    """The agent stops."""

    def __init__(self) -> None:
        super().__init__("given up, for the agent stops", "closed")
        self.args = ()


class Contents(msgspec.Struct, frozen=True):
    """What a backup says of itself; it is inside of it, and travels with it. `number` counts the backups of
    a folder, whatever the clock says. `key_id` tells master keys apart, and tells nothing of them."""

    number: int
    created_at: str
    trigger: Trigger
    version: str
    migration: str
    uuid: str
    name: str
    key_id: str
    has_key: bool


class Sidecar(msgspec.Struct, frozen=True):
    """What is beside a backup."""

    sha256: str
    size_bytes: int
    contents: Contents
    trigger: Trigger


class Backup(msgspec.Struct, frozen=True):
    """One of the list; of one with an `error` nothing else is known for certain."""

    file: str
    size_bytes: int
    created_at: str | None = None
    sha256: str | None = None
    trigger: Trigger | None = None
    version: str | None = None
    has_key: bool = False
    uuid: str | None = None
    error: str | None = None

    @property
    def number(self) -> int:
        found = NAME.fullmatch(self.file)
        return int(found[1]) if found else 0


def make_folder(folder: Path) -> None:
    """Make it, closed to others; what leads to another disk is left as it is where that has no modes.
    Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        try:
            folder.chmod(0o700)
        except OSError as error:
            logger.warning("%s is open to other users, and cannot be closed: %s", folder, error)


def found(folder: Path, file: str) -> Path:
    """The backup of that name. Raises `StorageError` of kind "missing"; no name leads out of the folder."""
    path = folder / file
    if NAME.fullmatch(file) is None or path.is_symlink() or not path.is_file():
        raise StorageError(f"backup {file!r} not found", "missing")
    return path


def listed(folder: Path) -> list[Backup]:
    """Every backup, the newest first."""
    backups = [backup for path in _files(folder) if (backup := _described(path)) is not None]
    return sorted(backups, key=lambda one: one.number, reverse=True)


def described(path: Path) -> Backup:
    """Raises `StorageError` of kind "missing"."""
    backup = _described(path)
    if backup is None:
        raise StorageError(f"backup {path.name!r} not found", "missing")
    return backup


def sidecar(path: Path) -> Sidecar:
    """Raises `StorageError` of kind "corrupt" saying what is wrong with it."""
    try:
        return msgspec.json.decode(_beside(path).read_bytes(), type=Sidecar)
    except FileNotFoundError as error:
        raise StorageError("has no checksum beside it", "corrupt") from error
    except (OSError, msgspec.MsgspecError, UnicodeError) as error:
        raise StorageError(f"what is beside it cannot be read: {error}", "corrupt") from error


def next_number(folder: Path) -> int:
    numbers = [int(match[1]) for path in _files(folder) if (match := NAME.fullmatch(path.name))]
    return max(numbers, default=0) + 1


def name_of(number: int) -> str:
    """The name of a backup that is made now."""
    return f"callboard-{datetime.fromtimestamp(unix_ms() / 1000, UTC):%Y%m%dT%H%M%SZ}-{number}.sqlite"


def draft(folder: Path, what: str) -> Path:
    """A new empty file for what is under way, closed to others. Raises OSError."""
    path = folder / f".{what}-{uuid4().hex}.part"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return path


def publish(
    made: Path, folder: Path, number: int, contents: Contents, trigger: Trigger, ended: Ended
) -> Backup:
    """Give what is whole its name and its sidecar, all of it on disk. Raises OSError, `GivenUp`."""
    with made.open("rb+") as file:
        os.fsync(file.fileno())
    beside = Sidecar(checksum(made, ended), made.stat().st_size, contents, trigger)
    path = folder / name_of(number)
    sidecar_draft = draft(folder, "sidecar")
    try:
        with sidecar_draft.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(beside)))
            file.flush()
            os.fsync(file.fileno())
        # In this order a crash leaves a sidecar without a backup, which the next start clears away.
        sidecar_draft.rename(_beside(path))
        made.rename(path)
    except BaseException:
        with suppress(OSError):
            sidecar_draft.unlink(missing_ok=True)
            _beside(path).unlink(missing_ok=True)
        raise
    sync_folder(folder)
    return described(path)


def remove(path: Path) -> None:
    """Raises OSError."""
    path.unlink()
    _beside(path).unlink(missing_ok=True)
    sync_folder(path.parent)


def prune(folder: Path, trigger: Trigger, keep: int, spare: str | None = None) -> list[str]:
    """Remove the oldest of a trigger past the newest `keep`, but for `spare`; the names of those that went.
    What is damaged neither counts nor goes. Raises OSError."""
    good = [one for one in listed(folder) if one.trigger == trigger and one.error is None]
    gone = [one.file for one in good[max(1, keep) :] if one.file != spare]
    for file in gone:
        remove(folder / file)
    return gone


def sweep(folder: Path, spare: str | None = None) -> None:
    """Clear away what an agent that was ended in the middle has left, but for `spare`; none is under way."""
    with suppress(OSError):
        for path in folder.iterdir():
            orphan = (
                path.name.endswith(SIDECAR) and not path.with_name(path.name.removesuffix(SIDECAR)).exists()
            )
            if orphan or (path.name.startswith(".") and path.name != spare):
                path.unlink(missing_ok=True)


def checksum(path: Path, ended: Ended = lambda: False) -> str:
    """SHA-256 of a file, as hexadecimal digits. Raises OSError, `GivenUp`."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            if ended():
                raise GivenUp()
            digest.update(chunk)
    return digest.hexdigest()


def room(folder: Path) -> int:
    """Bytes that may be written to the folder. Raises OSError."""
    stat = os.statvfs(folder)
    return max(0, stat.f_bavail * stat.f_frsize - RESERVE)


def need_room(folder: Path, needed: int) -> None:
    """Raises OSError (no space), saying how much is needed."""
    free = room(folder)
    if free < needed:
        lacking = f"{needed >> 20} MB are needed in {folder}, and {free >> 20} MB may be used"
        raise OSError(errno.ENOSPC, lacking)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}{SIDECAR}")


def _files(folder: Path) -> Iterator[Path]:
    try:
        yield from (path for path in folder.iterdir() if NAME.fullmatch(path.name))
    except FileNotFoundError:
        return


def _described(path: Path) -> Backup | None:
    """None when it has just gone, or is no file."""
    try:
        size = found(path.parent, path.name).stat().st_size
    except (OSError, StorageError):
        return None
    try:
        beside = sidecar(path)
    except StorageError as damage:
        return Backup(path.name, size, error=str(damage))
    said = beside.contents
    return Backup(
        file=path.name,
        size_bytes=size,
        created_at=said.created_at,
        sha256=beside.sha256,
        trigger=beside.trigger,
        version=said.version,
        has_key=said.has_key,
        uuid=said.uuid,
        error=None if size == beside.size_bytes else f"has {size} bytes instead of {beside.size_bytes}",
    )
