"""Writing anew what was deleted while SQLite still has it open; never over what has come since."""

import errno
import logging
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from storage import copies
from storage.connection import setting
from storage.files import Files
from storage.secrets import sync_folder

logger = logging.getLogger(__name__)

ROOM: Final = 16 * 1024 * 1024
"""Bytes that stay free on a disk to which everything is copied."""


def write_database(connection: sqlite3.Connection, files: Files) -> None:
    """Put all that `connection` holds where its database was. Raises OSError, FileExistsError when there is
    something again, and what SQLite raises."""
    needed = setting(connection, "page_count") * setting(connection, "page_size") + ROOM
    if _free(files.real.parent) < needed:
        raise OSError(errno.ENOSPC, f"{needed} bytes must be free on its disk")
    copy = _copy_of(files.real)
    copies.copy_whole(connection, copy, files.mode)
    try:
        _clear_log(connection, files)
        _put(copy, files.real)
    except FileExistsError:
        copy.unlink()
        raise


def write_log(files: Files) -> None:
    """Put the log where it was. Raises OSError, FileExistsError when there is something again."""
    draft = files.log.with_name(f"{files.log.name}.part")
    draft.unlink(missing_ok=True)
    try:
        files.copy_log(draft)
        _put(draft, files.log)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def go_on(path: Path) -> None:
    """Before the database is opened: a whole copy that an agent had made when it ended takes the place of
    what was deleted. Raises OSError."""
    real = path.resolve()
    copy = _copy_of(real)
    for unfinished in (copy, real.with_name(f"{real.name}-wal")):
        unfinished.with_name(f"{unfinished.name}.part").unlink(missing_ok=True)
    if not copy.exists():
        return
    if os.path.lexists(real):
        logger.warning("%s: removed, for there is a database again", copy)
        copy.unlink()
        return
    logger.warning("%s: was deleted while an agent ran, which has left %s: that is used", real, copy.name)
    for left in (real.with_name(f"{real.name}{suffix}") for suffix in ("-wal", "-shm")):
        left.unlink(missing_ok=True)
    _put(copy, real)


def _copy_of(real: Path) -> Path:
    return real.with_name(f"{real.name}.rescued")


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _clear_log(connection: sqlite3.Connection, files: Files) -> None:
    """Leave nothing of the deleted database that SQLite would take for a part of the new one."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if files.owns_log:
        if files.log.stat().st_size:
            raise OSError(errno.EBUSY, f"{files.log} is in use by another program")
        files.log.unlink()
    if files.owns_index:
        files.index.unlink()


def _put(made: Path, target: Path) -> None:
    """Give a file its name, if nothing has it. Raises FileExistsError."""
    try:
        os.link(made, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # A file system without links: only here could a file that comes this very moment be lost.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "is there again", str(target)) from error
        made.rename(target)
    sync_folder(target.parent)
    made.unlink(missing_ok=True)
