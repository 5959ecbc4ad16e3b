"""Data points of one device, checked one by one."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from actors.endpoints.protocol import DataPoint
from actors.system.checking import checked
from actors.system.failure import Refusal

Given = TypeVar("Given")
Point = TypeVar("Point", bound=DataPoint)


def read_points(
    given: Sequence[dict[str, Any]], schema: type[Given], read: Callable[[Given, str], Point]
) -> tuple[Point, ...]:
    """Check data points as the client sent them; `read` makes one of what fits the schema, at that path.
    Raises `Refusal` naming `data_points[i].<key>`, also for a name that is used twice."""
    points: list[Point] = []
    names: set[str] = set()
    for index, raw in enumerate(given):
        where = f"data_points[{index}]"
        point = read(checked(raw, schema, where), where)
        if point.name in names:
            raise Refusal(f"the name {point.name!r} is used twice", f"{where}.name")
        names.add(point.name)
        points.append(point)
    return tuple(points)
