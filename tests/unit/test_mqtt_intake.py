"""From messages to readings, by the payload rules of spec 03 section 5."""

import json
import struct
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any

import cbor2
import msgpack
import pytest

from actors.connections.connection import NoConnection
from actors.endpoints.listener import Description, Listener
from actors.endpoints.protocols.mqtt.connection import read_connection
from actors.endpoints.protocols.mqtt.intake import Intake
from actors.endpoints.protocols.mqtt.points import read_points

AT = 1_764_331_200_000
"""When messages come in: 28 November 2025, 12:00 UTC."""

Reading = tuple[str, Any, str | None, int | None]
"""Metric, value, code, own time."""


class Heard(Listener):
    """Keeps what it is told; `points` by device."""

    def __init__(self, intake: dict[str, tuple[Any, ...]]) -> None:
        self.points = intake
        self.readings: list[tuple[str, Reading]] = []
        self.said: list[tuple[str, str | None]] = []
        self.alive: list[str] = []

    def changed(
        self,
        device: str,
        indices: Sequence[int],
        values: list[Any],
        codes: list[str | None] | None = None,
        times: list[int | None] | None = None,
    ) -> None:
        assert len(set(indices)) == len(indices) == len(values)
        for place, index in enumerate(indices):
            reading = (
                self.points[device][index].name,
                values[place],
                None if codes is None else codes[place],
                None if times is None else times[place],
            )
            self.readings.append((device, reading))

    def described(self, description: Description) -> None:
        known = self.points.get(description.identifier, ())
        assert [p.name for p in description.points[: len(known)]] == [p.name for p in known]
        self.points[description.identifier] = description.points

    def presence(self, device: str, code: str | None) -> None:
        self.said.append((device, code))

    def heard(self, device: str) -> None:
        self.alive.append(device)

    def persisted(self, then: Callable[[], None]) -> None: ...

    def lost(self, error: NoConnection) -> None: ...


class Endpoint:
    """An endpoint on topic `plant`, if nothing else is said."""

    def __init__(self, *points: dict[str, Any], **connection: Any) -> None:
        checked = read_points(points)
        given = {"host": "broker", "topic": "plant", **connection}
        known = {"": checked.points, **{each.identifier: each.points for each in checked.devices}}
        self.heard = Heard(known)
        self.intake = Intake(
            read_connection({key: value for key, value in given.items() if value is not None}),
            checked,
            self.heard,
        )

    def take(self, topic: str, payload: Any, retained: bool = False) -> list[tuple[str, Reading]]:
        """What comes of a message."""
        octets = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.heard.readings = []
        self.intake.take(topic, octets, retained, AT)
        return self.heard.readings

    def values(self, topic: str, payload: Any) -> dict[str, Any]:
        """Value by metric, of the endpoint's own device; a code where there is no value."""
        return {
            name: value if code is None else code
            for device, (name, value, code, _) in self.take(topic, payload)
        }

    def unit(self, metric: str, device: str = "") -> str | None:
        return next(point.unit for point in self.heard.points[device] if point.name == metric)

    @property
    def troubles(self) -> list[str]:
        return list(self.intake.notes.counts)


# One value


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"21.5", 21.5),
        (b" 21\r\n", 21),
        (b"-3e2", -300.0),
        (b"true", True),
        (b'"on"', "on"),
        (b"ON", "ON"),
        (b"0042", "0042"),
        (b"21.5 C", "21.5 C"),
        (b"caf\xc3\xa9", "café"),
        (b"text\0", "text"),
        (b"\xef\xbb\xbf7", 7),
        (b"18446744073709551615", 18446744073709551615),
        (b"NaN", "NOT_A_NUMBER"),
        (b"1e999", "NOT_A_NUMBER"),
    ],
)
def test_a_payload_that_is_one_value_is_named_after_its_topic(payload: bytes, value: Any) -> None:
    endpoint = Endpoint()
    endpoint.take("plant/temperature", b"1")

    assert endpoint.take("plant/temperature", payload) == [
        ("", ("temperature", value, None, None))
        if value != "NOT_A_NUMBER"
        else ("", ("temperature", None, value, None))
    ]


@pytest.mark.parametrize(
    "payload", [b"", b"  ", b"\xff\xfe", b"{broken", b'{"a":', b"[1,", b"a\0b", b"[" * 5000]
)
def test_what_cannot_be_read_makes_a_known_value_bad_and_no_new_one(payload: bytes) -> None:
    endpoint = Endpoint()
    assert endpoint.take("plant/x", payload) == []
    endpoint.take("plant/y", b"1")

    [(_, (name, value, code, _))] = endpoint.take("plant/y", payload)

    assert (name, value) == ("y", None)
    assert code in ("EMPTY_PAYLOAD", "PAYLOAD_MALFORMED")


