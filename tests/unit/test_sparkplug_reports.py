"""What users of other products have reported of Sparkplug nodes: each rebuilt with a strict host, with the
link of the report."""

from typing import Any

import pysparkplug
import pytest
from pysparkplug import DataType
from pysparkplug._protobuf import Payload
from sparkplug_line import NOW, OFFLINE, POLLED, Line

from actors.publish.sparkplug.node import LATE_MS


@pytest.fixture
def line() -> Any:
    made = Line()
    yield made
    assert made.host.faults == []


@pytest.mark.parametrize("value", [-1, -12, -(2**7), -(2**15), -(2**31), -(2**31) - 1])
def test_negative_integers_stay_negative_for_hosts_that_forget_datatypes_too(line: Line, value: int) -> None:
    """https://github.com/eclipse-tahu/tahu/issues/71, https://github.com/SeppPenner/SparkplugNet/issues/96,
    https://github.com/matteosox/pysparkplug/pull/32,
    https://github.com/united-manufacturing-hub/benthos-umh/pull/454 (-12 arrives as 4294967284)"""
    line.poll(offset=0)
    sending = line.poll(offset=value)
    assert line.host.data("press", "offset") == [0, value]
    (metric,) = Payload.FromString(sending.messages[-1].payload).metrics
    assert (metric.WhichOneof("value"), metric.long_value) == ("long_value", value % 2**64)
    assert metric.datatype == DataType.INT64


def test_a_rebirth_counts_from_0_with_nothing_of_before_behind_it(line: Line) -> None:
    """https://github.com/eclipse-tahu/tahu/issues/373,
    https://github.com/eclipse-sparkplug/sparkplug/issues/178"""
    for number in range(300):
        line.poll(parts=number)
    line.be_born()
    line.more()
    line.poll(parts=300)
    assert line.host.data("press", "parts") == list(range(301))


def test_a_rebirth_is_no_death_and_has_the_names_and_aliases_and_the_number_of_the_first(line: Line) -> None:
    """https://github.com/thomassorensen2650/node-red-contrib-mqtt-sparkplug-plus/issues/89 (NDEATH, with a
    seq), https://github.com/thomassorensen2650/node-red-contrib-mqtt-sparkplug-plus/issues/92 (no names, all
    aliases 5), https://github.com/SeppPenner/SparkplugNet/issues/115 (reconnects, and forgets its metrics)"""
    line.poll(a=1, b=2.5, c="x", d=True)
    before = line.host.devices["press"].birth
    line.verbs()
    line.be_born()
    line.more()
    after = line.host.devices["press"].birth
    assert line.verbs() == ["NBIRTH", "DBIRTH press"]
    assert line.host.births[0] == line.host.births[1]
    told = [
        [(one.name, one.alias, one.datatype, one.value) for one in each.metrics] for each in (before, after)
    ]
    assert told[0] == told[1]


def test_history_comes_behind_births_and_says_when_it_was(line: Line) -> None:
    """https://github.com/thomassorensen2650/node-red-contrib-mqtt-sparkplug-plus/issues/65 (DBIRTH without
    NBIRTH, history lost),
    https://github.com/thomassorensen2650/node-red-contrib-mqtt-sparkplug-plus/issues/60 (the flag under
    another name), https://github.com/thomassorensen2650/node-red-contrib-mqtt-sparkplug-plus/pull/56"""
    line.poll(parts=0)
    line.lose()
    line.connect()
    line.verbs()
    for number in range(1, 4):
        line.poll(age=LATE_MS + 1, at=POLLED + number, parts=number)
    assert line.verbs()[:2] == ["DBIRTH press", "DDATA press"]
    history = [one for one in line.host.seen if one.historical]
    assert [(one.value, one.timestamp) for one in history] == [(n, POLLED + n) for n in range(1, 4)]


def test_history_from_before_a_birth_goes_by_the_aliases_of_that_birth(line: Line) -> None:
    """https://github.com/eclipse-sparkplug/sparkplug/issues/427"""
    stored = [line.payload("press", {"old": number, "parts": number}) for number in range(3)]
    line.poll(parts=9)
    line.be_born()
    for seq, payload in enumerate(stored, 2):
        line.tell(*line.node.data(seq, payload, LATE_MS + 1, NOW).messages)
    assert line.host.data("press", "old") == [0, 1, 2]
    assert line.host.data("press", "parts") == [9, 0, 1, 2]


