"""Messages of the endpoint side. Requests are answered by the reply named beside them or by `Failed`."""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType
from thespian.actors import ActorAddress

from actors.endpoints.discovering import At, Configured
from actors.endpoints.protocol import BackfillRequest, BrowseRequest
from actors.system.failure import Failed, Kind


class EndpointRow(msgspec.Struct, frozen=True):
    """An endpoint as the API shows it (spec 01 section 6); `address` is its actor while it runs, `error` why
    it cannot. `connection`, `data_points` and `metadata` are JSON: an object, an array of objects
    or null, an object or null."""

    id: int
    uuid: str
    name: str
    protocol: str
    enabled: bool
    poll_interval: int
    connection: Raw
    data_points: Raw
    metadata: Raw
    fingerprint: str | None
    created_at: str
    updated_at: str
    address: ActorAddress | None = None
    error: str | None = None


class DeviceRow(msgspec.Struct, frozen=True):
    """A device as the API shows it (spec 01 section 6, `GET /v1/devices`); `address` is that of
    its endpoint, whose name is `endpoint`. `error` is why its metadata cannot be read."""

    uuid: str
    endpoint_id: int
    name: str
    protocol: str
    enabled: bool
    identifier: str
    metadata: dict[str, Any] | None
    created_at: str
    updated_at: str
    address: ActorAddress | None = None
    error: str | None = None
    endpoint: str = ""


class ListEndpoints(msgspec.Struct, frozen=True):
    """To `endpoints`; replies `EndpointsListed`, sorted by name."""

    protocol: str | None = None


class EndpointsListed(msgspec.Struct, frozen=True):
    endpoints: list[EndpointRow]


class ListConfigured(msgspec.Struct, frozen=True):
    """To `endpoints`, of all protocols or of these; replies `ConfiguredListed`."""

    protocols: tuple[str, ...] | None = None


class ConfiguredEndpoint(msgspec.Struct, frozen=True):
    """What scans are planned with; `place` is `CheckedEndpoint.address`, None where that cannot be said, `at`
    and `known_by` as there. `address` is its actor while it runs."""

    uuid: str
    protocol: str
    configured: Configured
    fingerprint: str | None = None
    place: str | None = None
    address: ActorAddress | None = None
    at: tuple[At, ...] = ()
    known_by: tuple[tuple[At, str], ...] = ()

    def __repr__(self) -> str:
        """Connections hold secrets."""
        return f"ConfiguredEndpoint({self.configured.name!r})"


class ConfiguredListed(msgspec.Struct, frozen=True):
    """Those that can be understood, oldest first."""

    endpoints: tuple[ConfiguredEndpoint, ...]


class AddEndpoint(msgspec.Struct, frozen=True):
    """To `endpoints`; replies `EndpointChanged`. Values are as the client sent them."""

    name: str
    protocol: str
    connection: dict[str, Any]
    poll_interval: int = 5000
    enabled: bool = True
    data_points: list[dict[str, Any]] | None = None
    metadata: dict[str, Any] | None = None
    fingerprint: str | None = None


class ChangeEndpoint(msgspec.Struct, frozen=True):
    """To `endpoints`; `key` is a uuid or a name; replies `EndpointChanged`."""

    key: str
    enabled: bool | UnsetType = UNSET
    poll_interval: int | UnsetType = UNSET


class EndpointChanged(msgspec.Struct, frozen=True):
    endpoint: EndpointRow


class ImportEndpoints(msgspec.Struct, frozen=True):
    """To `endpoints`: add all of them or none; replies `EndpointsImported`."""

    endpoints: list[AddEndpoint]


class ImportFault(msgspec.Struct, frozen=True):
    """Why the endpoint at `position` of an import cannot be added."""

    position: int
    failed: Failed


class EndpointsImported(msgspec.Struct, frozen=True):
    """With `faults`, in the order of the endpoints, none was added."""

    imported: int
    faults: list[ImportFault] = []


class AdoptDevice(msgspec.Struct, frozen=True):
    """A device that was found. `endpoint` is the name of the one that reads it already, if that is known;
    `others` are further connections by which it answers."""

    name: str
    protocol: str
    fingerprint: str
    connection: dict[str, Any]
    data_points: tuple[dict[str, Any], ...] = ()
    metadata: dict[str, Any] = {}
    endpoint: str | None = None
    others: tuple[dict[str, Any], ...] = ()

    def __repr__(self) -> str:
        """Connections hold secrets."""
        return f"AdoptDevice({self.name!r})"


