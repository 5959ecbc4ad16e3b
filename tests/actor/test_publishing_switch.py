"""`features.enableDevicePublish`: no destination runs while it is off, and what their outboxes hold stays."""

import asyncio
from typing import Any

import msgspec
import pytest
from publishing_rig import Rig, Sites

from actors.publish.destination import Destination
from actors.publish.messages import (
    Cloud,
    DestinationRemoved,
    DestinationsListed,
    DestinationTested,
    JoinCloud,
    ListDestinations,
    RemoveDestination,
    TestDestination,
)
from actors.publish.preview_messages import PreviewSubscription, SubscriptionPreviewed
from actors.publish.publisher import RunPublisher
from actors.publish.retiring import Retire
from actors.publish.rows import SWITCHED_OFF
from actors.subsystems.messages import CheckSubsystem, SubsystemChecked


async def begin(rig: Rig, *names: str) -> int:
    """A destination that is connected and gets everything that is read from now on."""
    id = await rig.begin(*names)
    await rig.observed(id)
    return id


def switch(rig: Rig, on: bool, **terms: Any) -> None:
    """As the root does: a new start, for the publisher's lives to come too."""
    rig.terms = msgspec.structs.replace(rig.terms, publishing=on, **terms)
    cell: Any = rig.base.mailboxes[rig.publisher.addressDetails]
    cell.start = RunPublisher(rig.terms)
    if cell.instance is not None:
        rig.base.tell(rig.publisher, cell.start)


async def off(rig: Rig, *ids: int) -> None:
    """And wait until nothing of them runs."""
    switch(rig, False)
    await rig.until(lambda: all(rig.node(id) is None for id in ids))


async def status(rig: Rig, id: int) -> Any:
    listed = await rig.ask(ListDestinations(), DestinationsListed)
    return next(row.status for row in listed.destinations if row.id == id)


async def test_what_waits_stays_on_disk_is_reported_and_goes_out_when_it_is_on_again(rig: Rig, sites: Sites):
    id = await begin(rig)
    sites["a"].leave()
    rig.poll(*range(20))
    await off(rig, id)
    assert rig.stored() == list(range(20))
    sites["a"].come_back()
    attempts = sites["a"].attempts
    rig.poll(*range(20, 40))
    await rig.routed()
    found = await status(rig, id)
    assert (found.health, found.reason, found.rows) == ("disabled", SWITCHED_OFF, 20)
    assert (await rig.report(id)).rows == 20
    assert (sites["a"].attempts, sites["a"].numbers, rig.stored()) == (attempts, [], list(range(20)))
    switch(rig, True)
    await rig.until(lambda: rig.health(id) == "connected")
    await rig.observed(id)
    rig.poll(*range(40, 45))
    await rig.settle(id)
    assert sites["a"].numbers == [*range(20), *range(40, 45)]
    await rig.reported(id, lambda report: report.connected)
    found = await status(rig, id)
    assert (found.health, found.reason) == ("connected", msgspec.UNSET)


async def test_what_was_routed_before_it_was_off_is_kept(rig: Rig, sites: Sites):
    id = await begin(rig)
    sites["a"].acknowledging = False
    rig.poll(*range(10))
    await rig.routed()
    await off(rig, id)
    assert rig.stored() == list(range(10))


async def test_it_is_off_over_a_restart_and_the_publisher_starts_all_the_same(rig: Rig, sites: Sites):
    id = await begin(rig)
    sites["a"].leave()
    rig.poll(*range(5))
    await off(rig, id)
    await rig.stop()
    await rig.start_store()
    rig.terms = msgspec.structs.replace(rig.terms, publishing=False)
    await rig.start_publisher()
    sites["a"].come_back()
    assert (rig.node(id), (await rig.report(id)).rows) == (None, 5)
    rig.base.crash(rig.base.mailboxes[rig.publisher.addressDetails], RuntimeError("boom"))
    await rig.until(lambda: rig.base.mailboxes[rig.publisher.addressDetails].instance)
    assert ((await rig.report(id)).rows, rig.node(id), rig.stored()) == (5, None, list(range(5)))
    switch(rig, True)
    await rig.settle(id)
    assert sites["a"].numbers == list(range(5))


async def test_destinations_and_subscriptions_can_be_changed_while_it_is_off(rig: Rig, sites: Sites):
    id = await begin(rig)
    sites["a"].leave()
    rig.poll(1, 2)
    await off(rig, id)
    other = await rig.add_destination("two", "b")
    subscription = await rig.add_subscription(other.id, topics=["none"])
    await rig.change_subscription(subscription.id, topics=[])
    await rig.change_destination(id, config_json={"host": "c"})
    gone = await rig.add_destination("three", "d")
    await rig.ask(RemoveDestination(gone.id), DestinationRemoved)
    tested = await rig.ask(TestDestination("fake", {"host": "b"}), DestinationTested)
    assert tested.ok
    assert [sites[name].drivers for name in "bcd"] == [[], [], []]
    assert (await status(rig, other.id)).reason == SWITCHED_OFF
    disabled = await rig.change_destination(other.id, enabled=False)
    assert (disabled.status.health, disabled.status.reason) == ("disabled", msgspec.UNSET)
    await rig.change_destination(other.id, enabled=True)
    previewed = await rig.ask(PreviewSubscription(subscription.id, [], 1), SubscriptionPreviewed)
    assert previewed.warnings[0].message == SWITCHED_OFF
    switch(rig, True)
    await rig.until(lambda: rig.health(other.id) == "connected")
    await rig.observed(other.id)
    rig.poll(3)
    await rig.settle(id)
    await rig.settle(other.id)
    assert (sites["a"].numbers, sites["b"].numbers, sites["c"].numbers) == ([], [3], [1, 2, 3])


