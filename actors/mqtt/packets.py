"""Packets as bytes: what brokers send, read by gmqtt's tables, and the one that is sent most. Raises
`Malformed` for what is no MQTT."""

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from gmqtt.mqtt.property import Property
from gmqtt.mqtt.utils import unpack_variable_byte_integer

from actors.mqtt.broker import V5, V311

_REASON_TEXT = 200
_SHORT = 64


class Malformed(Exception):
    """It breaks the protocol."""


class TooLarge(Exception):
    """The broker takes no packet of this size."""


class Answer(NamedTuple):
    """A reason code, 0 in MQTT 3.1.1 where it has none, and the properties that came with it."""

    code: int
    properties: dict[str, Any]

    @property
    def text(self) -> str:
        """What the broker says about it, for people; perhaps nothing."""
        said = str(self.properties.get("reason_string", ""))[:_REASON_TEXT]
        return "".join(each for each in said if each.isprintable())


YES = Answer(0, {})


class Received(msgspec.Struct, gc=False):
    """A message. `mid` is its packet identifier, 0 at QoS 0; `retain`: the broker had it before it was
    subscribed to; `again`: it may have come before. `identifiers` are those of the subscriptions that it came
    for, where the broker says so; `properties` what else came with it in MQTT 5 (`content_type`,
    `response_topic`, ..., and as `user_property` a list of pairs), None: nothing."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    again: bool = False
    mid: int = 0
    identifiers: tuple[int, ...] = ()
    properties: dict[str, Any] | None = None
    claims: tuple[Any, ...] = ()
    """Who has yet to acknowledge it."""
    left_out: int = 0
    """Bytes that were not taken: the packet is too large, or its topic, which is "" then, none. There is no
    payload."""
    connection: int = 0
    """Which one it came on."""


def encode_publish(topic: bytes, payload: bytes, retain: bool, mid: int | None, properties: bytes) -> bytes:
    """PUBLISH, at QoS 1 when there is a packet identifier. Not by gmqtt, which takes three times as long over
    the packet that nearly all are."""
    head = len(topic).to_bytes(2, "big") + topic
    first = 0x30 | retain
    if mid is not None:
        first |= 0x02
        head += mid.to_bytes(2, "big")
    head += properties
    length, octets = len(head) + len(payload), []
    while length > 0x7F:
        octets.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((first, *octets, length)) + head + payload


def header(octets: bytes | bytearray, at: int = 0) -> tuple[int, int] | None:
    """Where the body of the packet that begins there begins and ends; None while that is not there yet."""
    length = 0
    for place in range(4):
        if len(octets) <= at + place + 1:
            return None
        octet = octets[at + place + 1]
        length |= (octet & 0x7F) << 7 * place
        if octet < 0x80:
            return at + place + 2, at + place + 2 + length
    raise Malformed("a length of more than four bytes")


def connack(version: int, body: bytes) -> Answer:
    """`code` is that of the version that the broker answers in: 1 to 5 are those of MQTT 3.1.1."""
    if len(body) < 2:
        raise Malformed("CONNACK")
    return Answer(body[1], _properties(body[2:]) if version == V5 and len(body) > 2 else {})


def puback(version: int, body: bytes) -> tuple[int, Answer]:
    """The packet identifier, and the answer."""
    if len(body) < 2:
        raise Malformed("PUBACK")
    return int.from_bytes(body[:2], "big"), _answer(version, body[2:])


def suback(version: int, body: bytes) -> tuple[int, Answer]:
    """The packet identifier, and the answer; of several filters the worst one. A code below 0x80 is the QoS
    that is granted."""
    if len(body) < 3:
        raise Malformed("SUBACK")
    rest = body[2:]
    properties: dict[str, Any] = {}
    if version == V5:
        properties, rest = _split(rest)
    return int.from_bytes(body[:2], "big"), Answer(max(rest, default=0x80), properties)


def unsuback(body: bytes) -> int:
    """The packet identifier; what the broker says of it changes nothing."""
    if len(body) < 2:
        raise Malformed("UNSUBACK")
    return int.from_bytes(body[:2], "big")


def disconnect(version: int, body: bytes) -> Answer:
    return _answer(version, body)


def publish(version: int, octets: bytes, begin: int, end: int, first: int = 0x30) -> Received:
    """The message of which `octets` hold the body from `begin` to `end`."""
    at = begin + 2
    try:
        at += (octets[begin] << 8) | octets[begin + 1]
        topic = octets[begin + 2 : at].decode()
        mid = 0
        if first & 0x06:
            mid = (octets[at] << 8) | octets[at + 1]
            at += 2
        if at > end or (first & 0x06 and not mid) or first & 0x06 == 0x06:
            raise Malformed("PUBLISH")
        if version != V5:
            if first == 0x30:
                return Received(topic, octets[at:end])
            return _received(topic, octets[at:end], first, mid)
        length = octets[at]
        if not length and at < end:
            return _received(topic, octets[at + 1 : end], first, mid)
    except UnicodeDecodeError:
        return _nameless(octets, at, end, first)
    except IndexError as error:
        raise Malformed("PUBLISH") from error
    found = header(octets, at - 1)
    if found is None or found[1] > end:
        raise Malformed("properties")
    said = octets[found[0] : found[1]]
    identifiers, properties = _said_often(said) if len(said) <= _SHORT else _said(said)
    return _received(topic, octets[found[1] : end], first, mid, identifiers, properties)


def _nameless(octets: bytes, at: int, end: int, first: int) -> Received:
    """A message whose topic, which ends there, is no UTF-8. Old brokers let such pass, and ending the
    connection over one that is kept would never end."""
    mid = int.from_bytes(octets[at : at + 2], "big") if first & 0x06 else 0
    if at + (2 if first & 0x06 else 0) > end or (first & 0x06 and not mid) or first & 0x06 == 0x06:
        raise Malformed("PUBLISH")
    return Received("", b"", first >> 1 & 3, bool(first & 1), bool(first & 0x08), mid, left_out=end - at)


def beginning(octets: bytes, begin: int, size: int, first: int) -> Received | int:
    """The message of a packet of that size of which `octets` hold the body from `begin` on, without its
    payload; or how many octets it takes to tell."""
    if len(octets) < begin + 2:
        return begin + 2
    end = begin + 2 + int.from_bytes(octets[begin : begin + 2], "big")
    needed = end + (2 if first & 0x06 else 0)
    if len(octets) < needed:
        return needed
    found = publish(V311, octets[begin:needed], 0, needed - begin, first)
    found.left_out = size
    return found


def _received(
    topic: str,
    payload: bytes,
    first: int,
    mid: int,
    identifiers: tuple[int, ...] = (),
    properties: dict[str, Any] | None = None,
) -> Received:
    again = bool(first & 0x08)
    return Received(topic, payload, first >> 1 & 3, bool(first & 1), again, mid, identifiers, properties)


def _said(octets: bytes) -> tuple[tuple[int, ...], dict[str, Any] | None]:
    """The identifiers of subscriptions among the properties of a message, and the others."""
    identifiers: list[int] = []
    pairs: list[tuple[str, str]] = []
    properties: dict[str, Any] = {}
    for name, value in _each(octets):
        if name == "subscription_identifier":
            identifiers.append(value)
        elif name == "user_property":
            pairs.append(value)
        else:
            properties[name] = value
    if pairs:
        properties["user_property"] = pairs
    return tuple(identifiers), properties or None


_said_often = lru_cache(maxsize=1024)(_said)  # what comes with one message comes with many


def _answer(version: int, rest: bytes) -> Answer:
    if version != V5 or not rest:
        return YES
    return Answer(rest[0], _properties(rest[1:]) if len(rest) > 1 else {})


def _properties(octets: bytes) -> dict[str, Any]:
    return _split(octets)[0]


def _split(octets: bytes) -> tuple[dict[str, Any], bytes]:
    """The properties at the beginning, of a name that comes twice the last, and what follows them."""
    try:
        length, rest = unpack_variable_byte_integer(octets)
    except (IndexError, ValueError, struct.error) as error:
        raise Malformed("properties") from error
    return dict(_each(rest[:length])), rest[length:]


def _each(octets: bytes) -> Iterator[tuple[str, Any]]:
    """Names and values of properties, in order."""
    try:
        while octets:
            kind = Property.factory(id_=octets[0])
            if kind is None:
                raise Malformed(f"property {octets[0]}")
            values, octets = kind.loads(octets[1:])
            yield from values.items()
    except (IndexError, ValueError, struct.error) as error:
        raise Malformed("properties") from error
