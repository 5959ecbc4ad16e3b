"""What the API asks of `outputs` and of the drift detectors. Requests are answered by the reply named beside
them or by `Failed`."""

from typing import Any

import msgspec
from thespian.actors import ActorAddress

from storage.drift import StoredDriftEvent


class OutputRow(msgspec.Struct, frozen=True):
    """How a protocol's readings are put out, as the API shows it (spec 01 section 10).

    Readings travel between actors, so there is no socket. `drift_options` are those that were set.
    """

    id: int
    protocol: str
    drift_options: dict[str, Any] | None
    created_at: str
    updated_at: str
    payload_format: str = "custom"
    socket_path: str | None = None
    data_format: str = "json"
    delimiter: str = "\n"
    include_timestamp: bool = True
    include_device_name: bool = True
    buffer_capacity: int = 131_072


class ListOutputs(msgspec.Struct, frozen=True):
    """To `outputs`; replies `OutputsListed`."""


class OutputsListed(msgspec.Struct, frozen=True):
    """`detectors` are the drift detectors by protocol."""

    outputs: list[OutputRow]
    detectors: dict[str, ActorAddress]


class ChangeDriftOptions(msgspec.Struct, frozen=True):
    """To `outputs`; replies `OutputsChanged`. `protocol` None is all of them; `options` are merged into
    those of before, None clears them."""

    protocol: str | None
    options: dict[str, Any] | None


class OutputsChanged(msgspec.Struct, frozen=True):
    outputs: list[OutputRow]


class ListDriftEvents(msgspec.Struct, frozen=True):
    """To `outputs`: the latest `limit` events, of one protocol or of all; replies `DriftEventsListed`."""

    protocol: str | None
    limit: int


class DriftEventsListed(msgspec.Struct, frozen=True):
    """The latest first."""

    events: list[StoredDriftEvent]


class ListBaselines(msgspec.Struct, frozen=True):
    """To a drift detector; replies `BaselinesListed`."""


class FieldRow(msgspec.Struct, frozen=True):
    """A field of a device, as the API shows it.

    `types` are those that it has had, the most frequent first; `presence` is the share of `batches` among
    those since it was first seen. `missing` says that this was reported; a `retired` field is forgotten.
    """

    field: str
    types: list[str]
    presence: float
    batches: int
    expected: bool
    missing: bool
    retired: bool


class BaselineRow(msgspec.Struct, frozen=True):
    """What a device's batches usually hold. `learning` says that the warm-up goes on; `last_seen` is None
    when no batch has come since the start."""

    protocol: str
    device: str
    device_uuid: str
    batches: int
    learning: bool
    last_seen: str | None
    fields: list[FieldRow]


class BaselinesListed(msgspec.Struct, frozen=True):
    """By device name."""

    baselines: list[BaselineRow]


class RemoveBaselines(msgspec.Struct, frozen=True):
    """To a drift detector: learn anew what is usual for the device of this name or uuid, or for all; replies
    `BaselinesRemoved`."""

    device: str | None = None


class BaselinesRemoved(msgspec.Struct, frozen=True):
    removed: int
