"""Packets as bytes: what brokers send, read by gmqtt's tables, and the one that is sent most. Raises
`Malformed` for what is no MQTT."""

import struct
from typing import Any, NamedTuple

from gmqtt.mqtt.property import Property
from gmqtt.mqtt.utils import unpack_variable_byte_integer

from actors.mqtt.broker import V5

_REASON_TEXT = 200


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


class Received(NamedTuple):
    """A message; `mid` is None at QoS 0."""

    topic: str
    payload: bytes
    mid: int | None


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


def header(buffer: bytearray) -> tuple[int, int] | None:
    """Where the body of the packet at the beginning begins and ends; None while that is not there yet."""
    length = 0
    for place in range(4):
        if len(buffer) <= place + 1:
            return None
        octet = buffer[place + 1]
        length |= (octet & 0x7F) << 7 * place
        if octet < 0x80:
            return place + 2, place + 2 + length
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


def suback(version: int, body: bytes) -> Answer:
    """The worst code of all filters: below 0x80 they are all subscribed to."""
    if len(body) < 3:
        raise Malformed("SUBACK")
    rest = body[2:]
    properties: dict[str, Any] = {}
    if version == V5:
        properties, rest = _split(rest)
    return Answer(max(rest, default=0x80), properties)


def disconnect(version: int, body: bytes) -> Answer:
    return _answer(version, body)


def publish(version: int, flags: int, body: bytes) -> Received:
    try:
        end = 2 + int.from_bytes(body[:2], "big")
        topic, rest, mid = body[2:end].decode(), body[end:], None
        if flags & 0x06:
            mid, rest = int.from_bytes(rest[:2], "big"), rest[2:]
    except UnicodeDecodeError as error:
        raise Malformed("PUBLISH") from error
    return Received(topic, rest if version != V5 else _split(rest)[1], mid)


def _answer(version: int, rest: bytes) -> Answer:
    if version != V5 or not rest:
        return YES
    return Answer(rest[0], _properties(rest[1:]) if len(rest) > 1 else {})


def _properties(octets: bytes) -> dict[str, Any]:
    return _split(octets)[0]


def _split(octets: bytes) -> tuple[dict[str, Any], bytes]:
    """The properties at the beginning, of a name that comes twice the last, and what follows them."""
    found: dict[str, Any] = {}
    try:
        length, rest = unpack_variable_byte_integer(octets)
        here, rest = rest[:length], rest[length:]
        while here:
            kind = Property.factory(id_=here[0])
            if kind is None:
                raise Malformed(f"property {here[0]}")
            values, here = kind.loads(here[1:])
            found.update(values)
    except (IndexError, ValueError, struct.error) as error:
        raise Malformed("properties") from error
    return found, rest
