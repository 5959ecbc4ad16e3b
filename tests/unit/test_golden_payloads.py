"""Every format in every compression, byte for byte.

`python tests/unit/test_golden_payloads.py` writes the files under `golden/` anew. What is in them is held
against objects that are made here from the readings, so a wrong payload cannot become golden unnoticed.
"""

import json
import math
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

import msgspec
import pysparkplug
import pytest
from line_protocol_parser import parse_line
from pysparkplug._protobuf import Payload
from receiver import receive

from actors.publish.formats import JSON_NAMES, MessageIds, encode
from actors.publish.formats.compression import COMPRESSIONS, THRESHOLD
from actors.publish.sparkplug.node import Node
from actors.readings.batch import Batch, Insight, Point, Source

GOLDEN = Path(__file__).parent / "golden"
POLLED = 1741083325004
PUBLISHED = 1741083330123
AGENT = "7f3e9a1b-1111-4222-8333-444455556666"
MESSAGE_ID = f"{AGENT}-{PUBLISHED}-0-b7e2d"
KNOWN: dict[str, Any] = {
    "anomaly_score": 0.53,
    "anomaly_threshold": 0.7,
    "baseline_samples": 240,
    "detection_methods": ["zscore", "mad"],
    "predicted_next": 61.6,
    "trend": "increasing",
    "trend_strength": 0.4,
    "forecast_confidence": 0.8,
    "time_to_threshold": {"threshold": 80.0, "estimated_seconds": 5400.0, "confidence": 0.6},
    "device_state": "running",
    "raw_device_state": "RUN",
    "state_duration_seconds": 930.0,
}
# Name, unit, value, quality code, what the detector knows; then the quality and ecp's type, if it has one.
Reading = tuple[str, str | None, Any, str | None, dict[str, Any] | None, str, int | None]
MIXED: list[Reading] = [
    ("oil_temp", "°C", 61.4, None, KNOWN, "GOOD", 3),
    ("running", None, True, None, None, "GOOD", 1),
    ("stopped", None, False, None, None, "GOOD", 1),
    ("parts", "pcs", 412, None, {"trend": "stable"}, "GOOD", 2),
    ("level", "%", 50.0, None, None, "GOOD", 2),
    ("recipe", None, "A7", None, None, "GOOD", 4),
    ("operator's “note”", None, 'Grüße, 日本 😀 "q" \\ \n\t\0', None, None, "GOOD", 4),
    ("unknown", None, None, None, None, "GOOD", None),
    ("not_a_number", None, math.nan, None, None, "GOOD", None),
    ("infinite", None, -math.inf, None, None, "GOOD", None),
    ("cycle_count", None, None, "ILLEGAL_ADDRESS", None, "BAD", None),
    ("speed", "m/s", None, "TIMEOUT", KNOWN, "BAD", None),
    ("flow", "l/min", 17.25, "STALE", None, "UNCERTAIN", 3),
    ("valve", None, False, "STALE", {"device_state": "idle"}, "UNCERTAIN", 1),
    ("largest_signed", None, 2**63 - 1, None, None, "GOOD", 2),
    ("smallest_signed", None, -(2**63), None, None, "GOOD", 2),
    ("largest_unsigned", None, 2**64 - 1, None, None, "GOOD", 2),
    ("beyond_a_float", None, 2**53 + 1, None, None, "GOOD", 2),
    ("tiny", None, 2.5e-300, None, None, "GOOD", 3),
    ("zero", None, 0, None, None, "GOOD", 2),
]
LARGE: list[Reading] = [
    (f"text_{number}", None, f"{number} " + "well " * 80, None, None, "GOOD", 4) for number in range(12)
]
CASES = {"mixed": MIXED, "large": LARGE}


