"""MQTT 5: what brokers say about themselves is kept to, and what they say of a payload is heard."""

import asyncio
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gmqtt
import pytest
from gmqtt.mqtt.constants import MQTTv50
from mqtt_owner import Owner, subscriber, to_port, until
from mqtt_schemes import SCHEMES, mosquitto, to
from servers.mosquitto import Mosquitto
from servers.scripted_broker import ScriptedBroker

from actors.connections.connection import Permanent, Transient
from actors.mqtt.message import Message
from actors.publish.destinations import mqtt_driver
from actors.publish.destinations.mqtt_driver import UNSAID_TIMES
from actors.publish.destinations.mqtt_presence import Presence


def to5(port: int, **config_json: Any) -> dict[str, Any]:
    return to_port(port, protocolVersion="5", **config_json)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


async def heard(port: int, messages: list[tuple[str, bytes, dict[str, Any]]]) -> gmqtt.Client:
    """A client of MQTT 5 that appends to `messages` whatever comes: topic, payload, properties."""
    client = gmqtt.Client("listener")
    subscribed = asyncio.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _, topic, payload, __, properties: messages.append(
        (topic, payload, properties)
    )
    await client.connect("127.0.0.1", port, version=MQTTv50)
    client.subscribe("#", qos=1)
    await subscribed.wait()
    return client


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_payloads_arrive_once_and_in_order_through_the_brokers_window(
    tmp_path: Path, scheme: str
) -> None:
    """mosquitto takes 20 at a time, and ten topics by their numbers."""
    received: list[tuple[str, bytes, int]] = []
    with mosquitto(tmp_path, scheme) as broker:
        listener = await subscriber(broker.plain_port, received)
        owner = Owner(to(broker, scheme, protocolVersion=5))
        await owner.driver.connect()
        assert owner.driver._link is not None
        assert owner.driver._link.limits.receive_maximum == 20
        for seq in range(1000):
            owner.send(seq, f"plant/{seq % 15}", b"%d" % seq)
        await until(lambda: owner.seqs == list(range(1000)))
        await until(lambda: len(received) == 1000)
        assert received == [(f"plant/{seq % 15}", b"%d" % seq, 1) for seq in range(1000)]
        assert len(owner.driver._link._aliases) == owner.driver._link.limits.topic_alias_maximum == 10
        await owner.driver.close()
        await listener.disconnect()
        assert owner.losses == []


async def test_a_topic_with_a_number_is_not_spelled_again() -> None:
    async with ScriptedBroker(properties=b"\x22" + struct.pack("!H", 1)) as broker:
        owner = Owner(to5(broker.port))
        await owner.driver.connect()
        link = owner.driver._link
        assert link is not None
        sizes = []
        for seq in range(3):
            before = link.written
            owner.send(seq, "a/long/topic", b"x")
            sizes.append(link.written - before)
        assert sizes[1] == sizes[2] == sizes[0] - len("a/long/topic")
        before = link.written
        owner.send(3, "b/long/topic", b"x")
        assert link.written - before == sizes[0] - 3, "there is one number only"
        await owner.driver.close()


async def test_properties_go_with_each_payload(broker: Mosquitto) -> None:
    messages: list[tuple[str, bytes, dict[str, Any]]] = []
    listener = await heard(broker.port, messages)
    owner = Owner(to5(broker.port), properties=(("site", "hall 1"), ("line", "é")), ttl_ms=3_600_000)
    await owner.driver.connect()
    owner.send(1, "plant", b"x")
    await until(lambda: messages)
    properties = messages[0][2]
    assert properties["user_property"] == [("site", "hall 1"), ("line", "é")]
    assert 3590 <= properties["message_expiry_interval"][0] <= 3600
    await owner.driver.close()
    await listener.disconnect()


