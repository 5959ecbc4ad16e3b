"""From the router through subscriptions to a destination's payloads."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from publishing_rig import Rig, Sites
from publishing_system import numbers_of, source_of

from actors.publish.messages import (
    DestinationRemoved,
    RemoveDestination,
    RemoveSubscription,
    SubscriptionRemoved,
)
from actors.publish.subscribing import Subscribing
from actors.readings.batch import Batch
from actors.readings.messages import ReportLatest, ReportRouting


async def subscribed(rig: Rig, *filters: str) -> int:
    """A destination with one subscription of these filters; its id."""
    destination = await rig.add_destination()
    await rig.add_subscription(destination.id, topics=list(filters))
    return destination.id


async def unrouted(rig: Rig, count: int) -> None:
    async with asyncio.timeout(5):
        while (await rig.base.ask(rig.router, ReportRouting(), 1)).unrouted != count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def names_of(payload: bytes) -> list[str]:
    return [tag["name"] for tag in msgspec.json.decode(payload)["tags"]]


# Selecting


@pytest.mark.parametrize(
    ("topic_filter", "wanted"),
    [
        ("sensors/line-1/#", [1, 3]),
        ("sensors/+/seq", [1, 2, 3]),
        ("modbus", [1, 2, 3]),
        ("modbus/line-2/#", [2]),
        ("+/line-2/#", [2]),
        ("#", [1, 2, 3]),
        ("sensors/line-1/seq/#", [1, 3]),
    ],
)
async def test_a_filter_selects_endpoints(
    rig: Rig, sites: Sites, topic_filter: str, wanted: list[int]
) -> None:
    id = await subscribed(rig, topic_filter)
    rig.poll(1)
    rig.poll(2, endpoint="line-2")
    rig.poll(3)
    await rig.reported(id, lambda report: report.delivered == len(wanted))
    assert sites["a"].numbers == wanted


async def test_no_filter_wants_everything(rig: Rig, sites: Sites) -> None:
    await subscribed(rig)
    rig.poll(1, endpoint="anything")
    await rig.until(lambda: sites["a"].numbers == [1])


async def test_a_filter_selects_points_of_an_endpoint(rig: Rig, sites: Sites) -> None:
    await subscribed(rig, "sensors/line-1/speed", "sensors/+/seq")
    source = source_of("line-1", "seq", "speed", "load")
    rig.base.tell(rig.router, Batch(source, 1, [1, 2, 3]))
    await rig.until(lambda: sites["a"].received)
    assert names_of(sites["a"].payloads[0]) == ["seq", "speed"]


async def test_an_endpoint_that_changes_its_points_is_selected_anew(rig: Rig, sites: Sites) -> None:
    await subscribed(rig, "sensors/line-1/speed")
    rig.base.tell(rig.router, Batch(source_of("line-1", "seq"), 1, [1]))
    rig.base.tell(rig.router, Batch(source_of("line-1", "seq", "speed"), 2, [1, 2]))
    await rig.until(lambda: sites["a"].received)
    assert [names_of(payload) for payload in sites["a"].payloads] == [["speed"]]


async def test_what_nobody_wants_is_counted_and_logged_once(
    rig: Rig, sites: Sites, caplog: pytest.LogCaptureFixture
) -> None:
    await subscribed(rig, "sensors/line-1/#")
    rig.poll(1, 2, endpoint="line-2")
    await unrouted(rig, 2)
    rig.poll(3, 4, endpoint="line-2")
    await unrouted(rig, 4)
    await rig.until(lambda: "no enabled subscription wants" in caplog.text)
    await rig.routed()
    assert caplog.text.count("no enabled subscription wants") == 1
    assert sites["a"].received == []


async def test_what_only_a_disabled_destination_or_subscription_wants_is_unrouted(
    rig: Rig, sites: Sites
) -> None:
    await rig.begin(enabled=True)
    rig.poll(0)
    await rig.until(lambda: sites["a"].numbers == [0])
    second = await rig.add_destination("two", "b", enabled=False)
    await rig.add_subscription(second.id)
    one = await rig.change_destination(1, enabled=False)
    rig.poll(1)
    await unrouted(rig, 1)
    await rig.change_destination(one.id, enabled=True)
    await rig.change_subscription(2, enabled=False)
    rig.poll(2)
    await unrouted(rig, 2)
    assert sites["a"].numbers == [0]


# Formatting


async def test_subscriptions_of_equal_format_share_one_payload(rig: Rig, sites: Sites) -> None:
    one = await rig.add_destination("one", "a")
    two = await rig.add_destination("two", "b")
    await rig.add_subscription(one.id, route_json={"topic": "x"})
    await rig.add_subscription(one.id, route_json={"topic": "y"})
    await rig.add_subscription(two.id)
    await rig.add_subscription(two.id, payload_format="custom")
    rig.poll(1)
    await rig.until(lambda: len(sites["a"].received) == 2 and len(sites["b"].received) == 2)
    (x, first), (y, second) = sites["a"].received
    assert {x, y} == {"x", "y"}
    assert first is second
    assert sum(payload is first for payload in sites["b"].payloads) == 1


# Buffering


async def buffered(rig: Rig, **route: object) -> tuple[int, int]:
    destination = await rig.add_destination()
    subscription = await rig.add_subscription(
        destination.id, payload_format="custom", route_json={"topic": "plant", **route}
    )
    await rig.until(lambda: rig.health(destination.id) == "connected")
    return destination.id, subscription.id


def packs(sites: Sites) -> list[list[int]]:
    return [numbers_of(payload) for payload in sites["a"].payloads]


async def test_buffer_size_polls_of_one_endpoint_go_together(rig: Rig, sites: Sites) -> None:
    await buffered(rig, bufferSize=3)
    rig.poll(1, 2)
    rig.poll(11, 12, endpoint="line-2")
    rig.poll(3, 4, 5, 6)
    await rig.until(lambda: len(sites["a"].received) == 2)
    assert packs(sites) == [[1, 2, 3], [4, 5, 6]]


async def test_fewer_go_when_the_first_has_waited_buffer_time(rig: Rig, sites: Sites) -> None:
    await buffered(rig, bufferSize=100, bufferTimeMs=30)
    rig.poll(1, 2)
    await rig.until(lambda: packs(sites) == [[1, 2]])


async def test_the_time_of_a_buffer_that_went_full_does_not_count_for_the_next(
    rig: Rig, sites: Sites
) -> None:
    await buffered(rig, bufferSize=2, bufferTimeMs=300)
    rig.poll(1, 2)
    await rig.until(lambda: packs(sites) == [[1, 2]])
    await asyncio.sleep(0.2)
    rig.poll(3)
    await asyncio.sleep(0.2)  # past the end of the first buffer's time, not of the second's
    assert packs(sites) == [[1, 2]]
    await rig.until(lambda: packs(sites) == [[1, 2], [3]])


async def test_polls_before_and_after_a_change_of_points_do_not_share_a_payload(
    rig: Rig, sites: Sites
) -> None:
    await buffered(rig, bufferSize=3)
    before, after = source_of("line-1"), source_of("line-1", "seq", "more")
    for source, values in ((before, [1]), (before, [2]), (after, [3, 0]), (after, [4, 0]), (after, [5, 0])):
        rig.base.tell(rig.router, Batch(source, 1, values))
    await rig.until(lambda: packs(sites) == [[1, 2], [3, 4, 5]])


async def test_a_change_publishes_what_was_buffered_as_it_was_to_be(rig: Rig, sites: Sites) -> None:
    _, subscription = await buffered(rig, bufferSize=10)
    rig.poll(1, 2)
    await rig.change_subscription(subscription, route_json={"topic": "new", "bufferSize": 1})
    rig.poll(3)
    await rig.until(lambda: len(sites["a"].received) == 2)
    assert [topic for topic, _ in sites["a"].received] == ["plant", "new"]
    assert packs(sites) == [[1, 2], [3]]


@pytest.mark.parametrize("how", ["removed", "disabled"])
async def test_a_subscription_that_goes_publishes_what_it_has_buffered(
    rig: Rig, sites: Sites, how: str
) -> None:
    _, subscription = await buffered(rig, bufferSize=10)
    rig.poll(1, 2)
    assert await rig.base.ask(rig.router, ReportRouting(), 5)
    if how == "removed":
        await rig.ask(RemoveSubscription(subscription), SubscriptionRemoved)
    else:
        await rig.change_subscription(subscription, enabled=False)
    await rig.until(lambda: packs(sites) == [[1, 2]])
    await rig.until(lambda: not (rig.node(1) and rig.node(1).children))  # type: ignore[union-attr]


async def test_a_subscription_that_is_wanted_again_before_it_was_gone_stays(rig: Rig, sites: Sites) -> None:
    _, subscription = await buffered(rig, bufferSize=2)
    rig.poll(1)
    await asyncio.gather(
        rig.change_subscription(subscription, enabled=False),
        rig.change_subscription(subscription, enabled=True),
    )
    rig.poll(2, 3)
    await rig.until(lambda: [number for pack in packs(sites) for number in pack] == [1, 2, 3])


async def test_a_disabled_destination_stores_what_its_subscriptions_have_buffered(
    rig: Rig, sites: Sites
) -> None:
    id, _ = await buffered(rig, bufferSize=10)
    rig.poll(1, 2)
    sites["a"].leave()
    await rig.change_destination(id, enabled=False)
    await rig.until(lambda: rig.node(id) is None)
    assert rig.stored() == [1, 2]


async def test_a_stop_stores_what_is_buffered(tmp_path: Path, sites: Sites) -> None:
    rig = Rig(tmp_path, sites)
    await rig.start()
    await buffered(rig, bufferSize=10)
    rig.poll(1, 2)
    await rig.stop()
    assert sorted(number for pack in packs(sites) for number in pack) + rig.stored() == [1, 2]


async def test_a_moved_subscription_publishes_to_its_new_destination(rig: Rig, sites: Sites) -> None:
    one = await rig.begin("a", "one")
    two = await rig.add_destination("two", "b")
    await rig.change_subscription(2, publish_destination_id=two.id)
    await rig.until(lambda: not (rig.node(one) and rig.node(one).children))  # type: ignore[union-attr]
    rig.poll(1)
    await rig.until(lambda: sites["b"].numbers == [1])
    assert sites["a"].numbers == []


async def test_what_is_on_its_way_to_a_subscription_that_moves_is_published(
    rig: Rig, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The router still has a lot to send on when the subscription is told to go."""
    one = await rig.begin("a", "one")
    two = await rig.add_destination("two", "b")
    let_leave = Subscribing._let_leave

    def poll_and_let_leave(self: Subscribing, ids: Any) -> None:
        if ids:
            rig.poll(*range(500))
        let_leave(self, ids)

    monkeypatch.setattr(Subscribing, "_let_leave", poll_and_let_leave)
    await rig.change_subscription(2, publish_destination_id=two.id)
    await rig.until(lambda: not (rig.node(one) and rig.node(one).children))  # type: ignore[union-attr]
    await rig.settle(one)
    assert sites["a"].numbers == list(range(500))