def test_a_value_in_json_has_its_unit_and_time_beside_it() -> None:
    endpoint = Endpoint()

    told = endpoint.take("plant/t1", {"value": 21.5, "unit": "celsius", "timestamp": 1_764_331_000})

    assert told == [("", ("t1", 21.5, None, 1_764_331_000_000))]
    assert endpoint.unit("t1") == "°C"


def test_a_value_that_has_a_name_is_called_so_whatever_the_topic() -> None:
    endpoint = Endpoint(topic="gateway/data")

    assert endpoint.values("gateway/data", {"name": "t1", "value": 1}) == {"t1": 1}
    assert endpoint.values("gateway/data", {"name": "t2", "value": 2}) == {"t2": 2}


# Objects


def test_each_primitive_of_an_object_is_a_metric_but_for_what_is_about_the_others() -> None:
    endpoint = Endpoint()
    payload = {
        "temperature": 21.5,
        "temperature_unit": "F",
        "running": True,
        "state": "idle",
        "nothing": None,
        "timestamp": 1_764_331_000_000,
        "ts": 1,
        "time": 1,
        "name": "press",
        "unit": "bar",
        "device_uuid": "a",
        "topic": "b",
        "units": {"pressure": "psi"},
        "pressure": 3,
        "motor": {"speed": 1450, "name": "m1", "bearing": {"temp": 60}},
        "phases": [1, 2, 3],
    }

    assert endpoint.values("plant", payload) == {
        "temperature": 21.5,
        "running": True,
        "state": "idle",
        "pressure": 3,
        "motor.speed": 1450,
        "motor.bearing.temp": 60,
    }
    assert endpoint.unit("temperature", "a") == "°F"
    assert endpoint.unit("pressure", "a") == "psi"


def test_null_makes_a_known_metric_bad() -> None:
    endpoint = Endpoint()
    endpoint.take("plant", {"a": 1, "b": 2})

    assert endpoint.take("plant", {"a": None, "b": 3}) == [
        ("", ("a", None, "NO_VALUE", None)),
        ("", ("b", 3, None, None)),
    ]


def test_not_a_number_inside_json_costs_that_value_only() -> None:
    endpoint = Endpoint()
    endpoint.take("plant", {"a": 1, "b": 2, "c": 3})

    assert endpoint.values("plant", b'{"a": NaN, "b": -Infinity, "c": 4}') == {
        "a": "NOT_A_NUMBER",
        "b": "NOT_A_NUMBER",
        "c": 4,
    }


@pytest.mark.parametrize("spelled", ["nan", "NaN", "NAN", "-nan", "inf", "-inf", "Infinity"])
def test_however_it_is_spelled(spelled: str) -> None:
    endpoint = Endpoint()
    endpoint.take("plant", {"a": 1, "b": 2, "text": ""})

    payload = f'{{"a": {spelled}, "b": 3, "text": "a: {spelled}, or so"}}'
    assert endpoint.values("plant", payload.encode()) == {
        "a": "NOT_A_NUMBER",
        "b": 3,
        "text": f"a: {spelled}, or so",
    }


def test_a_number_of_more_than_64_bits_is_no_value() -> None:
    endpoint = Endpoint()
    endpoint.take("plant", {"a": 1})

    assert endpoint.values("plant", {"a": 2**64}) == {"a": "OUT_OF_RANGE"}
    assert endpoint.values("plant", {"a": 2**64 - 1}) == {"a": 2**64 - 1}


def test_of_a_name_that_comes_twice_the_last_counts() -> None:
    assert Endpoint().values("plant", b'{"a": 1, "a": 2}') == {"a": 2}


def test_arrays_are_read_where_that_is_allowed() -> None:
    endpoint = Endpoint(allowArrayMetrics=True)

    assert endpoint.values("plant", {"phases": [1, 2], "axes": [{"x": 5}]}) == {
        "phases[0]": 1,
        "phases[1]": 2,
        "axes[0].x": 5,
    }
    assert endpoint.values("plant/raw", [7, 8]) == {"raw[0]": 7, "raw[1]": 8}


def test_an_array_of_named_values_is_so_many_metrics() -> None:
    endpoint = Endpoint(allowArrayMetrics=True)

    assert endpoint.values("plant", [{"n": "t", "u": "Cel", "v": 1}, {"name": "h", "value": 2}]) == {
        "t": 1,
        "h": 2,
    }
    assert endpoint.unit("t") == "°C"


