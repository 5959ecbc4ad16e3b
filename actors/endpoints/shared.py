"""What endpoints with the same data points share: a line of equal devices is checked, and kept, once."""

from hashlib import blake2b
from typing import Any
from weakref import WeakValueDictionary

import msgspec
from msgspec import Raw

from actors.endpoints.listener import Description
from actors.endpoints.protocol import CheckedEndpoint, Protocol
from actors.readings.batch import Point


class Points(msgspec.Struct, frozen=True, weakref=True):
    """Data points as their protocol checked them, and as publishing sees them. Kept for as long as somebody
    holds it."""

    checked: tuple[Any, ...]
    shown: tuple[Point, ...]
    rules: Any = None
    devices: tuple[Description, ...] = ()
    """Those that they name."""


_known: WeakValueDictionary[tuple[str, bytes], Points] = WeakValueDictionary()


def check(name: str, protocol: Protocol, connection: Raw, data_points: Raw) -> tuple[CheckedEndpoint, Points]:
    """The stored configuration of the endpoint of that name, checked. Raises `Refusal`. Of keys that are not
    known the log tells: another version may have stored them."""
    given: dict[str, Any] = msgspec.json.decode(connection)
    key = (protocol.name, blake2b(data_points, digest_size=16).digest())
    points = _known.get(key)
    if points is not None:
        protocol.tell_unknown(f"endpoint {name}", given, ())
        known = msgspec.structs.replace(
            protocol.check(given, ()), points=points.checked, devices=points.devices, rules=points.rules
        )
        return known, points
    given_points = msgspec.json.decode(data_points) or ()
    protocol.tell_unknown(f"endpoint {name}", given, given_points)
    endpoint = protocol.check(given, given_points)
    shown = tuple(Point(point.name, point.unit) for point in endpoint.points)
    points = _known[key] = Points(endpoint.points, shown, endpoint.rules, endpoint.devices)
    return endpoint, points
