"""Whatever devices send: no exception out of an intake, and nothing that is none of what was sent."""

import json
import math
from typing import Any

import cbor2
import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_mqtt_intake import AT, Endpoint

from actors.endpoints.protocols.mqtt import codecs, stamps
from actors.endpoints.protocols.mqtt.topics import Unreadable

_KEYS = st.one_of(
    st.sampled_from(
        [
            "value",
            "timestamp",
            "ts",
            "time",
            "deviceId",
            "device_id",
            "unit",
            "units",
            "t_unit",
            "t",
            "name",
            "n",
        ]
    ),
    st.text(max_size=5),
)
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["2026-11-28T12:00:00Z", "NaN", "+-inf", "1e999", "°C", "\ud800", "../..", "a/b", "+", "#"]
    ),
)
_DOCUMENTS = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=12,
)
_TOPICS = st.sampled_from(["plant", "plant/a", "plant/a/b", "device/x/status", "device/\u202e/status"])


def endpoints() -> list[Endpoint]:
    point = {"metric": "t", "unit": "°C", "path": "t", "precision": 1}
    every = [
        {"metric": kind, "dataType": kind, "path": "value"}
        for kind in ("integer", "boolean", "object", "string")
    ]
    return [
        Endpoint(),
        Endpoint(topic="#", allowArrayMetrics=True, timestampField="time", deviceIdField="name"),
        Endpoint(point, *every, autoMetrics=True, deviceId="own"),
    ]


def payload(document: Any, form: str) -> bytes | None:
    try:
        if form == "cbor":
            return cbor2.dumps(document, value_sharing=True)
        if form == "msgpack":
            packed: bytes = msgpack.packb(document, unicode_errors="surrogatepass")
            return packed
        return json.dumps(document).encode()
    except (ValueError, OverflowError, TypeError):
        return None


def check(endpoint: Endpoint) -> None:
    for device, (metric, value, code, time) in endpoint.heard.readings:
        assert isinstance(value, str | int | float | bool | None)
        assert device.isprintable()
        assert metric.isprintable()
        assert not isinstance(value, float) or math.isfinite(value)
        assert value is not None or code is not None
        assert time is None or stamps.EARLIEST <= time <= AT + stamps.AHEAD_MS
        msgspec.json.encode([value, device, metric])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(_TOPICS, _DOCUMENTS, st.booleans()), max_size=4),
    st.sampled_from(["json", "cbor", "msgpack"]),
)
def test_any_document_is_read_or_not(messages: list[tuple[str, Any, bool]], form: str) -> None:
    for endpoint in (Endpoint(format=form), *(endpoints() if form == "json" else ())):
        for topic, document, retained in messages:
            octets = payload(document, form)
            if octets is not None:
                endpoint.intake.take(topic, octets, retained, AT)
        check(endpoint)


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=40) | st.text(max_size=12).map(str.encode),
    _TOPICS,
    st.sampled_from(sorted(codecs._WHOLE)),
)
def test_any_bytes_are_read_or_not(octets: bytes, topic: str, encoding: str) -> None:
    for endpoint in (*endpoints(), Endpoint({"metric": "t", "dataType": "string", "encoding": encoding})):
        endpoint.intake.take(topic, octets, False, AT)
        check(endpoint)


@pytest.mark.parametrize(
    "octets",
    [
        b"+-nan",
        b"--inf",
        b'{"timestamp":' + b"9" * 400 + b',"t":1}',
        b'{"time":' + b"9" * 4000 + b',"t":1}',
        b'{"deviceId":' + b"9" * 4000 + b',"t":1}',
        b'{"t":"\\ud800"}',
        b'"\\udfff"',
    ],
)
def test_what_looks_like_a_number_or_a_text_and_is_none(octets: bytes) -> None:
    for endpoint in endpoints():
        endpoint.intake.take("plant/a", octets, False, AT)
        check(endpoint)


def test_a_payload_that_stands_for_more_than_it_holds_is_none() -> None:
    document: list[Any] = [1]
    for _ in range(50):
        document = [document, document]
    octets = cbor2.dumps(document, value_sharing=True)
    assert len(octets) < 500
    with pytest.raises(Unreadable):
        codecs.codec("cbor")(octets)
