"""How the last restore, or reset, went: a file beside the backups, which knows it whatever has happened."""

import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import msgspec

from storage.backup_files import draft, make_folder
from storage.connection import setting
from storage.database import Database
from storage.secrets import sync_folder
from storage.timestamps import now

FILE: Final = "last-restore.json"
CUT_OFF: Final = "the agent ended before it was done; nothing was changed"

What = Literal["restore", "factory-reset"]


class Outcome(msgspec.Struct, frozen=True):
    """`ok` is None while it goes on; `token` is in the database once it is done."""

    what: What
    token: int
    begun_at: str
    file: str | None = None
    finished_at: str | None = None
    ok: bool | None = None
    error: str | None = None


def begin(folder: Path, what: What, file: str | None) -> Outcome:
    """Raises OSError."""
    make_folder(folder)
    outcome = Outcome(what, random.randrange(1, 2**31), now(), file)
    _write(folder, outcome)
    return outcome


def finish(folder: Path, outcome: Outcome, error: str | None) -> Outcome:
    """Note how it went, unless somebody who knew it has; what is noted. Raises OSError."""
    noted = last(folder)
    if noted is not None and noted.token == outcome.token and noted.ok is not None:
        return noted
    finished = msgspec.structs.replace(outcome, finished_at=now(), ok=error is None, error=error)
    _write(folder, finished)
    return finished


def last(folder: Path) -> Outcome | None:
    """None when there was none, or nobody can say."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Outcome)
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return None


def is_done(database: Database, token: int) -> bool:
    """Whether what has that token was committed."""
    return setting(database.db.conn, "user_version") == token


def _write(folder: Path, outcome: Outcome) -> None:
    path = draft(folder, "outcome")
    try:
        with path.open("wb") as file:
            file.write(msgspec.json.encode(outcome))
            file.flush()
            os.fsync(file.fileno())
        path.rename(folder / FILE)
    except BaseException:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    sync_folder(folder)
