"""The tree dump."""

import msgspec


class DumpTree(msgspec.Struct, frozen=True):
    """To `agent`; replies `TreeDumped`."""


class ActorNode(msgspec.Struct, frozen=True):
    """One actor of the tree dump. Times in ms; `uptime` in seconds since its latest (re)start."""

    name: str
    actor_class: str
    address: str
    state: str
    """running, restarting, degraded, gave up"""
    health: str | None
    """what the actor says of itself: connected, disconnected: <why>, ..."""
    uptime: float
    mailbox: int
    mailbox_high: int
    mailbox_dropped: int
    handled: int
    mean_ms: float
    max_ms: float
    restarts: int
    last_error: str | None
    children: list["ActorNode"]


class TreeDumped(msgspec.Struct, frozen=True):
    """`loop_lag_ms` and `loop_lag_max_ms` are the event loop's latest and worst lag."""

    root: ActorNode
    loop_lag_ms: float
    loop_lag_max_ms: float
