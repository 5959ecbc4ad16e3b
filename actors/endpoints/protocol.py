"""What a protocol folder under `protocols/` exports: one `Protocol` descriptor."""

import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec

from conf.schema import Nothing


class Unreachable(Exception):
    """Transient: the device did not answer; trying again later may help.

    `code` is a quality code of spec 03 (`TIMEOUT`, `CONNECTION_REFUSED`, ...).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Misconfigured(Exception):
    """Permanent: connecting can never work until the endpoint's configuration changes."""


class Reading(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one read of all points, in their order; see `Batch` for `qualities`."""

    values: list[Any]
    qualities: list[str | None] | None = None


class Reader(ABC):
    """One device's connection. Constructing it touches no network.

    One coroutine at a time: the endpoint actor never overlaps `read` and `connect`; a `write` may
    arrive during a `read` and waits its turn on the connection.
    """

    @abstractmethod
    async def connect(self) -> None:
        """Open the connection. Raises `Unreachable` or `Misconfigured`."""

    @abstractmethod
    async def read(self) -> Reading:
        """Read every point once. Raises `Unreachable` when the device as a whole did not answer."""

    @abstractmethod
    async def write(self, register: str, value: Any) -> Any:
        """Write one point, named by its name or by its address; returns the value as written.

        Raises `Refusal` for an unknown point, one that is read-only, or a value that does not fit;
        `Unreachable` when the device did not answer.
        """

    @abstractmethod
    async def close(self) -> None:
        """Give the connection up, whatever is still in flight on it. Never raises."""


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


class Endpoint(msgspec.Struct, frozen=True):
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
    raises `Refusal` naming the field. `reader` imports the protocol's library on its first call.
    `connection` and `data_point` are the schemas that clients' input is read by (`conf.schema`)."""

    name: str
    check: Callable[[dict[str, Any], Sequence[dict[str, Any]]], Endpoint]
    reader: Callable[[Endpoint], Reader]
    library: str
    """The module whose absence makes the protocol unavailable."""
    connection: type[msgspec.Struct] = Nothing
    data_point: type[msgspec.Struct] = Nothing

    INTERVAL_MS: ClassVar[tuple[int, int]] = (10, 86_400_000)