def test_an_array_of_payloads_is_read_one_after_the_other() -> None:
    endpoint = Endpoint(allowArrayMetrics=True)

    told = endpoint.take("plant", [{"ts": 1_764_331_000, "a": 1}, {"ts": 1_764_331_001, "a": 2}])

    assert told == [("", ("a", 1, None, 1_764_331_000_000)), ("", ("a", 2, None, 1_764_331_001_000))]


def test_default_units_and_decimals_are_those_of_automatic_metrics() -> None:
    endpoint = Endpoint(defaultUnits={"t": "C"}, defaultPrecisions={"t": 1, "n": 0})

    assert endpoint.values("plant", {"t": 21.4567, "n": 2.6, "x": 1.23456}) == {
        "t": 21.5,
        "n": 3,
        "x": 1.23456,
    }
    assert endpoint.unit("t") == "°C"


def test_a_unit_that_changes_is_converted_to_the_one_it_was_first() -> None:
    endpoint = Endpoint()
    endpoint.take("plant", {"t": 20, "t_unit": "C"})

    assert endpoint.values("plant", {"t": 212, "t_unit": "F"}) == {"t": 100.0}
    assert endpoint.values("plant", {"t": 1, "t_unit": "bar"}) == {"t": "UNIT_MISMATCH"}
    assert endpoint.take("plant", {"t": 1, "t_unit": "furlong"}) == [("", ("t", 1, "UNIT_MISMATCH", None))]


# Configured data points


def test_a_data_point_takes_its_field_and_what_is_said_of_it() -> None:
    endpoint = Endpoint(
        {
            "topic": "plant/a",
            "metric": "temp",
            "field": "d.t[1]",
            "unit": "C",
            "precision": 1,
            "scale": 0.1,
        }
    )

    assert endpoint.values("plant/a", {"d": {"t": [0, 215.26]}}) == {"temp": 21.5}
    assert endpoint.unit("temp") == "°C"


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        ("number", 1, 1),
        ("number", "21.5", 21.5),
        ("number", "+5", 5),
        ("number", True, "TYPE_MISMATCH"),
        ("number", "21,5", "TYPE_MISMATCH"),
        ("number", "nan", "NOT_A_NUMBER"),
        ("number", None, "NO_VALUE"),
        ("number", {"a": 1}, "TYPE_MISMATCH"),
        ("integer", 5.0, 5),
        ("integer", 5.5, "TYPE_MISMATCH"),
        ("int32", "7", 7),
        ("boolean", 1, True),
        ("boolean", "OFF", False),
        ("boolean", 2, "TYPE_MISMATCH"),
        ("boolean", "maybe", "TYPE_MISMATCH"),
        ("string", "a", "a"),
        ("string", 1.5, "1.5"),
        ("object", {"a": [1]}, '{"a":[1]}'),
        ("object", 1, "TYPE_MISMATCH"),
    ],
)
def test_a_value_is_of_its_type_or_bad(kind: str, raw: Any, value: Any) -> None:
    endpoint = Endpoint({"topic": "plant/a", "metric": "m", "field": "x", "dataType": kind})

    assert endpoint.values("plant/a", {"x": raw}) == {"m": value}


def test_a_value_outside_its_limits_is_bad() -> None:
    endpoint = Endpoint({"topic": "plant/a", "metric": "m", "min": 0, "max": 10})

    assert [endpoint.values("plant/a", payload)["m"] for payload in (b"0", b"10", b"10.1", b"-1")] == [
        0,
        10,
        "OUT_OF_RANGE",
        "OUT_OF_RANGE",
    ]


def test_a_payload_in_another_unit_is_converted() -> None:
    endpoint = Endpoint(
        {"topic": "plant/a", "metrics": [{"field": "t", "unit": "°C"}, {"field": "p", "unit": "bar"}]}
    )

    assert endpoint.values("plant/a", {"t": 50, "t_unit": "fahrenheit", "p": 250, "units": {"p": "kPa"}}) == {
        "t": 10.0,
        "p": 2.5,
    }


def test_a_part_of_a_payload_that_is_not_there_is_no_reading_and_the_device_is_alive() -> None:
    endpoint = Endpoint({"topic": "plant/a", "metrics": [{"field": "t"}, {"field": "h"}]})

    assert endpoint.values("plant/a", {"t": 1}) == {"t": 1}
    assert endpoint.values("plant/a", {"x": 1}) == {}
    assert endpoint.heard.alive == [""]


