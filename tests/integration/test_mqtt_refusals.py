"""What a real broker does with a message that it will not have, and what becomes of the others."""

from pathlib import Path

import pytest
from publishing_system import PublishingSystem, hasten, numbers_of, source_of
from servers.counterparts import MqttBroker

from actors.publish.messages import DeadLettersListed, ListDeadLetters
from actors.readings.batch import Batch


async def test_a_payload_that_mosquitto_closes_the_connection_over_does_not_hold_up_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasten(monkeypatch)
    async with (
        MqttBroker(tmp_path / "broker", options=("max_packet_size 3000",)) as broker,
        PublishingSystem(tmp_path) as rig,
    ):
        config = {**broker.config_json(broker.relay), "maxPayloadBytes": None}
        destination = await rig.new_destination("one", "mqtt", config)
        await rig.add_subscription(destination.id, route_json=broker.route_json)
        await rig.until(lambda: rig.instance(destination.id).connected)
        rig.poll(*range(10))
        long = Batch(source_of("long", "seq", "text"), 1_700_000_000_000, [10, "x" * 5000])
        rig.base.tell(rig.router, long)
        rig.poll(*range(11, 21))
        await rig.until(lambda: ("line-1", 20) in broker.received)
        await rig.settle(destination.id)
        listed = await rig.ask(ListDeadLetters(destination.id, 10), DeadLettersListed)
    assert [numbers_of(letter.payload) for letter in listed.dead_letters] == [[10]]
    arrived = list(dict.fromkeys(number for _, number in broker.received))
    assert arrived == [*range(10), *range(11, 21)]
