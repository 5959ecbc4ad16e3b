"""Restart policies in OTP's terms, and the delay before each restart."""

import random
from typing import Literal

import msgspec


class Restart(msgspec.Struct, frozen=True):
    """How a supervisor treats a child that crashed.

    permanent: always restarted. transient: restarted after a crash, not after it asked to exit.
    temporary: never restarted. The n-th restart in a row waits `backoff * 2**n` seconds, at most
    `backoff_max`, jittered by a quarter either way; after `period` seconds without a crash the count
    starts again.

    More than `max_restarts` crashes within `period` seconds (None: however many) and the child gives up: it
    exits and its parent gets `ChildActorExited`. Then, with `escalate`, the parent crashes too; else the
    parent has it back after `rest` seconds (None: when it spawns it itself), unless it is no longer wanted.

    With `keep_children` its children go on while it restarts, and the next instance finds them running; else
    they end with the instance.
    """

    policy: Literal["permanent", "transient", "temporary"] = "permanent"
    max_restarts: int | None = 5
    period: float = 60.0
    backoff: float = 0.1
    backoff_max: float = 30.0
    keep_children: bool = False
    escalate: bool = False
    rest: float | None = 30.0


class Crashes:
    """The crashes of one supervised actor; decides what happens after each. Times are the loop's."""

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
        if policy.max_restarts is not None and len(self.recent) > policy.max_restarts:
            return None
        delay: float = min(policy.backoff * 2.0 ** min(self.streak, 32), policy.backoff_max)
        self.streak += 1
        self.restarts += 1
        return delay * random.uniform(0.75, 1.25)

    def within(self, now: float) -> int:
        """How many crashes there were in the `period` before `now`."""
        return sum(now - t <= self.policy.period for t in self.recent)


class ChildGaveUp(Exception):
    """A child whose policy is to `escalate` gave up: its parent's crash."""