def test_a_payload_that_is_no_json_makes_configured_points_bad() -> None:
    endpoint = Endpoint({"topic": "plant/a", "metrics": [{"field": "t"}, {"field": "h"}]})

    assert endpoint.values("plant/a", b"{oops") == dict.fromkeys("th", "PAYLOAD_MALFORMED")
    assert endpoint.values("plant/a", b"hello") == dict.fromkeys("th", "PAYLOAD_MALFORMED")
    assert endpoint.values("plant/a", b"") == dict.fromkeys("th", "EMPTY_PAYLOAD")


def test_a_data_point_without_a_field_has_the_payload_or_its_value_or_the_key_of_its_name() -> None:
    endpoint = Endpoint({"topic": "plant/a", "metric": "t"})

    assert endpoint.values("plant/a", b"1") == {"t": 1}
    assert endpoint.values("plant/a", {"value": 2}) == {"t": 2}
    assert endpoint.values("plant/a", {"t": 3, "value": 2}) == {"t": 3}
    assert endpoint.values("plant/a", {"other": 3}) == {}


def test_automatic_metrics_come_beside_configured_ones() -> None:
    endpoint = Endpoint(
        {"topic": "plant/a", "autoMetrics": True, "metrics": [{"field": "t", "metric": "temperature"}]}
    )

    assert endpoint.values("plant/a", {"t": 1, "h": 2}) == {"temperature": 1, "h": 2}


def test_where_data_points_say_what_to_read_nothing_else_is() -> None:
    endpoint = Endpoint({"topic": "plant/a", "metric": "t"})
    assert endpoint.take("plant/b", b"1") == []

    endpoint = Endpoint({"topic": "plant/a", "metric": "t"}, autoMetrics=True)
    assert endpoint.values("plant/b", b"1") == {"b": 1}


def test_a_topic_that_is_the_only_data_point_is_read_whole() -> None:
    endpoint = Endpoint({"topic": "i/t/a/g/d/e"}, topic=None)

    assert endpoint.intake.filters == ("i/t/a/g/d/e/#",)
    assert endpoint.values("i/t/a/g/d/e", {"a": 1}) == {"a": 1}
    assert endpoint.values("i/t/a/g/d/e/b", b"2") == {"b": 2}


def test_points_of_the_same_topic_are_read_together() -> None:
    endpoint = Endpoint(*({"topic": "plant/a", "metric": f"m{i}", "field": f"f{i}"} for i in range(50)))

    told = endpoint.take("plant/a", {f"f{i}": i for i in range(50)})

    assert [reading[:2] for _, reading in told] == [(f"m{i}", i) for i in range(50)]


# Forms


@pytest.mark.parametrize(
    ("encoding", "payload", "value"),
    [
        ("float32le", struct.pack("<f", 21.5), 21.5),
        ("float32be", struct.pack(">f", 21.5), 21.5),
        ("float64be", struct.pack(">d", 0.1), 0.1),
        ("int16be", b"\xff\xfe", -2),
        ("uint16le", b"\x01\x00", 1),
        ("uint8", b"\x80", 128),
        ("int8", b"\x80", -128),
        ("hex", b"\x01\xab", "01ab"),
        ("base64", b"\x01\xab", "Aas="),
        ("hex:int16be", b"fffe", -2),
        ("hex:float32be", b"0x41AC0000", 21.5),
        ("base64:float32le", b64encode(struct.pack("<f", 21.5)), 21.5),
        ("cbor", cbor2.dumps(21.5), 21.5),
        ("msgpack", msgpack.packb(21.5), 21.5),
        ("text", b"21.5", "21.5"),
        ("float32le", struct.pack("<f", float("nan")), "NOT_A_NUMBER"),
        ("float32le", b"\0\0\0", "PAYLOAD_MALFORMED"),
        ("float32le", b"\0\0\0\0\0", "PAYLOAD_MALFORMED"),
        ("float32le", b"", "EMPTY_PAYLOAD"),
        ("hex:int16be", b"zz", "PAYLOAD_MALFORMED"),
        ("base64:int16be", b"!!!", "PAYLOAD_MALFORMED"),
        ("cbor", b"\x5f", "PAYLOAD_MALFORMED"),
        ("cbor", b"\x81" * 5000, "PAYLOAD_MALFORMED"),
        ("msgpack", b"\x91" * 5000, "PAYLOAD_MALFORMED"),
        ("msgpack", b"\xc1", "PAYLOAD_MALFORMED"),
    ],
)
def test_binary_payloads(encoding: str, payload: bytes, value: Any) -> None:
    endpoint = Endpoint({"topic": "plant/a", "metric": "m", "encoding": encoding})

    assert endpoint.values("plant/a", payload) == {"m": value}


