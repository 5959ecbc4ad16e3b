import gc
import json
import math
import re
import weakref
from typing import Any

import msgspec
import pytest

from actors.publish.formats import (
    JSON_NAMES,
    NAMES,
    MessageIds,
    custom,
    ecp,
    encode,
    encode_event,
    fragments,
    tags,
)
from actors.publish.formats.format import Piece
from actors.publish.sparkplug.node import Node
from actors.readings.batch import Batch, Insight, Point, Source, TimeToThreshold
from actors.readings.interest import Points

POLLED = 1741083325004
PUBLISHED = 1741083330123
AGENT = "7f3e9a1b-1111-4222-8333-444455556666"


def make_source(*points: Point) -> Source:
    return Source(
        endpoint_uuid="5b0e0000-aaaa-4bbb-8ccc-ddddeeeeffff",
        endpoint="line-1",
        protocol="modbus",
        device_uuid="1a2b3c4d-aaaa-4bbb-8ccc-ddddeeeeffff",
        device="press-4-1a2b3c4d",
        points=points,
        prefixes=("modbus/line-1/press-4/",),
    )


SOURCE = make_source(Point("oil_temp", "°C"), Point("running"), Point("parts"), Point("recipe"))


@pytest.fixture
def ids() -> MessageIds:
    return MessageIds(AGENT, clock=lambda: PUBLISHED)


def test_no_message_id_comes_twice_though_the_clock_is_set_back() -> None:
    """https://github.com/twitter-archive/snowflake/issues/6"""
    says = iter([5, 5, 6, 6, 6, 7, 5, 5, 6, 7, 7, 8, 6, 9])
    ids = MessageIds(AGENT, clock=lambda: next(says))
    made = [ids.next().removeprefix(f"{AGENT}-".encode()).rpartition(b"-")[0] for _ in range(14)]
    assert len(set(made)) == 14
    assert made[:3] == [b"5-0", b"5-1", b"6-0"]
    assert made[-1] == b"9-0"


def json_of(format_name: str, ids: MessageIds, *pieces: Piece) -> bytes:
    payload = encode(format_name, "json", pieces, ids)
    assert payload is not None
    return payload


def one(format_name: str, batch: Batch, ids: MessageIds, points: Points = None) -> Any:
    """The payload of one poll, decoded by another library, without its checked message id."""
    decoded = json.loads(json_of(format_name, ids, (batch, points)), parse_constant=_not_json)
    assert re.fullmatch(rf"{AGENT}-\d{{13}}-\d+-[a-z0-9]{{1,5}}", decoded.pop("msgId"))
    return decoded


