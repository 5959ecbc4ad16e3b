"""What a Sparkplug node says, as a host understands it that decodes with somebody else's library."""

import math
from typing import Any

import pysparkplug
import pytest
from hypothesis import given
from hypothesis import strategies as some
from pysparkplug import DataType
from pysparkplug._protobuf import Payload
from sparkplug_line import NOW, OFFLINE, POLLED, Line

from actors.mqtt.sparkplug_schema import payload_class
from actors.publish.formats import MessageIds, encode
from actors.publish.sparkplug import node as node_module
from actors.publish.sparkplug.node import LATE_MS
from actors.readings.batch import Batch, Point, Source


@pytest.fixture
def line() -> Any:
    made = Line()
    yield made
    assert made.host.faults == []


# The schema


def test_fields_and_numbers_are_those_of_the_other_library() -> None:
    theirs, ours = Payload.DESCRIPTOR, payload_class().DESCRIPTOR
    pairs = [(theirs, ours)]
    for name in ("Metric", "PropertySet", "PropertyValue"):
        pairs.append((theirs.nested_types_by_name[name], ours.file.message_types_by_name[name]))
    for other, own in pairs:
        assert own.fields
        for field in own.fields:
            known = other.fields_by_name[field.name]
            assert (known.number, known.type, known.is_repeated) == (
                field.number,
                field.type,
                field.is_repeated,
            )


# Births, data, deaths


def test_a_node_is_born_then_its_devices_and_then_they_tell_something(line: Line) -> None:
    line.poll(oil_temp=61.4, running=True)
    line.poll(oil_temp=61.5, running=False)
    line.poll("mixer", speed=3)
    assert line.verbs() == [
        "NBIRTH",
        "DBIRTH press",
        "DDATA press",
        "DDATA press",
        "DBIRTH mixer",
        "DDATA mixer",
    ]
    assert line.host.data("press", "oil_temp") == [61.4, 61.5]
    assert line.host.data("press", "running") == [True, False]
    assert line.host.data("mixer", "speed") == [3]


def test_the_will_belongs_to_the_birth_and_another_connection_has_another_one(line: Line) -> None:
    line.poll(oil_temp=1.0)
    for _ in range(300):
        assert line.host.online
        line.lose()
        assert not line.host.online
        line.connect()
    assert line.host.births[:-1] == line.host.deaths
    steps = {
        (after - before) % 256 for before, after in zip(line.host.births, line.host.births[1:], strict=False)
    }
    assert steps == {1}


def test_the_will_of_an_earlier_connection_is_not_this_one_s(line: Line) -> None:
    late = line.will
    line.connect()
    line.host.take(late.topic, late.payload, qos=1)
    assert line.host.online


def test_runs_begin_with_different_numbers() -> None:
    assert len({Line().host.births[0] for _ in range(20)}) > 5


def test_a_node_that_leaves_says_so_itself(line: Line) -> None:
    line.poll(oil_temp=1.0)
    line.tell(line.node.death(NOW))
    assert not line.host.online
    assert line.host.deaths == line.host.births


def test_after_a_lost_connection_everything_is_born_again(line: Line) -> None:
    line.poll(oil_temp=1.0)
    line.lose()
    line.connect()
    line.verbs()
    line.poll(oil_temp=2.0)
    assert line.verbs() == ["DBIRTH press", "DDATA press"]


def test_a_command_to_be_born_again_tells_everything_again_as_it_is(line: Line) -> None:
    line.poll(oil_temp=1.0, running=True)
    line.poll("mixer", speed=3)
    line.poll(oil_temp=2.0, running=False)
    line.verbs()
    line.be_born()
    line.more()
    assert line.verbs() == ["NBIRTH", "DBIRTH press", "DBIRTH mixer"]
    assert line.host.births[0] == line.host.births[1], "the will is the same, and so is the number"
    live = line.host.devices["press"].live
    assert [(live[name].value, live[name].quality) for name in live] == [(2.0, "GOOD"), (False, "GOOD")]