def test_several_numbers_of_a_binary_record() -> None:
    points = [
        {"topic": "plant/a", "metric": name, "encoding": kind, "byteOffset": at}
        for name, kind, at in (("t", "int16be", 0), ("h", "uint8", 2), ("p", "float32le", 3))
    ]

    record = struct.pack(">hB", -5, 60) + struct.pack("<f", 1.5)
    assert Endpoint(*points).values("plant/a", record) == {"t": -5, "h": 60, "p": 1.5}
    assert Endpoint(*points).values("plant/a", record[:4]) == {"t": -5, "h": 60, "p": "PAYLOAD_MALFORMED"}


def test_bytes_inside_json() -> None:
    endpoint = Endpoint(
        {"topic": "up", "metric": "m", "field": "payload_raw", "encoding": "base64:int16be", "scale": 0.01}
    )

    assert endpoint.values("up", {"payload_raw": b64encode(b"\x08\x66").decode()}) == {"m": 21.5}


@pytest.mark.parametrize("pack", [cbor2.dumps, msgpack.packb])
def test_binary_objects_are_as_json(pack: Any) -> None:
    encoding = "cbor" if pack is cbor2.dumps else "msgpack"
    endpoint = Endpoint({"topic": "plant/a", "encoding": encoding})

    assert endpoint.values("plant/a", pack({"a": 1, "b": {"c": 2.5}, "d": b"\x01", 7: 8})) == {
        "a": 1,
        "b.c": 2.5,
        "d": "01",
        "7": 8,
    }


# Times


@pytest.mark.parametrize(
    ("said", "time"),
    [
        (1_764_331_000, 1_764_331_000_000),
        (1_764_331_000.25, 1_764_331_000_250),
        (1_764_331_000_000, 1_764_331_000_000),
        (1_764_331_000_000_000, 1_764_331_000_000),
        (1_764_331_000_000_000_000, 1_764_331_000_000),
        ("1764331000", 1_764_331_000_000),
        ("2025-11-28T11:56:40Z", 1_764_331_000_000),
        ("2025-11-28T12:56:40+01:00", 1_764_331_000_000),
        ("2025-11-28T12:56:40+0100", 1_764_331_000_000),
        ("2025-11-28T11:56:40", 1_764_331_000_000),
        ("2025-11-28 11:56:40.123456789Z", 1_764_331_000_123),
    ],
)
def test_times_are_read_by_their_size_and_shape(said: Any, time: int) -> None:
    assert Endpoint().take("plant", {"ts": said, "a": 1}) == [("", ("a", 1, None, time))]


def test_a_text_without_a_zone_is_of_the_one_that_is_configured() -> None:
    endpoint = Endpoint(timeZone="Europe/Berlin")

    assert endpoint.take("plant", {"ts": "2025-11-28T12:56:40", "a": 1}) == [
        ("", ("a", 1, None, 1_764_331_000_000))
    ]


@pytest.mark.parametrize(
    "said", ["soon", "2019-07-11T15:15:30-05:00Z", 35, True, None, "", {"a": 1}, [1], -1, 1e300, "9" * 30]
)
def test_a_usual_key_that_is_no_time_is_none(said: Any) -> None:
    assert Endpoint().take("plant", {"time": said, "a": 1}) == [("", ("a", 1, None, None))]


@pytest.mark.parametrize(
    "said", [AT + 90_000_000, "2199-01-01T00:00:00Z", 99_999_999_999, "2025-11-28T12:30:00"]
)
def test_a_time_in_the_future_is_not_believed_and_the_value_uncertain(said: Any) -> None:
    assert Endpoint().take("plant", {"ts": said, "a": 1}) == [("", ("a", 1, "TIMESTAMP_INVALID", None))]


def test_where_the_clock_of_this_host_is_behind_the_devices_is_believed() -> None:
    """By up to a day; and whatever it says, where it is of a year that has long been over."""
    ahead = AT + 3_600_000
    assert Endpoint().take("plant", {"ts": ahead, "a": 1}) == [("", ("a", 1, None, ahead))]
    for earlier in (0, 1_480_000_000_000):
        endpoint = Endpoint()
        endpoint.intake.take("plant", json.dumps({"ts": AT, "a": 1}).encode(), False, earlier)
        assert endpoint.heard.readings == [("", ("a", 1, None, AT))]


