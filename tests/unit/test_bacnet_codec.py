"""Our codec of BACnet says what bacpypes3's does, byte for byte and value for value, and refuses the rest."""

import contextlib
import math
import struct
from typing import Any

import pytest
from bacpypes3.apdu import (
    APDU,
    APCISequence,
    ComplexAckPDU,
    ConfirmedCOVNotificationRequest,
    ReadPropertyACK,
    ReadPropertyMultipleACK,
    ReadPropertyMultipleRequest,
    ReadPropertyRequest,
)
from bacpypes3.basetypes import (
    ErrorType,
    PropertyReference,
    PropertyValue,
    ReadAccessResult,
    ReadAccessResultElement,
    ReadAccessResultElementChoice,
    ReadAccessSpecification,
)
from bacpypes3.constructeddata import Any as AnyValue
from bacpypes3.pdu import PDU
from bacpypes3.primitivedata import (
    BitString,
    Boolean,
    CharacterString,
    Date,
    Double,
    Enumerated,
    Integer,
    Null,
    ObjectIdentifier,
    OctetString,
    Real,
    TagClass,
    TagList,
    Time,
    Unsigned,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.endpoints.protocols.bacnet import codec, tags
from actors.endpoints.protocols.bacnet.codec import Batch, Refused, Several, Value, key_of
from actors.endpoints.protocols.bacnet.points import Ref

LIBRARY = (
    *(Null, Boolean, Unsigned, Integer, Real, Double, OctetString, CharacterString, BitString),
    *(Enumerated, Date, Time, ObjectIdentifier),
)
"""Its classes by the number of their tags."""

few = settings(max_examples=150, deadline=None)

numbers = st.integers(0, 0xFFFFFFFF)
octets = st.tuples(*[st.integers(0, 255)] * 4)
refs = st.builds(
    Ref,
    type=st.integers(0, 1023),
    instance=st.integers(0, 4_194_302),
    property_id=st.integers(0, 4_194_303),
    index=st.none() | numbers,
)
values = st.one_of(
    st.just(Null(())),
    st.booleans().map(Boolean),
    numbers.map(Unsigned),
    st.integers(-(2**31), 2**31 - 1).map(Integer),
    st.floats(width=32).map(Real),
    st.floats().map(Double),
    st.binary(max_size=300).map(OctetString),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=100).map(CharacterString),
    st.lists(st.integers(0, 1), max_size=40).map(BitString),
    numbers.map(Enumerated),
    octets.map(Date),
    octets.map(Time),
    st.builds(
        lambda kind, instance: ObjectIdentifier(kind << 22 | instance),
        st.integers(0, 1023),
        st.integers(0, 9),
    ),
)


def plain(value: Any) -> Value:
    """One of the library's values as ours."""
    kind = next(kind for kind in type(value).__mro__ if kind in LIBRARY)
    number = LIBRARY.index(kind)
    made = {
        **dict.fromkeys((tags.UNSIGNED, tags.SIGNED, tags.ENUMERATED, tags.OBJECT), int),
        **dict.fromkeys((tags.REAL, tags.DOUBLE), float),
        **dict.fromkeys((tags.BITS, tags.DATE, tags.TIME), tuple),
        tags.NULL: lambda value: None,
        tags.BOOLEAN: bool,
        tags.OCTETS: bytes,
        tags.CHARACTERS: str,
    }
    return Value(number, made[number](value))


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, Value) and isinstance(ours.value, float) and math.isnan(ours.value):
        return ours.tag == theirs.tag and math.isnan(theirs.value)
    return bool(ours == theirs)


def ack(service: int, body: bytes) -> bytes:
    return bytes((0x30, 200, service)) + body


def decoded(apdu: bytes) -> Any:
    """By the library."""
    return APCISequence.decode(APDU.decode(PDU(apdu)))


def scalar(tag_list: Any) -> Value | Several:
    """What the library makes of the tags of one property, which it keeps between two of them."""
    tag_list = TagList(list(tag_list)[1:-1])
    if len(tag_list) == 1 and tag_list[0].tag_class == TagClass.application:
        tag = tag_list[0]
        number = tag.tag_number
        if number < len(LIBRARY):
            with contextlib.suppress(Exception):  # it raises whatever it likes
                return plain(LIBRARY[number].decode(tag_list))
    return Several(b"")


def error(found: Any) -> Refused:
    return Refused(int(found.errorClass), int(found.errorCode))


# Requests


