"""Our decoder against the library's: the same bytes, the same values, the same refusals."""

import math
import struct
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.endpoints.protocols.opcua import decoding, shapes, values
from actors.endpoints.protocols.opcua.decoding import Found, Garbage, Notification

Types = ua.VariantType
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
WHEN = datetime(2026, 11, 28, 12, 0, 0, 123456, tzinfo=UTC)
WHEN_MS = 1_795_867_200_123

INTEGERS = {
    Types.SByte: 8,
    Types.Int16: 16,
    Types.Int32: 32,
    Types.Int64: 64,
    Types.Byte: -8,
    Types.UInt16: -16,
    Types.UInt32: -32,
    Types.UInt64: -64,
}


def integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**-bits - 1) if bits < 0 else st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


texts = st.text(max_size=20) | st.none()
times = st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1)).map(lambda time: time.replace(tzinfo=UTC))
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    Types.Boolean: st.booleans(),
    **{kind: integers(bits) for kind, bits in INTEGERS.items()},
    Types.Float: st.floats(width=32),
    Types.Double: st.floats(),
    Types.String: texts,
    Types.DateTime: times,
    Types.Guid: st.uuids(),
    Types.ByteString: st.binary(max_size=20) | st.none(),
    Types.LocalizedText: texts.map(lambda text: ua.LocalizedText(text)),
    Types.QualifiedName: st.text(max_size=20).map(lambda text: ua.QualifiedName(text, 2)),
    Types.NodeId: st.integers(0, 2**32 - 1).map(lambda number: ua.NodeId(number, 3)),
    Types.StatusCode: integers(-32).map(lambda code: ua.StatusCode(code)),
    Types.ExtensionObject: st.just(ua.Range(Low=1.0, High=2.0)),
}


@st.composite
def variants(draw: st.DrawFn) -> ua.Variant:
    kind = draw(st.sampled_from([*SCALARS, Types.Null]))
    if kind is Types.Null:
        return ua.Variant(None, kind)
    shape = draw(st.sampled_from(["scalar", "scalar", "scalar", "array", "matrix"]))
    values = SCALARS[kind]
    if shape == "scalar":
        return ua.Variant(draw(values), kind)
    if shape == "array":
        return ua.Variant(draw(st.lists(values, max_size=5)), kind, is_array=True)
    flat = draw(st.lists(values, min_size=4, max_size=4))
    return ua.Variant([flat[:2], flat[2:]], kind, Dimensions=[2, 2], is_array=True)


@st.composite
def data_values(draw: st.DrawFn) -> ua.DataValue:
    status = draw(st.none() | st.just(ua.StatusCode(0)) | integers(-32).map(lambda code: ua.StatusCode(code)))
    source, server = draw(st.none() | times), draw(st.none() | times)
    return ua.DataValue(draw(variants()), status, source, server)


@st.composite
def rows(draw: st.DrawFn) -> list[ua.DataValue]:
    """Runs of equals between others, so that both ways of decoding meet."""
    found: list[ua.DataValue] = []
    for _ in range(draw(st.integers(0, 4))):
        found += [draw(data_values())] * draw(st.sampled_from([1, 1, 2, 5, 9]))
    return found


def read_response(values: list[ua.DataValue]) -> bytes:
    response = ua.ReadResponse()
    response.Results = values
    return bytes(struct_to_binary(response))


def publish_response(*data: Any, sequence: int = 5, available: tuple[int, ...] = ()) -> bytes:
    response = ua.PublishResponse()
    response.Parameters.SubscriptionId = 7
    response.Parameters.AvailableSequenceNumbers = list(available)
    response.Parameters.NotificationMessage.SequenceNumber = sequence
    response.Parameters.NotificationMessage.NotificationData = list(data)
    return bytes(struct_to_binary(response))


def changes(values: list[ua.DataValue]) -> ua.DataChangeNotification:
    items = [ua.MonitoredItemNotification(3 * number, value) for number, value in enumerate(values)]
    return ua.DataChangeNotification(MonitoredItems=items)


def by_library(body: bytes) -> Notification:
    result = struct_from_binary(ua.PublishResponse, Buffer(body)).Parameters
    return decoding.notification(
        result.SubscriptionId, result.NotificationMessage, tuple(result.AvailableSequenceNumbers or ())
    )