@pytest.mark.parametrize(
    "payload", [{"a": 1}, {"at": "soon", "a": 1}, {"at": 12, "a": 1}, {"at": None, "a": 1}]
)
def test_a_configured_time_that_is_none_makes_the_value_uncertain(payload: Any) -> None:
    endpoint = Endpoint(timestampField="at")

    assert endpoint.take("plant", {**payload})[-1] == ("", ("a", 1, "TIMESTAMP_INVALID", None))


def test_times_may_be_left_alone() -> None:
    assert Endpoint(timestampField=False).take("plant", {"ts": 1_764_331_000, "a": 1}) == [
        ("", ("a", 1, None, None))
    ]


def test_retained_values_are_uncertain_and_have_their_own_time() -> None:
    endpoint = Endpoint()

    assert endpoint.take("plant", {"ts": 1_764_331_000, "a": 1}, retained=True) == [
        ("", ("a", 1, "RETAINED_MESSAGE", 1_764_331_000_000))
    ]
    assert endpoint.take("plant", {"a": 1}) == [("", ("a", 1, None, None))]


# Messages that are like those before them


@pytest.mark.parametrize(
    ("points", "connection"),
    [
        ([], {}),
        ([], {"topic": "plant/{device}"}),
        (
            [
                {
                    "topic": "plant/a",
                    "metrics": [{"field": "t", "type": "number"}, {"field": "h", "unit": "%"}],
                }
            ],
            {},
        ),
        ([{"topic": "plant/+", "metrics": [{"field": "t"}], "timestampField": "ts"}], {}),
        ([{"metric": "t", "precision": 1}, {"metric": "h"}], {"defaultPrecisions": {"t": 1}}),
    ],
)
def test_read_alike_they_are_read_alike(points: Any, connection: Any) -> None:
    """Each odd message says the same to an endpoint that has read many before it as to one that has read
    one."""
    usual = {"ts": 1_764_331_000, "t": 21.25, "h": 40}
    odd: list[Any] = [
        usual,
        {**usual, "t": None},
        {**usual, "t": "21.25"},
        {**usual, "t": True},
        {**usual, "t": 2**70},
        {**usual, "t": {"deep": 1}},
        {**usual, "t": [1]},
        {**usual, "ts": "soon"},
        {**usual, "ts": AT + 100_000_000},
        {**usual, "ts": 12},
        {**usual, "deviceId": "x"},
        {**usual, "t_unit": "F"},
        {**usual, "more": 1},
        {"t": 1},
        {"value": 1},
        {},
        b'{"ts": 1764331000, "t": nan, "h": 1}',
        b"{broken",
        b"",
        b"7",
        [usual, usual],
    ]
    for message in odd:
        one, many = Endpoint(*points, **connection), Endpoint(*points, **connection)
        one.take("plant/a", usual)
        for _ in range(5):
            many.take("plant/a", usual)

        assert many.take("plant/a", message) == one.take("plant/a", message)
        assert many.heard.points == one.heard.points


def test_a_device_that_is_said_to_be_away_is_there_again_when_it_speaks() -> None:
    endpoint = Endpoint()
    for _ in range(3):
        endpoint.take("plant/s1", {"t": 1})
    endpoint.take("device/s1/status", b"offline")

    assert endpoint.take("plant/s1", {"t": 2}) == [("s1", ("t", 2, None, None))]


def test_what_the_broker_kept_is_not_told_once_the_topic_is_live() -> None:
    """It comes again when another endpoint subscribes to the same."""
    endpoint = Endpoint()
    endpoint.take("plant/t", b"1", retained=True)
    endpoint.take("plant/t", b"2")

    assert endpoint.take("plant/t", b"1", retained=True) == []
    endpoint.intake.begin()
    assert endpoint.take("plant/t", b"1", retained=True) == [("", ("t", 1, "RETAINED_MESSAGE", None))]


# Devices


def test_what_wildcards_stand_for_is_the_device() -> None:
    endpoint = Endpoint()

    assert endpoint.take("plant/kitchen", {"t": 1}) == [("kitchen", ("t", 1, None, None))]
    assert endpoint.take("plant/garage/t", b"2") == [("garage", ("t", 2, None, None))]
    assert endpoint.take("plant/hall/1/t", {"value": 3}) == [("hall/1", ("t", 3, None, None))]
    assert endpoint.take("plant/t", b"4") == [("", ("t", 4, None, None))]


