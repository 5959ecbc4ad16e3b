"""Who is signed in. Plain.

A session lasts for `LASTS` of the agent's running time: whoever sets the clock neither ends nor prolongs it.
After a start its age is what the clock says; a clock that is behind when it began says nothing, and ends it.
"""

import re
import secrets
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

import msgspec

from actors.accounts.messages import SessionIdentified, SessionRow
from storage.sessions import NewSession, StoredSession
from storage.timestamps import iso
from storage.users import StoredUser

LASTS: Final = 86_400
"""Seconds, from signing in (the reference's): using it makes it no longer."""

MOST: Final = 10
"""Sessions of one user; with one more the oldest ends."""

BEHIND_MS: Final = 5000
"""By which a clock may be behind that was corrected."""

TEXT: Final = 200
"""Characters that are kept of what a client says it is."""

_TOKEN: Final = re.compile(r"[0-9a-f]{64}")


class Session(msgspec.Struct, frozen=True):
    """`until` is in seconds of a clock that nobody sets."""

    stored: StoredSession
    until: float


def new_token() -> str:
    """32 random bytes."""
    return secrets.token_hex(32)


def hash_of(token: str) -> bytes:
    """What is kept of a token."""
    return sha256(token.encode()).digest()


def new_session(token: str, user_id: int, peer: str, user_agent: str, wall_ms: int) -> NewSession:
    shown = "".join(one for one in user_agent[:TEXT] if one.isprintable())
    return NewSession(hash_of(token), user_id, wall_ms, wall_ms + 1000 * LASTS, peer, shown)


class Sessions:
    """By the hashes of their tokens; `now` is in seconds of a clock that nobody sets."""

    def __init__(self) -> None:
        self._by_hash: dict[bytes, Session] = {}

    def __len__(self) -> int:
        return len(self._by_hash)

    def load(self, stored: Iterable[StoredSession], wall_ms: int, now: float) -> list[int]:
        """Go on with those of an earlier run; returns those that are over."""
        over = []
        for one in stored:
            left = (one.expires_at - wall_ms) / 1000
            if left <= 0 or one.created_at > wall_ms + BEHIND_MS:
                over.append(one.id)
            else:
                self._by_hash[one.token_hash] = Session(one, now + min(left, LASTS))
        return over

    def begin(self, stored: StoredSession, now: float) -> None:
        self._by_hash[stored.token_hash] = Session(stored, now + LASTS)

    def find(self, token: str) -> Session | None:
        """Expired or not."""
        return self._by_hash.get(hash_of(token)) if _TOKEN.fullmatch(token) else None

    def get(self, id: int) -> Session | None:
        return next((one for one in self._by_hash.values() if one.stored.id == id), None)

    def of(self, user_id: int) -> list[Session]:
        """The oldest first."""
        mine = [one for one in self._by_hash.values() if one.stored.user_id == user_id]
        return sorted(mine, key=lambda one: one.stored.id)

    def all(self, now: float) -> list[Session]:
        """Those that have not expired, the latest first."""
        there = [one for one in self._by_hash.values() if now < one.until]
        return sorted(there, key=lambda one: one.stored.id, reverse=True)

    def giving_way(self, user_id: int) -> list[int]:
        """Those that end for another one of that user."""
        return [one.stored.id for one in self.of(user_id)[: 1 - MOST]]

    def expired(self, now: float) -> list[int]:
        return [one.stored.id for one in self._by_hash.values() if now >= one.until]

    def end(self, ids: Iterable[int]) -> None:
        gone = set(ids)
        self._by_hash = {key: one for key, one in self._by_hash.items() if one.stored.id not in gone}


def identified(session: StoredSession, user: StoredUser) -> SessionIdentified:
    return SessionIdentified(session.id, user.username, user.role, user.must_change_password)


def session_row(session: StoredSession, user: StoredUser) -> SessionRow:
    return SessionRow(
        id=session.id,
        username=user.username,
        created_at=iso(session.created_at) or "",
        expires_at=iso(session.expires_at) or "",
        peer=session.peer,
        user_agent=session.user_agent,
    )
