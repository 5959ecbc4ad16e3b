"""The client id over the connections of one client, and whether somebody else uses it too. Plain; time is
monotonic seconds."""

import secrets

from actors.mqtt.fields import MAX_TEXT
from actors.mqtt.reasons import SESSION_TAKEN_OVER

QUICK_SECONDS = 3.0
QUICK_LOSSES = 3
"""So many ends in a row so soon are somebody else's doing (spec 02 section 8.2)."""
SHORT_SECONDS = 60.0
SHORT_LOSSES = 6
SHORT_SPAN = 20.0
"""And so many of connections that had been well are, too, over so many seconds: the other one comes back
after each of ours. A link that breaks a few times within moments is no such thing."""
PAUSE = 10.0
LONGEST_PAUSE = 30.0


class ClientId:
    """Where it may change, it gets a suffix when somebody else seems to use it. Where the changed one fares
    no better, or cannot log in, its own comes back: a broker may know its clients by their ids."""

    def __init__(self, may_change: bool) -> None:
        self._may_change = may_change
        self._name = ""
        self._suffix = ""
        self._quick = 0
        self._short = 0
        self._short_since = self._short_for = 0.0
        self._told = False
        self._fights = 0
        self._in_vain = False
        self._connected_at = 0.0

    def of(self, client_id: str) -> str:
        """What to connect as."""
        if self._changes:
            self._in_vain = bool(self._suffix) and self.is_shared
            self._suffix = "" if self._suffix else f"-{secrets.token_hex(4)}"
            self._quick = 0
            if self._suffix:
                self._short, self._told = 0, False
        name = client_id + self._suffix
        self._name = name if len(name.encode()) <= MAX_TEXT else client_id
        return self._name

    @property
    def _changes(self) -> bool:
        slowly = self.is_shared and not self._in_vain
        return self._may_change and (self._quick >= QUICK_LOSSES or slowly)

    @property
    def is_shared(self) -> bool:
        """Whether somebody else seems to use it, too."""
        return self._told or (self._short >= SHORT_LOSSES and self._short_for >= SHORT_SPAN)

    @property
    def doubt(self) -> str:
        """To be added to the reason of a loss; perhaps nothing."""
        return f"; is another client using this client id ({self._name})?" if self.is_shared else ""

    @property
    def pause(self) -> float:
        """Seconds to stay away, so that the two do not take the connection from each other all the time; 0
        where the next one goes by another name."""
        if not self.is_shared or self._changes:
            return 0.0
        return min(PAUSE * 2.0 ** min(self._fights - 1, 8), LONGEST_PAUSE)

    def connected(self, now: float) -> None:
        self._connected_at = now

    def lost(self, now: float, well: bool, code: int = 0) -> None:
        """The other end has closed the connection, with this reason code (0: none); `well` when nothing that
        was sent on it can be why."""
        lived = now - self._connected_at
        self._quick = self._quick + 1 if lived < QUICK_SECONDS else 0
        if lived >= SHORT_SECONDS:
            self._short = self._fights = 0
            self._told = self._in_vain = False
        if code == SESSION_TAKEN_OVER:
            self._told = True
        elif well and lived < SHORT_SECONDS:
            self._short += 1
        if self._short <= 1:
            self._short_since = now
        self._short_for = now - self._short_since
        self._fights = self._fights + 1 if self.is_shared else 0

    def failed(self) -> None:
        """It could not log in; brokers that know their clients by their ids need not say why."""
        self._in_vain = self._in_vain or self._suffix != ""
        self._suffix, self._quick = "", 0
