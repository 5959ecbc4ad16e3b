"""Sparkplug B as a source: births, data, deaths, and what is missing in between."""

from typing import Any

import pytest

from actors.connections.connection import NoConnection
from actors.endpoints.listener import Description, Nobody
from actors.endpoints.protocols.mqtt import sparkplug, sparkplug_values
from actors.endpoints.protocols.mqtt.devices import Devices
from actors.endpoints.protocols.mqtt.notes import Notes
from actors.endpoints.protocols.mqtt.sparkplug import SparkplugIntake
from actors.mqtt.sparkplug_schema import parse, payload_class
from actors.system.failure import Refusal

NOW = 1_800_000_000_000
INT32, INT64, FLOAT, DOUBLE, BOOLEAN, STRING = 3, 4, 9, 10, 11, 12


class Heard(Nobody):
    """What a listener would have."""

    def __init__(self) -> None:
        self.points: dict[str, list[str]] = {}
        self.now: dict[str, dict[str, tuple[Any, str | None]]] = {}
        self.times: dict[str, dict[str, int | None]] = {}
        self.away: dict[str, str | None] = {}
        self.told = 0

    def described(self, description: Description) -> None:
        self.points[description.identifier] = [point.name for point in description.points]

    def changed(self, device: str, indices: Any, values: Any, codes: Any = None, times: Any = None) -> None:
        self.told += len(values)
        names = self.points[device]
        for place, index in enumerate(indices):
            code = codes[place] if codes else None
            self.now.setdefault(device, {})[names[index]] = values[place], code
            self.times.setdefault(device, {})[names[index]] = times[place] if times else None

    def presence(self, device: str, code: str | None) -> None:
        self.away[device] = code

    def lost(self, error: NoConnection) -> None:
        raise AssertionError(error)


class Rig:
    def __init__(self) -> None:
        self.heard = Heard()
        self.commands: list[tuple[str, Any]] = []
        notes = Notes("broker")
        devices = Devices(self.heard, notes, 100, 100)
        self.intake = SparkplugIntake(("spBv1.0/#",), devices, self.heard, notes, self._publish)

    def _publish(self, topic: str, payload: bytes) -> None:
        self.commands.append((topic, parse(payload)))

    def take(self, kind: str, seq: int | None, *metrics: dict[str, Any], retained: bool = False) -> None:
        payload = payload_class()(timestamp=NOW)
        if seq is not None:
            payload.seq = seq
        for metric in metrics:
            payload.metrics.add(**metric)
        node, _, device = kind.partition(" ")
        topic = f"spBv1.0/plant/{node}/press" + (f"/{device}" if device else "")
        self.intake.take(topic, payload.SerializeToString(), retained, NOW)

    def born(self, session: int = 0) -> None:
        self.take("NBIRTH", 0, number("bdSeq", session, INT64), real("load", 1.0, alias=1))
        self.take("DBIRTH pump", 1, number("flow", 10, alias=2), text("mode", "auto", alias=3))

    @property
    def pump(self) -> dict[str, tuple[Any, str | None]]:
        return self.heard.now["plant/press/pump"]


def number(name: str, value: int, datatype: int = INT32, **more: Any) -> dict[str, Any]:
    field = "long_value" if datatype == INT64 else "int_value"
    return {"name": name, "datatype": datatype, field: value, **more}


