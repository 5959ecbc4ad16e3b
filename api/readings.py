"""Readings as the API shows them, and which of them a client wants to see."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from actors.readings.batch import Batch, Insight, Point, Quality, Source, quality
from conf.annotations import says
from storage.timestamps import iso

Names = Annotated[
    tuple[str, ...],
    Meta(description="Repeated, or separated by commas. A `*` stands for any characters, also none."),
]
Qualities = Annotated[
    tuple[Quality, ...],
    Meta(description="Repeated, or separated by commas."),
    says("quality must be GOOD, UNCERTAIN or BAD"),
]


class ReadingFilter(msgspec.Struct, frozen=True):
    """The readings that match each field that is given, and in it any of its alternatives."""

    protocol: Names = ()
    endpoint: Names = ()
    device: Names = ()
    metric: Names = ()
    quality: Qualities = ()


class Reading(Insight, frozen=True, kw_only=True, omit_defaults=True):
    """`quality_code` is there unless the quality is GOOD; what the anomaly detector knows when it does."""

    metric: str
    value: Any
    unit: str | UnsetType = UNSET
    quality: Quality
    quality_code: str | UnsetType = msgspec.field(name="qualityCode", default=UNSET)


class ReadingsEvent(msgspec.Struct, frozen=True):
    """What one poll of one endpoint has read."""

    timestamp: str
    endpoint: str
    endpoint_uuid: str
    device: str
    device_uuid: str
    protocol: str
    readings: list[Reading]


class LatestReading(Reading, frozen=True, kw_only=True, omit_defaults=True):
    """A reading with where and when it was read."""

    timestamp: str
    endpoint: str
    endpoint_uuid: str
    device: str
    device_uuid: str
    protocol: str


class LatestReadings(msgspec.Struct, frozen=True):
    """`count` is that of the readings."""

    readings: list[LatestReading]
    count: int


def wanted_points(chosen: ReadingFilter, source: Source) -> tuple[int, ...]:
    """Indices of the points of `source` whose names the filter matches; qualities are looked at later."""
    if not (
        _matches(chosen.protocol, source.protocol)
        and _matches(chosen.endpoint, source.endpoint)
        and _matches(chosen.device, source.device)
    ):
        return ()
    return tuple(index for index, point in enumerate(source.points) if _matches(chosen.metric, point.name))


def readings_of(batch: Batch) -> list[Reading]:
    """A reading for every point of the source."""
    values, codes, insights = batch.values, batch.qualities, batch.insights
    return [
        _reading(point, values[index], codes[index] if codes else None, insights[index] if insights else None)
        for index, point in enumerate(batch.source.points)
    ]


def event_of(batch: Batch, readings: list[Reading]) -> ReadingsEvent:
    """These readings of a batch."""
    return ReadingsEvent(readings=readings, **_origin(batch))


def choose(chosen: ReadingFilter, points: Iterable[int], readings: list[Reading]) -> list[Reading]:
    """Of a batch's readings, those of these points that have a quality that is wanted."""
    qualities = chosen.quality
    return [readings[index] for index in points if not qualities or readings[index].quality in qualities]


def latest_of(chosen: ReadingFilter, batch: Batch) -> list[LatestReading]:
    """The wanted readings of an endpoint's latest batch."""
    points = wanted_points(chosen, batch.source)
    readings = choose(chosen, points, readings_of(batch)) if points else []
    origin = _origin(batch)
    return [LatestReading(**origin, **msgspec.structs.asdict(reading)) for reading in readings]


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return not patterns or any(fnmatchcase(name, _literally(pattern)) for pattern in patterns)


def _literally(pattern: str) -> str:
    """Only `*` has a meaning; names such as `press[1]` and `ready?` are to match themselves."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


def _origin(batch: Batch) -> dict[str, Any]:
    source = batch.source
    return {
        "timestamp": iso(batch.timestamp),
        "endpoint": source.endpoint,
        "endpoint_uuid": source.endpoint_uuid,
        "device": source.device,
        "device_uuid": source.device_uuid,
        "protocol": source.protocol,
    }


def _reading(point: Point, value: Any, code: str | None, insight: Insight | None) -> Reading:
    reading = Reading(
        metric=point.name,
        value=value,
        unit=UNSET if point.unit is None else point.unit,
        quality=quality(value, code),
        quality_code=UNSET if code is None else code,
    )
    return reading if insight is None else msgspec.structs.replace(reading, **msgspec.structs.asdict(insight))
