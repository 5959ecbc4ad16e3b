"""What a protocol folder under `protocols/` exports: one `Protocol` descriptor."""

import typing
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from actors.connections.connection import Connection
from actors.endpoints.accounts import Account
from actors.endpoints.discovering import At, Discovery
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Description, Listener
from actors.system.checking import refuse_unknown, tell_unknown
from actors.system.failure import Refusal
from conf.schema import Nothing
from conf.settings import Settings


class PollResult(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one read of all points, in their order; see `Batch` for `qualities` and `times`."""

    values: list[Any]
    qualities: list[str | None] | None = None
    times: list[int] | None = None


class BackfillRequest(msgspec.Struct, frozen=True):
    """What a device has recorded of these of its points, by name, from `since` on and before `until` (Unix
    ms, None: whatever there is), `limit` readings of each at most, the latest. `log` is the record as the
    protocol spells it; None: to be found. What has come after `within` seconds is all there is."""

    points: tuple[str, ...]
    log: str | None = None
    since: int | None = None
    until: int | None = None
    limit: int = 1000
    within: float = 25.0


class Recorded(msgspec.Struct, frozen=True):
    """What was recorded of one point, in the order of time; see `Batch` for `codes`. `complete` is false
    where there is more than was asked for, or came in time; `notes` are for people: gaps, clocks."""

    point: str
    log: str | None
    values: list[Any]
    codes: list[str | None]
    times: list[int]
    complete: bool = True
    notes: tuple[str, ...] = ()


class Session(Connection):
    """One endpoint's connection: it reads (`PolledSession`) or listens (`PushedSession`), and writes.

    One coroutine at a time, but for `write` and `read_back`, which may come during a `read` and wait for
    their turn on the connection.

    What it raises has a quality code (see `NoConnection`); without one it is `DEVICE_OFFLINE`, or
    `DEVICE_NOT_CONFIGURED` when permanent.
    """

    identification: dict[str, str] | None = None
    """What the device says of itself, when it was asked."""

    async def write(self, prepared: Any) -> Any:
        """Write what `Protocol.prepare` made; returns the value as written.

        Raises `Refusal` when the device refuses it; `NoConnection` when it did not answer. Only asked of
        protocols that `prepare`.
        """
        raise Refusal("Nothing can be written", kind="unsupported")

    overruled: str | None = None
    """Why the device has another value than was written, for people, where the latest `read_back` has found
    out."""

    async def read_back(self, prepared: Any) -> tuple[Any, bool]:
        """The value that the device has now where `prepared` was written, and whether it is what was written.
        Raises as `write` does. Only asked of protocols that say that it `verifies`."""
        raise Refusal("What was written cannot be read back", kind="unsupported")

    async def backfill(self, request: BackfillRequest) -> list[Recorded]:
        """What the device has recorded, of each point that was asked for. It may come during a `read`, one at
        a time. Raises `Refusal` on `log` or `points`, and `NoConnection`. Only asked of protocols that say
        that it `backfills`."""
        raise Refusal("The device keeps no record that can be read", kind="unsupported")


class PolledSession(Session):
    """Answers when it is asked."""

    @abstractmethod
    async def read(self, within: float) -> PollResult:
        """Read every point of the endpoint's own device once; those of its other devices go to the listener.
        `within` is the seconds until the next poll: what is not answered is asked again only up to then.
        Raises `NoConnection` when the device as a whole did not answer."""


class PushedSession(Session):
    """Tells its listener what has changed, once `connect` has returned: then it has subscribed, and the
    present values are on their way."""


class DataPoint(typing.Protocol):
    """What the core asks of a protocol's own data points."""

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> str | None: ...

    @property
    def address_text(self) -> str:
        """Its address as clients may spell it in a write: `holding:10`."""
        ...


Mode = Literal["polled", "pushed", "idle"]
"""How an endpoint is read. An idle one only serves discovery (a Modbus `slaveRange`)."""


class WriteRequest(msgspec.Struct, frozen=True):
    """What is to be written: `register` is the name of a point of that device, or an address as the protocol
    spells it. `priority` is BACnet's, `data_type` the protocol's own name of one; None: the client does not
    say."""

    device: str
    register: str
    value: Any
    data_type: str | None = None
    priority: int | None = None


class CheckedEndpoint(msgspec.Struct, frozen=True):
    """A checked configuration: what a `Protocol.check` returns."""

    connection: Any
    points: tuple[Any, ...]
    """Those of the endpoint's own device, each a `DataPoint`"""
    identifier: str
    """What tells the device apart on its connection: Modbus unit id, OPC UA device uuid."""
    address: str
    """For people and logs: `modbus:tcp:10.0.1.100:502:slave:1`."""
    mode: Mode = "polled"
    devices: tuple[Description, ...] = ()
    """Further devices that the data points name."""
    rules: Any = None
    """What else the protocol makes of the data points."""
    silent_after: float | None = None
    """Seconds without a sign of life after which a device that tells by itself counts as away."""
    retry_ms: int | None = None
    """Before the first attempt to reconnect; None: as the agent is configured."""
    at: tuple[At, ...] = ()
    """Where the device is; several if it may be at any of them, none if that is found out by looking."""
    known_by: tuple[tuple[At, str], ...] = ()
    """Beside `address`, places and what tells the device from others there: another endpoint that has one of
    them is of the same device."""
    answers_to: tuple[tuple[At, str], ...] = ()
    """What else an endpoint of this device may be `known_by`, that says less."""


class BrowseRequest(msgspec.Struct, frozen=True):
    """What is below `node`, an address as the protocol spells it; None: the top. So many levels (`depth`) of
    it, `limit` nodes at most. Devices that list what they have are asked for what comes after `skip` of
    it."""

    node: str | None = None
    depth: int = 1
    limit: int = 1000
    skip: int = 0


class BrowsedNode(msgspec.Struct, frozen=True):
    """One node of a device's address space. `kind` is the protocol's word (`folder`, `variable`); what can be
    read has a `data_point`, as clients may send it in `data_points`."""

    node: str
    name: str
    kind: str
    parent: str | None = None
    has_children: bool = False
    data_type: str | None = None
    unit: str | None = None
    writable: bool | None = None
    data_point: dict[str, Any] | None = None


class Browsed(msgspec.Struct, frozen=True):
    """Parents before their children. `complete` is false where there is more than was asked for."""

    nodes: list[BrowsedNode]
    complete: bool = True


class Example(msgspec.Struct, frozen=True):
    """A configuration as a client may send it, which `accept` accepts: for forms, pages and tests."""

    connection: dict[str, Any] = {}
    data_points: tuple[dict[str, Any], ...] = ()


class Capabilities(msgspec.Struct, frozen=True):
    """What a protocol can do, said by its descriptor alone."""

    reads: bool
    """its endpoints may be polled"""
    listens: bool
    """its endpoints may tell by themselves what has changed"""
    writes: bool
    verifies: bool
    """reads back what was written"""
    releases: bool
    """takes null: what was written is to count no more"""
    backfills: bool
    """tells on request what a device has recorded"""
    browses: bool
    discovers: bool
    simulates: bool


class Protocol(msgspec.Struct, frozen=True):
    """One protocol. `check` validates a connection and its data points and touches no network; it raises
    `Refusal` naming the field; what it makes of the data points, and the devices that they name, are the same
    whatever the connection. `session` is called in a thread, and imports the protocol's library on its first
    call; the session acquires what it shares when it connects. `connection` and `data_point` are the schemas
    that clients' input is read by (`conf.schema`). `prepare` makes what a session writes, of an endpoint
    whose `points` are those of the device that is meant; it touches no network, and raises `Refusal` for an
    unknown point, one that is read-only, or a value that does not fit; None: nothing can be written.
    `completed` is what a connection means that leaves out what files and environment say, for the agent
    of that uuid; it checks nothing. `browse` asks a session that is connected what there is to read, and
    raises as `Session.write` does; `discovery` looks for devices, for whoever runs scans; `simulate` stands
    for some, and is only said to be there. `trial` is what a session of a few seconds uses in the place of an
    endpoint, so that it takes nothing away from the endpoint's own, and leaves nothing behind; None: the
    same."""

    name: str
    """In URLs and topics: lower-case letters, digits and hyphens, the first a letter."""
    check: Callable[[dict[str, Any], Sequence[dict[str, Any]]], CheckedEndpoint]
    session: Callable[[CheckedEndpoint, Listener, Lines], PolledSession | PushedSession]
    library: str
    """The module whose absence makes the protocol unavailable; "": it needs none."""
    prepare: Callable[[CheckedEndpoint, WriteRequest], Any] | None = None
    account: Callable[[dict[str, Any], Sequence[dict[str, Any]]], Account | None] | None = None
    """What the device of a connection, as a client sends it, logs in with at the agent's own broker."""
    completed: Callable[[dict[str, Any], Settings, str], dict[str, Any]] | None = None
    connection: type[msgspec.Struct] = Nothing
    data_point: type[msgspec.Struct] = Nothing
    title: str = ""
    """For people, where the name is not enough."""
    description: str = ""
    """A sentence or two, for people."""
    modes: tuple[Literal["polled", "pushed"], ...] = ("polled",)
    """How its endpoints may be read."""
    verifies: bool = False
    """Whether its sessions have `read_back`."""
    backfills: bool = False
    """Whether its sessions have `backfill`."""
    releases: bool = False
    """Whether `prepare` knows a value None: what was written is to count no more."""
    browse: Callable[[Any, BrowseRequest], Awaitable[Browsed]] | None = None
    trial: Callable[[CheckedEndpoint, Lines], CheckedEndpoint] | None = None
    discovery: Discovery | None = None
    simulate: Callable[..., Any] | None = None
    example: Example = Example()

    INTERVAL_MS: ClassVar[tuple[int, int]] = (10, 86_400_000)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            reads="polled" in self.modes,
            listens="pushed" in self.modes,
            writes=self.prepare is not None,
            verifies=self.verifies and self.prepare is not None,
            releases=self.releases and self.prepare is not None,
            backfills=self.backfills,
            browses=self.browse is not None,
            discovers=self.discovery is not None,
            simulates=self.simulate is not None,
        )

    def accept(self, connection: dict[str, Any], points: Sequence[dict[str, Any]]) -> CheckedEndpoint:
        """`check` of what a client sends: a key that is not known is refused as well."""
        for given, kind, path in self._parts(connection, points):
            refuse_unknown(given, kind, path)
        return self.check(connection, points)

    def complete(self, connection: dict[str, Any], settings: Settings, agent_uuid: str) -> dict[str, Any]:
        """The connection as a client sent it, or as it was stored, with what `settings` say."""
        return connection if self.completed is None else self.completed(connection, settings, agent_uuid)

    def tell_unknown(self, row: str, connection: dict[str, Any], points: Sequence[dict[str, Any]]) -> None:
        """Log the keys of a stored row that are not known."""
        tell_unknown(row, *self._parts(connection, points))

    def _parts(
        self, connection: dict[str, Any], points: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[Any, Any, str]]:
        yield connection, self.connection, "connection"
        for index, point in enumerate(points):
            yield point, self.data_point, f"data_points[{index}]"
