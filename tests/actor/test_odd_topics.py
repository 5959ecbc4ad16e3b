"""Topics that clients configure: what is refused, and what runs because it was stored."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from publishing_system import PublishingSystem

from actors.publish.messages import (
    AddDestination,
    AddSubscription,
    ChangeDestination,
    ChangeSubscription,
    DestinationsListed,
    ListDestinations,
    ListSubscriptions,
    SubscriptionsListed,
)
from actors.publish.rows import DestinationBody, SubscriptionBody
from storage import target_state
from storage.publishing import DESTINATION, SUBSCRIPTION

NOWHERE = {"host": "127.0.0.1", "port": 9}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[PublishingSystem]:
    async with PublishingSystem(tmp_path) as running:
        yield running


async def _begin(rig: PublishingSystem, type: str = "mqtt", config: dict[str, Any] = NOWHERE) -> int:
    return (await rig.new_destination("one", type, config, enabled=False)).id


@pytest.mark.parametrize("topic", ["plant//a", "plant/", "plant / a", "$SYS/a", "$share/g/a", "a\tb", "a/#"])
async def test_a_topic_is_refused_with_its_field(rig: PublishingSystem, topic: str) -> None:
    id = await _begin(rig)
    added = await rig.add_subscription(id)
    for message in (
        AddSubscription(id, route_json={"topic": topic}),
        ChangeSubscription(added.id, route_json={"topic": topic}),
    ):
        refused = await rig.refused(message)
        assert (refused.kind, refused.field) == ("invalid", "route_json.topic")
    for key in ("topicTemplate", "publishTopicTemplate"):
        config = NOWHERE | {key: f"{topic}/{{name}}"}
        for change in (AddDestination("two", "mqtt", config), ChangeDestination(id, config_json=config)):
            refused = await rig.refused(change)
            assert (refused.kind, refused.field) == ("invalid", f"config_json.{key}")


async def test_a_measurement_is_no_topic(rig: PublishingSystem) -> None:
    config = {"url": "http://127.0.0.1:9", "org": "o", "bucket": "b", "token": "t"}
    id = await _begin(rig, "influxdb", config)
    added = await rig.add_subscription(id, route_json={"topic": "plant//a/ b"})
    assert added.route_json == {"topic": "plant//a/ b"}


async def test_what_was_stored_before_runs_on(tmp_path: Path) -> None:
    rig = PublishingSystem(tmp_path)
    await rig.start_store()
    destination = DestinationBody("mqtt", NOWHERE | {"topicTemplate": "plant//{name}/"}, False)
    subscription = SubscriptionBody(["sensors//#"], {"topic": "plant//a/"}, "tags", None, True)
    await rig.transact(target_state.insert, DESTINATION, "one", msgspec.to_builtins(destination))
    await rig.transact(target_state.insert, SUBSCRIPTION, None, msgspec.to_builtins(subscription), 1)
    await rig.start_publisher()
    [owner] = (await rig.ask(ListDestinations(), DestinationsListed)).destinations
    [row] = (await rig.ask(ListSubscriptions(), SubscriptionsListed)).subscriptions
    assert (owner.last_error, row.last_error) == (None, msgspec.UNSET)
    changed = await rig.change_subscription(row.id, topics=["sensors/#"])
    assert changed.route_json == {"topic": "plant//a/"}
    await rig.end()
