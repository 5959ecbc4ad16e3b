"""Packets as bytes: what is sent is what gmqtt would send, and whatever comes is read or refused."""

import random
from typing import Any

import pytest
from gmqtt.client import Message
from gmqtt.mqtt.package import PublishPacket
from gmqtt.mqtt.utils import IdGenerator

from actors.mqtt import packets
from actors.mqtt.broker import V5, V311
from actors.mqtt.packets import Answer, Malformed


class Gmqtt:
    """What gmqtt makes packets for."""

    def __init__(self, version: int) -> None:
        self.proto_ver = version
        self.id_generator = IdGenerator(65_536)


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 16_383, 16_384, 2_097_152])
@pytest.mark.parametrize(("qos", "retain"), [(0, False), (0, True), (1, False), (1, True)])
def test_a_message_is_the_packet_that_gmqtt_makes(size: int, qos: int, retain: bool) -> None:
    topic, payload = "plant/é".encode(), bytes(size)
    mid, expected = PublishPacket.build_package(Message(topic, payload, qos, retain), Gmqtt(V311))
    assert packets.encode_publish(topic, payload, retain, mid, b"") == bytes(expected)


def test_a_length_takes_up_to_four_bytes() -> None:
    for length in (0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152):
        packet = bytearray(packets.encode_publish(b"a", bytes(length), False, None, b""))
        found = packets.header(packet)
        assert found is not None
        assert found[1] == len(packet)
        assert all(packets.header(packet[:cut]) is None for cut in range(found[0]))
    with pytest.raises(Malformed):
        packets.header(bytearray(b"\x40\xff\xff\xff\xff\x01"))


def test_answers_of_both_versions_are_read() -> None:
    assert packets.connack(V311, b"\x00\x05") == Answer(5, {})
    assert packets.connack(V5, b"\x00\x00\x03\x21\x00\x14") == Answer(0, {"receive_maximum": 20})
    assert packets.puback(V311, b"\x01\x02") == (258, Answer(0, {}))
    assert packets.puback(V5, b"\x01\x02\x97") == (258, Answer(0x97, {}))
    code, text = packets.puback(V5, b"\x01\x02\x99\x05\x1f\x00\x02no")[1].code, "no"
    assert (code, text) == (0x99, packets.puback(V5, b"\x01\x02\x99\x05\x1f\x00\x02no")[1].text)
    assert packets.suback(V311, b"\x00\x01\x01\x80") == (1, Answer(0x80, {}))
    assert packets.suback(V5, b"\x00\x01\x00\x01") == (1, Answer(1, {}))
    assert packets.disconnect(V5, b"").code == 0


READERS: list[Any] = [
    packets.connack,
    packets.puback,
    packets.suback,
    packets.disconnect,
    lambda version, body: packets.publish(version, body, 0, len(body), 0x32),
    lambda version, body: packets.publish(version, body, 0, len(body), 0x30),
    lambda version, body: packets.unsuback(body),
]


@pytest.mark.parametrize("seed", range(20))
def test_nonsense_is_read_or_refused_and_nothing_else(seed: int) -> None:
    drawn = random.Random(seed)
    refused = 0
    for _ in range(2_000):
        body = drawn.randbytes(drawn.randrange(30))
        for read in READERS:
            for version in (V311, V5):
                try:
                    read(version, body)
                except Malformed:
                    refused += 1
    assert refused


@pytest.mark.parametrize(("first", "mid"), [(0x30, 0), (0x32, 7), (0x3C, 7)])
def test_a_message_whose_topic_is_no_utf8_is_left_out(first: int, mid: int) -> None:
    body = b"\x00\x02\xff\xfe" + (b"\x00\x07" if first & 6 else b"") + b"payload"
    found = packets.publish(4, body, 0, len(body), first)
    assert (found.topic, found.payload, found.mid) == ("", b"", mid)
    assert found.left_out


def test_a_topic_that_is_longer_than_its_packet_is_no_topic() -> None:
    with pytest.raises(packets.Malformed):
        packets.publish(4, b"\x00\x09\xff\xfe\x00\x01payload", 0, 6, 0x32)
