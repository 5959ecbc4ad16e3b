"""What a device yields at one time, and who it came from."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType


class Point(msgspec.Struct, frozen=True, gc=False):
    """A data point as publishing sees it: its metric name and unit."""

    name: str
    unit: str | None = None


class Source(msgspec.Struct, frozen=True, weakref=True):
    """Where batches come from, a device of an endpoint; built once and shared by all its batches.
    `device_uuid` tells it from all others. When its points become more it is a new source of the same device.

    A prefix and a point's name are a source topic that MQTT topic filters are matched against (spec 02
    section 4): `<protocol>/<endpoint>/<device>/` and `sensors/<endpoint>/`, as `source_topics` spells names;
    `<protocol>` itself is a source topic of every point. Of one that is `incidental` nobody misses what no
    subscription wants. One that is `pushed` says when something has changed: no other reading may follow a
    reading for long.
    """

    endpoint_uuid: str
    endpoint: str
    protocol: str
    device_uuid: str
    device: str
    points: tuple[Point, ...]
    prefixes: tuple[str, ...]
    incidental: bool = False
    pushed: bool = False


class TimeToThreshold(msgspec.Struct, frozen=True):
    """When a metric is forecast to reach a threshold."""

    threshold: float
    estimated_seconds: float
    confidence: float


class Insight(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the anomaly detector knows of a metric at a reading, keys as published (spec 02 section 5.1).

    Fields that are UNSET are not published.
    """

    anomaly_score: float | UnsetType = UNSET
    anomaly_threshold: float | UnsetType = UNSET
    baseline_samples: int | UnsetType = UNSET
    detection_methods: list[str] | UnsetType = UNSET
    predicted_next: float | UnsetType = UNSET
    trend: str | UnsetType = UNSET
    trend_strength: float | UnsetType = UNSET
    forecast_confidence: float | UnsetType = UNSET
    time_to_threshold: TimeToThreshold | UnsetType = UNSET
    device_state: str | UnsetType = UNSET
    raw_device_state: str | UnsetType = UNSET
    state_duration_seconds: float | UnsetType = UNSET


def changed_points(before: Sequence[Point], now: Sequence[Point]) -> list[int] | None:
    """Which points are not what they were (have another unit: a value in the one before is none in this);
    None when they are not even where they were. There may be more points now."""
    if [point.name for point in now[: len(before)]] != [point.name for point in before]:
        return None
    return [index for index, point in enumerate(before) if now[index] != point]


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Readings of one source that came together: all its points, or some of them.

    `values[i]`, `qualities[i]`, `times[i]` and `insights[i]` belong to the point `source.points[indices[i]]`,
    or to `source.points[i]` when `indices` is None. No point is there twice; `i` is a position in the batch.

    `timestamp` is Unix ms: when it was read, or came in. `times`, Unix ms too, are the readings' own where
    those are known; None: all of `timestamp`. `qualities` is None when every value is GOOD; else a
    list with None for GOOD and a quality code (spec 03, `ILLEGAL_ADDRESS`, `DEVICE_OFFLINE`, ...) otherwise;
    see `quality`. `insights` is None when the detector knows none of the metrics. `encoded` remembers the
    payloads that subscriptions of equal format and compression share. Who sends a batch that is `kept` waits
    for it to be safe before he sends many more (`AwaitPersisted`). Readings of the `past` are told late, at
    somebody's request: they are nobody's latest, and none of them is one too many.
    """

    source: Source
    timestamp: int
    values: list[Any]
    qualities: list[str | None] | None = None
    encoded: dict[Any, bytes] = {}
    insights: list[Insight | None] | None = None
    indices: Sequence[int] | None = None
    times: list[int] | None = None
    kept: bool = False
    past: bool = False

    @property
    def TELEMETRY(self) -> bool:
        """Whether a full mailbox may drop it."""
        return not self.kept

    @property
    def points(self) -> Sequence[Point]:
        """The point of each position."""
        every = self.source.points
        return every if self.indices is None else [every[index] for index in self.indices]


Quality = Literal["GOOD", "UNCERTAIN", "BAD"]


def quality(value: Any, code: str | None) -> Quality:
    """The quality of a reading: GOOD has no code, BAD a code and no value, UNCERTAIN both."""
    if code is None:
        return "GOOD"
    return "BAD" if value is None else "UNCERTAIN"
