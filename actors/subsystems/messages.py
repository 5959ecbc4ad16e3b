"""What the root actor, its subsystems and the API tell one another."""

from typing import Any

import msgspec

from conf.runtime import RuntimeSettings

# From the root to a subsystem and back


class SubsystemStarted(msgspec.Struct, frozen=True):
    """To the parent, in each life: the subsystem does its work from now on."""


class SubsystemFailed(msgspec.Struct, frozen=True):
    """To the parent: it cannot do its work now, and tries again by itself."""

    message: str


class StopSubsystem(msgspec.Struct, frozen=True):
    """Bring everything to safety; answered by `SubsystemStopped`."""


class SubsystemStopped(msgspec.Struct, frozen=True):
    pass


class LifecycleChanged(msgspec.Struct, frozen=True):
    """To subsystems that ask for it: the agent's state (`lifecycle.py`) from now on."""

    state: str


class SettingsStated(msgspec.Struct, frozen=True):
    """To the parent, from the keeper of the runtime settings: what they are from now on."""

    settings: RuntimeSettings


class CheckSubsystem(msgspec.Struct, frozen=True):
    """How is it? Answered by `SubsystemChecked`."""


class Check(msgspec.Struct, frozen=True):
    """One line of the health report (spec 01 section 2, `report.subsystems`); `last_check` is Unix ms.

    While one that is `critical` is not healthy, neither is the agent: a restart may help. One that only
    `blocks_readiness` leaves it alive, and not ready."""

    name: str
    healthy: bool
    critical: bool = False
    last_check: int = 0
    consecutive_failures: int = 0
    description: str | None = None
    last_error: str | None = None
    blocks_readiness: bool = False


class SubsystemChecked(msgspec.Struct, frozen=True):
    """`error` is why it is not healthy, None when it is; `description` is shown either way. `checks` are
    lines of their own about what belongs to it; when and how often they failed is the root's to fill in."""

    error: str | None = None
    description: str | None = None
    checks: list[Check] = []


class PrepareReset(msgspec.Struct, frozen=True):
    """To subsystems that `prepares_reset`: everything stored is about to be deleted, so that what lives
    elsewhere and is only known from there is to go first. Answered by `ResetPrepared`, within seconds."""


class ResetPrepared(msgspec.Struct, frozen=True):
    pass


# From the API to the root


class ReportState(msgspec.Struct, frozen=True):
    """To `agent`; replies `StateReported`."""


class StateReported(msgspec.Struct, frozen=True):
    """Lifecycle state (spec 06 section 1) and the latest health checks."""

    state: str
    ready: bool
    checks: list[Check]


class RestartAgent(msgspec.Struct, frozen=True):
    """To `agent`: a soft restart. Every subsystem but those that stay is brought to safety, ended, and
    started anew. Answered by `RestartBegun`, or `Failed` of kind "conflict" unless the agent is RUNNING.

    `store` is sent to the store in between, while nobody else uses it; it says anew that it is open."""

    store: Any = None


class RestartBegun(msgspec.Struct, frozen=True):
    """`state` is that in which the agent was asked."""

    state: str


class EndAgent(msgspec.Struct, frozen=True):
    """To `agent`: bring every reading to safety and end the process, with an exit code (1) on which those who
    started it start it again."""

    reason: str


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