def read_by_library(body: bytes) -> Found:
    return decoding.found_of(struct_from_binary(ua.ReadResponse, Buffer(body)).Results)


@unhurried
@given(rows())
def test_what_is_read_is_what_the_library_reads(values: list[ua.DataValue]):
    body = read_response(values)
    assert decoding.results(body) == read_by_library(body)


@unhurried
@given(st.lists(rows(), max_size=3), st.integers(0, 2**32 - 1), st.lists(integers(-32), max_size=3))
def test_what_is_published_is_what_the_library_makes_of_it(
    parts: list[list[ua.DataValue]], sequence: int, available: list[int]
):
    body = publish_response(*map(changes, parts), sequence=sequence, available=tuple(available))
    assert decoding.published(body) == by_library(body)


@unhurried
@given(rows(), st.data())
def test_what_is_cut_off_is_garbage(values: list[ua.DataValue], data: st.DataObject):
    for body, decode in (
        (read_response(values), decoding.results),
        (publish_response(changes(values), available=(1, 2)), decoding.published),
    ):
        # What follows the values, diagnostics that nobody asked for, is not looked at.
        cut = data.draw(st.integers(0, len(body) - 9))
        with pytest.raises(Garbage):
            decode(body[:cut])


@unhurried
@given(rows(), st.data())
def test_damaged_bytes_are_garbage_or_what_the_library_makes_of_them(
    sent: list[ua.DataValue], data: st.DataObject
):
    body = bytearray(read_response(sent))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decoding.results(bytes(body))
    except (Garbage, UaStatusCodeError):
        return
    assert len(found.values) == len(found.times)
    if any(time is None for time in found.times) or not _canonical(bytes(body)):
        return
    assert _comparable(found) == _comparable(read_by_library(bytes(body)))


def _comparable(found: Found) -> Found:
    """With the contents of what the library does not know."""
    return found._replace(
        values=[one.content if isinstance(one, values.Undecoded) else one for one in found.values]
    )


def _canonical(body: bytes) -> bool:
    """Whether nothing is in it that the library reads in another order, or as something that is no length."""
    try:
        response = struct_from_binary(ua.ReadResponse, Buffer(body))
    except Exception:  # noqa: BLE001 - whatever it raises
        return False
    return all(
        one.SourcePicoseconds is None and one.ServerPicoseconds is None and one.Value is not None
        for one in response.Results
    )


@unhurried
@given(st.binary(max_size=200))
def test_noise_is_garbage(noise: bytes):
    for decode in (decoding.results, decoding.published):
        with pytest.raises(UaError):
            decode(noise)
        with pytest.raises(UaError):
            decode(publish_response()[:4] + noise[:30])


def one(value: ua.DataValue) -> tuple[Any, int, int | None]:
    found = decoding.results(read_response([value]))
    return found.values[0], (found.statuses or [0])[0], found.times[0]


def test_a_value_its_status_and_its_time():
    value = ua.DataValue(ua.Variant(1.5, Types.Double), ua.StatusCode(0x40000000), WHEN, WHEN + timedelta(1))
    assert one(value) == (1.5, 0x40000000, WHEN_MS)


def test_the_time_is_the_servers_where_the_source_says_none():
    never = datetime(1601, 1, 1, tzinfo=UTC)
    assert one(ua.DataValue(ua.Variant(1, Types.Int32), None, None, WHEN)) == (1, 0, WHEN_MS)
    assert one(ua.DataValue(ua.Variant(1, Types.Int32), None, never, WHEN)) == (1, 0, WHEN_MS)
    assert one(ua.DataValue(ua.Variant(1, Types.Int32), None, never, None)) == (1, 0, None)
    many = [
        ua.DataValue(ua.Variant(1, Types.Int32), None, time, WHEN)
        for time in (WHEN, never, WHEN, never, WHEN)
    ]
    assert decoding.results(read_response(many)).times == [WHEN_MS] * 5