def test_data_between_a_rebirth_and_a_device_s_turn_brings_its_birth_forward(line: Line) -> None:
    for device in ("a", "b", "c"):
        line.poll(device, seq_=1)
    line.verbs()
    line.be_born()
    line.poll("b", seq_=2)
    line.more()
    assert line.verbs() == ["NBIRTH", "DBIRTH b", "DDATA b", "DBIRTH a", "DBIRTH c"]


def test_births_of_many_devices_are_told_some_at_a_time(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "TURN", 4)
    for number in range(7):
        line.poll(f"d{number}", one=number, two=number)
    line.be_born()
    assert [len(line.node.more(NOW)) for _ in range(5)] == [2, 2, 2, 1, 0]


@pytest.mark.parametrize(
    "command",
    [
        pysparkplug.Metric(timestamp=1, name="Node Control/Rebirth", datatype=DataType.BOOLEAN, value=False),
        pysparkplug.Metric(timestamp=1, name="Node Control/Reboot", datatype=DataType.BOOLEAN, value=True),
        pysparkplug.Metric(timestamp=1, name="Node Control/Rebirth", datatype=DataType.INT64, value=1),
    ],
)
def test_other_commands_mean_nothing(line: Line, command: pysparkplug.Metric) -> None:
    payload = pysparkplug.NCmd(timestamp=1, metrics=(command,)).encode(include_dtypes=True)
    assert not line.node.wants_rebirth(line.host.commands, payload)


@given(some.binary(max_size=60))
def test_whatever_comes_as_a_command_does_no_harm(octets: bytes) -> None:
    line = Line()
    assert not line.node.wants_rebirth(line.host.commands, octets)
    assert not line.node.wants_rebirth("spBv1.0/plant/NCMD/other", line.host.rebirth())


# Metrics that change


def test_a_new_metric_makes_a_device_be_born_again_with_all_of_them(line: Line) -> None:
    line.poll(oil_temp=1.0)
    line.poll(parts=7)
    line.poll(oil_temp=2.0, parts=8)
    assert line.verbs() == [
        "NBIRTH",
        "DBIRTH press",
        "DDATA press",
        "DBIRTH press",
        "DDATA press",
        "DDATA press",
    ]
    assert [metric.name for metric in line.host.devices["press"].birth.metrics] == ["oil_temp", "parts"]


@pytest.mark.parametrize(
    ("first", "then", "births", "datatype"),
    [
        (1, 2.5, 2, DataType.DOUBLE),
        (2.5, 1, 1, DataType.DOUBLE),
        (1, "A7", 2, DataType.STRING),
        (True, 1, 2, DataType.INT64),
        (1, 2**63, 2, DataType.UINT64),
        (2**63, 1, 1, DataType.UINT64),
        (2**63, -1, 2, DataType.INT64),
        (2.5, 2**53 + 1, 2, DataType.INT64),
        (None, 7, 2, DataType.INT64),
        (None, 7.5, 1, DataType.DOUBLE),
        (7, None, 1, DataType.INT64),
    ],
)
def test_a_value_of_another_kind_is_told_as_what_it_is(
    line: Line, first: Any, then: Any, births: int, datatype: DataType
) -> None:
    line.poll(metric=first)
    line.poll(metric=then)
    assert line.verbs().count("DBIRTH press") == births
    assert line.host.data("press", "metric") == [first, then]
    (metric,) = line.host.devices["press"].birth.metrics
    assert metric.datatype == datatype


def test_whole_and_broken_numbers_in_turn_cost_one_birth_more_and_no_further(line: Line) -> None:
    for number in range(10):
        line.poll(metric=number if number % 2 else number + 0.5)
        line.poll(metric=-number)
    assert line.verbs().count("DBIRTH press") == 1
    assert line.host.data("press", "metric")[1:5] == [0, 1, -1, 2.5]


