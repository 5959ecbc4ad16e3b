"""What one poll of one endpoint yields, and who it came from."""

from typing import Any, ClassVar

import msgspec


class Point(msgspec.Struct, frozen=True):
    """A data point as publishing sees it: its metric name and unit."""

    name: str
    unit: str | None = None


class Source(msgspec.Struct, frozen=True, weakref=True):
    """Where batches come from; built once per endpoint and shared by all its batches.

    `topics[i]` are the source topics of point i that MQTT topic filters are matched against
    (spec 02 section 4): `<protocol>/<endpoint>/<device>/<metric>` and `sensors/<endpoint>/<metric>`;
    `<protocol>` itself is a source topic of every point.
    """

    endpoint_uuid: str
    endpoint: str
    protocol: str
    device_uuid: str
    device: str
    points: tuple[Point, ...]
    topics: tuple[tuple[str, ...], ...]


class Batch(msgspec.Struct, frozen=True, gc=False):
    """One poll: `values[i]` and `qualities[i]` belong to `source.points[i]`.

    `timestamp` is Unix ms. `qualities` is None when every value is GOOD; else a list with None for
    GOOD and the quality code (spec 03, `ILLEGAL_ADDRESS`, `DEVICE_OFFLINE`, ...) for BAD, whose value
    is None. `encoded` remembers the payloads that subscriptions of equal format and compression share.
    """

    TELEMETRY: ClassVar[bool] = True  # a full mailbox drops its oldest batch

    source: Source
    timestamp: int
    values: list[Any]
    qualities: list[str | None] | None = None
    encoded: dict[Any, bytes] = {}