class AdoptDevices(msgspec.Struct, frozen=True):
    """To `endpoints`: make endpoints of what was found, all in one transaction; replies `DevicesAdopted`.

    `owner` is who looks for devices. New endpoints are `enabled` or not, and get what the `template` says
    (see `adopting.py`). Endpoints of that owner whose fingerprints are in `remove` go, unless somebody has
    edited them, or `spare` has a reason. With `dry_run` nothing is changed.
    """

    owner: str
    devices: tuple[AdoptDevice, ...]
    enabled: bool = False
    template: dict[str, Any] | None = None
    remove: tuple[str, ...] = ()
    spare: dict[str, str] = {}
    dry_run: bool = False

    def __repr__(self) -> str:
        """Connections hold secrets."""
        return f"AdoptDevices({self.owner!r}, {len(self.devices)} devices)"


class DevicesAdopted(msgspec.Struct, frozen=True):
    """Names of endpoints; `refused` are devices that no endpoint can be made of, `spared` endpoints that were
    to be removed, with the reason. `gone` are those fingerprints of `remove` that no endpoint has any
    more."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    refused: dict[str, str] = {}
    spared: dict[str, str] = {}
    gone: tuple[str, ...] = ()


class RemoveEndpoint(msgspec.Struct, frozen=True):
    """To `endpoints`; replies `EndpointsRemoved(1)`."""

    uuid: str


class RemoveAllEndpoints(msgspec.Struct, frozen=True):
    """To `endpoints`; replies `EndpointsRemoved`."""


class EndpointsRemoved(msgspec.Struct, frozen=True):
    removed: int


class ListDevices(msgspec.Struct, frozen=True):
    """To `endpoints`; replies `DevicesListed`, sorted by name. With `name`, those that are meant by it: an
    endpoint's own device of that name, else all of that name, else the one of that uuid.

    With `running`, a protocol without a running adapter is `Failed("not_found", "No adapter running
    for protocol: X")`.
    """

    protocol: str | None = None
    running: bool = False
    name: str | None = None


class DevicesListed(msgspec.Struct, frozen=True):
    devices: list[DeviceRow]


class FoundDevice(msgspec.Struct, frozen=True):
    """A device of an endpoint, besides the one that has its name; `identifier` is the protocol's."""

    uuid: str
    identifier: str
    name: str


class DevicesFound(msgspec.Struct, frozen=True):
    """From an endpoint to `endpoints`: it has these devices, besides its own. It tells of them again until
    `DevicesSettled` has come."""

    endpoint_uuid: str
    devices: tuple[FoundDevice, ...]


class DevicesSettled(msgspec.Struct, frozen=True):
    """To an endpoint: these of its devices are stored; those that cannot be, by uuid, with the reason."""

    kept: tuple[FoundDevice, ...]
    refused: dict[str, str] = {}


class RemoveDevice(msgspec.Struct, frozen=True):
    """To `endpoints`, of one that was found; replies `DeviceRemoved`."""

    uuid: str


class DeviceRemoved(msgspec.Struct, frozen=True):
    pass


class ForgetDevice(msgspec.Struct, frozen=True):
    """To an endpoint: the device was removed. It comes back when it has something to say."""

    uuid: str


class ReportHealth(msgspec.Struct, frozen=True):
    """To an endpoint's own address, of one of its devices (None: the one that has its name); replies
    `HealthReported`. One that has not been heard of in this life is disconnected."""

    device_uuid: str | None = None


class HealthReported(msgspec.Struct, frozen=True):
    """Live status of one device (spec 03 section 1.1). Times are Unix ms or None."""

    device: str
    status: str
    """connected, disconnected or disabled"""
    connected: bool
    last_poll: int | None
    last_seen: int | None
    error_count: int
    last_error: str | None
    response_time_ms: float | None
    poll_success_rate: float
    registers_updated: int
    communication_quality: float
    """100 x the share of values that arrived in the last 100 polls, not above that of the very last; one
    decimal, 0 while disconnected"""
    quality_word: str
    """good, degraded, poor or offline"""
    polls_skipped: int


class ReportDevices(msgspec.Struct, frozen=True):
    """To an endpoint's own address; replies `DevicesReported`."""


class DevicesReported(msgspec.Struct, frozen=True):
    """By uuid, of the devices that the endpoint knows of in this life. Others were found in an earlier
    one, and have not been heard of since."""

    devices: dict[str, HealthReported]