def test_picoseconds_are_where_the_specification_has_them():
    ticks = shapes._EPOCH + 10_000
    mask = shapes.VALUE | shapes.SERVER | shapes.SOURCE | shapes.SOURCE_PICO | shapes.SERVER_PICO
    row = struct.pack("<BBiqHqH", mask, 6, 42, 0, 17, ticks, 18)  # part 6, table 26
    for count in (1, 6):
        body = read_response([])[:-8] + struct.pack("<i", count) + count * row + b"\0\0\0\0"
        assert decoding.results(body) == Found([42] * count, None, [1] * count)


@pytest.mark.parametrize("count", [1, 8])
def test_floats_are_their_shortest_decimals_and_no_value_where_they_are_no_number(count: int):
    values = [21.3, math.nan, math.inf, 1e-30, 0.1, 16_777_216.0]
    for kind in (Types.Float, Types.Double):
        for value in values:
            body = read_response([ua.DataValue(ua.Variant(value, kind))] * count)
            assert decoding.results(body).values == [value if math.isfinite(value) else None] * count


@pytest.mark.parametrize(
    ("value", "kind", "json"),
    [
        (b"\x00\xff", Types.ByteString, "AP8="),
        (UUID("09087e75-8e5e-499b-954f-f2a9603db28a"), Types.Guid, "09087e75-8e5e-499b-954f-f2a9603db28a"),
        (WHEN, Types.DateTime, "2026-11-28T12:00:00.123456Z"),
        (ua.Range(Low=1.0, High=2.5), Types.ExtensionObject, {"Low": 1.0, "High": 2.5}),
        (None, Types.String, None),
    ],
)
def test_other_types_are_the_librarys_as_json(value: Any, kind: Any, json: Any):
    assert one(ua.DataValue(ua.Variant(value, kind)))[0] == json


@pytest.mark.parametrize("localized", [False, True])
def test_text_that_is_no_utf8_can_be_written_as_json(localized: bool):
    text = "a\udcff"  # as the library encodes what it could not decode
    value = ua.LocalizedText(text) if localized else text
    assert one(ua.DataValue(ua.Variant(value)))[0] == "a\ufffd"
    assert decoding.results(read_response([ua.DataValue(ua.Variant([text], Types.String))])).values == [
        ["a\ufffd"]
    ]


def test_a_huge_array_that_is_not_there_is_garbage_at_once():
    prefix = read_response([])[:-8] + struct.pack("<i", 1) + bytes((shapes.VALUE,))
    endless = struct.pack("<i", 2**31 - 1)
    for kinds in (
        b"\x80",
        b"\xc0",
        b"\x8b",
        b"\x8c",
        b"\x98",
        b"\x18\x80",
        b"\x98\1\0\0\0\x80",
        b"\x17\1\x80",
    ):
        with pytest.raises(Garbage):
            decoding.results(prefix + kinds + endless + b"\0" * 64)


def test_variants_in_variants_are_decoded_and_not_for_ever():
    inner = [ua.Variant(1.5, Types.Float), ua.Variant(["a", "b"]), ua.Variant(ua.DataValue(ua.Variant(7)))]
    assert one(ua.DataValue(ua.Variant(inner, Types.Variant)))[0] == [1.5, ["a", "b"], 7]
    prefix = read_response([])[:-8] + struct.pack("<iB", 1, shapes.VALUE)
    with pytest.raises(Garbage):
        decoding.results(prefix + b"\x18" * 5000)


@pytest.mark.parametrize("dimensions", [[2, 3], [4], [-1, -4], [], [2, 2, 0], [1] * 40])
def test_a_matrix_of_other_dimensions_than_it_says_is_garbage(dimensions: list[int]):
    value = ua.DataValue(ua.Variant([1, 2, 3, 4, 5], Types.Int32, Dimensions=dimensions, is_array=True))
    with pytest.raises(Garbage):
        decoding.results(read_response([value]))


def test_a_matrix_is_lists_of_lists():
    value = [[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 12]]]
    assert one(ua.DataValue(ua.Variant(value, Types.Int32, Dimensions=[3, 2, 2], is_array=True)))[0] == value


def test_a_response_with_diagnostics_is_the_librarys():
    response = ua.PublishResponse()
    response.ResponseHeader.StringTable = ["text"]
    response.Parameters.SubscriptionId = 7
    response.Parameters.NotificationMessage.NotificationData = [
        changes([ua.DataValue(ua.Variant(5, Types.Int16), ua.StatusCode(0), WHEN)])
    ]
    found = decoding.published(struct_to_binary(response))
    assert (found.subscription, found.handles, found.values, found.times) == (7, [0], [5], [WHEN_MS])