def real(name: str, value: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": DOUBLE, "double_value": value, **more}


def text(name: str, value: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": STRING, "string_value": value, **more}


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_birth_says_what_there_is(rig):
    rig.born()
    assert rig.heard.points == {"plant/press": ["load"], "plant/press/pump": ["flow", "mode"]}
    assert rig.heard.now["plant/press"] == {"load": (1.0, None)}
    assert rig.pump == {"flow": (10, None), "mode": ("auto", None)}
    assert rig.commands == []


def test_data_go_by_name_or_alias(rig):
    rig.born()
    rig.take("DDATA pump", 2, {"alias": 2, "int_value": 11, "timestamp": NOW - 5})
    rig.take("DDATA pump", 3, {"name": "mode", "string_value": "manual"})
    assert rig.pump == {"flow": (11, None), "mode": ("manual", None)}
    assert rig.heard.times["plant/press/pump"] == {"flow": NOW - 5, "mode": NOW}


def test_after_a_gap_nothing_that_goes_by_an_alias_is_read(rig):
    rig.born()
    rig.take("DDATA pump", 3, {"alias": 2, "int_value": 11})
    rig.take("DDATA pump", 4, {"alias": 2, "int_value": 12})
    assert rig.pump["flow"] == (10, None)
    rig.take("DDATA pump", 5, number("flow", 13))
    assert rig.pump["flow"] == (13, None)
    ((topic, payload),) = rig.commands
    assert topic == "spBv1.0/plant/NCMD/press"
    assert [(one.name, one.boolean_value) for one in payload.metrics] == [("Node Control/Rebirth", True)]


def test_a_new_birth_may_give_an_alias_to_another_metric(rig):
    rig.born()
    rig.take("NBIRTH", 0, number("bdSeq", 0, INT64), real("load", 1.0, alias=2))
    rig.take("DBIRTH pump", 1, number("flow", 20, alias=1))
    rig.take("DDATA pump", 2, {"alias": 2, "int_value": 99})
    rig.take("DDATA pump", 3, {"alias": 1, "int_value": 21})
    assert rig.pump == {"flow": (21, None), "mode": (None, sparkplug.NOT_BORN)}
    assert rig.heard.now["plant/press"] == {"load": (1.0, None)}


def test_data_without_a_birth_are_not_read_and_the_birth_is_asked_for_once(rig):
    for seq in range(5):
        rig.take("DDATA pump", seq, number("flow", 10))
    assert rig.heard.told == 0
    assert len(rig.commands) == 1


def test_a_node_that_does_not_help_is_asked_less_and_less_often(rig, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(sparkplug, "monotonic", lambda: clock[0])
    for _ in range(3600):
        clock[0] += 1
        rig.take("DDATA pump", 0, number("flow", 10))
    assert len(rig.commands) < 20


def test_a_death_makes_the_node_and_its_devices_go(rig):
    rig.born(session=7)
    rig.take("NDEATH", None, number("bdSeq", 7, INT64))
    assert rig.heard.away == {"plant/press": "DEVICE_OFFLINE", "plant/press/pump": "DEVICE_OFFLINE"}


@pytest.mark.parametrize(("session", "late"), [(7, 6), (0, 255)])
def test_the_death_of_an_earlier_session_does_not(rig, session, late):
    rig.born(session)
    rig.take("NDEATH", None, number("bdSeq", late, INT64))
    assert rig.heard.away == {"plant/press": None, "plant/press/pump": None}


def test_a_new_session_leaves_devices_away_until_they_are_born(rig):
    rig.born(session=1)
    rig.take("NBIRTH", 0, number("bdSeq", 2, INT64))
    assert rig.heard.away["plant/press/pump"] == "DEVICE_OFFLINE"
    rig.take("DDATA pump", 1, number("flow", 10))
    assert rig.commands
    rig.take("DBIRTH pump", 2, number("flow", 12))
    assert rig.heard.away["plant/press/pump"] is None
    assert rig.pump["flow"] == (12, None)


def test_a_device_may_die_by_itself(rig):
    rig.born()
    rig.take("DDEATH pump", 2)
    rig.take("NDATA", 3, {"alias": 1, "double_value": 2.0})
    assert rig.heard.away == {"plant/press": None, "plant/press/pump": "DEVICE_OFFLINE"}
    assert rig.heard.now["plant/press"]["load"] == (2.0, None)


def test_what_a_broker_has_kept_is_not_taken_for_news(rig):
    rig.born()
    rig.take("DDATA pump", 2, number("flow", 66), retained=True)
    assert rig.pump["flow"] == (10, None)


def test_what_was_kept_while_away_has_its_own_time_and_is_not_now(rig):
    rig.born()
    old = {**number("flow", 5), "is_historical": True, "timestamp": NOW - 60_000}
    rig.take("DDATA pump", 2, old, number("flow", 6))
    assert rig.heard.told == 5
    assert rig.pump["flow"] == (6, None)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ({"is_null": True}, (None, "NO_VALUE")),
        ({"string_value": "ten"}, (None, "TYPE_MISMATCH")),
        ({"int_value": 2**32 - 1}, (-1, None)),
        ({"long_value": 2**64 - 5}, (-5, None)),
        ({"long_value": 2**40}, (None, "OUT_OF_RANGE")),
    ],
)
def test_a_value_is_what_its_datatype_makes_of_it_or_bad(rig, metric, expected):
    rig.born()
    rig.take("DDATA pump", 2, {"name": "flow", **metric})
    assert rig.pump["flow"] == expected


def test_a_quality_that_is_not_good_and_a_time_that_cannot_be_are_doubts(rig):
    rig.born()
    doubtful = number("flow", 5)
    payload = payload_class()(timestamp=NOW, seq=2)
    metric = payload.metrics.add(**doubtful)
    metric.properties.keys.append("Quality")
    metric.properties.values.add(type=INT32, int_value=500)
    rig.intake.take("spBv1.0/plant/DDATA/press/pump", payload.SerializeToString(), False, NOW)
    assert rig.pump["flow"] == (5, "STALE")
    rig.take("DDATA pump", 3, {**number("flow", 6), "timestamp": NOW + 10**9})
    assert rig.pump["flow"] == (6, "TIMESTAMP_INVALID")
    assert rig.heard.times["plant/press/pump"]["flow"] is None


def test_garbage_changes_nothing(rig):
    rig.born()
    told = rig.heard.told
    for payload in (b"", b"\xff" * 40, b"{}", b"\x12\xff\xff\xff\x7f"):
        rig.intake.take("spBv1.0/plant/DDATA/press/pump", payload, False, NOW)
    for topic in ("spBv1.0", "spBv1.0/STATE/host", "spBv1.0/a/b/c/d/e", "other/plant/NBIRTH/press"):
        rig.intake.take(topic, b"x", False, NOW)
    assert rig.heard.told == told


def test_a_command_has_the_metrics_own_type(rig):
    rig.born()
    topic, payload = rig.intake.command("plant/press/pump", "flow", -3)
    (metric,) = parse(payload).metrics
    assert (topic, metric.name, metric.int_value) == ("spBv1.0/plant/DCMD/press/pump", "flow", 2**32 - 3)
    topic, _ = rig.intake.command("plant/press", "load", 2)
    assert topic == "spBv1.0/plant/NCMD/press"


@pytest.mark.parametrize(
    ("device", "name", "value", "match"),
    [
        ("plant/press/pump", "flow", "ten", "another type"),
        ("plant/press/pump", "flow", 2**31, "out of range"),
        ("plant/press/pump", "flow", 1.5, "integer"),
        ("plant/press/pump", "else", 1, "not found"),
        ("plant/else", "flow", 1, "not connected"),
    ],
)
def test_a_command_that_does_not_fit_is_refused(rig, device, name, value, match):
    rig.born()
    with pytest.raises(Refusal, match=match):
        rig.intake.command(device, name, value)


def test_arrays_and_data_sets_are_json():
    metric = payload_class()().metrics.add(datatype=24, bytes_value=b"\x01\0\0\0\xff\xff\xff\xff")
    assert sparkplug_values.read(metric, 24) == ([1, -1], None)
    metric = payload_class()().metrics.add(datatype=32, bytes_value=b"\x0a\0\0\0\xa0\x40")
    assert sparkplug_values.read(metric, 32)[0] == [True, False, True] + [False] * 6 + [True]
    metric = payload_class()().metrics.add(datatype=33, bytes_value=b"a\0bc\0")
    assert sparkplug_values.read(metric, 33) == (["a", "bc"], None)
    metric = payload_class()().metrics.add(datatype=16)
    metric.dataset_value.columns.extend(["n", "s"])
    row = metric.dataset_value.rows.add()
    row.elements.add(int_value=1)
    row.elements.add(string_value="x")
    assert sparkplug_values.read(metric, 16) == ([{"n": 1, "s": "x"}], None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(sparkplug, "monotonic", lambda: now[0])
    return now


def test_a_birth_that_does_not_help_is_asked_for_less_and_less_often(rig, clock):
    """A node whose data name a metric that no birth has: each birth would be followed by another request."""
    for _ in range(600):
        rig.take("NBIRTH", 0, real("load", 1.0))
        rig.take("NDATA", 1, real("else", 2.0))
        clock[0] += 1
    assert len(rig.commands) <= 8
    clock[0] += 10_000
    rig.take("NDATA", 2, real("else", 2.0))
    clock[0] += 5
    rig.take("NDATA", 3, real("else", 2.0))
    assert len(rig.commands) <= 10


def test_what_cannot_be_taken_in_is_no_reason_to_ask_for_births(rig):
    rig.intake._devices._metrics = 1
    rig.intake._devices._most = 1  # besides an endpoint's own
    rig.take("NBIRTH", 0, real("load", 1.0), real("more", 1.0, alias=7))
    rig.take("DBIRTH pump", 1, number("flow", 1))
    rig.take("DBIRTH third", 2, number("flow", 1))
    rig.take("DDATA third", 3, number("flow", 2))
    rig.take("NDATA", 4, real("more", 2.0))
    rig.take("NDATA", 5, {"alias": 7, "double_value": 1.0})
    assert rig.commands == []
    assert rig.heard.now == {"plant/press": {"load": (1.0, None)}, "plant/press/pump": {"flow": (1, None)}}


@pytest.mark.parametrize("node", ["100%", "%s", "Pump%20A", "{0}", "%(x)s"])
def test_a_node_may_have_any_name(rig, node):
    payload = payload_class()(seq=3)
    rig.intake.take(f"spBv1.0/plant/NDATA/{node}", payload.SerializeToString(), False, NOW)
    assert [topic for topic, _ in rig.commands] == [f"spBv1.0/plant/NCMD/{node}"]


def test_a_text_that_is_no_utf8_is_bad_and_a_name_is_none(rig):
    birth = payload_class()(timestamp=NOW, seq=0)
    birth.metrics.add(**text("mode", "~~"))
    birth.metrics.add(**text("@@", "good"))
    birth.metrics.add(**number("load", 5))
    octets = birth.SerializeToString().replace(b"~~", b"\xff\xfe").replace(b"@@", b"\xff\xfe")
    rig.intake.take("spBv1.0/plant/NBIRTH/press", octets, False, NOW)
    rig.intake.take("spBv1.0/plant/NDATA/press", octets.replace(b"\x18\x00", b"\x18\x01"), False, NOW)
    assert rig.heard.now["plant/press"] == {"mode": (None, "TYPE_MISMATCH"), "load": (5, None)}
    assert rig.commands == []


def test_who_is_said_to_be_dead_is_not_taken_for_alive_though_messages_are_missing(rig):
    rig.born()
    rig.take("DDEATH pump", 9)
    assert rig.heard.away["plant/press/pump"] == "DEVICE_OFFLINE"


def test_after_a_gap_nothing_is_read_by_a_type_that_may_be_another_by_now(rig):
    rig.born()
    rig.take("DDATA pump", 7, {"name": "flow", "int_value": 2**32 - 1})
    assert rig.pump["flow"] == (10, None)
    rig.take("DDATA pump", 8, number("flow", 2**32 - 1))
    assert rig.pump["flow"] == (-1, None)


def test_after_the_last_sequence_number_comes_the_first(rig):
    rig.born()
    for number_ in range(2, 600):
        rig.take("DDATA pump", number_ % 256, {"alias": 2, "int_value": number_})
    assert rig.pump["flow"] == (599, None)
    assert rig.commands == []
