"""Restart policies in OTP's terms, and the delay before each restart."""

import random
from typing import Literal

import msgspec


class Restart(msgspec.Struct, frozen=True):
    """How a supervisor treats a child that crashed.

    permanent: always restarted. transient: restarted after a crash, not after it asked to exit.
    temporary: never restarted. The n-th restart in a row waits `backoff * 2**n` seconds, at most
    `backoff_max`, jittered by a quarter either way; after `period` seconds without a crash the count
    starts again. More than `max_restarts` crashes within `period` seconds: the child exits for good and
    its parent gets `ChildActorExited`. With `keep_children` its children go on while it restarts, and the
    next instance finds them running; else they end with the instance.
    """

    policy: Literal["permanent", "transient", "temporary"] = "permanent"
    max_restarts: int = 20
    period: float = 60.0
    backoff: float = 0.1
    backoff_max: float = 30.0
    keep_children: bool = False


class Crashes:
    """The crashes of one supervised actor; decides what happens after each."""

    __slots__ = ("policy", "recent", "restarts", "streak")

    def __init__(self, policy: Restart) -> None:
        self.policy = policy
        self.recent: list[float] = []
        self.restarts = 0
        self.streak = 0

    def next_delay(self, now: float) -> float | None:
        """Seconds until the restart after a crash at `now`, or None when the actor gives up."""
        policy = self.policy
        if policy.policy == "temporary":
            return None
        if self.recent and now - self.recent[-1] > policy.period:
            self.streak = 0
        self.recent = [t for t in self.recent if now - t <= policy.period]
        self.recent.append(now)
        if len(self.recent) > policy.max_restarts:
            return None
        delay: float = min(policy.backoff * 2.0 ** min(self.streak, 32), policy.backoff_max)
        self.streak += 1
        self.restarts += 1
        return delay * random.uniform(0.75, 1.25)