@few
@given(refs)
def test_a_request_to_read_is_the_librarys(ref: Ref) -> None:
    request = ReadPropertyRequest(
        objectIdentifier=(ref.type, ref.instance), propertyIdentifier=ref.property_id
    )
    if ref.index is not None:
        request.propertyArrayIndex = ref.index
    encoded = request.encode()
    assert codec.read_one(ref) == bytes((encoded.apduService,)) + bytes(encoded.pduData)


@few
@given(
    st.lists(st.tuples(refs, st.lists(st.tuples(st.integers(0, 4_194_303), st.none() | numbers), max_size=3)))
)
def test_a_request_to_read_several_is_the_librarys(objects: list[Any]) -> None:
    asked: list[Ref] = []
    for ref, further in objects:
        if not asked or (asked[-1].type, asked[-1].instance) != (ref.type, ref.instance):
            asked += ref, *(Ref(ref.type, ref.instance, *one) for one in further)
    if not asked:
        return
    encoded = ReadPropertyMultipleRequest(listOfReadAccessSpecs=_specifications(asked)).encode()
    ours = codec.read_several(asked)
    assert ours == bytes((encoded.apduService,)) + bytes(encoded.pduData)
    assert Batch(asked).request == ours


def _specifications(asked: list[Ref]) -> list[ReadAccessSpecification]:
    found: list[ReadAccessSpecification] = []
    latest = None
    for ref in asked:
        if (ref.type, ref.instance) != latest:
            latest = ref.type, ref.instance
            found.append(ReadAccessSpecification(objectIdentifier=latest, listOfPropertyReferences=[]))
        reference = PropertyReference(propertyIdentifier=ref.property_id)
        if ref.index is not None:
            reference.propertyArrayIndex = ref.index
        found[-1].listOfPropertyReferences.append(reference)
    return found


# Answers


@few
@given(refs, values)
def test_a_value_is_what_the_library_has_said(ref: Ref, value: Any) -> None:
    body = bytes(_answer(ref, value).encode().pduData)
    assert same(codec.answer_to_one(ack(12, body), ref), plain(value))


def _answer(ref: Ref, value: Any) -> ReadPropertyACK:
    answer = ReadPropertyACK(
        objectIdentifier=(ref.type, ref.instance),
        propertyIdentifier=ref.property_id,
        propertyValue=AnyValue(value),
    )
    if ref.index is not None:
        answer.propertyArrayIndex = ref.index
    return answer


results = st.lists(
    st.tuples(refs, values | st.builds(Refused, st.integers(0, 65535), st.integers(0, 65535))),
    min_size=1,
    max_size=6,
    unique_by=lambda one: one[0],
)


def _several(asked: list[tuple[Ref, Any]]) -> bytes:
    lists = []
    for ref, content in asked:
        if isinstance(content, Refused):
            error = ErrorType(errorClass=content.error_class, errorCode=content.code)
            choice = ReadAccessResultElementChoice(propertyAccessError=error)
        else:
            choice = ReadAccessResultElementChoice(propertyValue=AnyValue(content))
        element = ReadAccessResultElement(propertyIdentifier=ref.property_id, readResult=choice)
        if ref.index is not None:
            element.propertyArrayIndex = ref.index
        lists.append(ReadAccessResult(objectIdentifier=(ref.type, ref.instance), listOfResults=[element]))
    return bytes(ReadPropertyMultipleACK(listOfReadAccessResults=lists).encode().pduData)


@few
@given(results)
def test_values_and_errors_of_several_are_what_the_library_has_said(asked: list[tuple[Ref, Any]]) -> None:
    apdu = ack(14, _several(asked))
    found = codec.answer_to_several(apdu)
    by_batch = Batch([ref for ref, _ in asked]).answer(apdu)
    for (ref, content), ours in zip(asked, by_batch, strict=True):
        theirs = content if isinstance(content, Refused) else plain(content)
        assert same(found[key_of(ref)], theirs)
        assert same(ours, theirs)


@few
@given(results, st.randoms(use_true_random=False))
def test_an_answer_in_another_order_is_put_in_that_of_the_request(asked: list[Any], chance: Any) -> None:
    shuffled = list(asked)
    chance.shuffle(shuffled)
    found = Batch([ref for ref, _ in asked]).answer(ack(14, _several(shuffled)))
    for (_, content), ours in zip(asked, found, strict=True):
        assert same(ours, content if isinstance(content, Refused) else plain(content))