class CountPolls(msgspec.Struct, frozen=True):
    """To an endpoint's own address; replies `PollsCounted`."""


class PollsCounted(msgspec.Struct, frozen=True, gc=False):
    """Since the endpoint's start, or since its configuration changed; `points` are the values that came, of
    all its devices. `response_ms` is of the latest poll."""

    connected: bool
    polls: int
    failed: int
    skipped: int
    points: int
    response_ms: float | None


class DescribeDevice(msgspec.Struct, frozen=True):
    """To an endpoint's own address, of one of its devices as above; replies `DeviceDescribed`."""

    device_uuid: str | None = None


class DeviceDescribed(msgspec.Struct, frozen=True):
    """Health plus raw metrics and register diagnostics (spec 03 section 1.2), keys as the API has them;
    `identification` is what the device says of itself, when it was asked."""

    health: HealthReported
    metrics: dict[str, Any]
    registers: list[dict[str, Any]]
    identification: dict[str, str] | None = None


class SummariseMetrics(msgspec.Struct, frozen=True):
    """To an endpoint's own address, of one of its devices as above; replies `MetricsSummarised`."""

    device_uuid: str | None = None


class MetricsSummarised(msgspec.Struct, frozen=True):
    """The summary of spec 03 section 1.2, keys as the API has them."""

    device: str
    summary: dict[str, Any]


class BrowseDevice(msgspec.Struct, frozen=True):
    """To `endpoints`; replies `Browsed`. `connection` is as a client sends it for an endpoint; `unreachable`
    is the kind of failure when the device does not answer."""

    protocol: str
    connection: dict[str, Any]
    request: BrowseRequest
    unreachable: Kind = "internal"


class TryEndpoint(msgspec.Struct, frozen=True):
    """To `endpoints`; replies `Tried`. `connection` and `data_points` are as a client sends them for an
    endpoint; what was `stored` may have keys that are not known."""

    protocol: str
    connection: dict[str, Any]
    data_points: list[dict[str, Any]] = []
    stored: bool = False


class TryStoredEndpoint(msgspec.Struct, frozen=True):
    """To `endpoints`; `key` is a uuid or a name; replies `Tried`."""

    key: str


class TriedValue(msgspec.Struct, frozen=True):
    """A value that was read: GOOD, unless it has a quality `code`. `device` is the name of one that the
    endpoint has besides its own; `time` Unix ms, None of a point that nothing was told of."""

    device: str | None
    name: str
    unit: str | None
    value: Any
    code: str | None
    time: int | None


class Tried(msgspec.Struct, frozen=True):
    """What an endpoint would read. `error` is why the device could not be asked, with a quality code if there
    is one; then, too, there may be values, told before."""

    values: list[TriedValue]
    duration_ms: float
    error: str | None = None
    code: str | None = None

    @property
    def good(self) -> int:
        """How many of the values are GOOD."""
        return sum(one.code is None for one in self.values)


class WriteRegister(msgspec.Struct, frozen=True):
    """To an endpoint's own address; replies `RegisterWritten`.

    `register` is a data point's name or an address such as `holding:10`; `data_type` and `priority` are as in
    `WriteRequest`. `unit` is what the client takes the value to be in. With `verify` it is read back. `by` is
    who asks, for the log.
    """

    register: str
    value: Any
    device_uuid: str | None = None
    data_type: str | None = None
    priority: int | None = None
    unit: str | None = None
    verify: bool = False
    by: str | None = None


class RegisterWritten(msgspec.Struct, frozen=True):
    """`value` is what was written. Where that was to be verified, `read_back` is what the device has now, and
    `verified` whether it is the same; `note` is why it is not, where that is known."""

    register: str
    value: Any
    verified: bool | None = None
    read_back: Any = None
    note: str | None = None


class BackfillDevice(msgspec.Struct, frozen=True):
    """To an endpoint's own address, of one of its devices as above; replies `DeviceBackfilled`. No points in
    `request`: all of them. `by` is who asks, for the log."""

    request: BackfillRequest
    device_uuid: str | None = None
    by: str | None = None


class Backfilled(msgspec.Struct, frozen=True):
    """What became of one point's record: `readings` have gone the way of all readings, `bad` of them without
    a value; `first` and `last` are their times, Unix ms."""

    point: str
    log: str | None
    readings: int
    bad: int
    first: int | None
    last: int | None
    complete: bool
    notes: tuple[str, ...]


class DeviceBackfilled(msgspec.Struct, frozen=True):
    points: list[Backfilled]
