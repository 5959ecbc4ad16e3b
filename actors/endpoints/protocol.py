"""What a protocol folder under `protocols/` exports: one `Protocol` descriptor."""

import typing
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import msgspec

from actors.connections.connection import Connection
from actors.system.checking import refuse_unknown, tell_unknown
from conf.schema import Nothing


class PollResult(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one read of all points, in their order; see `Batch` for `qualities`."""

    values: list[Any]
    qualities: list[str | None] | None = None


class Reader(Connection):
    """One device's connection.

    One coroutine at a time: the endpoint actor never overlaps `read` and `connect`; a `write` may
    arrive during a `read` and waits its turn on the connection.

    What it raises has a quality code (see `NoConnection`); without one it is `DEVICE_OFFLINE`, or
    `DEVICE_NOT_CONFIGURED` when permanent.
    """

    identification: dict[str, str] | None = None
    """What the device says of itself, when it was asked."""

    @abstractmethod
    async def read(self, within: float) -> PollResult:
        """Read every point once. `within` is the seconds until the next poll: what is not answered is asked
        again only up to then. Raises `NoConnection` when the device as a whole did not answer."""

    @abstractmethod
    async def write(self, prepared: Any) -> Any:
        """Write what `Protocol.prepare` made; returns the value as written.

        Raises `Refusal` when the device refuses it; `NoConnection` when it did not answer.
        """


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


class CheckedEndpoint(msgspec.Struct, frozen=True):
    """A checked configuration: what a `Protocol.check` returns."""

    connection: Any
    points: tuple[Any, ...]
    """each a `DataPoint`"""
    identifier: str
    """What tells the device apart on its connection: Modbus unit id, OPC UA device uuid."""
    address: str
    """For people and logs: `modbus:tcp:10.0.1.100:502:slave:1`."""
    polled: bool = True
    """False for an endpoint that only serves discovery (a Modbus `slaveRange`)."""
    retry_ms: int | None = None
    """Before the first attempt to reconnect; None: as the agent is configured."""


class Protocol(msgspec.Struct, frozen=True):
    """One protocol. `check` validates a connection and its data points and touches no network; it
    raises `Refusal` naming the field; what it makes of the data points is the same whatever the
    connection. `reader` is called in a thread, and imports the protocol's library on
    its first call. `connection` and `data_point` are the schemas that clients' input is read by
    (`conf.schema`). `prepare` makes what a reader writes from an endpoint, a point's name or address, and a
    value; it touches no network, and raises `Refusal` for an unknown point, one that is read-only, or a value
    that does not fit."""

    name: str
    check: Callable[[dict[str, Any], Sequence[dict[str, Any]]], CheckedEndpoint]
    reader: Callable[[CheckedEndpoint], Reader]
    prepare: Callable[[CheckedEndpoint, str, Any], Any]
    library: str
    """The module whose absence makes the protocol unavailable."""
    connection: type[msgspec.Struct] = Nothing
    data_point: type[msgspec.Struct] = Nothing

    INTERVAL_MS: ClassVar[tuple[int, int]] = (10, 86_400_000)

    def accept(self, connection: dict[str, Any], points: Sequence[dict[str, Any]]) -> CheckedEndpoint:
        """`check` of what a client sends: a key that is not known is refused as well."""
        for given, kind, path in self._parts(connection, points):
            refuse_unknown(given, kind, path)
        return self.check(connection, points)

    def tell_unknown(self, row: str, connection: dict[str, Any], points: Sequence[dict[str, Any]]) -> None:
        """Log the keys of a stored row that are not known."""
        tell_unknown(row, *self._parts(connection, points))

    def _parts(
        self, connection: dict[str, Any], points: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[Any, Any, str]]:
        yield connection, self.connection, "connection"
        for index, point in enumerate(points):
            yield point, self.data_point, f"data_points[{index}]"
