"""What a session says and hears on top of a connection, with a real broker."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import pytest
from mqtt_owner import Owner, subscriber, to_port, until
from servers.mosquitto import Mosquitto
from servers.scripted_broker import ScriptedBroker

from actors.connections.connection import Permanent, Transient
from actors.mqtt.message import Message
from actors.publish.destinations.driver import Outgoing
from actors.publish.destinations.mqtt_session import Publish, Session
from actors.system.failure import Refusal


class Talking(Session):
    """Counts its connections, in everything that it says."""

    subscriptions = ("commands/#",)

    def __init__(self) -> None:
        self.connections = 0
        self.heard: list[tuple[str, bytes]] = []
        self.publish: Publish | None = None

    def will(self) -> Message:
        self.connections += 1
        return Message("state", b"\x00dead\xff%d" % self.connections, qos=1)

    def opened(self, publish: Publish) -> None:
        self.publish = publish
        publish(Message("state", b"born %d" % self.connections))

    def outgoing(self, message: Outgoing) -> tuple[str, bytes]:
        if message.payload == b"bad":
            raise Refusal("nothing can be made of it")
        return f"data/{message.topic}", message.payload.upper()

    def received(self, topic: str, payload: bytes) -> None:
        self.heard.append((topic, payload))
        assert self.publish is not None
        self.publish(Message("state", b"born again"))

    def farewell(self) -> Iterable[Message]:
        yield Message("state", b"dead in order", qos=1)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


Received = list[tuple[str, bytes, int]]


@pytest.fixture
async def received(broker: Mosquitto) -> AsyncIterator[Received]:
    messages: Received = []
    client = await subscriber(broker.port, messages)
    yield messages
    await client.disconnect()


async def test_a_birth_comes_before_payloads_and_last_words_after_them(broker: Mosquitto, received: Received):
    owner = Owner(to_port(broker.port), session=Talking())
    await owner.driver.connect()
    owner.send(1, "plant", b"a")
    await until(lambda: owner.seqs == [1])
    await owner.driver.close()
    await until(lambda: len(received) == 3)
    assert received == [
        ("state", b"born 1", 0),
        ("data/plant", b"A", 1),
        ("state", b"dead in order", 1),
    ]


async def test_the_will_of_each_connection_is_its_own(broker: Mosquitto, received: Received):
    owner = Owner(to_port(broker.port), session=Talking())
    for number in (1, 2):
        await owner.driver.connect()
        await until(lambda number=number: ("state", b"born %d" % number, 0) in received)
        owner.driver._end("as if nothing came any more")
        await until(lambda number=number: ("state", b"\x00dead\xff%d" % number, 1) in received)


async def test_commands_are_heard_and_answered(broker: Mosquitto, received: Received):
    session = Talking()
    owner, other = Owner(to_port(broker.port), session=session), Owner(to_port(broker.port, clientId="other"))
    await owner.driver.connect()
    await other.driver.connect()
    other.send(1, "commands/rebirth", b"now\xff")
    await until(lambda: session.heard == [("commands/rebirth", b"now\xff")])
    await until(lambda: ("state", b"born again", 0) in received)
    await owner.driver.close()
    assert session.publish is not None
    session.publish(Message("state", b"too late"))
    await other.driver.close()


async def test_what_a_session_can_make_nothing_of_is_rejected(broker: Mosquitto):
    owner = Owner(to_port(broker.port), session=Talking())
    await owner.driver.connect()
    owner.send(1, "plant", b"bad")
    owner.send(2, "plant", b"good")
    await until(lambda: owner.seqs == [2])
    assert owner.all("rejected") == [([1], "nothing can be made of it")]
    await owner.driver.close()


async def test_a_broker_that_refuses_a_subscription_is_not_connected_to():
    async with ScriptedBroker() as broker:
        broker.granted = 0x80
        with pytest.raises(Permanent, match="The broker refuses a subscription to commands/#"):
            await Owner(to_port(broker.port), session=Talking()).driver.connect()
        broker.granted = None
        with pytest.raises(Transient, match="did not answer"):
            await Owner(to_port(broker.port), session=Talking(), connect_seconds=0.1).driver.connect()


async def test_a_broker_that_hangs_up_over_a_subscription_is_said_to(broker: Mosquitto):
    session = Talking()
    session.subscriptions = ("commands/#/no-filter",)
    with pytest.raises(Transient, match="closed the connection instead of subscribing"):
        await Owner(to_port(broker.port), session=session).driver.connect()


class Waiting(Talking):
    """Ready when it is told so."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.waits = False

    async def ready(self, within: float) -> None:
        self.waits = True
        await self.go.wait()

    def received(self, topic: str, payload: bytes) -> None:
        if payload == b"go":
            self.go.set()
        else:
            raise Transient("it was told to stop")


async def test_a_session_may_wait_for_a_message_and_end_over_another(
    broker: Mosquitto, received: Received
) -> None:
    session = Waiting()
    owner, other = Owner(to_port(broker.port), session=session), Owner(to_port(broker.port, clientId="other"))
    await other.driver.connect()
    connecting = asyncio.ensure_future(owner.driver.connect())
    await until(lambda: session.waits)
    assert not connecting.done()
    other.send(1, "commands/a", b"go")
    await connecting
    await until(lambda: ("state", b"born 1", 0) in received)
    other.send(2, "commands/a", b"stop")
    await until(lambda: owner.losses == ["it was told to stop"])
    await until(lambda: ("state", b"\x00dead\xff1", 1) in received)
    await other.driver.close()


async def test_a_broker_that_goes_while_a_session_waits_is_gone(broker: Mosquitto) -> None:
    session = Waiting()
    connecting = asyncio.ensure_future(Owner(to_port(broker.port), session=session).driver.connect())
    await until(lambda: session.waits)
    broker.stop()
    with pytest.raises(Transient, match="closed the connection"):
        await connecting