def test_a_level_may_be_named_as_the_device_and_one_as_the_metric() -> None:
    endpoint = Endpoint(topic="plant/{device}/#")
    assert endpoint.take("plant/s1/env/t", b"1") == [("s1", ("env.t", 1, None, None))]
    assert endpoint.take("plant/s1/motor", {"t": 2}) == [("s1", ("motor.t", 2, None, None))]
    assert endpoint.take("plant/s2", {"t": 3}) == [("s2", ("t", 3, None, None))]
    assert endpoint.intake.filters == ("plant/+/#",)

    endpoint = Endpoint(topic="plant/{metric}/{device}")
    assert endpoint.take("plant/t/s1", b"1") == [("s1", ("t", 1, None, None))]


def test_a_payload_says_which_device_it_is_of() -> None:
    endpoint = Endpoint(topic="lora/#")

    assert endpoint.take("lora/gw1", {"deviceId": "d7", "t": 1}) == [("d7", ("t", 1, None, None))]
    assert endpoint.take("lora/gw2", {"device_id": "d7", "t": 2}) == [("d7", ("t", 2, None, None))]
    assert endpoint.take("lora/gw2", {"deviceId": 8, "t": 3}) == [("8", ("t", 3, None, None))]


def test_where_a_payload_names_its_device_can_be_configured() -> None:
    endpoint = Endpoint(topic="lora", deviceIdField="end_device.id")
    assert endpoint.take("lora", {"end_device": {"id": "x"}, "deviceId": "y", "t": 1})[-1] == (
        "x",
        ("t", 1, None, None),
    )

    endpoint = Endpoint(topic="lora", deviceIdField=False)
    assert endpoint.take("lora", {"deviceId": "y", "t": 1}) == [("", ("t", 1, None, None))]


def test_the_endpoints_own_device_may_have_a_name() -> None:
    endpoint = Endpoint(topic="lora", deviceId="me")

    assert endpoint.take("lora", {"deviceId": "me", "t": 1}) == [("", ("t", 1, None, None))]


def test_a_data_point_may_say_its_device() -> None:
    endpoint = Endpoint(
        {"topic": "a", "metric": "t", "deviceId": "one"}, {"topic": "b", "metric": "t", "deviceId": "two"}
    )

    assert endpoint.take("a", b"1") == [("one", ("t", 1, None, None))]
    assert endpoint.take("b", b"2") == [("two", ("t", 2, None, None))]


def test_data_points_of_a_pattern_are_of_each_device() -> None:
    endpoint = Endpoint(
        {"topic": "s/{device}/state", "metrics": [{"field": "t"}, {"field": "h"}]}, topic=None
    )

    assert endpoint.take("s/a/state", {"t": 1, "h": 2}) == [
        ("a", ("t", 1, None, None)),
        ("a", ("h", 2, None, None)),
    ]
    assert endpoint.take("s/b/state", {"h": 3}) == [("b", ("h", 3, None, None))]


def test_two_devices_that_say_different_names_on_one_configured_topic_are_never_mixed() -> None:
    endpoint = Endpoint({"topic": "data", "metric": "t", "field": "t"})

    assert endpoint.values("data", {"deviceId": "a", "t": 1}) == {"t": 1}
    assert endpoint.values("data", {"deviceId": "b", "t": 2}) == {}
    assert endpoint.values("data", {"deviceId": "a", "t": 3}) == {"t": 3}
    assert "deviceIdField" in endpoint.troubles[0]


def test_two_topics_never_take_turns_under_one_name() -> None:
    endpoint = Endpoint({"metric": "t", "field": "t"})

    assert endpoint.values("plant/a", {"t": 1}) == {"t": 1}
    assert endpoint.values("plant/b", {"t": 2}) == {}
    assert len(endpoint.troubles) == 1

    endpoint.intake.begin()
    assert endpoint.values("plant/b", {"t": 2}) == {"t": 2}


def test_devices_and_metrics_are_bounded_and_that_is_said_once() -> None:
    endpoint = Endpoint(maxDevices=2, maxMetrics=3)
    for number in range(10):
        endpoint.take(f"plant/d{number}", {f"m{number}": 1 for number in range(10)})

    assert list(endpoint.heard.points) == ["", "d0", "d1"]
    assert len(endpoint.heard.points["d0"]) == 3
    assert len(endpoint.troubles) == 2


@pytest.mark.parametrize("name", ["a" * 300, "a\nb", "a\x1b[31m"])
def test_names_from_outside_that_cannot_be_names_are_not_taken_in(name: str) -> None:
    endpoint = Endpoint(topic="x")

    assert endpoint.take("x", {name: 1, "b": 2}) == [("", ("b", 2, None, None))]
    assert endpoint.take("x", {"deviceId": name, "b": 2}) == []


