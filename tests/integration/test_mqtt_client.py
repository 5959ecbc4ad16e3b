"""The client that endpoints subscribe over, against a real broker."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mqtt_owner import until
from servers.mosquitto import Mosquitto
from servers.relay import Relay
from servers.scripted_broker import ScriptedBroker

from actors.connections.connection import NoConnection, Permanent, Transient
from actors.mqtt import client as client_module
from actors.mqtt.broker import V5, V311, Broker, Login
from actors.mqtt.client import Client, Options
from actors.mqtt.kept import Kept
from actors.mqtt.packets import Received

SECONDS = 5.0


class Somebody:
    def __init__(self, holds: bool = False) -> None:
        self.holds = holds
        self.messages: list[Received] = []
        self.ends: list[NoConnection] = []

    def received(self, messages: list[Received]) -> None:
        self.messages += messages

    def ended(self, error: NoConnection) -> None:
        self.ends.append(error)

    @property
    def told(self) -> list[tuple[str, bytes]]:
        return [(message.topic, message.payload) for message in self.messages]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto")) as running:
        yield running


@pytest.fixture(params=[V311, V5], ids=["3.1.1", "5"])
def version(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@asynccontextmanager
async def client(
    port: int,
    version: int = V311,
    name: str = "agent",
    options: Options | None = None,
    kept: Kept | None = None,
    **broker: Any,
) -> AsyncIterator[Client]:
    made = Client(Broker("127.0.0.1", port, version=version, **broker), lambda: Login(name), options, kept)
    await made.open(SECONDS)
    try:
        yield made
    finally:
        await made.close()


async def test_each_user_gets_what_it_has_subscribed_to_once(broker: Mosquitto, version: int) -> None:
    first, second = Somebody(), Somebody()
    async with client(broker.port, version) as mine, client(broker.port, name="other") as other:
        await mine.subscribe(first, {"plant/+/state": 1, "plant/7/#": 0}, SECONDS)
        await mine.subscribe(second, {"plant/7/#": 1}, SECONDS)
        await other.publish("plant/7/state", b"1")
        await other.publish("plant/8/state", b"2")
        await other.publish("plant/8/else", b"3")
        await other.publish("plant/7", b"4")
        await until(lambda: len(first.messages) == 3 and len(second.messages) == 2)
    assert first.told == [("plant/7/state", b"1"), ("plant/8/state", b"2"), ("plant/7", b"4")]
    assert second.told == [("plant/7/state", b"1"), ("plant/7", b"4")]


async def test_what_the_broker_had_before_is_told_apart(broker: Mosquitto, version: int) -> None:
    user = Somebody()
    async with client(broker.port, version) as mine, client(broker.port, name="other") as other:
        await other.publish("kept/a", b"old", retain=True)
        await mine.subscribe(user, {"kept/#": 1}, SECONDS)
        await other.publish("kept/b", b"new")
        await until(lambda: len(user.messages) == 2)
        mine.leave(user)
        await other.publish("kept/a", b"", retain=True)
    assert [(one.payload, one.retain) for one in user.messages] == [(b"old", True), (b"new", False)]


async def test_a_shared_subscription_is_somebody_elses_too(broker: Mosquitto) -> None:
    one, two = Somebody(), Somebody()
    async with (
        client(broker.port, V5) as first,
        client(broker.port, V5, name="second") as second,
        client(broker.port, name="other") as other,
    ):
        await first.subscribe(one, {"$share/agents/jobs/#": 1}, SECONDS)
        await second.subscribe(two, {"$share/agents/jobs/#": 1}, SECONDS)
        for number in range(10):
            await other.publish("jobs/a", b"%d" % number)
        await until(lambda: len(one.messages) + len(two.messages) == 10)
    assert one.messages
    assert two.messages


async def test_who_leaves_gets_nothing_more_and_others_still_do(broker: Mosquitto, version: int) -> None:
    gone, stays = Somebody(), Somebody()
    async with client(broker.port, version) as mine, client(broker.port, name="other") as other:
        await mine.subscribe(gone, {"leave/#": 1, "leave/only": 1}, SECONDS)
        await mine.subscribe(stays, {"leave/#": 1}, SECONDS)
        mine.leave(gone)
        await other.publish("leave/a", b"1")
        await until(lambda: stays.messages)
    assert gone.messages == []


async def test_what_is_not_acknowledged_comes_again_on_the_next_connection(
    broker: Mosquitto, version: int
) -> None:
    keeps = Options(session_expiry=60)
    user = Somebody(holds=True)
    async with client(broker.port, name="other") as other:
        async with client(broker.port, version, "durable", keeps) as mine:
            await mine.subscribe(user, {"durable/#": 1}, SECONDS)
            for number in range(4):
                await other.publish("durable/a", b"%d" % number)
            await until(lambda: len(user.messages) == 4)
            mine.acknowledge(user, user.messages[1:2])
            mine.acknowledge(user, user.messages[:1])
        await other.publish("durable/a", b"4")
        again = Somebody(holds=True)
        async with client(broker.port, version, "durable", keeps) as mine:
            await mine.subscribe(again, {"durable/#": 1}, SECONDS)
            await until(lambda: len(again.messages) == 3)
            mine.acknowledge(again, again.messages)
        last = Somebody(holds=True)
        async with client(broker.port, version, "durable", keeps) as mine:
            await mine.subscribe(last, {"durable/#": 1}, SECONDS)
            await other.publish("durable/a", b"5")
            await until(lambda: last.messages)
            mine.acknowledge(last, last.messages)
    assert [payload for _, payload in again.told] == [b"2", b"3", b"4"]
    assert [payload for _, payload in last.told] == [b"5"]


KEEPS = Options(session_expiry=60)


async def test_what_someone_has_left_unacknowledged_is_for_who_comes_in_its_place_and_holds_nobody_up(
    broker: Mosquitto, version: int
) -> None:
    leaves, stays, comes = Somebody(holds=True), Somebody(), Somebody(holds=True)
    async with client(broker.port, name="other") as other:
        async with client(broker.port, version, f"heirs{version}", KEEPS) as mine:
            await mine.subscribe(leaves, {"heirs/#": 1}, SECONDS)
            await mine.subscribe(stays, {"heirs/#": 1}, SECONDS)
            await other.publish("heirs/a", b"0")
            await until(lambda: leaves.messages and stays.messages)
            mine.leave(leaves)
            await mine.subscribe(comes, {"heirs/#": 1}, SECONDS)
            await until(lambda: comes.messages)
            mine.acknowledge(leaves, leaves.messages)  # too late
            await other.publish("heirs/b", b"1")
            await until(lambda: len(stays.messages) == len(comes.messages) == 2)
            mine.acknowledge(comes, comes.messages)
        again = Somebody(holds=True)
        async with client(broker.port, version, f"heirs{version}", KEEPS) as mine:
            await mine.subscribe(again, {"heirs/#": 1}, SECONDS)
            await other.publish("heirs/c", b"3")
            await until(lambda: again.messages)
    assert [payload for _, payload in comes.told] == [b"0", b"1"]
    assert [payload for _, payload in stays.told] == [b"0", b"1"]
    assert [payload for _, payload in again.told] == [b"3"]


async def test_thousands_that_one_who_has_left_did_not_acknowledge_stop_nobody(
    broker: Mosquitto, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.mqtt.client.WINDOW", 10)
    monkeypatch.setattr("actors.mqtt.client.GRACE_SECONDS", 0.2)
    leaves, stays = Somebody(holds=True), Somebody(holds=True)
    async with (
        client(broker.port, name="other") as other,
        client(broker.port, version, f"crowd{version}", KEEPS) as mine,
    ):
        await mine.subscribe(leaves, {"crowd/a": 1}, SECONDS)
        await mine.subscribe(stays, {"crowd/b": 1}, SECONDS)
        for _ in range(30):
            await other.publish("crowd/a", b"")
        await until(lambda: len(leaves.messages) >= 10)
        mine.leave(leaves)
        await other.publish("crowd/b", b"")
        await until(lambda: stays.messages)


async def test_more_than_a_window_of_what_was_kept_holds_no_answer_of_the_broker_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mosquitto sends what it has kept before its answer to a subscription, and to what is published."""
    monkeypatch.setattr("actors.mqtt.client.WINDOW", 5)
    user, beside = Somebody(holds=True), Somebody()
    with Mosquitto(tmp_path, options=("max_inflight_messages 0",)) as running:
        async with client(running.port, name="other") as other:
            async with client(running.port, options=KEEPS) as mine:
                await mine.subscribe(user, {"kept/#": 1}, SECONDS)
            for _ in range(50):
                await other.publish("kept/a", b"")
        async with client(running.port, options=KEEPS) as mine:
            await asyncio.sleep(0.1)
            await mine.subscribe(beside, {"beside": 1}, 2.0)
            await mine.publish("kept/b", b"", seconds=2.0)
            await mine.subscribe(user, {"kept/#": 1}, 2.0)
            await until(lambda: len(user.messages) >= 6)
            mine.acknowledge(user, user.messages)
            await until(lambda: len(user.messages) == 51)