@pytest.mark.parametrize(
    ("value", "told", "datatype"),
    [
        (-1, -1, DataType.INT64),
        (-(2**31), -(2**31), DataType.INT64),
        (-(2**63), -(2**63), DataType.INT64),
        (2**63 - 1, 2**63 - 1, DataType.INT64),
        (2**64 - 1, 2**64 - 1, DataType.UINT64),
        (2**64, 2.0**64, DataType.DOUBLE),
        (-(10**30), -(10.0**30), DataType.DOUBLE),
        (10**400, str(10**400), DataType.STRING),
        (5e-324, 5e-324, DataType.DOUBLE),
        (1.7976931348623157e308, 1.7976931348623157e308, DataType.DOUBLE),
        (50.0, 50.0, DataType.DOUBLE),
        ("", "", DataType.STRING),
        ("Grüße, 日本 😀\n", "Grüße, 日本 😀\n", DataType.STRING),
        ([True, False], "[true,false]", DataType.STRING),
        ({"a": 1}, '{"a":1}', DataType.STRING),
    ],
)
def test_values_arrive_as_they_are(line: Line, value: Any, told: Any, datatype: DataType) -> None:
    line.poll(metric=value)
    (seen,) = line.host.data("press", "metric")
    assert (type(seen), seen) == (type(told), told)
    assert line.host.devices["press"].birth.metrics[0].datatype == datatype
    assert line.host.devices["press"].live["metric"].quality == "GOOD"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_null(line: Line, value: float) -> None:
    line.poll(metric=value)
    assert line.host.data("press", "metric") == [None]


def test_units_are_told_at_births(line: Line) -> None:
    source = Source("e", "press", "modbus", "d", "press", (Point("oil_temp", "°C"), Point("parts")), ())
    batch = Batch(source, POLLED, [1.0, 2], None, {})
    payload = encode("sparkplug", "json", [(batch, None)], MessageIds("agent"))
    assert payload is not None
    birth, data = line.node.data(1, payload, 0, NOW).messages
    line.tell(birth, data)
    first, second = Payload.FromString(birth.payload).metrics
    units = dict(zip(first.properties.keys, first.properties.values, strict=True))
    assert units["engUnit"].string_value == "°C"
    assert "engUnit" not in second.properties.keys
    assert not any(metric.HasField("properties") for metric in Payload.FromString(data.payload).metrics)


# Quality


def test_what_is_bad_is_null_and_bad_and_good_again_when_it_is(line: Line) -> None:
    line.poll(oil_temp=1.0, speed=(None, "TIMEOUT"))
    line.poll(oil_temp=(None, "ILLEGAL_ADDRESS"), speed=(2.0, "STALE_SENSOR"))
    line.poll(oil_temp=3.0, speed=4.0)
    line.poll(oil_temp=5.0, speed=6.0)
    told = [(seen.metric, seen.value, seen.quality, seen.code) for seen in line.host.seen if not seen.birth]
    assert told == [
        ("oil_temp", 1.0, "GOOD", "GOOD"),
        ("speed", None, "BAD", "TIMEOUT"),
        ("oil_temp", None, "BAD", "ILLEGAL_ADDRESS"),
        ("speed", 2.0, "STALE", "STALE_SENSOR"),
        ("oil_temp", 3.0, "GOOD", "GOOD"),
        ("speed", 4.0, "GOOD", "GOOD"),
        ("oil_temp", 5.0, "GOOD", "GOOD"),
        ("speed", 6.0, "GOOD", "GOOD"),
    ]


def test_a_metric_that_was_never_good_gets_its_datatype_with_its_first_value(line: Line) -> None:
    line.poll(running=(None, "TIMEOUT"))
    line.poll(running=(None, "TIMEOUT"))
    line.poll(running=True)
    assert line.verbs().count("DBIRTH press") == 2
    assert line.host.data("press", "running") == [None, None, True]


# Devices that cannot be reached


def test_a_device_that_is_offline_dies_once_and_is_born_when_it_is_back(line: Line) -> None:
    line.poll(oil_temp=1.0, speed=2)
    for _ in range(3):
        line.poll(oil_temp=(None, OFFLINE), speed=(None, OFFLINE))
    line.poll(oil_temp=2.0, speed=3)
    assert line.verbs() == [
        "NBIRTH", "DBIRTH press", "DDATA press", "DDATA press", "DDEATH press", "DBIRTH press", "DDATA press",
    ]  # fmt: skip
    assert line.host.data("press", "oil_temp") == [1.0, None, 2.0]


