"""What clients say of a toy's endpoint, checked. No network here, and no library."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from actors.endpoints.protocol import WriteRequest
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import reads, says
from conf.fields import Host, filled


class GivenConnection(msgspec.Struct, frozen=True):
    """Where the toy is. With `subscribe` it tells what has changed; else it is polled."""

    host: Host
    port: Annotated[int, Meta(ge=1, le=65535)]
    user: str | None = None
    password: str | None = None
    subscribe: bool = False
    timeout: Annotated[int, Meta(ge=100, le=30_000)] = 5000
    """ms, of connecting and of every answer."""


class GivenPoint(msgspec.Struct, frozen=True):
    """A value of the toy, by its name."""

    name: Annotated[str, reads(filled), says("a data point needs a name")]
    unit: str | None = None
    writable: bool = False


class Point(msgspec.Struct, frozen=True):
    name: str
    unit: str | None
    writable: bool

    @property
    def address_text(self) -> str:
        return f"toy:{self.name}"


class Writing(msgspec.Struct, frozen=True):
    """What a session writes."""

    name: str
    value: float | int


def read_connection(given: dict[str, Any]) -> GivenConnection:
    return checked(given, GivenConnection, "connection")


def read_points(given: Sequence[dict[str, Any]]) -> tuple[Point, ...]:
    points = []
    for index, one in enumerate(given):
        point = checked(one, GivenPoint, f"data_points[{index}]")
        if any(point.name == other.name for other in points):
            raise Refusal(f"there are two data points {point.name}", f"data_points[{index}].name")
        points.append(Point(point.name, point.unit, point.writable))
    return tuple(points)


def prepare(points: Sequence[Point], request: WriteRequest) -> Writing:
    for point in points:
        if request.register in (point.name, point.address_text):
            break
    else:
        raise Refusal(f"Register not found: {request.register}", "register", "not_found")
    if not point.writable:
        raise Refusal(f"{point.name} is read-only", "register", "read_only")
    if not isinstance(request.value, int | float) or isinstance(request.value, bool):
        raise Refusal("value must be a number", "value")
    return Writing(point.name, request.value)