def batch_of(readings: list[Reading]) -> Batch:
    source = Source(
        endpoint_uuid="5b0e0000-aaaa-4bbb-8ccc-ddddeeeeffff",
        endpoint="line-1",
        protocol="modbus",
        device_uuid="1a2b3c4d-aaaa-4bbb-8ccc-ddddeeeeffff",
        device="press-4-1a2b3c4d",
        points=tuple(Point(name, unit) for name, unit, *_ in readings),
        prefixes=(),
    )
    codes = [reading[3] for reading in readings]
    insights = [msgspec.convert(reading[4], Insight | None) for reading in readings]
    return Batch(
        source,
        POLLED,
        [reading[2] for reading in readings],
        codes if any(codes) else None,
        insights=insights if any(insights) else None,
    )


def made(format_name: str, compression: str, case: str) -> bytes:
    ids = MessageIds(AGENT, clock=lambda: PUBLISHED)
    with mock.patch("random.getrandbits", return_value=0xB7E2D):
        payload = encode(format_name, compression, [(batch_of(CASES[case]), None)], ids)
    assert payload is not None
    return payload


# What is expected of a payload, from the readings alone


def custom(readings: list[Reading]) -> dict[str, Any]:
    return {
        "timestamp": "2025-03-04T10:15:30.123Z",
        "protocol": "modbus",
        "messages": [_message(*reading) for reading in readings],
        "msgId": MESSAGE_ID,
    }


def _message(
    name: str, unit: str | None, value: Any, code: str | None, known: Any, quality: str, _: Any
) -> dict[str, Any]:
    message = {
        "timestamp": "2025-03-04T10:15:25.004Z",
        "deviceName": "press-4-1a2b3c4d",
        "protocol": "modbus",
        "endpoint_uuid": "5b0e0000-aaaa-4bbb-8ccc-ddddeeeeffff",
        "device_uuid": "1a2b3c4d-aaaa-4bbb-8ccc-ddddeeeeffff",
        "metric": name,
        "value": _sayable(value),
    }
    if unit is not None:
        message["unit"] = unit
    message["quality"] = quality
    if code is not None:
        message["qualityCode"] = code
    return message | (known or {})


def tags(readings: list[Reading]) -> dict[str, Any]:
    return _device(
        {"name": name, "value": _sayable(value)} if code is None else {"name": name, "error": code}
        for name, _, value, code, *_ in readings
    )


def ecp(readings: list[Reading]) -> dict[str, Any]:
    return _device(
        {"name": name, "value": int(value) if type == 2 else value, "type": type}
        for name, _, value, *_, type in readings
        if type
    )


def _device(tags: Any) -> dict[str, Any]:
    return {
        "timestamp": POLLED,
        "node": "press-4-1a2b3c4d",
        "group": "modbus",
        "tags": list(tags),
        "msgId": MESSAGE_ID,
    }


