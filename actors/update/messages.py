"""What the API, and later the cloud, say to the updater."""

from typing import Literal

import msgspec

from actors.update.history import UpdateEvent
from actors.update.signature import Signed

UpdateState = Literal[
    "unavailable",
    "idle",
    "scheduled",
    "preparing",
    "switching",
    "trial",
    "completed",
    "skipped",
    "failed",
    "rolled_back",
]

Outcome = Literal["triggered", "scheduled", "skipped", "unsigned", "forbidden", "conflict", "unavailable"]


class UpdateAgent(msgspec.Struct, frozen=True):
    """To `update`, once a person or the cloud wants it; answered by `UpdateAnswered`, or by `Failed` of kind
    "invalid", after everything has been looked at that can be looked at at once."""

    command: Signed


class UpdateAnswered(msgspec.Struct, frozen=True):
    """What becomes of it. `message` and `hint` say why it is refused, or skipped; `scheduled` is Unix ms."""

    outcome: Outcome
    version: str
    message: str | None = None
    hint: str | None = None
    scheduled: int | None = None


class ReportUpdate(msgspec.Struct, frozen=True):
    """To `update`; replies `UpdateReported`."""


class UpdateReported(msgspec.Struct, frozen=True):
    """The update under way, else what became of the latest. `origin` and `target` are versions, `reason` is
    why it failed, was taken back, or cannot be made."""

    state: UpdateState
    current: str
    origin: str | None
    target: str | None
    reason: str | None
    history: tuple[UpdateEvent, ...]