def test_events_and_status_changes_are_handed_over():
    event = ua.EventFieldList(ClientHandle=3, EventFields=[ua.Variant("x")])
    body = publish_response(
        ua.EventNotificationList(Events=[event]),
        changes([ua.DataValue(ua.Variant(True, Types.Boolean))]),
        ua.StatusChangeNotification(Status=ua.StatusCode(ua.StatusCodes.BadTimeout)),
    )
    found = decoding.published(body)
    assert [each.ClientHandle for each in found.events] == [3]
    assert (found.values, found.status, found.keep_alive) == ([True], ua.StatusCodes.BadTimeout, False)


def test_a_keep_alive_has_nothing():
    found = decoding.published(publish_response(sequence=9))
    assert found.keep_alive
    assert found.sequence == 9


def test_a_fault_is_raised_as_the_librarys():
    fault = ua.ServiceFault()
    fault.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadSessionIdInvalid)
    response = ua.ReadResponse()
    response.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadTooManyOperations)
    for body, decode in (
        (struct_to_binary(fault), decoding.results),
        (struct_to_binary(fault), decoding.published),
        (struct_to_binary(response), decoding.results),
    ):
        with pytest.raises(UaStatusCodeError) as refused:
            decode(body)
        assert refused.value.code in (ua.StatusCodes.BadSessionIdInvalid, ua.StatusCodes.BadTooManyOperations)


def unreadable(encoding: int = 1) -> bytes:
    """A Range that ends too early, as a variant; or one as XML."""
    kind = struct.pack("<BBH", 1, 0, ua.ObjectIds.Range_Encoding_DefaultBinary)
    return b"\x16" + kind + struct.pack("<Bi", encoding, 3) + b"abc"


@pytest.mark.parametrize("encoding", [1, 2])
def test_a_structure_that_cannot_be_read_costs_only_its_own_value(encoding: int):
    row = bytes((shapes.VALUE | shapes.SOURCE,))
    when = struct.pack("<q", shapes._EPOCH + 10_000)
    good = row + struct.pack("<Bi", 6, 42) + when
    bad = row + unreadable(encoding) + when
    several = row + b"\x98" + struct.pack("<i", 2) + b"\x01\x01" + unreadable(encoding) + when
    body = read_response([])[:-8] + struct.pack("<i", 4) + good + bad + several + good + b"\0\0\0\0"
    decoding_error = int(ua.StatusCodes.BadDecodingError)
    assert decoding.results(body) == Found(
        [42, None, None, 42], [0, decoding_error, decoding_error, 0], [1] * 4
    )


def test_a_structure_of_an_unknown_type_within_another_value_is_its_bytes():
    unknown = ua.ExtensionObject(ua.NodeId(5001, 2), b"xy")
    shown = {"typeId": "ns=2;i=5001", "body": "eHk="}
    variant = ua.Variant(unknown, Types.ExtensionObject)
    assert one(ua.DataValue(ua.Variant([variant, variant], Types.Variant)))[0] == [shown, shown]
    assert one(ua.DataValue(ua.Variant(ua.DataValue(variant), Types.DataValue)))[0] == shown
    assert isinstance(one(ua.DataValue(variant))[0], values.Undecoded)


def test_a_structure_that_is_longer_than_the_message_is_garbage():
    body = read_response([])[:-8] + struct.pack("<iB", 1, shapes.VALUE) + unreadable()[:-1]
    with pytest.raises(Garbage):
        decoding.results(body)


@pytest.mark.parametrize("several", [False, True])
def test_a_bad_value_within_another_is_none(several: bool):
    bad = ua.DataValue(ua.Variant(7, Types.Int32), ua.StatusCode(ua.StatusCodes.BadSensorFailure))
    good = ua.DataValue(ua.Variant(8, Types.Int32))
    held: Any = [bad, good] if several else bad
    outer = ua.DataValue(ua.Variant(held, Types.DataValue, is_array=several))
    found = decoding.results(read_response([outer]))
    assert found.values == [[None, 8] if several else None]
    assert read_by_library(read_response([outer])).values == found.values