async def test_a_subscription_that_moves_to_a_destination_that_restarts_stays_until_it_is_back(
    rig: Rig, sites: Sites
) -> None:
    one = await rig.begin("a", "one")
    two = await rig.add_destination("two", "b")
    cell: Any = rig.base.mailboxes[rig.destination(two.id).addressDetails]
    cell.crashes.policy = msgspec.structs.replace(cell.crashes.policy, backoff=0.4)
    rig.base.crash(cell, RuntimeError("boom"))
    await rig.change_subscription(2, publish_destination_id=two.id)
    sent = 0
    while cell.instance is None:
        rig.poll(sent)
        sent += 1
        await asyncio.sleep(0.01)
    await rig.until(lambda: not (rig.node(one) and rig.node(one).children))  # type: ignore[union-attr]
    rig.poll(sent)
    await rig.until(lambda: sent in sites["b"].numbers)
    await rig.settle(one)
    assert sites["a"].numbers[:sent] == list(range(sent))
    assert sent not in sites["a"].numbers


@pytest.mark.parametrize("how", ["disabled", "removed"])
async def test_a_destination_that_is_not_to_have_a_moved_subscription_after_all_keeps_it_from_no_one(
    rig: Rig, sites: Sites, how: str
) -> None:
    one = await rig.begin("a", "one")
    two = await rig.add_destination("two", "b")
    cell: Any = rig.base.mailboxes[rig.destination(two.id).addressDetails]
    cell.crashes.policy = msgspec.structs.replace(cell.crashes.policy, backoff=60.0)
    rig.base.crash(cell, RuntimeError("boom"))
    await rig.change_subscription(2, publish_destination_id=two.id)
    if how == "disabled":
        await rig.change_destination(two.id, enabled=False)
    else:
        await rig.ask(RemoveDestination(two.id), DestinationRemoved)
    await rig.until(lambda: not (rig.node(one) and rig.node(one).children))  # type: ignore[union-attr]
    await rig.routed()
    rig.poll(1)
    await unrouted(rig, 1)


# Crashes of the router


async def test_a_router_that_crashes_knows_the_latest_readings_and_who_observes(
    rig: Rig, sites: Sites
) -> None:
    await rig.begin()
    (batch,) = rig.poll(1)
    await rig.until(lambda: sites["a"].numbers == [1])
    cell: Any = rig.base.mailboxes[rig.router.addressDetails]
    for _ in range(2):
        rig.base.crash(cell, RuntimeError("boom"))
        await rig.routed()
    rig.base.crash(cell, RuntimeError("boom"))
    rig.base._begin(cell)
    rig.base.crash(cell, RuntimeError("boom before it has read what it was left"))
    latest = (await rig.base.ask(rig.router, ReportLatest(), 5)).batches
    assert latest == [msgspec.structs.replace(batch, encoded={})]
    rig.poll(2)
    await rig.until(lambda: sites["a"].numbers == [1, 2])