def test_the_number_of_a_death_is_in_it_and_in_no_message_but_that_and_the_node_s_birth(line: Line) -> None:
    """https://github.com/thomassorensen2650/node-red-contrib-mqtt-sparkplug-plus/issues/22,
    https://github.com/SeppPenner/SparkplugNet/issues/13,
    https://github.com/SeppPenner/SparkplugNet/issues/82"""
    sending = line.poll(parts=1)
    payloads = [Payload.FromString(message.payload) for message in sending.messages]
    assert "bdSeq" not in {metric.name for payload in payloads for metric in payload.metrics}
    (metric,) = Payload.FromString(line.will.payload).metrics
    assert (metric.name, metric.long_value) == ("bdSeq", line.host.births[0])


def test_every_metric_has_a_timestamp_and_the_message_that_of_its_sending(line: Line) -> None:
    """https://github.com/thomassorensen2650/node-red-contrib-mqtt-sparkplug-plus/issues/79 (a host that fails
    over it), https://github.com/thomassorensen2650/node-red-contrib-mqtt-sparkplug-plus/issues/93 (those of
    NBIRTH), https://github.com/guycorbaz/smartme_mqtt/issues/29"""
    messages = [line.node.birth(NOW), *line.poll(parts=1).messages]
    for message in messages:
        payload = Payload.FromString(message.payload)
        assert payload.timestamp == NOW
        assert all(metric.HasField("timestamp") for metric in payload.metrics)
    assert {metric.timestamp for metric in payload.metrics} == {POLLED}


def test_a_host_that_knows_no_alias_can_ask_for_births(line: Line) -> None:
    """https://github.com/eclipse-sparkplug/sparkplug/issues/265,
    https://github.com/hivemq/hivemq-mqtt-client-dotnet/pull/331 (the metric under another name),
    https://github.com/united-manufacturing-hub/benthos-umh/pull/345 (a host that restarts)"""
    line.poll(parts=1)
    metric = pysparkplug.Metric(
        timestamp=1, name="Node Control/Rebirth", datatype=DataType.BOOLEAN, value=True
    )
    for datatypes in (True, False):
        command = pysparkplug.NCmd(timestamp=1, metrics=(metric,)).encode(include_dtypes=datatypes)
        assert line.node.wants_rebirth(line.host.commands, command)


def test_what_is_refused_leaves_no_gap_and_does_not_come_back(line: Line) -> None:
    """https://github.com/guycorbaz/smartme_mqtt/issues/92 (a hole in the numbers, and later births tell the
    reading that was refused)"""
    small = Line(max_payload=300)
    small.poll(parts=1, note="x")
    assert small.poll(note="y" * 300).refused is not None
    small.poll(parts=2)
    small.be_born()
    small.more()
    small.poll(parts=3)
    assert small.host.faults == []
    assert small.host.data("press", "parts") == [1, 2, 3]
    note = small.host.devices["press"].live["note"]
    assert (note.value, note.quality) == (None, "STALE")


def test_a_device_that_is_gone_does_not_stay_good(line: Line) -> None:
    """https://github.com/Cirrus-Link2/Sparkplug/issues/19,
    https://github.com/AMRC-FactoryPlus/amrc-connectivity-stack/issues/164"""
    line.poll(parts=1)
    line.poll(parts=(None, OFFLINE))
    assert not line.host.devices["press"].online
    assert line.host.devices["press"].live["parts"].quality == "BAD"
    line.poll(parts=2)
    assert line.host.devices["press"].live["parts"].quality == "GOOD"


def test_names_of_metrics_with_slashes_and_of_commands_are_names(line: Line) -> None:
    """https://github.com/eclipse-sparkplug/sparkplug/issues/144"""
    names = {"line/1/oil temp": 1.0, "Node Control/Rebirth": 2, "bdSeq": 3, "a+b#": 4}
    line.poll(**names)
    for name, value in names.items():
        assert line.host.data("press", name) == [value]


def test_values_of_several_polls_are_messages_of_their_own(line: Line) -> None:
    """https://github.com/united-manufacturing-hub/benthos-umh/pull/416 (several values of a metric in a
    message, of which a host keeps one)"""
    line.poll(a=1, b=2)
    line.poll(at=POLLED + 1, a=3, b=4)
    names = [name for name in ("a", "b") for _ in line.host.data("press", name)]
    assert names == ["a", "a", "b", "b"]
    assert line.verbs() == ["NBIRTH", "DBIRTH press", "DDATA press", "DDATA press"]