async def test_what_a_payload_has_waited_is_taken_from_its_time_to_live(broker: Mosquitto) -> None:
    messages: list[tuple[str, bytes, dict[str, Any]]] = []
    listener = await heard(broker.port, messages)
    owner = Owner(to5(broker.port), ttl_ms=3_600_000)
    await owner.driver.connect()
    for seq, waited in enumerate((1_800_000, 3_599_999, 7_200_000)):
        owner.send(seq, "plant", b"x", age_ms=waited)
    await until(lambda: len(messages) == 3)
    left = [properties["message_expiry_interval"][0] for _, _, properties in messages]
    assert left == [1800, 1, 3600], "of what should not be there any more the age is not known"
    await owner.driver.close()
    await listener.disconnect()


async def test_a_packet_larger_than_the_broker_takes_is_rejected_and_the_others_go_through(
    tmp_path: Path,
) -> None:
    with Mosquitto(tmp_path, options=("max_packet_size 1000",)) as broker:
        owner = Owner(to5(broker.port))
        await owner.driver.connect()
        owner.send(1, "plant", bytes(2000))
        owner.send(2, "plant", bytes(900))
        await until(lambda: owner.seqs == [2])
        [(seqs, reason)] = owner.all("rejected")
        assert seqs == [1]
        assert reason.endswith("the broker takes 1000 at most")
        assert owner.losses == []
        await owner.driver.close()


async def test_a_broker_that_takes_no_birth_message_of_that_size_is_not_connected_to(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    with Mosquitto(tmp_path, options=("max_packet_size 1000",)) as broker:
        birth = Presence(None, Message("plant", bytes(2000)))
        with pytest.raises(Permanent, match="the broker takes 1000 at most"):
            await Owner(to5(broker.port), session=birth).driver.connect()
    await until(lambda: asyncio.all_tasks() <= before, 1)


async def test_a_topic_that_mosquitto_forbids_is_rejected_with_its_reason(tmp_path: Path) -> None:
    """Version 2.0.11 then closes the connection all the same."""
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite allowed/#\n")
    with Mosquitto(tmp_path, options=(f"acl_file {acl}",)) as broker:
        owner = Owner(to5(broker.port))
        await owner.driver.connect()
        owner.send(0, "allowed/a", b"x")
        owner.send(1, "denied/a", b"x")
        await until(lambda: owner.all("rejected"))
        assert owner.all("rejected") == [([1], "The broker refuses it: not authorised")]
        assert owner.seqs == [0]
        await owner.driver.close()


async def test_the_brokers_own_words_are_in_the_reason() -> None:
    async with ScriptedBroker(properties=b"") as broker:
        owner = Owner(to5(broker.port))
        await owner.driver.connect()
        owner.send(1, "plant", b"x")
        await until(lambda: broker.published)
        broker.refuse(0x99, "no\nJSON")
        await until(lambda: owner.all("rejected"))
        assert owner.all("rejected") == [([1], "The broker refuses it: payload format invalid (noJSON)")]
        await owner.driver.close()


async def test_a_broker_whose_quota_is_used_up_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_driver, "AGAIN_SECONDS", 0.05)
    async with ScriptedBroker(properties=b"") as broker:
        owner = Owner(to5(broker.port))
        await owner.driver.connect()
        owner.send(1, "plant", b"x")
        for _ in range(3 * UNSAID_TIMES):
            await until(lambda: broker.published)
            broker.refuse(0x97)
        await until(lambda: broker.published)
        broker.acknowledge()
        await until(lambda: owner.seqs == [1])
        assert owner.all("rejected") == []
        assert owner.losses == []
        await owner.driver.close()


async def test_a_payload_that_is_refused_without_a_reason_is_offered_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mqtt_driver, "AGAIN_SECONDS", 0.01)
    async with ScriptedBroker(properties=b"") as broker:
        owner = Owner(to5(broker.port))
        await owner.driver.connect()
        owner.send(1, "plant", b"x")
        for _ in range(UNSAID_TIMES):
            await until(lambda: broker.published)
            broker.refuse(0x80)
        await until(lambda: owner.all("rejected"))
        assert owner.all("rejected") == [([1], "The broker refuses it: the broker does not say why")]
        await owner.driver.close()