async def test_who_ends_in_order_loses_nothing_of_a_session_that_is_kept(
    broker: Mosquitto, version: int
) -> None:
    user = Somebody()
    async with client(broker.port, name="other") as other:
        async with client(broker.port, version, f"ends{version}", KEEPS) as mine:
            await mine.subscribe(user, {"ends/#": 1}, SECONDS)
            mine.leave(user)
        await other.publish("ends/a", b"meanwhile")
        async with client(broker.port, version, f"ends{version}", KEEPS) as mine:
            await mine.subscribe(user, {"ends/#": 1}, SECONDS)
            await until(lambda: user.messages)


async def test_what_nobody_wants_any_more_a_kept_session_is_freed_of(
    broker: Mosquitto, version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.mqtt.client.GRACE_SECONDS", 0.2)
    file = tmp_path / "mqtt" / "session.json"
    user, watcher = Somebody(), Somebody()
    name = f"freed{version}"
    async with client(broker.port, name="other") as other:
        async with client(broker.port, version, name, KEEPS, kept=Kept(file)) as mine:
            await mine.subscribe(user, {"freed/#": 1, "stays": 1}, SECONDS)
        await other.publish("freed/a", b"1")
        async with client(broker.port, version, name, KEEPS, kept=Kept(file)) as mine:
            await mine.subscribe(user, {"stays": 1}, SECONDS)
            await asyncio.sleep(0.4)  # until it has been given up
        await other.publish("freed/a", b"2")
        async with client(broker.port, version, name, KEEPS) as mine:
            await mine.subscribe(watcher, {"freed/#": 1, "stays": 1}, SECONDS)
            await other.publish("stays", b"3")
            await until(lambda: watcher.messages)
    assert watcher.told == [("stays", b"3")]
    file.write_bytes(b"{")
    Kept(file).read()


async def test_a_broker_without_identifiers_of_subscriptions_is_asked_for_none() -> None:
    without = bytes((41, 0))
    async with ScriptedBroker(properties=without) as plain, client(plain.port, V5) as mine:
        plain.granted = 1
        await mine.subscribe(Somebody(), {"a/+": 1}, SECONDS)
        assert plain.subscriptions == [b"\x00\x00\x03a/+\x01"]


async def test_a_message_that_is_too_large_is_acknowledged_and_one_of_a_mebibyte_is_not(
    broker: Mosquitto, version: int
) -> None:
    user = Somebody()
    async with client(broker.port, name="other") as other:
        async with client(broker.port, version, f"large{version}", KEEPS) as mine:
            await mine.subscribe(user, {"large/#": 1}, SECONDS)
            await other.publish("large/a", b"x" * 3_000_000)
            await other.publish("large/b", b"x" * 1_048_576)
            await until(lambda: user.messages and user.messages[-1].topic == "large/b")
            await other.publish("large/c", b"after")
            await until(lambda: user.messages[-1].topic == "large/c")
        again = Somebody()
        async with client(broker.port, version, f"large{version}", KEEPS) as mine:
            await mine.subscribe(again, {"large/#": 1}, SECONDS)
            await other.publish("large/d", b"")
            await until(lambda: again.messages)
    sizes = {message.topic: len(message.payload) for message in user.messages}
    assert sizes.pop("large/a", 0) == 0  # with MQTT 5 the broker does not send it
    assert sizes == {"large/b": 1_048_576, "large/c": 5}
    assert not user.ends
    assert [topic for topic, _ in again.told] == ["large/d"]


async def test_who_wants_to_acknowledge_by_itself_is_told_where_the_broker_wants_no_acknowledgements() -> (
    None
):
    async with ScriptedBroker() as careless, client(careless.port) as mine:
        careless.granted = 0
        await mine.subscribe(Somebody(), {"a": 1}, SECONDS)
        with pytest.raises(Permanent, match="only QoS 0 for b"):
            await mine.subscribe(Somebody(holds=True), {"b": 1}, SECONDS)


async def test_a_connection_that_ends_while_somebody_subscribes_is_no_more_than_that(
    broker: Mosquitto, tmp_path: Path
) -> None:
    """The first has to see what was written, the second meets the end of the connection."""
    async with (
        ScriptedBroker() as silent,
        client(silent.port, options=KEEPS, kept=Kept(tmp_path / "kept.json")) as mine,
    ):
        users = [Somebody(holds=True), Somebody(), Somebody()]
        asked = [
            asyncio.create_task(mine.subscribe(user, {f"a/{place}": 1, "both": place % 2}, SECONDS))
            for place, user in enumerate(users)
        ]
        await asyncio.sleep(0)
        mine.leave(users[2])
        asked[2].cancel()
        silent.hang_up()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(each) for each in found] == [Transient, Transient, asyncio.CancelledError]
        for user in users[:2]:
            mine.leave(user)
        silent.granted = 1
        await mine.open(SECONDS)
        await mine.subscribe(users[0], {"a/0": 1}, SECONDS)


