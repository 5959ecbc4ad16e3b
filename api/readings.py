"""Readings as the API shows them, and which of them a client wants to see."""

from fnmatch import fnmatchcase
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from actors.readings.batch import Batch, Insight, Point, Quality, Source, quality
from actors.readings.interest import Choice, Positions
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
    """`quality_code` is there unless the quality is GOOD; what the anomaly detector knows when it does.
    `timestamp` is there when it is not that of all that came together."""

    metric: str
    value: Any
    unit: str | UnsetType = UNSET
    quality: Quality
    quality_code: str | UnsetType = msgspec.field(name="qualityCode", default=UNSET)
    timestamp: str | UnsetType = UNSET


class ReadingsEvent(msgspec.Struct, frozen=True):
    """What has come of one device together: a poll, or what has changed."""

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


def wanted_points(chosen: ReadingFilter, source: Source) -> Choice:
    """The points of `source` whose names the filter matches; qualities are looked at later."""
    if not (
        _matches(chosen.protocol, source.protocol)
        and _matches(chosen.endpoint, source.endpoint)
        and _matches(chosen.device, source.device)
    ):
        return Choice(())
    if not chosen.metric:
        return Choice(None)
    points = enumerate(source.points)
    return Choice(tuple(index for index, point in points if _matches(chosen.metric, point.name)))


def readings_of(batch: Batch) -> list[Reading]:
    """A reading for every position of the batch."""
    values, codes, insights = batch.values, batch.qualities, batch.insights
    times = batch.times
    spelled = {} if times is None else {time: _iso(time) for time in set(times) - {batch.timestamp}}
    return [
        _reading(
            point,
            values[index],
            codes[index] if codes else None,
            insights[index] if insights else None,
            spelled.get(times[index], UNSET) if times is not None else UNSET,
        )
        for index, point in enumerate(batch.points)
    ]


def event_of(batch: Batch, readings: list[Reading]) -> ReadingsEvent:
    """These readings of a batch."""
    return ReadingsEvent(readings=readings, **_origin(batch))


def choose(chosen: ReadingFilter, positions: Positions, readings: list[Reading]) -> list[Reading]:
    """Of a batch's readings, those at these positions that have a quality that is wanted."""
    at = readings if positions is None else [readings[position] for position in positions]
    qualities = chosen.quality
    return [reading for reading in at if reading.quality in qualities] if qualities else at


def latest_of(chosen: ReadingFilter, batch: Batch) -> list[LatestReading]:
    """The wanted ones of a device's latest readings."""
    positions = wanted_points(chosen, batch.source).positions(batch)
    readings = choose(chosen, positions, readings_of(batch)) if positions != () else []
    origin = _origin(batch)
    return [LatestReading(**(origin | _known(reading))) for reading in readings]


def _known(reading: Reading) -> dict[str, Any]:
    return {key: value for key, value in msgspec.structs.asdict(reading).items() if value is not UNSET}


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return not patterns or any(fnmatchcase(name, _literally(pattern)) for pattern in patterns)


def _literally(pattern: str) -> str:
    """Only `*` has a meaning; names such as `press[1]` and `ready?` are to match themselves."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


def _origin(batch: Batch) -> dict[str, Any]:
    source = batch.source
    return {
        "timestamp": _iso(batch.timestamp),
        "endpoint": source.endpoint,
        "endpoint_uuid": source.endpoint_uuid,
        "device": source.device,
        "device_uuid": source.device_uuid,
        "protocol": source.protocol,
    }


def _iso(time: int) -> str:
    return iso(time) or ""


def _reading(
    point: Point, value: Any, code: str | None, insight: Insight | None, timestamp: str | UnsetType
) -> Reading:
    reading = Reading(
        metric=point.name,
        value=value,
        unit=UNSET if point.unit is None else point.unit,
        quality=quality(value, code),
        quality_code=UNSET if code is None else code,
        timestamp=timestamp,
    )
    return reading if insight is None else msgspec.structs.replace(reading, **msgspec.structs.asdict(insight))