async def test_a_broker_that_says_why_it_ends_the_connection_is_quoted() -> None:
    async with ScriptedBroker(properties=b"") as broker:
        owner = Owner(to5(broker.port))
        await owner.driver.connect()
        broker.say_goodbye(0x8B)
        await until(lambda: owner.losses)
        assert owner.losses == [f"127.0.0.1:{broker.port} closed the connection: the broker shuts down"]


async def test_a_session_that_is_taken_over_is_known_at_once() -> None:
    async with ScriptedBroker(properties=b"") as broker:
        owner = Owner(to5(broker.port))
        await owner.driver.connect()
        broker.say_goodbye(0x8E)
        await until(lambda: owner.losses)
        assert owner.losses == [
            f"127.0.0.1:{broker.port} closed the connection: session taken over;"
            " is another client using this client id (agent-1)?"
        ]
        assert owner.pauses == [10.0]


async def test_the_brokers_keepalive_counts() -> None:
    async with ScriptedBroker(properties=b"\x13" + struct.pack("!H", 1)) as broker:
        owner = Owner(to5(broker.port, keepalive=600))
        await owner.driver.connect()
        await until(lambda: broker.pings == 1, 3)
        broker.answer_ping()
        await until(lambda: broker.pings == 2, 3)
        await owner.driver.close()
        assert owner.losses == []


async def test_a_broker_without_qos_1_and_retained_messages_gets_neither() -> None:
    async with ScriptedBroker(properties=b"\x24\x00\x25\x00") as broker:
        owner = Owner(to5(broker.port))
        await owner.driver.connect()
        owner.send(1, "plant", b"x", retain=True)
        await until(lambda: broker.pings == 1)
        assert broker.unacknowledged == 1
        assert broker.published == []
        broker.answer_ping()
        await until(lambda: owner.seqs == [1])
        await owner.driver.close()


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (0x84, Permanent, "the broker does not speak MQTT 5; let protocolVersion be 3.1.1"),
        (1, Permanent, "the broker does not speak MQTT 5; let protocolVersion be 3.1.1"),
        (0x85, Permanent, "client id rejected"),
        (0x86, Permanent, "bad user name or password"),
        (0x87, Permanent, "not authorised, check user name and password"),
        (0x88, Transient, "broker unavailable"),
        (0x97, Transient, "quota exceeded"),
        (0x9A, Permanent, "retain not supported"),
        (0xBB, Transient, "reason code 0xbb"),
    ],
)
async def test_refusals_of_the_login_are_told_apart(code: int, kind: type[Exception], words: str) -> None:
    properties = None if code == 1 else b""
    async with ScriptedBroker(code, properties=properties) as broker:
        with pytest.raises(kind) as refused:
            await Owner(to5(broker.port)).driver.connect()
        assert str(refused.value) == f"Connection refused: {words}"


async def test_a_broker_that_hangs_up_on_mqtt_5_without_a_word_is_asked_about() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        owner = Owner(to5(server.sockets[0].getsockname()[1]))
        with pytest.raises(Transient, match="does it speak MQTT 5"):
            await owner.driver.connect()


async def test_nonsense_is_the_end_of_a_connection() -> None:
    async with ScriptedBroker(properties=b"\x21\x00\x00") as broker:
        with pytest.raises(Transient, match="closed the connection instead of logging in"):
            await Owner(to5(broker.port)).driver.connect()


async def test_wrong_credentials_are_a_permanent_refusal(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, username="user", password="right") as broker:
        with pytest.raises(Permanent, match="check user name and password"):
            await Owner(to5(broker.port, username="user", password="wrong")).driver.connect()
        owner = Owner(to5(broker.port, username="user", password="right"))
        await owner.driver.connect()
        await owner.driver.close()