async def test_a_message_whose_topic_cannot_be_read_ends_no_connection() -> None:
    user = Somebody()
    async with ScriptedBroker() as careless, client(careless.port) as mine:
        careless.granted = 1
        await mine.subscribe(user, {"#": 1}, SECONDS)
        careless.say(b"\x32\x07\x00\x02\xff\xfe\x00\x09x" + b"\x30\x04\x00\x01ax")
        await until(lambda: user.messages)
        assert user.told == [("a", b"x")]
        assert not user.ends


async def test_a_filter_that_is_refused_is_named() -> None:
    async with ScriptedBroker() as refusing, client(refusing.port) as mine:
        refusing.granted = 0x80
        with pytest.raises(Permanent, match="theirs/a"):
            await mine.subscribe(Somebody(), {"theirs/a": 1}, SECONDS)


async def test_all_users_are_told_once_that_the_connection_has_ended(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as running:
        async with client(running.port) as mine:
            users = [Somebody(), Somebody()]
            for user in users:
                await mine.subscribe(user, {"a/#": 1}, SECONDS)
            running.kill()
            await until(lambda: all(user.ends for user in users))
            assert [len(user.ends) for user in users] == [1, 1]
            with pytest.raises(NoConnection):
                await mine.open(1.0)
            running.start()
            await asyncio.gather(mine.open(SECONDS), mine.open(SECONDS))
            await mine.subscribe(users[0], {"a/#": 1}, SECONDS)
            await mine.publish("a/b", b"again")
            await until(lambda: users[0].messages)


async def test_a_broker_that_is_gone_without_a_word_is_given_up(broker: Mosquitto) -> None:
    async with Relay(broker.port) as relay:
        user = Somebody()
        async with client(relay.port, keepalive=1) as mine:
            await mine.subscribe(user, {"a/#": 1}, SECONDS)
            with relay.requests.held(), relay.answers.held():
                await until(lambda: user.ends, 8)
            await relay.cut()


async def test_no_user_makes_another_ones_messages_less_certain(broker: Mosquitto, version: int) -> None:
    """mosquitto sends one message for all filters of a client of MQTT 3.1.1, at the QoS of any of them."""
    lax, strict = Somebody(), Somebody()
    async with client(broker.port, version) as mine, client(broker.port, name="other") as other:
        await mine.subscribe(lax, {"qos/+/c": 0}, SECONDS)
        await mine.subscribe(strict, {"qos/#": 1}, SECONDS)
        await other.publish("qos/b/c", b"1")
        await until(lambda: lax.messages and strict.messages)
    assert [message.qos for message in strict.messages] == [1]
    assert len(lax.messages) == 1


async def test_a_slow_line_is_not_a_silent_broker(broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the broker had kept comes first, and the answer to a ping behind it."""
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.5)
    user = Somebody()
    async with client(broker.port, name="other") as other, Relay(broker.port, buffer=20_000) as relay:
        for number in range(20):
            await other.publish(f"slow/{number}", bytes(10_000), retain=True)
        relay.answers.chunk = 4_000
        async with client(relay.port, keepalive=1) as mine:
            relay.answers.delay = 0.04
            await mine.subscribe(user, {"slow/#": 0}, SECONDS)
            await until(lambda: len(user.messages) == 20)
            assert not user.ends
        for number in range(20):
            await other.publish(f"slow/{number}", b"", retain=True)
