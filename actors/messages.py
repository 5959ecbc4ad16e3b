"""Messages of the root actor and of the store."""

from typing import Any

import msgspec


class ReportState(msgspec.Struct, frozen=True):
    """To `agent`; replies `StateReported`."""


class Subsystem(msgspec.Struct, frozen=True):
    """One health check (spec 01 section 2, `report.subsystems`); `last_check` is Unix ms."""

    name: str
    healthy: bool
    critical: bool
    last_check: int
    consecutive_failures: int = 0
    description: str | None = None
    last_error: str | None = None


class StateReported(msgspec.Struct, frozen=True):
    """Lifecycle state (spec 06 section 1) and the latest health checks."""

    state: str
    ready: bool
    subsystems: list[Subsystem]


class DescribeAgent(msgspec.Struct, frozen=True):
    """To `agent`; replies `AgentDescribed`."""


class AgentDescribed(msgspec.Struct, frozen=True):
    """Identity without secrets (spec 01 section 4)."""

    uuid: str
    name: str
    type: str
    version: str
    provisioned: bool = False
    provisioning_state: str = "new"
    api_endpoint: str | None = None
    apps: int = 0
    is_online: bool = False
    mac_address: str | None = None
    os_version: str | None = None
    created_at: str | None = None


class DumpTree(msgspec.Struct, frozen=True):
    """To `agent`; replies `TreeDumped`."""


class ActorNode(msgspec.Struct, frozen=True):
    """One actor of the tree dump. Times in ms; `uptime` in seconds since its latest (re)start."""

    name: str
    actor_class: str
    address: str
    state: str
    """running, restarting, degraded"""
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


class Transact(msgspec.Struct, frozen=True):
    """To `store`: run `call(database, *args)` in the next group commit; replies `Transacted` after
    the commit. `call` is a module-level function of `storage`; `token` comes back in the reply."""

    token: Any
    call: Any
    args: tuple[Any, ...] = ()


class Transacted(msgspec.Struct, frozen=True):
    """`error` is None when the transaction is on disk; otherwise nothing of it is."""

    token: Any
    result: Any = None
    error: Exception | None = None