def _sayable(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


EXPECTED: dict[str, Callable[[list[Reading]], dict[str, Any]]] = {"custom": custom, "tags": tags, "ecp": ecp}


# Tests

every_golden = pytest.mark.parametrize(
    ("format_name", "compression", "case"),
    [(name, compression, case) for name in JSON_NAMES for compression in COMPRESSIONS for case in CASES],
)


def golden(format_name: str, compression: str, case: str) -> Path:
    return GOLDEN / f"{format_name}-{case}.{compression}"


@every_golden
def test_a_payload_is_golden(format_name: str, compression: str, case: str) -> None:
    payload = made(format_name, compression, case)
    expected = golden(format_name, compression, case).read_bytes()
    if expected[:2] == b"\x78\x9c":
        # Builds of zlib differ in how well they compress.
        assert payload[:2] == b"\x78\x9c"
        payload, expected = zlib.decompress(payload), zlib.decompress(expected)
    assert payload == expected


@every_golden
def test_a_receiver_finds_the_readings_in_what_is_golden(
    format_name: str, compression: str, case: str
) -> None:
    received = receive(golden(format_name, compression, case).read_bytes())
    assert _as_text(received) == _as_text(EXPECTED[format_name](CASES[case]))


def _as_text(decoded: Any) -> str:
    """Unlike Python's equality, this tells 1 from 1.0 and from True, and keys in another order."""
    return json.dumps(decoded)


@every_golden
def test_only_what_is_large_is_deflated(format_name: str, compression: str, case: str) -> None:
    serialised = made(format_name, compression.removesuffix("+deflate"), case)
    deflated = made(format_name, compression, case)[:2] == b"\x78\x9c"
    assert deflated == (compression.endswith("+deflate") and len(serialised) > THRESHOLD)
    assert case != "large" or len(serialised) > THRESHOLD


def test_the_internal_format_is_golden_as_it_is() -> None:
    expected = (GOLDEN / "line-protocol-mixed").read_bytes()
    assert {made("line-protocol", compression, "mixed") for compression in COMPRESSIONS} == {expected}
    point = parse_line(f"plant,{expected.decode()}")
    assert point["time"] == POLLED
    assert set(point["fields"]) == {name for name, *_, type in MIXED if type}
    assert point["fields"]["oil_temp"] == 61.4


# Sparkplug: what waits in an outbox, and what a node makes of it

SPARKPLUG = GOLDEN / "sparkplug-mixed"


def sparkplug_messages() -> dict[str, bytes]:
    """What a node publishes of the mixed readings, by verb."""
    with mock.patch("secrets.randbelow", return_value=6):
        node = Node("plant", "gateway-1", THRESHOLD)
    node.will(PUBLISHED)
    told = [node.birth(PUBLISHED)]
    told += node.data(1, made("sparkplug", "json", "mixed"), 0, PUBLISHED).messages
    told.append(node.death(PUBLISHED))
    return {message.topic.split("/")[2]: message.payload for message in told}


def test_the_format_of_sparkplug_is_golden_and_not_compressed() -> None:
    expected = SPARKPLUG.with_suffix(".json").read_bytes()
    assert {made("sparkplug", compression, "mixed") for compression in COMPRESSIONS} == {expected}
    assert json.loads(expected) == {
        "sparkplug": 1,
        "device": "press-4-1a2b3c4d-1a2b3c4d",
        "names": [name for name, *_ in MIXED],
        "units": [unit for _, unit, *_ in MIXED],
        "timestamp": POLLED,
        "values": [_sayable(value) for _, _, value, *_ in MIXED],
        "codes": [code for _, _, _, code, *_ in MIXED],
    }


def test_the_messages_of_a_node_are_golden() -> None:
    told = sparkplug_messages()
    assert told.keys() == {"NBIRTH", "DBIRTH", "DDATA", "NDEATH"}
    for verb, payload in told.items():
        assert payload == SPARKPLUG.with_suffix(f".{verb}").read_bytes()


def test_another_library_finds_the_readings_in_what_is_golden() -> None:
    birth, data = (SPARKPLUG.with_suffix(f".{verb}").read_bytes() for verb in ("DBIRTH", "DDATA"))
    born = pysparkplug.DBirth.decode(birth)
    told = pysparkplug.DData.decode(data, birth=born)
    for metrics in (born.metrics, told.metrics):
        assert [metric.name for metric in metrics] == [name for name, *_ in MIXED]
        assert _as_text([metric.value for metric in metrics]) == _as_text(
            [_sayable(value) for _, _, value, *_ in MIXED]
        )
        assert {metric.timestamp for metric in metrics} == {POLLED}
        assert [metric.is_null for metric in metrics] == [
            _sayable(value) is None for _, _, value, *_ in MIXED
        ]
    qualities = {"GOOD": 192, "BAD": 0, "UNCERTAIN": 500}
    raw = Payload.FromString(birth)
    assert [metric.properties.values[0].int_value for metric in raw.metrics] == [
        qualities[quality] for *_, quality, _ in MIXED
    ]


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in JSON_NAMES:
        for case in CASES:
            for compression in COMPRESSIONS:
                golden(name, compression, case).write_bytes(made(name, compression, case))
    (GOLDEN / "line-protocol-mixed").write_bytes(made("line-protocol", "json", "mixed"))
    SPARKPLUG.with_suffix(".json").write_bytes(made("sparkplug", "json", "mixed"))
    for verb, payload in sparkplug_messages().items():
        SPARKPLUG.with_suffix(f".{verb}").write_bytes(payload)
