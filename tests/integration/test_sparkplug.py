"""A destination as a Sparkplug node: real store, publisher, destination, driver and broker, and a host that
checks everything with somebody else's library."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from mqtt_owner import Owner, subscriber, to_port, until
from publishing_system import PublishingSystem, hasten, numbers_of, source_of
from servers.mosquitto import Mosquitto
from servers.relay import Relay
from servers.sparkplug_host import GROUP, NODE, Host, Listening

from actors.mqtt.broker import Broker, Login
from actors.publish.ages import Ages
from actors.publish.destinations import mqtt_config, mqtt_driver, mqtt_sparkplug
from actors.publish.destinations.mqtt_driver import MqttDriver
from actors.publish.formats import MessageIds, encode
from actors.publish.messages import (
    ChangeDestination,
    DeadLettersListed,
    ListDeadLetters,
    RemoveSubscription,
    SubscriptionRemoved,
)
from actors.publish.sparkplug.node import LATE_MS
from actors.readings.batch import Batch
from actors.readings.messages import ForgetSource

OFFLINE = "DEVICE_OFFLINE"
LINES = ("line-1", "line-2", "line-3")


class Rig(PublishingSystem):
    """With a broker behind a relay, and a host that listens there."""

    def __init__(self, directory: Path, broker: Mosquitto) -> None:
        super().__init__(directory)
        self.broker = broker
        self.host = Host()
        self.relay: Relay
        self.listening: Listening

    async def begin(self, **config: Any) -> int:
        """A node that is connected and gets everything."""
        id = await self.add(**config)
        await self.until(lambda: self.instance(id).connected and self.host.online)
        return id

    async def add(self, **config: Any) -> int:
        node = {"groupId": GROUP, "edgeNodeId": NODE}
        config_json = {"host": "127.0.0.1", "port": self.relay.port, "sparkplug": node} | config
        destination = await self.new_destination("one", "mqtt", config_json)
        await self.add_subscription(destination.id, payload_format="sparkplug", route_json={"topic": None})
        await self.observed(destination.id)
        return destination.id

    def poll_lines(self, *numbers: int) -> None:
        for number in numbers:
            for line in LINES:
                self.poll(number, endpoint=line)

    def read(self, endpoint: str, **readings: Any) -> None:
        """A poll; `readings` are values, or pairs of None and a quality code."""
        key = f"{endpoint} {sorted(readings)}"
        source = self.sources.setdefault(key, source_of(endpoint, *readings))
        pairs = [one if isinstance(one, tuple) else (one, None) for one in readings.values()]
        codes = [code for _, code in pairs]
        values = [value for value, _ in pairs]
        self.base.tell(self.router, Batch(source, 1_700_000_000_000, values, codes if any(codes) else None))

    async def told(self, number: int) -> None:
        """Until the host has that of every line."""
        await self.until(lambda: all(number in self.host.data(line, "seq") for line in LINES))

    def check_lines(self, count: int, repeated: bool = False) -> None:
        """The host has each number once, or at least once, in order."""
        for line in LINES:
            numbers = self.host.data(line, "seq")
            if repeated:
                numbers = list(dict.fromkeys(numbers))
            assert numbers == list(range(count))
        assert self.host.faults == []


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


@pytest.fixture
async def rig(tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    hasten(monkeypatch)
    made = Rig(tmp_path, broker)
    async with AsyncExitStack() as stack:
        made.relay = await stack.enter_async_context(Relay(broker.port))
        made.listening = await stack.enter_async_context(Listening(broker.port, made.host))
        yield await stack.enter_async_context(made)
    assert made.host.faults == []


async def test_readings_arrive_as_births_and_data(rig: Rig) -> None:
    id = await rig.begin()
    rig.poll_lines(*range(20))
    await rig.told(19)
    await rig.settle(id)
    rig.check_lines(20)
    assert rig.host.verbs[:7] == [
        "NBIRTH",
        *(f"{verb} {line}" for line in LINES for verb in ("DBIRTH", "DDATA")),
    ]
    await rig.reported(id, lambda report: report.delivered == 60)


async def test_a_node_that_stops_says_goodbye(rig: Rig) -> None:
    await rig.begin()
    rig.poll_lines(0)
    await rig.told(0)
    await rig.stop()
    await rig.until(lambda: not rig.host.online)
    assert rig.host.deaths == rig.host.births, "once, and not by its will as well"
    await rig.start()


async def test_a_lost_connection_is_a_death_and_everything_is_told_in_the_next(rig: Rig) -> None:
    id = await rig.begin()
    rig.poll_lines(*range(10))
    await rig.told(9)
    with rig.relay.answers.held():
        rig.poll_lines(*range(10, 20))
        await rig.told(19)
        await rig.relay.cut()
    rig.poll_lines(*range(20, 30))
    await rig.told(29)
    await rig.settle(id)
    rig.check_lines(30, repeated=True)
    assert rig.host.deaths == rig.host.births[:1]
    assert 10 in rig.host.data("line-1", "seq")[20:], "what was not known to have arrived came again"


async def test_an_outage_leaves_a_history_and_devices_as_they_are(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await rig.begin()
    rig.poll_lines(0)
    await rig.told(0)
    await rig.relay.refuse()
    rig.poll_lines(*range(1, 40))
    rig.read("pump", speed=7)
    await rig.until(lambda: len(rig.stored_payloads(id)) == 3 * 39 + 1)
    monkeypatch.setattr(Ages, "age_ms", lambda *_: 2 * LATE_MS)
    await rig.relay.admit()
    await rig.until(lambda: rig.host.data("pump", "speed"))
    assert {one.historical for one in rig.host.seen if not one.birth and one.value not in (0, 40)} == {True}
    assert rig.host.devices["pump"].live["speed"].quality == "STALE"
    monkeypatch.undo()
    rig.poll_lines(40)
    await rig.told(40)
    await rig.until(lambda: rig.host.devices["pump"].live["speed"].quality == "GOOD")
    assert rig.host.devices["line-1"].live["seq"].value == 40
    await rig.settle(id)
    rig.check_lines(41, repeated=True)


async def test_a_broker_that_restarts_gets_births_first(rig: Rig) -> None:
    id = await rig.begin()
    rig.poll_lines(*range(5))
    await rig.told(4)
    await rig.settle(id)
    await rig.relay.refuse()
    await rig.until(lambda: not rig.instance(id).connected)
    rig.poll_lines(*range(5, 10))
    await rig.relay.admit()
    await rig.told(9)
    await rig.settle(id)
    rig.check_lines(10)


async def test_an_agent_that_restarts_goes_on_with_what_it_had(rig: Rig) -> None:
    id = await rig.begin()
    rig.poll_lines(*range(5))
    await rig.told(4)
    await rig.settle(id)
    await rig.relay.refuse()
    rig.poll_lines(*range(5, 30))
    await rig.until(lambda: len(rig.stored_payloads(id)) == 75)
    await rig.end()
    await rig.relay.admit()
    await rig.start()
    await rig.told(29)
    await rig.settle(id)
    rig.check_lines(30)


async def test_a_host_that_comes_late_gets_everything_when_it_asks(
    rig: Rig, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_sparkplug, "REBIRTH_SECONDS", 0.0)
    await rig.begin()
    rig.poll_lines(*range(5))
    await rig.told(4)
    late = Host()
    async with Listening(broker.port, late, "late") as listening:
        listening.ask_for_birth()
        await rig.until(lambda: len(late.devices) == len(LINES))
        assert late.births == rig.host.births[:1]
        rig.poll_lines(5)
        await rig.until(lambda: late.data("line-3", "seq") == [5])
        assert [device.live["seq"].value for device in late.devices.values()] == [5, 5, 5]
        assert late.faults == []
    rig.check_lines(6)


async def test_however_often_hosts_ask_everything_is_told_again_once_in_a_while(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_sparkplug, "REBIRTH_SECONDS", 0.3)
    id = await rig.begin()
    rig.poll_lines(0)
    await rig.told(0)
    for _ in range(50):
        rig.listening.ask_for_birth()
    await rig.until(lambda: rig.host.verbs.count("NBIRTH") == 2)
    rig.poll_lines(1)
    await rig.told(1)
    await rig.settle(id)
    assert rig.host.verbs.count("NBIRTH") == 2
    assert rig.host.verbs.count("DBIRTH line-1") == 2


async def test_a_device_that_is_offline_dies_and_its_readings_are_off_the_disk(rig: Rig) -> None:
    id = await rig.begin()
    rig.read("pump", speed=7)
    for _ in range(5):
        rig.read("pump", speed=(None, OFFLINE))
    rig.read("pump", speed=8)
    await rig.until(lambda: rig.host.data("pump", "speed") == [7, None, 8])
    await rig.settle(id)
    assert rig.host.verbs == [
        "NBIRTH",
        "DBIRTH pump",
        "DDATA pump",
        "DDATA pump",
        "DDEATH pump",
        "DBIRTH pump",
        "DDATA pump",
    ]
    await rig.reported(id, lambda report: report.delivered == 7)


async def test_a_device_whose_endpoint_goes_dies(rig: Rig) -> None:
    id = await rig.begin()
    await rig.add_subscription(id, payload_format="tags", route_json={"topic": "plant"})
    await rig.routed()
    rig.poll_lines(0)
    await rig.told(0)
    rig.base.tell(rig.router, ForgetSource("uuid-of-line-2"))
    await rig.until(lambda: rig.host.verbs[-1] == "DDEATH line-2")
    rig.sources.pop("line-2")
    rig.poll_lines(1)
    await rig.told(1)
    await rig.settle(id)
    assert rig.host.verbs.count("DBIRTH line-2") == 2
    assert rig.host.verbs.count("DDEATH line-2") == 1


async def test_devices_of_a_subscription_that_changes_or_goes_die(rig: Rig) -> None:
    id = await rig.begin()
    rig.read("pump", speed=7, parts=1)
    rig.poll_lines(0)
    await rig.told(0)
    (subscription,) = rig.instance(id).subscriptions
    await rig.change_subscription(subscription, route_json={"excludeMetrics": ["parts"]})
    await rig.until(lambda: not any(device.online for device in rig.host.devices.values()))
    rig.read("pump", speed=8, parts=2)
    await rig.until(lambda: rig.host.data("pump", "speed") == [7, 8])
    assert [metric.name for metric in rig.host.devices["pump"].birth.metrics] == ["speed"]
    await rig.ask(RemoveSubscription(subscription), SubscriptionRemoved)
    await rig.until(lambda: not rig.host.devices["pump"].online)
    await rig.settle(id)


async def test_a_payload_that_is_too_large_is_a_dead_letter_and_leaves_no_gap(rig: Rig) -> None:
    id = await rig.begin(maxPayloadBytes=500)
    rig.read("pump", note="x" * 600)
    rig.poll_lines(0)
    await rig.told(0)
    await rig.reported(id, lambda report: report.rejected == 1)
    letters = await rig.ask(ListDeadLetters(id, 10), DeadLettersListed)
    (letter,) = letters.dead_letters
    assert letter.topic == f"spBv1.0/{GROUP}/DDATA/{NODE}/pump"
    assert "the most allowed" in letter.reason
    rig.check_lines(1)


async def test_other_formats_go_beside_it_as_they_are(rig: Rig, broker: Mosquitto) -> None:
    received: list[tuple[str, bytes, int]] = []
    client = await subscriber(broker.port, received)
    id = await rig.begin()
    await rig.add_subscription(id, payload_format="tags", route_json={"topic": "plant"})
    await rig.until(lambda: len(rig.instance(id).subscriptions) == 2)
    await rig.until(lambda: sum("subscription" in key for key in _observers(rig)) == 2)
    rig.poll(1, endpoint="line-1")
    await rig.until(lambda: any(topic == "plant" for topic, *_ in received))
    await rig.until(lambda: rig.host.data("line-1", "seq") == [1])
    (plain,) = [payload for topic, payload, _ in received if topic == "plant"]
    assert numbers_of(plain) == [1]
    await rig.settle(id)
    await client.disconnect()


def _observers(rig: Rig) -> list[str]:
    cell: Any = rig.base.mailboxes[rig.router.addressDetails]
    return list(cell.instance.observers)


async def test_commands_for_devices_and_others_change_nothing(rig: Rig) -> None:
    await rig.begin()
    rig.poll_lines(0)
    await rig.told(0)
    before = list(rig.host.verbs)
    rig.listening.publish(rig.host.commands, b"\xff\xff")
    rig.listening.publish(f"spBv1.0/{GROUP}/DCMD/{NODE}/line-1", rig.host.rebirth())
    rig.poll_lines(1)
    await rig.told(1)
    assert rig.host.verbs == [*before, *(f"DDATA {line}" for line in LINES)]


async def test_a_command_that_the_broker_keeps_does_not_confuse_anybody(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_sparkplug, "REBIRTH_SECONDS", 0.1)
    rig.listening.publish(rig.host.commands, rig.host.rebirth(), retain=True)
    await rig.begin()
    rig.poll_lines(0)
    await rig.told(0)
    await rig.relay.cut()
    rig.poll_lines(1)
    await rig.told(1)
    assert rig.host.verbs.count("NBIRTH") <= 4, "once more for each connection"


async def test_what_a_node_leaves_behind_is_not_told_by_what_is_none(rig: Rig, broker: Mosquitto) -> None:
    received: list[tuple[str, bytes, int]] = []
    client = await subscriber(broker.port, received)
    id = await rig.begin()
    (subscription,) = rig.instance(id).subscriptions
    refused = await rig.refused(ChangeDestination(id, config_json={"host": "127.0.0.1"}))
    assert refused.field == "payload_format"
    await rig.relay.refuse()
    await rig.until(lambda: not rig.instance(id).connected)
    rig.poll_lines(0)
    await rig.until(lambda: len(rig.stored_payloads(id)) == 3)
    await rig.ask(RemoveSubscription(subscription), SubscriptionRemoved)
    received.clear()
    await rig.change_destination(id, config_json={"host": "127.0.0.1", "port": broker.port})
    await rig.reported(id, lambda report: report.rejected == 3 and report.rows == 0)
    assert received == []
    await client.disconnect()


PRIMARY = {"groupId": GROUP, "edgeNodeId": NODE, "primaryHostId": "scada"}


def state(rig: Rig, online: bool, timestamp: int) -> None:
    payload = msgspec.json.encode({"online": online, "timestamp": timestamp})
    rig.listening.publish("spBv1.0/STATE/scada", payload, retain=True)


async def test_readings_wait_while_the_primary_host_is_offline(rig: Rig) -> None:
    """https://github.com/thomassorensen2650/node-red-contrib-mqtt-sparkplug-plus/issues/65,
    https://github.com/thomassorensen2650/node-red-contrib-mqtt-sparkplug-plus/issues/61 (what came while the
    host was away is lost, but for one)"""
    id = await rig.add(sparkplug=PRIMARY)
    rig.poll_lines(*range(10))
    await rig.until(lambda: len(rig.stored_payloads(id)) == 30)
    assert rig.host.verbs == []
    state(rig, True, 1000)
    await rig.told(9)
    await rig.settle(id)
    state(rig, False, 999)
    rig.poll_lines(10)
    await rig.told(10)
    state(rig, False, 2000)
    await rig.until(lambda: not rig.host.online)
    rig.poll_lines(*range(11, 20))
    await rig.until(lambda: len(rig.stored_payloads(id)) == 27)
    assert "scada has gone offline" in ((await rig.report(id)).latest_error or "")
    state(rig, True, 3000)
    await rig.told(19)
    await rig.settle(id)
    rig.check_lines(20)
    assert rig.host.deaths[:1] == rig.host.births[:1]


async def test_a_primary_host_that_was_never_there_is_named(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_driver, "READY_SECONDS", 0.05)
    id = await rig.add(sparkplug=PRIMARY)
    rig.listening.publish("spBv1.0/STATE/scada", b"ONLINE")
    await rig.reported(id, lambda report: report.last_error == "the primary host scada is not online")
    assert rig.host.births == []


async def test_a_message_that_only_the_broker_finds_too_large_leaves_no_gap_for_long(tmp_path: Path) -> None:
    host = Host()
    with Mosquitto(tmp_path, options=("max_packet_size 400",)) as broker:
        async with Listening(broker.port, host):
            config = mqtt_config.Sparkplug(GROUP, NODE)
            owner = Owner(to_port(broker.port))
            owner.driver = MqttDriver(
                Broker("127.0.0.1", broker.port, version=5),
                lambda: Login("agent-1"),
                owner,
                session=mqtt_sparkplug.SparkplugSession(config, 10_000),
            )
            await owner.driver.connect()
            for seq, text in enumerate(("a", "b" * 500, "c"), 1):
                owner.send(seq, "", stored("pump", note=text))
                await until(lambda seq=seq: seq in owner.seqs or owner.all("rejected"))
            await until(lambda: owner.seqs == [1, 3])
            ((rejected, reason),) = owner.all("rejected")
            assert rejected == [2]
            assert "the broker takes" in reason
            await until(lambda: host.data("pump", "note") == ["a", "c"])
            owner.send(4, "", stored("pump", note="d" * 500))
            await until(lambda: len(owner.all("rejected")) == 2)
            await until(lambda: host.verbs.count("NBIRTH") == 2)
            owner.send(5, "", stored("pump", note="e"))
            await until(lambda: host.data("pump", "note") == ["a", "c", "e"])
            await owner.driver.close()
    assert len(host.faults) <= 1, "a gap, before everything is told again"


def stored(endpoint: str, **readings: Any) -> bytes:
    """A payload of the format."""
    batch = Batch(source_of(endpoint, *readings), 1_700_000_000_000, list(readings.values()), None, {})
    payload = encode("sparkplug", "json", [(batch, None)], MessageIds("agent"))
    assert payload is not None
    return payload
