"""How often somebody may try to sign in. Plain; `now` is seconds of a clock that nobody sets."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

import msgspec

FREE: Final = 5
"""Attempts in a row that may fail before there is a delay."""
FIRST: Final = 1.0
LONGEST: Final = 30.0
"""Seconds of the delay after the first failure beyond these; it doubles with each. A short one: it is to cost
who guesses, and not to keep anybody out."""
FORGOTTEN: Final = 900.0
"""Seconds without a failure after which all is as if there had been none."""
KNOWN: Final = 2000
"""Names, and peers, that are remembered at most; who was longest quiet is forgotten first."""


class _Failures(msgspec.Struct):
    count: int
    latest: float
    until: float


class Backoff:
    """Of each of many keys: how often it has failed in a row, and until when it has to wait."""

    def __init__(self, free: int = FREE) -> None:
        self._free = free
        self._failures: OrderedDict[Hashable, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def delay(self, key: Hashable, now: float) -> float:
        """Seconds that it still has to wait; 0 when it may try."""
        found = self._failures.get(key)
        return max(0.0, found.until - now) if found is not None else 0.0

    def tries(self, key: Hashable, now: float) -> None:
        """An attempt begins, which counts as failed until it turns out otherwise: many at once are many."""
        found = self._failures.pop(key, None)
        if found is None or now - found.latest > FORGOTTEN:
            found = _Failures(0, now, now)
        found.count += 1
        found.latest = now
        beyond = found.count - self._free
        if beyond >= 0:
            found.until = now + min(LONGEST, FIRST * 2.0 ** min(beyond, 30))
        self._failures[key] = found
        while len(self._failures) > KNOWN:
            self._failures.popitem(last=False)

    def succeeded(self, key: Hashable) -> None:
        self._failures.pop(key, None)

    def withdrew(self, key: Hashable) -> None:
        """The attempt came to nothing, by no fault of who made it."""
        found = self._failures.get(key)
        if found is not None:
            found.count -= 1
            found.until = found.latest
            if found.count <= 0:
                del self._failures[key]


class Throttle:
    """By peer, and by user name.

    By name there are several counts: of each peer from which the user has signed in before, of this machine,
    and of all others together. So whoever guesses from elsewhere, however many they are, cannot keep out who
    comes from a place that is known. This machine is no peer: a proxy on it may speak for everybody.
    """

    def __init__(self) -> None:
        self._peers = Backoff(free=2 * FREE)
        self._names = Backoff()
        self._known: OrderedDict[tuple[str, str | None], None] = OrderedDict()

    def delay(self, username: str, peer: str | None, now: float) -> float:
        """Seconds that this attempt has to wait; `peer` is None for this machine."""
        of_peer = 0.0 if peer is None else self._peers.delay(peer, now)
        return max(of_peer, self._names.delay(self._name(username, peer), now))

    def tries(self, username: str, peer: str | None, now: float) -> None:
        self._names.tries(self._name(username, peer), now)
        self._peers.tries(peer, now)

    def withdrew(self, username: str, peer: str | None) -> None:
        self._names.withdrew(self._name(username, peer))
        self._peers.withdrew(peer)

    def succeeded(self, username: str, peer: str | None) -> None:
        """The name is counted anew, and so is the peer: of one who has a password, guesses at that of another
        are counted by the name."""
        self._names.succeeded(self._name(username, peer))
        self._peers.succeeded(peer)
        self.knows(username, peer)

    def knows(self, username: str, peer: str | None) -> None:
        """The user has signed in from there."""
        self._known[username, peer] = None
        self._known.move_to_end((username, peer))
        while len(self._known) > KNOWN:
            self._known.popitem(last=False)

    def is_known(self, username: str, peer: str | None) -> bool:
        """Whether the user has, or it is this machine."""
        return peer is None or (username, peer) in self._known

    def _name(self, username: str, peer: str | None) -> Hashable:
        if self.is_known(username, peer):
            return username, peer
        return username, "elsewhere"