def test_a_device_of_which_a_part_is_offline_lives(line: Line) -> None:
    line.poll(oil_temp=1.0, speed=2)
    line.poll(oil_temp=(None, OFFLINE))
    line.poll(oil_temp=(None, OFFLINE), speed=(None, "TIMEOUT"))
    assert "DDEATH press" not in line.verbs()
    line.poll(speed=(None, OFFLINE))
    assert line.verbs() == ["DDATA press", "DDEATH press"]


def test_a_device_that_was_never_reached_is_told_of_all_the_same(line: Line) -> None:
    line.poll(oil_temp=(None, OFFLINE))
    assert line.verbs() == ["NBIRTH", "DBIRTH press", "DDATA press", "DDEATH press"]


def test_who_is_dead_is_not_born_again_on_command(line: Line) -> None:
    line.poll(oil_temp=(None, OFFLINE))
    line.poll("mixer", speed=1)
    line.verbs()
    line.be_born()
    line.more()
    line.poll(oil_temp=(None, OFFLINE))
    assert line.verbs() == ["NBIRTH", "DBIRTH mixer"]


def test_a_device_that_is_no_more_dies_and_is_forgotten(line: Line) -> None:
    line.poll(oil_temp=1.0, speed=2)
    line.poll("mixer", speed=1)
    line.verbs()
    line.end()
    line.end()
    line.end("unknown")
    assert line.verbs() == ["DDEATH press"]
    line.be_born()
    line.more()
    assert line.verbs() == ["NBIRTH", "DBIRTH mixer"]
    line.poll(parts=3)
    assert line.verbs() == ["DBIRTH press", "DDATA press"]
    assert [metric.name for metric in line.host.devices["press"].birth.metrics] == ["parts"]


def test_a_device_that_was_dead_when_it_ended_does_not_die_twice(line: Line) -> None:
    line.poll(oil_temp=(None, OFFLINE))
    line.verbs()
    line.end()
    assert line.verbs() == []


def test_history_may_end_with_a_device(line: Line) -> None:
    line.poll(age=LATE_MS + 1, oil_temp=1.0)
    line.end(age=LATE_MS + 1)
    line.poll("mixer", speed=1)
    line.more()
    assert line.verbs() == [
        "NBIRTH",
        "DBIRTH press",
        "DDATA press",
        "DDEATH press",
        "DBIRTH mixer",
        "DDATA mixer",
    ]


# History


def test_what_is_told_of_the_past_is_history_and_nobodys_latest(line: Line) -> None:
    line.poll(oil_temp=9.0)
    source = line.sources["press", "oil_temp"]
    batch = Batch(source, POLLED, [1.0], indices=(0,), times=[POLLED - 3_600_000], past=True)
    line.seq += 1
    payload = encode("sparkplug", "json", [(batch, None)], MessageIds("agent"))
    assert payload is not None
    line.tell(*line.node.data(line.seq, payload, 0, NOW).messages)
    latest = line.host.seen[-1]
    assert latest.historical
    line.lose()
    line.connect()
    line.poll(oil_temp=9.5)
    births = [seen.value for seen in line.host.seen if seen.birth and seen.metric == "oil_temp"]
    assert 1.0 not in births


def test_what_is_late_is_history_and_then_devices_are_born_as_they_are(line: Line) -> None:
    for number in range(3):
        line.poll("press", age=LATE_MS + 1, oil_temp=float(number))
    line.poll("mixer", age=LATE_MS + 1, speed=1)
    assert [seen.quality for seen in line.host.seen if seen.birth] == ["STALE", "STALE"]
    assert all(seen.historical for seen in line.host.seen if not seen.birth)
    line.verbs()
    line.poll("press", oil_temp=9.0)
    line.more()
    assert line.verbs() == ["DBIRTH press", "DDATA press", "DBIRTH mixer"]
    assert line.host.devices["press"].live["oil_temp"].value == 9.0
    mixer = line.host.devices["mixer"].live["speed"]
    assert (mixer.value, mixer.quality) == (1, "GOOD")
    line.poll("press", oil_temp=10.0)
    line.poll("mixer", speed=2)
    assert line.verbs() == ["DDATA press", "DDATA mixer"]


