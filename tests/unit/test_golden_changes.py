"""What each format makes of some points of a source, each with its own time, byte for byte.

`python tests/unit/test_golden_changes.py` writes the files under `golden/` anew; as in `test_golden_payloads`
what is in them is held against the readings themselves. Payloads of one batch are lines of a file.
"""

import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

import pysparkplug
import pytest
from line_protocol_parser import parse_line
from pysparkplug._protobuf import Payload
from test_golden_payloads import AGENT, GOLDEN, MIXED, POLLED, PUBLISHED, Reading, batch_of

from actors.publish import formats, selection
from actors.publish.formats import MessageIds
from actors.publish.sparkplug.node import Node
from actors.publish.subscription_route import SubscriptionRoute
from actors.readings.batch import Batch
from actors.readings.interest import Choice

# Point and how long before the batch; in an order of its own, as changes come.
CHANGES = [(12, 0), (3, 250), (0, 1250), (10, 250), (6, 1250), (19, 0), (7, 0), (11, 61_250)]
TOLD: list[tuple[Reading, int]] = [(MIXED[index], POLLED - before) for index, before in CHANGES]
TEXT = {"custom": "custom-changes.json", "tags": "tags-changes.json", "ecp": "ecp-changes.json"}
FILES = TEXT | {"line-protocol": "line-protocol-changes", "sparkplug": "sparkplug-changes.json"}


def changes() -> Batch:
    whole = batch_of(MIXED)
    indices = [index for index, _ in CHANGES]
    assert whole.qualities is not None
    assert whole.insights is not None
    return Batch(
        whole.source,
        POLLED,
        [whole.values[index] for index in indices],
        [whole.qualities[index] for index in indices],
        insights=[whole.insights[index] for index in indices],
        indices=indices,
        times=[time for _, time in TOLD],
    )


def payloads(name: str) -> list[bytes]:
    own = formats.find(name)
    route = SubscriptionRoute(topics=(), topic="out", payload_format=name, compression="json")
    told = selection.messages(route, Choice(None), [changes()], own.per_poll, own.per_time)
    ids = MessageIds(AGENT, clock=lambda: PUBLISHED)
    with mock.patch("random.getrandbits", return_value=0xB7E2D):
        made = [formats.encode(name, "json", pieces, ids) for pieces in told]
    return [payload for payload in made if payload is not None]


def written(name: str) -> list[bytes]:
    return (GOLDEN / FILES[name]).read_bytes().split(b"\n")[:-1]


@pytest.mark.parametrize("name", FILES)
def test_what_has_changed_is_golden(name: str) -> None:
    assert payloads(name) == written(name)


def test_each_reading_has_its_own_time() -> None:
    (payload,) = written("custom")
    found = json.loads(payload)["messages"]
    assert [(one["metric"], one["timestamp"], one.get("qualityCode")) for one in found] == [
        (name, _iso(time), code) for (name, _, _, code, *_), time in TOLD
    ]
    assert [one["value"] for one in found] == [value for (_, _, value, *_), _ in TOLD]
    assert "anomaly_score" in found[2]


def _iso(time: int) -> str:
    second = {POLLED: "25.004", POLLED - 250: "24.754", POLLED - 1250: "23.754"}.get(time)
    return f"2025-03-04T10:15:{second}Z" if second else "2025-03-04T10:14:23.754Z"


@pytest.mark.parametrize("name", ["tags", "ecp"])
def test_a_payload_of_one_time_has_the_readings_of_that_time(name: str) -> None:
    by_time: dict[int, list[Any]] = {}
    for (metric, _, value, code, *_, kind), time in sorted(TOLD, key=lambda told: told[1]):
        if name == "tags":
            entry = {"name": metric, "value": value} if code is None else {"name": metric, "error": code}
            by_time.setdefault(time, []).append(entry)
        elif kind:
            by_time.setdefault(time, []).append({"name": metric, "value": value, "type": kind})
    found = [json.loads(payload) for payload in written(name)]
    assert [(one["timestamp"], one["tags"]) for one in found] == list(by_time.items())
    assert len({one["msgId"] for one in found}) == len(found)


def test_a_line_of_one_time_has_the_readings_of_that_time() -> None:
    points = [parse_line(f"plant,{line.decode()}") for line in written("line-protocol")]
    assert [(point["time"], set(point["fields"])) for point in points] == [
        (POLLED - 1250, {"oil_temp", "operator's “note”"}),
        (POLLED - 250, {"parts"}),
        (POLLED, {"flow", "zero"}),
    ]


# Sparkplug


def data_of_a_node() -> dict[str, bytes]:
    with mock.patch("secrets.randbelow", return_value=6):
        node = Node("plant", "gateway-1", 4096)
    node.will(PUBLISHED)
    node.birth(PUBLISHED)
    (payload,) = payloads("sparkplug")
    told = node.data(1, payload, 0, PUBLISHED).messages
    return {message.topic.split("/")[2]: message.payload for message in told}


def test_what_waits_in_an_outbox_has_times() -> None:
    (payload,) = written("sparkplug")
    stored = json.loads(payload)
    assert stored["times"] == [time for _, time in TOLD]
    assert stored["names"] == [name for (name, *_), _ in TOLD]
    assert stored["units"] == [unit for (_, unit, *_), _ in TOLD]
    assert stored["codes"] == [code for (_, _, _, code, *_), _ in TOLD]
    assert stored["timestamp"] == POLLED


def test_the_messages_of_a_node_are_golden() -> None:
    for verb, payload in data_of_a_node().items():
        assert payload == (GOLDEN / f"sparkplug-changes.{verb}").read_bytes()


def test_another_library_finds_each_metric_with_its_time() -> None:
    birth, data = ((GOLDEN / f"sparkplug-changes.{verb}").read_bytes() for verb in ("DBIRTH", "DDATA"))
    born = pysparkplug.DBirth.decode(birth)
    told = pysparkplug.DData.decode(data, birth=born)
    for metrics in (born.metrics, told.metrics):
        assert [(one.name, one.timestamp) for one in metrics] == [(name, time) for (name, *_), time in TOLD]
    assert Payload.FromString(data).timestamp == PUBLISHED


if __name__ == "__main__":
    for name, file in FILES.items():
        (GOLDEN / file).write_bytes(b"".join(payload + b"\n" for payload in payloads(name)))
    for verb, octets in data_of_a_node().items():
        (GOLDEN / f"sparkplug-changes.{verb}").write_bytes(octets)