def _not_json(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def good(*values: Any) -> Batch:
    return Batch(SOURCE, POLLED, list(values))


def test_custom_tells_all_about_every_reading(ids: MessageIds) -> None:
    batch = Batch(SOURCE, POLLED, [61.4, True, None, "A7"], [None, None, "ILLEGAL_ADDRESS", None])
    common = {
        "timestamp": "2025-03-04T10:15:25.004Z",
        "deviceName": "press-4-1a2b3c4d",
        "protocol": "modbus",
        "endpoint_uuid": "5b0e0000-aaaa-4bbb-8ccc-ddddeeeeffff",
        "device_uuid": "1a2b3c4d-aaaa-4bbb-8ccc-ddddeeeeffff",
    }
    assert one("custom", batch, ids) == {
        "timestamp": "2025-03-04T10:15:30.123Z",
        "protocol": "modbus",
        "messages": [
            {**common, "metric": "oil_temp", "value": 61.4, "unit": "°C", "quality": "GOOD"},
            {**common, "metric": "running", "value": True, "quality": "GOOD"},
            {
                **common,
                "metric": "parts",
                "value": None,
                "quality": "BAD",
                "qualityCode": "ILLEGAL_ADDRESS",
            },
            {**common, "metric": "recipe", "value": "A7", "quality": "GOOD"},
        ],
    }


def test_custom_keeps_the_unit_of_a_bad_reading(ids: MessageIds) -> None:
    batch = Batch(SOURCE, POLLED, [None, None, None, None], ["TIMEOUT"] * 4)
    assert one("custom", batch, ids)["messages"][0]["unit"] == "°C"


def test_custom_puts_all_batches_into_one_payload(ids: MessageIds) -> None:
    batches = [Batch(SOURCE, POLLED + 1000 * number, [number, True, 1, "A"]) for number in range(3)]
    messages = json.loads(json_of("custom", ids, *((batch, None) for batch in batches)))["messages"]
    assert [message["value"] for message in messages if message["metric"] == "oil_temp"] == [0, 1, 2]
    assert [message["timestamp"] for message in messages[::4]] == [
        "2025-03-04T10:15:25.004Z",
        "2025-03-04T10:15:26.004Z",
        "2025-03-04T10:15:27.004Z",
    ]


def test_custom_puts_pieces_of_different_points_into_one_payload(ids: MessageIds) -> None:
    first = Batch(SOURCE, POLLED, [61.4, True, None, "A7"], [None, None, "ILLEGAL_ADDRESS", None])
    payload = json_of("custom", ids, (first, (0, 2)), (good(1, False, 3, "B"), None))
    assert [message["value"] for message in json.loads(payload)["messages"]] == [61.4, None, 1, False, 3, "B"]


def test_custom_keeps_the_value_of_an_uncertain_reading(ids: MessageIds) -> None:
    batch = Batch(SOURCE, POLLED, [61.4, None, 3, False], ["STALE", "TIMEOUT", None, "STALE"])
    told = [
        (message["value"], message["quality"], message.get("qualityCode"))
        for message in one("custom", batch, ids)["messages"]
    ]
    assert told == [
        (61.4, "UNCERTAIN", "STALE"),
        (None, "BAD", "TIMEOUT"),
        (3, "GOOD", None),
        (False, "UNCERTAIN", "STALE"),
    ]


KNOWN = Insight(
    anomaly_score=0.53,
    anomaly_threshold=0.7,
    baseline_samples=240,
    detection_methods=["zscore", "mad"],
    predicted_next=61.6,
    trend="increasing",
    trend_strength=0.4,
    forecast_confidence=0.8,
    time_to_threshold=TimeToThreshold(80, 5400, 0.6),
    device_state="running",
    raw_device_state="RUN",
    state_duration_seconds=930,
)
PUBLISHED_KEYS = {
    "anomaly_score": 0.53,
    "anomaly_threshold": 0.7,
    "baseline_samples": 240,
    "detection_methods": ["zscore", "mad"],
    "predicted_next": 61.6,
    "trend": "increasing",
    "trend_strength": 0.4,
    "forecast_confidence": 0.8,
    "time_to_threshold": {"threshold": 80, "estimated_seconds": 5400, "confidence": 0.6},
    "device_state": "running",
    "raw_device_state": "RUN",
    "state_duration_seconds": 930,
}


def test_custom_tells_what_the_detector_knows_of_a_reading(ids: MessageIds) -> None:
    batch = Batch(
        SOURCE, POLLED, [61.4, True, 3, "A7"], insights=[KNOWN, None, Insight(), Insight(trend="up")]
    )
    plain = one("custom", good(61.4, True, 3, "A7"), ids)["messages"]
    messages = one("custom", batch, ids)["messages"]
    assert messages[0] == plain[0] | PUBLISHED_KEYS
    assert messages[1:3] == plain[1:3]
    assert messages[3] == plain[3] | {"trend": "up"}


def test_insights_stay_with_their_points(ids: MessageIds) -> None:
    batch = Batch(
        SOURCE, POLLED, [None, 5, 3, 4], ["TIMEOUT", "STALE", None, None], insights=[None, KNOWN, None, None]
    )
    first, second = one("custom", batch, ids, points=(1, 2))["messages"]
    assert (first["quality"], first["qualityCode"], first["trend"]) == ("UNCERTAIN", "STALE", "increasing")
    assert "trend" not in second


@pytest.mark.parametrize("format_name", ["tags", "ecp"])
def test_only_custom_tells_what_the_detector_knows(format_name: str, ids: MessageIds) -> None:
    batch = Batch(SOURCE, POLLED, [61.4, True, 3, "A7"], insights=[KNOWN] * 4)
    assert one(format_name, batch, ids) == one(format_name, good(61.4, True, 3, "A7"), ids)


def test_tags_are_names_and_values_or_errors(ids: MessageIds) -> None:
    batch = Batch(SOURCE, POLLED, [61.4, None, None, "A7"], [None, None, "ILLEGAL_ADDRESS", None])
    assert one("tags", batch, ids) == {
        "timestamp": POLLED,
        "node": "press-4-1a2b3c4d",
        "group": "modbus",
        "tags": [
            {"name": "oil_temp", "value": 61.4},
            {"name": "running", "value": None},
            {"name": "parts", "error": "ILLEGAL_ADDRESS"},
            {"name": "recipe", "value": "A7"},
        ],
    }


def test_tags_bytes_have_the_documented_order_and_no_spaces(ids: MessageIds) -> None:
    payload = json_of("tags", ids, (good(61.4, True, 412, "A7"), None))
    text, _, message_id = payload.decode().partition(',"msgId":')
    assert text == (
        '{"timestamp":1741083325004,"node":"press-4-1a2b3c4d","group":"modbus","tags":['
        '{"name":"oil_temp","value":61.4},{"name":"running","value":true},'
        '{"name":"parts","value":412},{"name":"recipe","value":"A7"}]'
    )
    assert message_id.startswith(f'"{AGENT}-{PUBLISHED}-0-')


def test_tags_tell_of_an_uncertain_reading_only_its_error(ids: MessageIds) -> None:
    batch = Batch(SOURCE, POLLED, [61.4, True, 3, "A7"], ["STALE", None, None, None])
    assert one("tags", batch, ids)["tags"][:2] == [
        {"name": "oil_temp", "error": "STALE"},
        {"name": "running", "value": True},
    ]


def test_ecp_has_a_type_per_value(ids: MessageIds) -> None:
    assert one("ecp", good(61.4, True, 412, "A7"), ids) == {
        "timestamp": POLLED,
        "node": "press-4-1a2b3c4d",
        "group": "modbus",
        "tags": [
            {"name": "oil_temp", "value": 61.4, "type": 3},
            {"name": "running", "value": True, "type": 1},
            {"name": "parts", "value": 412, "type": 2},
            {"name": "recipe", "value": "A7", "type": 4},
        ],
    }


def test_ecp_writes_an_integer_valued_float_as_an_integer(ids: MessageIds) -> None:
    payload = json_of("ecp", ids, (good(61.0, -0.5, 1e16, 0), None))
    assert b'"value":61,"type":2' in payload
    assert b'"value":-0.5,"type":3' in payload
    assert b'"value":1e16,"type":2' in payload
    assert b'"value":0,"type":2' in payload


def test_ecp_leaves_out_bad_and_missing_values(ids: MessageIds) -> None:
    batch = Batch(SOURCE, POLLED, [None, None, 412, math.nan], ["TIMEOUT", None, None, None])
    assert one("ecp", batch, ids)["tags"] == [{"name": "parts", "value": 412, "type": 2}]


def test_ecp_keeps_uncertain_values(ids: MessageIds) -> None:
    batch = Batch(SOURCE, POLLED, [None, None, 412, None], ["TIMEOUT", "STALE", "STALE", None])
    assert one("ecp", batch, ids)["tags"] == [{"name": "parts", "value": 412, "type": 2}]


def test_ecp_has_no_payload_for_a_poll_without_values(ids: MessageIds) -> None:
    batch = Batch(SOURCE, POLLED, [None] * 4, ["TIMEOUT"] * 4)
    for _ in range(2):
        assert encode("ecp", "json", [(batch, None)], ids) is None
        assert encode("ecp", "msgpack+deflate", [(batch, None)], ids) is None


def test_ecp_keeps_the_last_value_of_equal_names(ids: MessageIds) -> None:
    twins = make_source(Point("a"), Point("b"), Point("a"), Point("b"))
    batch = Batch(twins, POLLED, [1, 2, 3, None], [None, None, None, "TIMEOUT"])
    assert one("ecp", batch, ids)["tags"] == [
        {"name": "a", "value": 3, "type": 2},
        {"name": "b", "value": 2, "type": 2},
    ]


@pytest.mark.parametrize(("format_name", "key"), [("tags", "name"), ("ecp", "name"), ("custom", "metric")])
def test_only_the_chosen_points_are_published(format_name: str, key: str, ids: MessageIds) -> None:
    payload = one(format_name, good(61.4, True, 412, "A7"), ids, points=(1, 3))
    entries = payload["messages" if format_name == "custom" else "tags"]
    assert [(entry[key], entry["value"]) for entry in entries] == [("running", True), ("recipe", "A7")]


def test_chosen_points_keep_their_own_qualities(ids: MessageIds) -> None:
    batch = Batch(SOURCE, POLLED, [None, True, None, "A7"], ["TIMEOUT", None, "ILLEGAL_ADDRESS", None])
    assert one("tags", batch, ids, points=(1, 2))["tags"] == [
        {"name": "running", "value": True},
        {"name": "parts", "error": "ILLEGAL_ADDRESS"},
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("format_name", "entries"), [("tags", "tags"), ("custom", "messages")])
def test_what_json_cannot_say_becomes_null(
    format_name: str, entries: str, value: float, ids: MessageIds
) -> None:
    assert one(format_name, good(value, True, 1, "A"), ids)[entries][0]["value"] is None


NASTY = 'a"b\\c\nd\0e,f]}°\u2028'


@pytest.mark.parametrize("format_name", JSON_NAMES)
def test_any_text_survives_as_value_name_and_unit(format_name: str, ids: MessageIds) -> None:
    source = make_source(Point(NASTY, NASTY), Point("after"))
    payload = one(format_name, Batch(source, POLLED, [NASTY, 7]), ids)
    entries = payload["messages" if format_name == "custom" else "tags"]
    assert [entry["value"] for entry in entries] == [NASTY, 7]
    assert entries[0]["metric" if format_name == "custom" else "name"] == NASTY
    if format_name == "custom":
        assert entries[0]["unit"] == NASTY


@pytest.mark.parametrize("value", [0, -1, 2**63, 2**64 - 1, 0.1, 1e-300, 1e300, 123456789.123456789])
def test_numbers_survive_exactly(value: float, ids: MessageIds) -> None:
    assert one("tags", good(value, True, 1, "A"), ids)["tags"][0]["value"] == value


def test_subscriptions_of_equal_format_and_points_share_a_payload(ids: MessageIds) -> None:
    batch = good(61.4, True, 412, "A7")
    first = json_of("tags", ids, (batch, None))
    assert json_of("tags", ids, (batch, None)) is first
    assert json_of("tags", ids, (batch, (0,))) != first
    assert json_of("custom", ids, (batch, None)) != first


@pytest.mark.parametrize("compression", ["msgpack", "msgpack+deflate", "cbor"])
def test_subscriptions_of_equal_compression_share_it_too(compression: str, ids: MessageIds) -> None:
    batch = good(61.4, True, 412, "A7")
    first = encode("tags", compression, [(batch, None)], ids)
    assert encode("tags", compression, [(batch, None)], ids) is first
    assert encode("tags", "json", [(batch, None)], ids) != first


def test_compressions_share_the_json_and_so_the_message_id(ids: MessageIds) -> None:
    batch = good(61.4, True, 412, "A7")
    packed = encode("tags", "msgpack", [(batch, None)], ids)
    assert packed is not None
    assert msgspec.msgpack.decode(packed) == json.loads(json_of("tags", ids, (batch, None)))


def test_several_polls_together_are_compressed_too(ids: MessageIds) -> None:
    pieces = [(good(number, True, 412, "A7"), None) for number in range(3)]
    packed = encode("custom", "msgpack", pieces, ids)
    assert packed is not None
    assert len(msgspec.msgpack.decode(packed)["messages"]) == 12


def test_an_internal_format_is_not_compressed(ids: MessageIds) -> None:
    pieces = [(good(61.4, True, 412, "A7"), None)]
    plain = encode("line-protocol", "json", pieces, ids)
    assert plain is not None
    assert encode("line-protocol", "msgpack+deflate", pieces, ids) == plain
    assert "line-protocol" not in NAMES


def test_an_event_is_its_body_with_a_message_id(ids: MessageIds) -> None:
    body = {"type": "new-field", "details": {"field": "oil_temp", "share": math.nan}}
    event = json.loads(encode_event("json", body, ids))
    assert event.pop("msgId").startswith(f"{AGENT}-{PUBLISHED}-0-")
    assert event == {"type": "new-field", "details": {"field": "oil_temp", "share": None}}
    assert msgspec.msgpack.decode(encode_event("msgpack", body, ids))["type"] == "new-field"
    assert "msgId" not in body


def test_two_sources_are_never_confused(ids: MessageIds) -> None:
    other = make_source(Point("x"))
    assert one("tags", good(1, 2, 3, 4), ids)["tags"][0]["name"] == "oil_temp"
    assert one("tags", Batch(other, POLLED, [1]), ids)["tags"][0]["name"] == "x"


def test_what_is_prepared_for_a_source_goes_with_it(ids: MessageIds) -> None:
    gc.collect()
    before = len(tags._prepared)
    short_lived = make_source(Point("x"))
    gone = weakref.ref(short_lived)
    one("tags", Batch(short_lived, POLLED, [1]), ids)
    assert len(tags._prepared) == before + 1
    del short_lived
    gc.collect()
    assert gone() is None
    assert len(tags._prepared) == before


def test_what_is_prepared_for_the_selections_of_a_source_has_a_bound(ids: MessageIds) -> None:
    wide = make_source(*(Point(f"p{number}") for number in range(10)))
    batch = Batch(wide, POLLED, list(range(10)))
    for left_out in range(1000):
        chosen = tuple(index for index in range(10) if not left_out >> index & 1)
        if chosen:
            names = [tag["name"] for tag in one("tags", batch, ids, chosen)["tags"]]
            assert names == [f"p{index}" for index in chosen]
    kept = tags._prepared._kept.get(wide).built
    assert fragments.ROOM * 9 < sum(len(points) for points in kept if points) <= fragments.ROOM * 10


def test_the_parts_of_a_poll_that_is_split_are_all_remembered(ids: MessageIds) -> None:
    wide = make_source(*(Point(f"p{number}") for number in range(100)))
    for number in range(100):
        one("tags", Batch(wide, POLLED, list(range(100))), ids, (number,))
    assert len(tags._prepared._kept.get(wide).built) == 100


def some(indices: list[int], *values: Any, **parts: Any) -> Batch:
    """A batch of these points."""
    return Batch(SOURCE, POLLED, list(values), indices=indices, **parts)


@pytest.mark.parametrize(("format_name", "key"), [("tags", "name"), ("ecp", "name"), ("custom", "metric")])
@pytest.mark.parametrize("times", [None, [POLLED] * 3])
def test_readings_of_some_points_are_told_with_those_points(
    format_name: str, key: str, times: list[int] | None, ids: MessageIds
) -> None:
    for codes in (None, [None, None, "STALE"], ["TIMEOUT", None, None]):
        batch = some([3, 0, 1], "A7" if codes is None or codes[0] is None else None, 61.4, True)
        batch = msgspec.structs.replace(batch, qualities=codes, times=times)
        payload = one(format_name, batch, ids, points=(0, 2))
        entries = payload["messages" if format_name == "custom" else "tags"]
        assert [entry[key] for entry in entries] in (["recipe", "running"], ["running"])
        assert entries[-1].get("value", entries[-1].get("error")) in (True, "STALE")


def test_the_unit_goes_with_the_point(ids: MessageIds) -> None:
    messages = one("custom", some([2, 0], 412, 61.4), ids)["messages"]
    assert [message.get("unit") for message in messages] == [None, "°C"]


@pytest.mark.parametrize("time", [-(10**15), -1, 0, 253402300800000, 10**18, 10**30])
def test_a_time_that_no_calendar_has_makes_a_payload_all_the_same(time: int, ids: MessageIds) -> None:
    made = {
        name: encode(name, "json", [(some([0], 1.5, times=[time]), None)], ids)
        for name in (*NAMES, "line-protocol")
    }
    assert all(made.values())
    node = Node("plant", "gateway", 10_000)
    node.will(0)
    assert node.data(1, made["sparkplug"] or b"", 0, 0).refused is None


@pytest.mark.parametrize("format_name", JSON_NAMES)
def test_nothing_is_prepared_for_the_points_that_a_batch_happens_to_have(
    format_name: str, ids: MessageIds
) -> None:
    known = {"tags": tags._prepared, "custom": custom._prepared, "ecp": ecp._prepared}[format_name]
    for number in range(1, 16):
        indices = [index for index in range(4) if number >> index & 1]
        one(format_name, some(indices, *indices), ids)
    assert list(known._kept.get(SOURCE).built).count(None) == 1
    before = len(known._kept.get(SOURCE).built)
    one(format_name, some([2, 1, 0], 1, 2, 3), ids, points=(1, 2))
    assert len(known._kept.get(SOURCE).built) == before


def test_message_ids_count_within_a_millisecond() -> None:
    now = [1000]
    ids = MessageIds("agent", clock=lambda: now[0])
    first, second = ids.next(), ids.next()
    now[0] = 1001
    third = ids.next()
    assert [re.sub(rb"[a-z0-9]{1,5}$", b"", one) for one in (first, second, third)] == [
        b"agent-1000-0-",
        b"agent-1000-1-",
        b"agent-1001-0-",
    ]
