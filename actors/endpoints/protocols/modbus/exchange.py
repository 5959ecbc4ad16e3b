"""One request under way, and what can become of it."""

import asyncio
from math import inf
from typing import NamedTuple

from actors.connections.connection import Transient

from .frames import Request

Answer = bytes | int
"""What was read, empty of a write that was done; or the number of an exception, `UNFIT` for a reply that does
not fit the request."""
UNFIT = 0


class Patience(NamedTuple):
    """How hard to try. `timeout` is in seconds, of connecting and of each attempt; no attempt but the first
    begins after the loop's time `until`, and the time up to then is shared among the attempts. `tries`: all
    that matters is whether the unit answers at all; that it does not says nothing of the connection."""

    timeout: float
    attempts: int = 1
    until: float = inf
    tries: bool = False


class Damaged(Transient):
    """A reply came, but not whole."""


class Unreachable(Transient):
    """There is no connection, and none can be made."""


class Closed(Transient):
    """The connection ended under a request."""


class FoundClosed(Unreachable):
    """It had ended before."""


class Exchange:
    """A request under way; `since` is when it was first sent, `tries` as in `Patience`."""

    __slots__ = ("began", "future", "numbers", "request", "sent", "since", "stranger", "tries")

    def __init__(self, request: Request, since: float, *, tries: bool = False) -> None:
        self.request = request
        self.since = since
        self.tries = tries
        self.numbers: list[int] = []
        self.sent = b""
        self.began = since
        self.stranger: int | None = None
        self.future: asyncio.Future[Answer]

    def has(self, number: int | None) -> bool:
        """Whether it was sent with that number, which some devices return with its bytes swapped."""
        return number in self.numbers or (
            number is not None and (number << 8 & 0xFF00 | number >> 8) in self.numbers
        )

    def end(self, outcome: Answer | Transient) -> None:
        if self.future.done():
            return
        if isinstance(outcome, Transient):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)