@few
@given(results)
def test_what_an_answer_leaves_out_is_none(asked: list[Any]) -> None:
    found = Batch([ref for ref, _ in asked]).answer(ack(14, _several(asked[1:])))
    assert found[0] is None


# Whatever comes


@settings(max_examples=300, deadline=None)
@given(
    results,
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 40),
)
def test_a_damaged_answer_says_what_the_library_reads_there_or_nothing(
    asked: list[Any], changes: list[tuple[int, int]], cut: int
) -> None:
    body = bytearray(_several(asked))
    for place, octet in changes:
        body[place % len(body)] = octet
    apdu = ack(14, bytes(body[: len(body) - cut] if cut < len(body) else body))
    try:
        ours = codec.answer_to_several(apdu)
    except tags.Malformed:
        ours = None
    by_batch: list[Any] = []
    if ours is None:
        with pytest.raises(tags.Malformed):
            Batch([ref for ref, _ in asked]).answer(apdu)
        return
    try:
        by_batch = Batch([ref for ref, _ in asked]).answer(apdu)
    except tags.Elsewhere:
        assert ours.keys().isdisjoint(key_of(ref) for ref, _ in asked)
    for (ref, _), found in zip(asked, by_batch, strict=False):
        assert same(found, ours.get(key_of(ref))) or found is ours.get(key_of(ref))
    theirs = _by_library(apdu)
    for key, content in ours.items():
        if isinstance(content, Value | Refused):
            assert any(same(content, one) for one in theirs.get(key, []))


def _by_library(apdu: bytes) -> dict[codec.Key, list[Any]]:
    found: dict[codec.Key, list[Any]] = {}
    for result in decoded(apdu).listOfReadAccessResults:
        number = int(result.objectIdentifier)
        for element in result.listOfResults:
            index = element.propertyArrayIndex
            key = number, int(element.propertyIdentifier), None if index is None else int(index)
            choice = element.readResult
            if choice.propertyAccessError is not None:
                content: Any = error(choice.propertyAccessError)
            else:
                content = scalar(choice.propertyValue.tagList)
            found.setdefault(key, []).append(content)
    return found


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_are_refused_and_no_value(data: bytes) -> None:
    ref = Ref(0, 1)
    for read in (
        lambda: codec.answer_to_one(data, ref),
        lambda: codec.answer_to_several(data),
        lambda: Batch([ref]).answer(data),
        lambda: codec.refusal(data, 12),
        lambda: codec.notification(data),
        lambda: codec.contents(data),
    ):
        try:
            found: Any = read()
        except tags.Malformed:
            continue
        if isinstance(found, dict):
            assert not any(isinstance(content, Value) for content in found.values())
        elif isinstance(found, list):
            assert found == [None]


@settings(max_examples=500, deadline=None)
@given(st.binary(min_size=1, max_size=24))
def test_any_one_value_is_the_librarys_or_none(data: bytes) -> None:
    ours = codec.contents(data)
    if not isinstance(ours, Value):
        return
    body = bytes.fromhex("0c000000011955") + b"\x3e" + data + b"\x3f"
    assert same(codec.answer_to_one(ack(12, body), Ref(0, 1)), ours)
    if ours.tag == tags.CHARACTERS and data[_content_of(data)] in (1, 2):
        return  # code pages are more than the library knows
    assert same(ours, scalar(decoded(ack(12, body)).propertyValue.tagList))


def _content_of(data: bytes) -> int:
    return tags.read_tag(data, 0)[3]


# Notifications


@few
@given(
    numbers,
    st.integers(0, 4_194_303),
    refs,
    numbers,
    st.lists(
        st.tuples(refs, values),
        min_size=1,
        max_size=4,
        unique_by=lambda one: (one[0].property_id, one[0].index),
    ),
)
def test_a_notification_is_what_the_library_has_said(
    process: int, device: int, ref: Ref, remaining: int, told: list[tuple[Ref, Any]]
) -> None:
    listed = []
    for one, value in told:
        listed.append(PropertyValue(propertyIdentifier=one.property_id, value=AnyValue(value)))
        if one.index is not None:
            listed[-1].propertyArrayIndex = one.index
    request = ConfirmedCOVNotificationRequest(
        subscriberProcessIdentifier=process,
        initiatingDeviceIdentifier=("device", device),
        monitoredObjectIdentifier=(ref.type, ref.instance),
        timeRemaining=remaining,
        listOfValues=listed,
    )
    found = codec.notification(bytes(request.encode().pduData))
    assert found[:5] == (process, device, ref.type, ref.instance, remaining)
    for one, value in told:
        assert same(found.values[one.property_id, one.index], plain(value))


