"""Messages that are larger than a link takes: passed over, however they come in."""

import asyncio
import struct
from typing import Any, cast

import pytest

from actors.mqtt.broker import V5, V311
from actors.mqtt.link import MAX_RECEIVED, Link
from actors.mqtt.packets import Answer, Received


class Owner:
    def __init__(self) -> None:
        self.came: list[Received] = []
        self.reasons: list[str | None] = []

    def answered(self, messages: tuple[Any, ...], answer: Answer) -> None: ...

    def received(self, link: Link, messages: list[Received]) -> None:
        self.came += messages

    def ended(self, link: Link, reason: str | None, code: int, idle: bool) -> None:
        self.reasons.append(reason)


class Gone(asyncio.Transport):
    def abort(self) -> None: ...


def packet(version: int, topic: str, payload: bytes, mid: int) -> bytes:
    body = struct.pack(">H", len(topic)) + topic.encode()
    body += struct.pack(">H", mid) if mid else b""
    body += (b"\0" if version == V5 else b"") + payload
    length, octets = len(body), bytearray()
    while length > 0x7F:
        octets.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((0x32 if mid else 0x30, *octets, length)) + body


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize("piece", [1, 2, 3, 7, 65_536, 10_000_000])
async def test_a_message_that_is_too_large_is_known_and_those_around_it_are_whole(
    version: int, piece: int
) -> None:
    owner = Owner()
    link = Link(version, owner)
    link._transport = cast(asyncio.Transport, object())
    link.session_present = True
    small, large = b"x" * 10, bytes(MAX_RECEIVED)
    octets = (
        packet(version, "a", small, 0) + packet(version, "b/large", large, 7) + packet(version, "c", small, 8)
    )
    ends = (30, len(octets) - 30)
    pieces = [octets[at : at + piece] for at in range(0, ends[0], piece)]
    taken = sum(map(len, pieces))
    if taken < ends[1]:
        pieces.append(octets[taken : ends[1]])
        taken = ends[1]
    pieces += [octets[at : at + piece] for at in range(taken, len(octets), piece)]
    assert b"".join(pieces) == octets
    for each in pieces:
        link.data_received(each)
        assert len(link._begun) < 100

    assert [(one.topic, one.payload, one.mid, bool(one.left_out)) for one in owner.came] == [
        ("a", small, 0, False),
        ("b/large", b"", 7, True),
        ("c", small, 8, False),
    ]
    assert owner.reasons == []


async def test_any_other_packet_of_that_size_is_no_mqtt() -> None:
    owner = Owner()
    link = Link(V311, owner)
    link._transport = Gone()
    link.data_received(b"\x40\xff\xff\xff\x7f" + bytes(20))

    assert owner.reasons
    assert "not MQTT" in (owner.reasons[0] or "")
