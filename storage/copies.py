"""Copies of the whole database; of before an upgrade, to go back to an older agent with."""

import glob
import logging
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from storage.connection import setting, uri

logger = logging.getLogger(__name__)

LARGEST: Final = 32 * 1024 * 1024
"""Bytes in use up to which a database is copied: a fraction of a second, and room that a disk has."""

KEPT: Final = 2


def copy_before(connection: sqlite3.Connection, path: Path, migration: str) -> None:
    """Copy to `<path>.before-<migration>`, complete or not at all; a copy of that name is replaced.

    Without one the upgrade goes on: each migration is a transaction, so that it cannot do harm half done.
    """
    pages = setting(connection, "page_count") - setting(connection, "freelist_count")
    if pages * setting(connection, "page_size") > LARGEST:
        logger.info("%s: too big to be copied before it is upgraded", path)
        return
    copy = path.with_name(f"{path.name}.before-{migration}")
    try:
        copy_whole(connection, copy, path.stat().st_mode & 0o777)
    except (sqlite3.Error, OSError) as error:
        logger.warning("%s: no copy was made before the upgrade: %s", path, error)
        return
    logger.info("%s: copied to %s before it is upgraded", path, copy.name)
    _forget_old(path, copy)


def copy_before_update(path: Path, migration: str) -> None:
    """As `copy_before`, of a database in use and however big: going back from the update takes it. Raises
    OSError, and what SQLite raises."""
    copy = path.with_name(f"{path.name}.before-{migration}")
    with closing(sqlite3.connect(uri(path, "ro"), uri=True, isolation_level=None)) as connection:
        copy_whole(connection, copy, path.stat().st_mode & 0o777)
    _forget_old(path, copy)


def copy_whole(connection: sqlite3.Connection, copy: Path, mode: int) -> None:
    """Copy everything to a file, on disk before it has its name; one of that name is replaced.

    Raises OSError, and what SQLite raises; nothing is left of the copy then.
    """
    draft = copy.with_name(f"{copy.name}.part")
    try:
        draft.unlink(missing_ok=True)
        connection.execute("VACUUM INTO ?", [str(draft)])
        draft.chmod(mode)
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.rename(copy)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def _forget_old(path: Path, made: Path) -> None:
    """Remove copies but for the one just made and the newest of the others, that before the latest migration:
    when a file was written only the clock knows."""
    found = path.parent.glob(f"{glob.escape(path.name)}.before-*")
    others = [file for file in found if file.is_file() and file != made and file.suffix != ".part"]
    for old in sorted(others)[: 1 - KEPT]:
        with suppress(OSError):
            old.unlink()