def test_the_end_of_a_backlog_is_told_once_not_at_every_payload_around_the_limit(line: Line) -> None:
    line.poll(age=LATE_MS + 1, oil_temp=0.0)
    for number in range(5):
        line.poll(age=LATE_MS - 1, oil_temp=1.0 + number)
        line.poll(age=LATE_MS + 1, oil_temp=2.0 + number)
    assert line.verbs().count("DBIRTH press") == 1


def test_a_device_that_history_leaves_offline_is_dead_when_the_node_has_caught_up(line: Line) -> None:
    line.poll("press", age=LATE_MS + 1, oil_temp=1.0)
    line.poll("press", age=LATE_MS + 1, oil_temp=(None, OFFLINE))
    assert "DDEATH press" not in line.verbs()
    line.poll("mixer", speed=1)
    line.more()
    assert line.verbs() == ["DBIRTH mixer", "DDATA mixer", "DDEATH press"]


def test_history_of_a_dead_device_does_not_make_it_alive(line: Line) -> None:
    line.poll("press", age=LATE_MS + 1, oil_temp=(None, OFFLINE))
    line.poll("mixer", speed=1)
    line.be_born()
    line.more()
    assert line.verbs()[-2:] == ["NBIRTH", "DBIRTH mixer"]


def test_a_payload_that_is_sent_again_has_a_new_number_and_is_not_taken_for_the_latest(line: Line) -> None:
    line.poll(seq=1, at=POLLED, oil_temp=1.0)
    line.poll(seq=2, at=POLLED + 1, oil_temp=2.0)
    line.poll(seq=1, at=POLLED, oil_temp=1.0)
    assert line.host.data("press", "oil_temp") == [1.0, 2.0, 1.0]
    assert line.host.devices["press"].live["oil_temp"].value == 2.0
    line.be_born()
    line.more()
    assert line.host.devices["press"].live["oil_temp"].value == 2.0


@pytest.mark.parametrize("jump", [-86_400_000, 86_400_000, -POLLED])
def test_a_clock_that_jumps_does_not_lose_the_thread(line: Line, jump: int) -> None:
    line.poll(at=POLLED, oil_temp=1.0)
    line.poll(at=POLLED + jump, oil_temp=2.0)
    line.poll(at=POLLED + jump + 1, oil_temp=3.0)
    assert line.host.data("press", "oil_temp") == [1.0, 2.0, 3.0]
    assert line.host.devices["press"].live["oil_temp"].value == 3.0


# What cannot be sent


def test_a_payload_that_is_too_large_is_refused_and_the_numbers_have_no_gap() -> None:
    line = Line(max_payload=400)
    line.poll(oil_temp=1.0)
    refused = line.poll("large", text="x" * 400).refused
    assert refused == "The DDATA has 467 bytes; 400 is the most allowed"
    refused = line.poll(oil_temp=2.0, note="x" * 400).refused
    assert refused is not None
    line.poll("mixer", speed=1)
    line.more()
    assert line.host.faults == []
    assert line.verbs() == [
        "NBIRTH",
        "DBIRTH press",
        "DDATA press",
        "DBIRTH large",
        "DBIRTH press",
        "DBIRTH mixer",
        "DDATA mixer",
    ]


def test_the_data_of_a_device_whose_birth_is_too_large_is_refused_and_no_other_s() -> None:
    line = Line(max_payload=400)
    assert [line.poll(**{f"metric_{number}": number}).refused is None for number in range(20)].count(
        True
    ) < 20
    assert line.poll("mixer", speed=1).refused is None
    assert line.host.faults == []


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b'{"sparkplug":1,',
        b'{"timestamp":1,"node":"press"}',
        b'{"sparkplug":1,"device":"a","names":["b"],"units":[null],"timestamp":1,"values":[]}',
        b'{"sparkplug":2,"device":"a","names":["b"],"units":[null],"timestamp":1,"values":[1]}',
    ],
)
def test_what_is_no_payload_of_this_format_is_refused(line: Line, payload: bytes) -> None:
    sending = line.node.data(1, payload, 0, NOW)
    assert sending.messages == []
    assert sending.refused is not None


# All of it together

