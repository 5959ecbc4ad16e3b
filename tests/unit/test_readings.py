import msgspec
import pytest

from actors.readings.batch import Batch, Insight, Point, Source
from api.readings import ReadingFilter, choose, event_of, latest_of, readings_of, wanted_points

AT = 1_705_314_600_042
POINTS = (Point("speed", "m/s"), Point("temp", "°C"), Point("temp[2]"))


def source(name: str = "press", points: tuple[Point, ...] = POINTS, **changes: str) -> Source:
    fields = {"protocol": "modbus", "device_uuid": f"d-{name}", "device": f"{name}-unit"} | changes
    return Source(endpoint_uuid=f"u-{name}", endpoint=name, points=points, prefixes=(), **fields)


def batch(name: str = "press", **changes: object) -> Batch:
    plain = Batch(source(name), AT, [1.5, 61, None], [None, "RANGE", "ILLEGAL_ADDRESS"])
    return msgspec.structs.replace(plain, **changes)


def chosen(batch: Batch, **fields: tuple[str, ...]) -> list[str]:
    wanted = ReadingFilter(**fields)
    return [
        one.metric
        for one in choose(wanted, wanted_points(wanted, batch.source).positions(batch), readings_of(batch))
    ]


@pytest.mark.parametrize(
    ("fields", "metrics"),
    [
        ({}, ["speed", "temp", "temp[2]"]),
        ({"endpoint": ("press",)}, ["speed", "temp", "temp[2]"]),
        ({"endpoint": ("pres",)}, []),
        ({"endpoint": ("PRESS",)}, []),
        ({"endpoint": ("other", "p*s")}, ["speed", "temp", "temp[2]"]),
        ({"device": ("press",)}, []),
        ({"device": ("press-*",)}, ["speed", "temp", "temp[2]"]),
        ({"protocol": ("opcua",)}, []),
        ({"protocol": ("*",)}, ["speed", "temp", "temp[2]"]),
        ({"metric": ("temp",)}, ["temp"]),
        ({"metric": ("temp*",)}, ["temp", "temp[2]"]),
        ({"metric": ("temp[2]",)}, ["temp[2]"]),
        ({"metric": ("temp?2]", "spee?")}, []),
        ({"metric": ("*e*",), "quality": ("GOOD",)}, ["speed"]),
        ({"quality": ("UNCERTAIN", "BAD")}, ["temp", "temp[2]"]),
        ({"endpoint": ("press",), "protocol": ("opcua",)}, []),
    ],
)
def test_a_reading_is_wanted_when_every_given_field_matches(fields, metrics):
    assert chosen(batch(), **fields) == metrics


def test_an_event_holds_the_readings_of_a_poll():
    event = msgspec.to_builtins(event_of(batch(), readings_of(batch())))
    assert event == {
        "timestamp": "2024-01-15T10:30:00.042Z",
        "endpoint": "press",
        "endpoint_uuid": "u-press",
        "device": "press-unit",
        "device_uuid": "d-press",
        "protocol": "modbus",
        "readings": [
            {"metric": "speed", "value": 1.5, "unit": "m/s", "quality": "GOOD"},
            {
                "metric": "temp",
                "value": 61,
                "unit": "°C",
                "quality": "UNCERTAIN",
                "qualityCode": "RANGE",
            },
            {"metric": "temp[2]", "value": None, "quality": "BAD", "qualityCode": "ILLEGAL_ADDRESS"},
        ],
    }


def test_what_the_detector_knows_is_among_a_readings_keys():
    known = batch(insights=[Insight(anomaly_score=0.5, trend="rising"), None, None])
    first, second, _ = msgspec.to_builtins(readings_of(known))
    assert first == {
        "metric": "speed",
        "value": 1.5,
        "unit": "m/s",
        "quality": "GOOD",
        "anomaly_score": 0.5,
        "trend": "rising",
    }
    assert "anomaly_score" not in second


def test_the_latest_readings_are_flat():
    chosen = ReadingFilter(metric=("on", "speed"))
    assert [one.metric for one in latest_of(chosen, batch("a"))] == ["speed"]
    (latest,) = latest_of(chosen, Batch(source("b", (Point("on"),)), AT, [True]))
    assert msgspec.to_builtins(latest) == {
        "timestamp": "2024-01-15T10:30:00.042Z",
        "endpoint": "b",
        "endpoint_uuid": "u-b",
        "device": "b-unit",
        "device_uuid": "d-b",
        "protocol": "modbus",
        "metric": "on",
        "value": True,
        "quality": "GOOD",
    }


def changes(*indices: int, times: list[int] | None = None) -> Batch:
    return Batch(source("press"), AT, [index * 10 for index in indices], indices=indices, times=times)


def test_of_some_points_only_those_are_told_each_with_its_own_time():
    first, second = msgspec.to_builtins(readings_of(changes(2, 0, times=[AT, AT - 250])))
    assert first == {"metric": "temp[2]", "value": 20, "quality": "GOOD"}
    assert second == {
        "metric": "speed",
        "value": 0,
        "unit": "m/s",
        "quality": "GOOD",
        "timestamp": "2024-01-15T10:29:59.792Z",
    }


def test_some_points_are_filtered_by_their_own_names():
    assert chosen(changes(2, 0)) == ["temp[2]", "speed"]
    assert chosen(changes(2, 0), metric=("speed",)) == ["speed"]
    assert chosen(changes(1), metric=("speed",)) == []


def test_the_latest_readings_have_their_own_times_and_what_was_never_heard_is_not_there():
    told = latest_of(ReadingFilter(metric=("temp*",)), changes(2, 1, times=[AT - 1000, AT]))
    assert [(one.metric, one.timestamp) for one in told] == [
        ("temp[2]", "2024-01-15T10:29:59.042Z"),
        ("temp", "2024-01-15T10:30:00.042Z"),
    ]


@pytest.mark.parametrize("time", [-(10**16), 10**16])
def test_a_time_that_no_calendar_has_is_told_as_the_nearest(time: int):
    (reading,) = readings_of(changes(0, times=[time]))
    assert reading.timestamp == ("0001-01-02T00:00:00.000Z" if time < 0 else "9999-12-31T00:00:00.000Z")
