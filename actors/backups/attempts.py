"""Blocking work in a thread, and what goes wrong with it as refusals."""

import asyncio
import errno
import sqlite3
from collections.abc import Callable
from typing import Any

from actors.system.failure import Failed, Kind
from storage.errors import StorageError
from storage.passphrases import WrongPassphrase
from storage.restoring import NeedsPassphrase

_KINDS: dict[str, Kind] = {
    "missing": "not_found",
    "corrupt": "conflict",
    "newer": "conflict",
    "unreadable": "conflict",
}


async def attempt(call: Callable[..., Any], *args: Any) -> Any:
    """What `call` returns, or `Failed`."""
    try:
        return await asyncio.to_thread(call, *args)
    except (StorageError, OSError, sqlite3.Error) as error:
        return refused(error)


def refused(error: Exception) -> Failed:
    if isinstance(error, (WrongPassphrase, NeedsPassphrase)):
        return Failed("invalid", str(error), "passphrase")
    if isinstance(error, StorageError):
        return Failed(_KINDS.get(error.kind, "unavailable"), str(error))
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return Failed("unavailable", f"The disk is full: {error.strerror}" if full else f"{error}")
    return Failed("unavailable", f"The database: {error}")


class Throttle:
    """Of wrong passphrases, each costs more time than the one before."""

    FREE = 3
    LONGEST = 300.0

    def __init__(self) -> None:
        self._wrong = 0
        self._until = float("-inf")

    def left(self, now: float) -> float:
        """Seconds until the next may be tried."""
        return max(0.0, self._until - now)

    def was_wrong(self, now: float) -> None:
        self._wrong += 1
        if self._wrong >= self.FREE:
            self._until = now + min(self.LONGEST, 2.0 ** min(self._wrong - self.FREE + 1, 20))

    def was_right(self) -> None:
        self._wrong = 0
