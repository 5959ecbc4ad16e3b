"""Messages of the root actor."""

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