VALUES = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(-(2**70), 2**70),
    some.integers(-5, 5),
    some.floats(),
    some.text(max_size=5).filter(lambda text: text.isprintable()),
)
READING = some.one_of(
    VALUES,
    some.just((None, OFFLINE)),
    some.just((None, "TIMEOUT")),
    some.tuples(some.integers(), some.just("X")),
)
POLL = some.tuples(
    some.sampled_from(["a", "b", "c"]),
    some.dictionaries(some.sampled_from(["m", "n", "o"]), READING, min_size=1),
    some.sampled_from([0, 0, 0, 500, 5_000, LATE_MS + 1]),
)
STEP = some.one_of(POLL, some.sampled_from(["lose", "rebirth", "more", "again", "end"]))


@given(some.lists(STEP, max_size=60), some.sampled_from([150, 300, 10**6, 10**6]))
def test_no_course_of_things_confuses_a_host(steps: list[Any], max_payload: int) -> None:
    line = Line(max_payload)
    last: tuple[str, dict[str, Any], int] | None = None
    for step in steps:
        if step == "lose":
            line.lose()
            line.connect()
        elif step == "rebirth":
            line.be_born()
        elif step == "more":
            line.tell(*line.node.more(NOW))
        elif step == "end":
            line.end("a")
        elif step == "again" and last is not None:
            line.poll(last[0], age=last[2], seq=line.seq, **last[1])
        elif isinstance(step, tuple):
            last = step
            sending = line.poll(step[0], age=step[2], **step[1])
            if sending.refused is None:
                _check_told(line, step, bool(sending.messages))
            assert sending.refused is None or max_payload < 10**6
    line.more()
    assert line.host.faults == []


def _check_told(line: Line, poll: tuple[str, dict[str, Any], int], told: bool) -> None:
    """The host has every reading as it is, but for those that say that a dead device is offline."""
    device, readings, _ = poll
    if not told:
        assert all(reading == (None, OFFLINE) for reading in readings.values())
        assert device not in line.host.devices or not line.host.devices[device].online
        return
    latest = line.host.seen[-len(readings) :]
    for seen, (name, reading) in zip(latest, readings.items(), strict=True):
        value, code = reading if isinstance(reading, tuple) else (reading, None)
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        assert (seen.metric, seen.value, seen.birth) == (name, value, False) or abs(value) >= 2**64
        assert (seen.quality == "GOOD") == (code is None)
        assert seen.timestamp == POLLED


# Devices that tell what has changed


def test_on_the_next_connection_a_device_is_born_once_with_all_that_was_known(line: Line) -> None:
    line.poll(oil_temp=61.4)
    line.poll(running=True)
    line.poll(recipe="A7")
    assert line.verbs() == ["NBIRTH", *["DBIRTH press", "DDATA press"] * 3]
    line.lose()
    line.connect()
    line.poll(running=False)
    line.poll(oil_temp=61.5)
    line.poll(recipe="B2")
    assert line.verbs() == ["NDEATH", "NBIRTH", "DBIRTH press", *["DDATA press"] * 3]
    born = {metric.name: metric.value for metric in line.host.devices["press"].birth.metrics}
    assert born == {"oil_temp": 61.4, "running": False, "recipe": "A7"}


def test_a_device_that_ended_is_not_remembered(line: Line) -> None:
    line.poll(oil_temp=61.4)
    line.end()
    line.lose()
    line.connect()
    line.poll(running=False)
    assert [metric.name for metric in line.host.devices["press"].birth.metrics] == ["running"]


def test_connections_leave_nothing_behind(line: Line) -> None:
    for number in range(300):
        line.poll(oil_temp=float(number))
        line.poll(running=True)
        line.lose()
        line.connect()
    device = line.node._devices["press"]
    assert sorted(metric.alias for metric in device.metrics.values()) == [1, 2]


def test_what_was_stored_without_times_is_told_with_its_one_time(line: Line) -> None:
    payload = line.payload("press", {"oil_temp": 61.4, "running": True})
    assert b'"times"' not in payload
    line.tell(*line.node.data(1, payload, 0, NOW).messages)
    metrics = line.host.devices["press"].birth.metrics
    assert {metric.timestamp for metric in metrics} == {POLLED}
