"""When to try again what is not connected. Plain; times are seconds."""

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass

SHARE = 0.05  # of the time it has been away
SOONEST = 0.2
LATEST = 30.0
PERMANENT = 5.0
STEADY = 10.0
ASKED_LATEST = 3600.0
JITTER = 0.25


class Retry(ABC):
    """The policy of one kind of connection. No delay is the same twice: what was lost together does not come
    back in the same instant."""

    steady: float
    """A connection that has stood for longer was one, whether it was of use or not."""

    least: float = 0.0
    """Seconds between two attempts, whatever hurries them."""

    @abstractmethod
    def delay(self, failures: int, away: float, permanent: bool) -> float:
        """Until the next attempt, after so many in a row have failed, over `away` seconds, the latest for a
        reason that only somebody's hand can lift (`permanent`)."""


class ByAbsence(Retry):
    """A twentieth of the time it has been away: soon after a short outage, never later than that much of a
    long one, and at least every 30 s. A refusal that is permanent is not hurried. `per_minute` attempts at
    most (0: any number)."""

    steady = STEADY

    def __init__(self, per_minute: int = 0) -> None:
        self.least = 60 / per_minute if per_minute else 0.0

    def delay(self, failures: int, away: float, permanent: bool) -> float:
        wait = min(max(SHARE * away, SOONEST), LATEST)
        if permanent:
            wait = max(wait, PERMANENT)
        return max(wait * random.uniform(1 - JITTER, 1 + JITTER), self.least)


@dataclass(frozen=True)
class Doubling(Retry):
    """`first`, doubled with each failure, never more than `longest`; that at once when it is permanent.

    Only use proves a connection: a serial port opens also when nobody is at its other end.
    """

    first: float
    longest: float
    steady: float = float("inf")

    def delay(self, failures: int, away: float, permanent: bool) -> float:
        wait = self.longest if permanent else min(self.first * 2.0 ** min(failures, 32), self.longest)
        return wait * random.uniform(1 - JITTER, min(1 + JITTER, self.longest / wait))


def honoured(retry_after: float) -> float:
    """What the other end asks to be left alone for, kept to within an hour: a wrong number there must not end
    the connection for good."""
    return min(retry_after, ASKED_LATEST)
