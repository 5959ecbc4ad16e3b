"""The first user, without whom there would be no other; and a way back in for who has lost the password."""

import logging
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from storage import sessions, users
from storage.database import Database
from storage.users import StoredUser

log = logging.getLogger(__name__)

RESET_FILE: Final = "reset-admin"
"""Who makes a file of that name in the data directory gets a new password for `admin` at the next start."""

_LETTERS: Final = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without those that look alike."""


def random_password() -> str:
    """16 characters, 92 bits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(16))


def install(database: Database, username: str, password_hash: str) -> StoredUser:
    """Make that user an active administrator with that password, which has to be changed."""
    with database.db.atomic():
        found = next((user for user in users.load(database) if user.username == username), None)
        if found is None:
            return users.insert(database, username, password_hash, "admin", True, True)
        changes = {
            "password_hash": password_hash,
            "role": "admin",
            "is_active": True,
            "must_change_password": True,
        }
        sessions.end(database, [one.id for one in sessions.load(database) if one.user_id == found.id])
        return users.update(database, found.id, changes)


def is_wanted(reset_file: Path) -> bool:
    """Whether there is the file by which a new password is asked for."""
    with suppress(OSError):
        return reset_file.exists()
    return False


def done(reset_file: Path) -> None:
    try:
        reset_file.unlink(missing_ok=True)
    except OSError as error:
        log.error("%s cannot be removed, and sets the password with each start: %s", reset_file, error)


def announce(username: str, password: str) -> None:
    """On the terminal, or wherever standard error leads, and nowhere else: no log has it. Once."""
    line = "=" * 72
    text = (
        f"{line}\nThe password of the user {username}, shown this once, and to be changed:\n\n"
        f"    {password}\n\n"
        f"callboard users passwd, or POST /v1/auth/password, changes it\n{line}\n"
    )
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        log.error(
            "the first password could not be shown: make a file %s in the data directory and start again",
            RESET_FILE,
        )