# What is left to the library, and what is more lenient or stricter than it


def test_constructed_values_are_several() -> None:
    body = bytes.fromhex("0c000000011957") + b"\x3e" + b"\x00\x44\x40\x60\x00\x00\x00" + b"\x3f"
    found = codec.answer_to_one(ack(12, body), Ref(0, 1, 87))
    assert found == Several(b"\x00\x44\x40\x60\x00\x00\x00")
    body = bytes.fromhex("0c000000011957") + b"\x3e" + b"\x0e\x21\x05\x0f" + b"\x3f"
    assert codec.answer_to_one(ack(12, body), Ref(0, 1, 87)) == Several(b"\x0e\x21\x05\x0f")
    assert codec.answer_to_one(ack(12, bytes.fromhex("0c0000000119573e3f")), Ref(0, 1, 87)) == Several(b"")


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("7504004bc3bc", "Kü"),
        ("7503004bfc", "Kü"),  # says UTF-8, and is not
        ("750504004b00fc", "Kü"),
        ("7503054bfc", "Kü"),
        ("75050103524b81", "Kü"),  # code page 850
        ("7503028bf3", "空"),
        ("750501ffff4bfc", "Kü"),  # a code page that nobody knows
    ],
)
def test_texts_of_all_character_sets(octets: str, text: str) -> None:
    assert codec.contents(bytes.fromhex(octets)) == Value(tags.CHARACTERS, text)


@pytest.mark.parametrize(
    "octets",
    [
        "43415000",  # a real of 3 octets
        "550441500000",  # a double of 4
        "0100",  # a null of one
        "12",  # a boolean of 2
        "20",  # a number of no octets
        "2509" + "01" * 9,  # and of too many
        "d0",  # reserved
        "820900",  # more unused bits than there are
        "a3760101",
        "750504d800d800",  # half a character, twice
        "70",  # no character set
    ],
)
def test_what_is_no_value_costs_its_own_property_alone(octets: str) -> None:
    bad = bytes.fromhex(octets)
    assert codec.contents(bad) == Several(bad)
    body = bytes.fromhex("0c000000011e29554e") + bad + bytes.fromhex("4f1f")
    body += bytes.fromhex("0c000000021e29554e44415000004f1f")
    found = codec.answer_to_several(ack(14, body))
    assert found == {(1, 85, None): Several(bad), (2, 85, None): Value(tags.REAL, 13.0)}


def test_an_answer_about_another_object_property_or_index_is_none() -> None:
    body = bytes.fromhex("0c000000011955") + b"\x3e\x44" + struct.pack(">f", 1.5) + b"\x3f"
    assert codec.answer_to_one(ack(12, body), Ref(0, 1)) == Value(tags.REAL, 1.5)
    for other in (Ref(0, 2), Ref(1, 1), Ref(0, 1, 111), Ref(0, 1, 85, 1)):
        with pytest.raises(tags.Malformed):
            codec.answer_to_one(ack(12, body), other)


def test_refusals() -> None:
    assert codec.refusal(bytes.fromhex("50c80e910291 20".replace(" ", "")), 14) == Refused(2, 32)
    assert codec.refusal(bytes.fromhex("60c809"), 14) == codec.Rejected(9)
    assert codec.refusal(bytes.fromhex("71c804"), 14) == codec.Aborted(4)
    assert codec.refusal(bytes.fromhex("3cc800040e"), 14) == codec.Segmented()
    assert codec.refusal(bytes.fromhex("30c80e"), 14) is None
    for wrong in ("50c80c9102 9120", "30c80c", "20c80e", "60c8", "50c80e9102", "50c80e91029120 00", ""):
        with pytest.raises(tags.Malformed):
            codec.refusal(bytes.fromhex(wrong.replace(" ", "")), 14)


def test_what_is_nested_deeper_than_anything_is_refused() -> None:
    deep = b"\x0e" * 40 + b"\x0f" * 40
    with pytest.raises(tags.Malformed):
        codec.answer_to_one(ack(12, bytes.fromhex("0c0000000119553e") + deep + b"\x3f"), Ref(0, 1))


def test_complex_acks_of_the_library_are_let_through() -> None:
    ref = Ref(0, 1)
    encoded = _answer(ref, Real(2.5)).encode()
    assert isinstance(encoded, ComplexAckPDU)
    assert codec.refusal(ack(12, bytes(encoded.pduData)), 12) is None