async def test_the_health_report_says_that_it_is_off_and_nothing_is_wrong(rig: Rig, sites: Sites):
    id = await begin(rig)
    sites["a"].leave()
    await rig.reported(id, lambda report: report.last_error)
    await off(rig, id)
    checked = await rig.ask(CheckSubsystem(), SubsystemChecked)
    (mqtt,) = checked.checks
    assert (mqtt.healthy, mqtt.description, mqtt.last_error) == (True, SWITCHED_OFF, None)


async def test_what_the_cloud_agreed_to_outlasts_new_terms_and_rows_are_not_read_again(
    rig: Rig, sites: Sites
):
    id = await begin(rig)
    cloud = Cloud("mqtt://127.0.0.1", "client", "tenant", "agent")
    rig.base.tell(rig.publisher, JoinCloud(cloud))
    publisher: Any = rig.base.mailboxes[rig.publisher.addressDetails].instance
    with rig.busy_store():
        switch(rig, False)
        switch(rig, True)
        switch(rig, True, compression="json+deflate")
        assert (await status(rig, id)).health in ("connected", "disconnected")
    assert publisher.catalogue.terms == msgspec.structs.replace(rig.terms, cloud=cloud)
    await rig.until(lambda: rig.health(id) == "connected")


async def test_switched_fifty_times_under_load_nothing_of_any_outbox_is_lost_or_sent_twice(
    rig: Rig, sites: Sites
):
    ids = [await begin(rig, "a", "one"), await begin(rig, "b", "two")]
    polled = 0
    kept: set[int] = set()

    async def load() -> None:
        nonlocal polled
        while True:
            rig.poll(polled)
            polled += 1
            await asyncio.sleep(0.0005)

    loading = asyncio.ensure_future(load())
    for turn in range(50):
        switch(rig, False)
        if turn % 10 == 0:
            await rig.until(lambda: all(rig.node(id) is None for id in ids))
            kept |= set(rig.stored(ids[0]))
        await asyncio.sleep(0.001 * (turn % 7))
        switch(rig, True)
        await asyncio.sleep(0.001 * (turn % 5))
        if turn % 10 == 3:
            sites["a"].leave()
        if turn % 10 == 9:
            sites["a"].come_back()
    loading.cancel()
    await rig.until(lambda: all(rig.health(id) == "connected" for id in ids))
    for id in ids:
        await rig.observed(id)
    rig.poll(polled)
    for id in ids:
        await rig.settle(id)
    for name in "ab":
        numbers = sites[name].numbers
        if name == "a":  # what was in flight when it left is sent again
            numbers = list(dict.fromkeys(numbers))
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == polled
    assert kept <= set(sites["a"].numbers)


async def test_a_destination_that_crashes_while_it_is_switched_off_is_told_again(
    rig: Rig, sites: Sites, monkeypatch: pytest.MonkeyPatch
):
    id = await begin(rig)
    sites["a"].leave()
    rig.poll(*range(5))
    await rig.until(lambda: rig.stored() == list(range(5)))
    retire = Destination.receiveMsg_Retire

    def crash(self: Destination, message: Retire, sender: Any) -> None:
        monkeypatch.setattr(Destination, "receiveMsg_Retire", retire)
        raise RuntimeError("boom")

    monkeypatch.setattr(Destination, "receiveMsg_Retire", crash)
    sites["a"].come_back()
    await off(rig, id)
    assert set(rig.stored()) | set(sites["a"].numbers) == set(range(5))


async def test_switched_off_while_the_disk_is_full_it_keeps_what_it_has_until_it_is_on_again(
    rig: Rig, sites: Sites
):
    id = await begin(rig)
    sites["a"].leave()
    await rig.fill_disk()
    rig.poll(*range(30))
    await rig.routed()
    switch(rig, False)
    await rig.until(lambda: rig.health(id) == "retiring")
    await rig.until(lambda: rig.held(id) == 30)
    assert sites["a"].connected == []
    sites["a"].come_back()
    rig.poll(*range(30, 40))
    await rig.routed()
    switch(rig, True)
    await rig.until(lambda: rig.health(id) == "connected")
    await rig.observed(id)
    rig.poll(40)
    await rig.free_disk()
    await rig.settle(id)
    assert sites["a"].numbers == [*range(30), 40]