def test_a_payload_above_the_limit_makes_configured_points_bad_and_is_said_once() -> None:
    endpoint = Endpoint({"topic": "plant/a", "metric": "m"}, maxPayloadBytes=10)

    assert endpoint.values("plant/a", b"1" * 10) == {"m": 1111111111}
    assert endpoint.values("plant/a", b"1" * 11) == {"m": "PAYLOAD_MALFORMED"}
    assert endpoint.values("plant/a", b"1" * 11) == {"m": "PAYLOAD_MALFORMED"}
    assert len(endpoint.troubles) == 1


def test_topics_without_end_are_not_remembered_without_end() -> None:
    endpoint = Endpoint({"topic": "plant/a", "metric": "m"})
    for number in range(20_100):
        endpoint.take(f"plant/{number}", b"1")

    assert len(endpoint.intake._readers) <= 20_000


# Presence


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"offline", "DEVICE_OFFLINE"),
        (b"Online", None),
        (b"0", "DEVICE_OFFLINE"),
        (b'{"status": "offline"}', "DEVICE_OFFLINE"),
        (b'{"online": true}', None),
    ],
)
def test_status_topics_say_whether_a_device_is_there(payload: bytes, code: str | None) -> None:
    endpoint = Endpoint()
    endpoint.take("plant/s1", {"t": 1})

    assert endpoint.take("device/s1/status", payload) == []

    assert endpoint.heard.said == [("s1", code)]
    assert endpoint.intake.status_filters == ("device/+/status",)


def test_a_status_that_says_nothing_changes_nothing() -> None:
    endpoint = Endpoint()
    endpoint.take("plant/s1", {"t": 1})

    for payload in (b"", b"rebooting", b"{}", b"\xff"):
        endpoint.take("device/s1/status", payload)

    assert endpoint.heard.said == []


def test_status_topics_and_words_are_configured() -> None:
    endpoint = Endpoint(
        topic="plant/{device}/data",
        statusTopic=["plant/{device}/lwt", "plant/bridge"],
        statusField="s",
        statusOffline="GONE",
    )
    endpoint.take("plant/s1/data", {"t": 1})
    endpoint.take("plant/s1/lwt", {"s": "gone"})
    endpoint.take("plant/s1/lwt", {"s": "online"})
    endpoint.take("plant/bridge", b"gone")

    assert endpoint.heard.said == [("s1", "DEVICE_OFFLINE"), ("s1", None), ("", "DEVICE_OFFLINE")]
    assert endpoint.intake.status_filters == ("plant/+/lwt", "plant/bridge")


def test_what_the_broker_kept_of_a_device_that_is_away_is_no_sign_of_life() -> None:
    endpoint = Endpoint()
    endpoint.take("device/s1/status", b"offline", retained=True)

    assert endpoint.take("plant/s1", {"t": 1}, retained=True) == []
    assert endpoint.heard.said == [("s1", "DEVICE_OFFLINE")]
    assert endpoint.take("plant/s1", {"t": 1}) == [("s1", ("t", 1, None, None))]


def test_a_device_that_nobody_has_heard_of_and_is_there_is_no_device_yet() -> None:
    endpoint = Endpoint()
    endpoint.take("device/ghost/status", b"online")

    assert list(endpoint.heard.points) == [""]


# What is subscribed to


@pytest.mark.parametrize(
    ("connection", "points", "filters"),
    [
        ({"topic": "plant"}, [], ("plant/#",)),
        ({"topic": "plant/"}, [], ("plant/#",)),
        ({"topic": "plant/+/x"}, [], ("plant/+/x",)),
        ({"topic": "plant"}, [{"topic": "plant/a", "metric": "a"}, {"topic": "other"}], ("plant/#", "other")),
        ({"topic": None}, [{"topic": "b/c", "metric": "a"}, {"topic": "d"}], ("b/c/#", "d")),
        ({"topic": None}, [{"metric": "a"}], ("#",)),
        ({"topic": None}, [], ("#",)),
    ],
)
def test_the_filters_of_an_endpoint(connection: Any, points: Any, filters: tuple[str, ...]) -> None:
    assert Endpoint(*points, **connection).intake.filters == filters


def test_a_status_topic_that_is_read_anyway_is_not_subscribed_to_twice() -> None:
    endpoint = Endpoint(topic=None)

    assert endpoint.intake.filters == ("#",)
    assert endpoint.intake.status_filters == ()
    endpoint.take("device/d/status", b"offline")
    assert endpoint.heard.said == [("d", "DEVICE_OFFLINE")]
