"""A destination between its readings, its site and the store: nothing lost, nothing twice, in order."""

import asyncio
import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from publishing_rig import Rig, Sites
from publishing_system import limits, numbers_of
from wall_clock import YEAR, WallClock

from actors.connections import deadlines, retry
from actors.connections.connection import Permanent, Transient
from actors.publish import ages, keeping, retiring, subscribing
from actors.publish.destination import Destination
from actors.publish.messages import (
    DestinationRemoved,
    DestinationsListed,
    ListDestinations,
    RemoveDestination,
    RemoveSubscription,
    SubscriptionRemoved,
)
from actors.publish.outbox import HARD_BOUND
from actors.publish.pace import Flow
from actors.publish.publisher import Publisher
from actors.publish.subscription import Flush, Subscription
from actors.readings.messages import ReportRouting
from actors.state import client as store_client
from actors.state.messages import Transacted
from actors.subsystems.messages import (
    CheckSubsystem,
    StopSubsystem,
    SubsystemChecked,
    SubsystemStopped,
)
from actors.system import tree
from actors.system.supervision import Restart
from storage import outbox as stored


class Boom(msgspec.Struct, frozen=True):
    """Makes a destination crash."""


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(self: Destination, message: Boom, sender: Any) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(Destination, "receiveMsg_Boom", explode, raising=False)


# Time to live


async def test_what_waits_expires_by_the_time_that_the_agent_runs_over_restarts_whatever_the_clock_says(
    tmp_path: Path, sites: Sites, wall_clock: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """https://github.com/Tr3kkR/Yuzu/issues/2361"""
    monkeypatch.setattr(ages, "SAVE_INTERVAL", 0.02)
    rig = Rig(tmp_path, sites)
    rig.limits = limits(ttl_ms=1500)

    def seen() -> int:
        with closing(sqlite3.connect(rig.path)) as connection:
            found: int = connection.execute("SELECT max(seen_ms) FROM outbox_marks").fetchone()[0] or 0
            return found

    async with rig:
        id = await rig.begin()
        sites["a"].leave()
        rig.poll(1, 2, 3)
        await rig.until(lambda: len(rig.stored(id)) == 3 and seen() >= 500)
        await rig.stop()
        wall_clock.jump(10 * YEAR)
        await rig.start()
        rig.poll(4)
        began = seen()
        await rig.until(lambda: rig.stored(id) == [4])
        assert seen() - began < 1500, "the time before the restart counts"
        assert (await rig.report(id)).dropped_expired == 3


# A destination that is there


async def test_readings_arrive_in_order_and_once_and_never_touch_the_disk(rig: Rig, sites: Sites) -> None:
    rig.limits = limits()
    id = await rig.begin()
    rig.poll(*range(500))
    await rig.reported(id, lambda report: report.delivered == 500)
    assert sites["a"].numbers == list(range(500))
    assert rig.stored() == []


async def test_a_window_bounds_what_is_not_acknowledged(tmp_path: Path, sites: Sites) -> None:
    sites["a"].acknowledging = False
    rig = Rig(tmp_path, sites)
    rig.flow = Flow(window=5)
    async with rig:
        await rig.begin()
        rig.poll(*range(12))
        await rig.until(lambda: len(sites["a"].received) == 5)
        sites["a"].acknowledge(2)
        await rig.until(lambda: len(sites["a"].received) == 7)
        assert sites["a"].numbers == list(range(7))


async def test_readings_wait_for_a_site_that_is_away_and_arrive_in_order(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    sites["a"].leave()
    rig.poll(*range(300))
    await rig.until(lambda: len(rig.stored()) == 300)
    report = await rig.reported(id, lambda report: report.rows == 300)
    assert not report.connected
    sites["a"].come_back()
    await rig.settle(id)
    assert sites["a"].numbers == list(range(300))


async def test_what_was_in_flight_when_the_site_left_is_sent_again(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    sites["a"].acknowledging = False
    rig.poll(*range(6))
    await rig.until(lambda: len(sites["a"].received) == 6)
    sites["a"].acknowledge(2)
    sites["a"].leave()
    sites["a"].acknowledging = True
    sites["a"].come_back()
    await rig.settle(id)
    assert sites["a"].numbers == [*range(6), *range(2, 6)]


async def test_a_connection_that_ends_in_the_moment_it_is_made_is_made_again(rig: Rig, sites: Sites) -> None:
    sites["a"].leaves_at_once = True
    destination = await rig.add_destination()
    await rig.add_subscription(destination.id)
    await rig.until(lambda: sites["a"].attempts >= 3)
    sites["a"].leaves_at_once = False
    rig.poll(1)
    await rig.reported(destination.id, lambda report: report.delivered == 1)


async def test_one_destination_that_is_down_does_not_delay_another(rig: Rig, sites: Sites) -> None:
    sites["b"].up = False
    one = await rig.begin("a", "one")
    two = await rig.add_destination("two", "b")
    await rig.add_subscription(two.id)
    rig.poll(*range(50))
    await rig.reported(one, lambda report: report.delivered == 50)
    await rig.reported(two.id, lambda report: report.rows == 50)
    sites["b"].come_back()
    await rig.settle(two.id)
    assert sites["b"].numbers == list(range(50))


async def test_a_refusal_that_only_people_can_change_is_tried_again_too(rig: Rig, sites: Sites) -> None:
    sites["a"].error = Permanent("bad password")
    destination = await rig.add_destination()
    await rig.reported(destination.id, lambda report: report.last_error == "bad password")
    sites["a"].error = None
    await rig.until(lambda: rig.health(destination.id) == "connected")
    await rig.reported(destination.id, lambda report: report.last_error is None)


# Restated


async def test_a_change_of_name_or_of_subscriptions_keeps_the_connection(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    await rig.change_destination(id, name="renamed")
    await rig.add_subscription(id, route_json={"topic": "more"})
    rig.poll(1)
    await rig.until(lambda: len(sites["a"].received) == 2)
    assert sites["a"].attempts == 1
    await rig.reported(id, lambda report: report.destination == "renamed")
    node = rig.node(id)
    assert node is not None
    assert node.name == "renamed"


async def test_a_new_configuration_waits_for_acknowledgements_under_way(rig: Rig, sites: Sites) -> None:
    id = await rig.begin("a")
    sites["a"].acknowledging = False
    rig.poll(*range(5))
    await rig.until(lambda: len(sites["a"].received) == 5)
    await rig.change_destination(id, config_json={"host": "b"})
    rig.poll(*range(5, 10))
    await rig.reported(id, lambda report: report.rows == 10)
    assert sites["b"].attempts == 0
    sites["a"].acknowledge()
    await rig.settle(id)
    assert sites["a"].numbers == list(range(5))
    assert sites["b"].numbers == list(range(5, 10))
    assert sites["a"].connected == []


async def test_a_new_configuration_does_not_wait_for_ever(rig: Rig, sites: Sites) -> None:
    id = await rig.begin("a")
    sites["a"].acknowledging = False
    rig.poll(*range(5))
    await rig.until(lambda: len(sites["a"].received) == 5)
    await rig.change_destination(id, config_json={"host": "b"})
    await rig.settle(id)
    assert sites["b"].numbers == list(range(5))


async def test_a_new_type_is_a_new_connection(rig: Rig, sites: Sites) -> None:
    id = await rig.begin("a")
    await rig.change_destination(id, type="other")
    await rig.until(lambda: sites["a"].attempts == 2)
    rig.poll(1)
    await rig.settle(id)
    assert sites["a"].numbers == [1]
    assert len(sites["a"].connected) == 1


async def test_an_attempt_for_an_outdated_configuration_leaves_no_connection(rig: Rig, sites: Sites) -> None:
    sites["a"].gate = asyncio.Event()
    destination = await rig.add_destination("one", "a")
    await rig.add_subscription(destination.id)
    await rig.until(lambda: sites["a"].attempts == 1)
    await rig.change_destination(destination.id, config_json={"host": "b"})
    await rig.until(lambda: rig.health(destination.id) == "connected")
    sites["a"].gate.set()
    rig.poll(1)
    await rig.settle(destination.id)
    assert sites["a"].connected == []
    assert sites["b"].numbers == [1]


async def test_a_change_of_mind_while_connecting_ends_with_the_last_word(rig: Rig, sites: Sites) -> None:
    sites["a"].gate = sites["b"].gate = asyncio.Event()
    destination = await rig.add_destination("one", "a")
    await rig.add_subscription(destination.id)
    for host in ("b", "a", "b"):
        await rig.change_destination(destination.id, config_json={"host": host})
    sites["a"].gate.set()
    await rig.until(lambda: rig.health(destination.id) == "connected")
    rig.poll(1)
    await rig.settle(destination.id)
    assert (sites["a"].connected, len(sites["b"].connected)) == ([], 1)
    assert sites["b"].numbers == [1]


async def test_a_configuration_changed_during_an_outage_counts_at_once(rig: Rig, sites: Sites) -> None:
    id = await rig.begin("a")
    sites["a"].leave()
    rig.poll(*range(5))
    await rig.until(lambda: len(rig.stored()) == 5)
    await rig.change_destination(id, config_json={"host": "b"})
    await rig.settle(id)
    assert sites["b"].numbers == list(range(5))


async def test_other_changes_meanwhile_do_not_undo_a_new_configuration(rig: Rig, sites: Sites) -> None:
    id = await rig.begin("a")
    sites["a"].acknowledging = False
    rig.poll(1)
    await rig.until(lambda: sites["a"].numbers == [1])
    await rig.change_destination(id, config_json={"host": "b"})
    await rig.change_destination(id, name="renamed")
    sites["a"].acknowledge()
    await rig.until(lambda: len(sites["b"].connected) == 1)
    assert sites["a"].connected == []


async def test_a_configuration_that_is_taken_back_in_time_keeps_the_connection(
    rig: Rig, sites: Sites
) -> None:
    id = await rig.begin("a")
    sites["a"].acknowledging = False
    rig.poll(1)
    await rig.until(lambda: sites["a"].numbers == [1])
    await rig.change_destination(id, config_json={"host": "b"})
    await rig.change_destination(id, config_json={"host": "a"})
    sites["a"].acknowledging = True
    rig.poll(2)
    await rig.until(lambda: sites["a"].numbers == [1, 2])
    assert (sites["a"].attempts, sites["b"].attempts) == (1, 0)


async def test_a_driver_that_was_let_go_has_no_say_any_more(rig: Rig, sites: Sites) -> None:
    id = await rig.begin("a")
    old = sites["a"].drivers[0]
    await rig.change_destination(id, config_json={"host": "b"})
    sites["b"].acknowledging = False
    await rig.until(lambda: len(sites["b"].connected) == 1)
    rig.poll(1, 2, 3)
    await rig.until(lambda: sites["b"].numbers == [1, 2, 3])
    old.listener.delivered([1, 2, 3])
    old.listener.lost(Transient("an old story"))
    await rig.until(lambda: rig.stored() == [1, 2, 3])
    assert rig.health(id) == "connected"
    assert (await rig.report(id)).rows == 3


async def test_a_stored_configuration_that_is_refused_waits_for_a_better_one(rig: Rig, sites: Sites) -> None:
    id = await rig.begin("a")
    stored = msgspec.structs.replace(rig.instance(id).config, config={"host": None})
    rig.base.deliver(rig.destination(id), stored, rig.publisher)
    await rig.reported(id, lambda report: report.last_error == "Host is required")
    rig.poll(1)
    await rig.change_destination(id, config_json={"host": "b"})
    await rig.settle(id)
    assert sites["b"].numbers == [1]


# Disabled and enabled


async def test_a_disabled_destination_keeps_what_was_not_acknowledged(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    sites["a"].leave()
    rig.poll(*range(20))
    await rig.change_destination(id, enabled=False)
    await rig.until(lambda: rig.node(id) is None)
    assert rig.stored() == list(range(20))
    report = await rig.report(id)
    assert (report.rows, report.connected) == (20, False)
    sites["a"].come_back()
    await rig.change_destination(id, enabled=True)
    await rig.settle(id)
    assert sites["a"].numbers == list(range(20))


async def test_what_kept_a_destination_from_connecting_is_no_trouble_any_more_when_it_is_disabled(
    rig: Rig, sites: Sites
) -> None:
    sites["a"].up = False
    id = (await rig.add_destination()).id
    await rig.reported(id, lambda report: report.last_error == "a is down")
    (check,) = (await rig.ask(CheckSubsystem(), SubsystemChecked)).checks
    assert not check.healthy
    await rig.change_destination(id, enabled=False)
    await rig.until(lambda: rig.node(id) is None)
    (check,) = (await rig.ask(CheckSubsystem(), SubsystemChecked)).checks
    assert (check.name, check.healthy, check.last_error) == ("mqtt", True, None)
    assert (await rig.report(id)).last_error is None


async def test_disabling_waits_for_acknowledgements_under_way(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    sites["a"].acknowledging = False
    rig.poll(*range(8))
    await rig.until(lambda: len(sites["a"].received) == 8)
    await rig.change_destination(id, enabled=False)
    assert rig.node(id) is not None
    sites["a"].acknowledge()
    await rig.until(lambda: rig.node(id) is None)
    assert rig.stored() == []
    await rig.until(lambda: sites["a"].connected == [])


async def test_what_was_routed_before_a_destination_was_disabled_is_kept(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    sites["a"].leave()
    rig.poll(*range(400))
    await rig.change_destination(id, enabled=False)
    await rig.until(lambda: rig.node(id) is None)
    assert rig.stored() == list(range(400))


async def test_enabled_again_before_it_was_gone_it_goes_on(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    sites["a"].acknowledging = False
    rig.poll(*range(5))
    await rig.until(lambda: len(sites["a"].received) == 5)
    await rig.change_destination(id, enabled=False)
    await rig.change_destination(id, enabled=True)
    sites["a"].acknowledging = True
    sites["a"].acknowledge()
    rig.poll(*range(5, 10))
    await rig.settle(id)
    assert sites["a"].numbers == list(range(10))
    assert sites["a"].attempts == 1


async def test_enabled_again_while_its_outbox_is_brought_to_disk_it_connects_again(
    rig: Rig, sites: Sites
) -> None:
    id = await rig.begin()
    sites["a"].leave()
    rig.poll(*range(5))
    await rig.reported(id, lambda report: report.rows == 5 and not report.connected)
    await rig.until(lambda: rig.stored() == list(range(5)))
    rig.poll(*range(5, 10))
    destination = rig.instance(id)
    await rig.until(lambda: destination.outbox is not None and destination.outbox.rows == 10)
    await rig.change_destination(id, enabled=False)
    with rig.busy_store():
        await rig.until(lambda: rig.health(id) in ("retiring", "retired", None))
    await rig.change_destination(id, enabled=True)
    sites["a"].come_back()
    await rig.settle(id)
    assert sites["a"].numbers == list(range(10))


@pytest.mark.parametrize("moment", range(12))
async def test_whenever_it_is_disabled_and_enabled_nothing_is_lost_or_sent_twice(
    rig: Rig, sites: Sites, moment: int
) -> None:
    id = await rig.begin()
    sent = 0
    for turn in range(4):
        rig.poll(*range(sent, sent + 10))
        sent += 10
        await asyncio.gather(
            rig.change_destination(id, enabled=False), _after(moment + turn, rig.change_destination, id)
        )
    await rig.settle(id)
    assert sorted(sites["a"].numbers) == sites["a"].numbers
    assert len(set(sites["a"].numbers)) == len(sites["a"].numbers)
    # What comes while it is disabled is not wanted; what it had taken before is.
    assert sites["a"].numbers[:10] == list(range(10))
    rig.poll(1000)
    await rig.until(lambda: sites["a"].numbers[-1] == 1000)
    assert len(sites["a"].connected) == 1


async def _after(turns: int, change: Any, id: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    await change(id, enabled=True)


async def test_disabled_while_connecting_it_leaves_no_connection(rig: Rig, sites: Sites) -> None:
    sites["a"].gate = asyncio.Event()
    destination = await rig.add_destination()
    await rig.add_subscription(destination.id)
    await rig.until(lambda: sites["a"].attempts == 1)
    rig.poll(1)
    await rig.change_destination(destination.id, enabled=False)
    await rig.until(lambda: rig.node(destination.id) is None)
    sites["a"].gate.set()
    await asyncio.sleep(0)
    assert sites["a"].connected == []
    assert rig.stored() == [1]


async def test_connected_while_it_is_being_disabled_it_goes_all_the_same(
    rig: Rig, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retiring, "DRAIN_TIME", 60.0)
    id = await rig.begin()
    sites["a"].leave()
    sites["a"].gate = asyncio.Event()
    attempts = sites["a"].attempts
    sites["a"].come_back()
    await rig.until(lambda: sites["a"].attempts > attempts)
    sites["a"].gate.set()
    await rig.change_destination(id, enabled=False)
    await rig.until(lambda: rig.node(id) is None)
    await rig.until(lambda: sites["a"].connected == [])


async def test_a_site_that_leaves_while_acknowledgements_are_waited_for_does_not_hold_it(
    rig: Rig, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retiring, "DRAIN_TIME", 60.0)
    id = await rig.begin()
    sites["a"].acknowledging = False
    rig.poll(*range(5))
    await rig.until(lambda: len(sites["a"].received) == 5)
    await rig.change_destination(id, enabled=False)
    sites["a"].leave()
    await rig.until(lambda: rig.node(id) is None)
    assert rig.stored() == list(range(5))


async def test_a_crash_while_it_is_being_disabled_does_not_enable_it_again(
    rig: Rig, sites: Sites, fragile: None
) -> None:
    id = await rig.begin()
    sites["a"].acknowledging = False
    rig.poll(*range(5))
    await rig.until(lambda: rig.stored() == list(range(5)))
    await rig.change_destination(id, enabled=False)
    rig.base.tell(rig.destination(id), Boom())
    await rig.until(lambda: rig.node(id) is None)
    assert rig.stored() == list(range(5))
    assert sites["a"].connected == []


# Waits that do not end


async def test_an_attempt_that_never_ends_is_given_up_for_another(rig: Rig, sites: Sites) -> None:
    sites["a"].patience = 0.1
    sites["a"].hangs = {"connect"}
    destination = await rig.add_destination()
    await rig.add_subscription(destination.id)
    await rig.reported(destination.id, lambda report: report.last_error == "no connection within 0.1 s")
    rig.poll(1)
    await rig.until(lambda: len(sites["a"].drivers) >= 3)
    sites["a"].hangs.clear()
    await rig.settle(destination.id)
    assert sites["a"].numbers == [1]
    assert len(sites["a"].connected) == 1


async def test_a_connection_that_does_not_close_keeps_neither_the_next_one_nor_the_end_waiting(
    tmp_path: Path, sites: Sites, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deadlines, "CLOSE_SECONDS", 0.1)
    rig = Rig(tmp_path, sites)
    async with asyncio.timeout(10.0):
        await rig.start()
        id = await rig.begin("a")
        sites["a"].hangs = sites["b"].hangs = {"close"}
        await rig.change_destination(id, config_json={"host": "b"})
        rig.poll(1)
        await rig.settle(id)
        assert sites["b"].numbers == [1]
        await rig.stop()
    assert caplog.text.count("one: its connection does not close within 0.1 s and is abandoned") == 2


class Mute(Subscription):
    """Never says that it is done."""

    def receiveMsg_Flush(self, message: Flush, sender: Any) -> None: ...


class Fragile(Subscription):
    """Gives up over being told to be done."""

    RESTART = Restart(max_restarts=0)

    def receiveMsg_Flush(self, message: Flush, sender: Any) -> None:
        raise RuntimeError("boom")


async def test_a_subscription_that_never_says_that_it_is_done_goes_all_the_same(
    rig: Rig, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribing, "LEAVE_SECONDS", 0.1)
    monkeypatch.setattr(subscribing, "Subscription", Mute)
    id = await rig.begin()
    second = await rig.add_subscription(id)
    await rig.until(lambda: len(subscriptions(rig, id)) == 2)
    await rig.ask(RemoveSubscription(second.id), SubscriptionRemoved)
    await rig.until(lambda: len(subscriptions(rig, id)) == 1)
    await rig.change_destination(id, enabled=False)
    await rig.until(lambda: rig.node(id) is None)


async def test_a_subscription_that_gave_up_is_not_waited_for(
    rig: Rig, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retiring, "DRAIN_TIME", 60.0)
    monkeypatch.setattr(subscribing, "Subscription", Fragile)
    id = await rig.begin()
    await rig.until(lambda: subscriptions(rig, id))
    await rig.change_destination(id, enabled=False)
    await rig.until(lambda: rig.node(id) is None)


def subscriptions(rig: Rig, id: int) -> list[str]:
    """The paths of those that run."""
    cell: Any = rig.base.mailboxes[rig.destination(id).addressDetails]
    return list(cell.children or {})


# Removed


async def test_a_removed_destination_takes_its_subscriptions_and_its_outbox_along(
    rig: Rig, sites: Sites
) -> None:
    id = await rig.begin()
    sites["a"].leave()
    rig.poll(*range(10))
    await rig.until(lambda: len(rig.stored()) == 10)
    await rig.ask(RemoveDestination(id), DestinationRemoved)
    assert rig.node(id) is None
    assert rig.stored() == []


async def test_a_commit_on_its_way_when_the_destination_is_removed_is_no_error(
    rig: Rig, sites: Sites, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    sites["a"].acknowledging = False
    id = await rig.begin()
    with rig.busy_store():
        removal = asyncio.ensure_future(rig.ask(RemoveDestination(id), DestinationRemoved))
        rig.poll(*range(10))
        destination = rig.instance(id)
        await rig.until(lambda: destination.outbox is not None and destination.outbox.committing)
    await removal
    await rig.until(lambda: rig.node(id) is None)
    assert sites["a"].connected == []
    assert caplog.text == ""


# Crashed


async def test_a_crashed_destination_sends_what_is_on_disk_in_order(
    rig: Rig, sites: Sites, fragile: None
) -> None:
    id = await rig.begin()
    sites["a"].leave()
    rig.poll(*range(50))
    await rig.until(lambda: len(rig.stored()) == 50)
    rig.base.tell(rig.destination(id), Boom())
    sites["a"].come_back()
    await rig.settle(id)
    assert sites["a"].numbers == list(range(50))
    node = rig.node(id)
    assert node is not None
    assert node.restarts == 1


async def test_answers_to_the_life_before_a_crash_do_no_harm(rig: Rig, sites: Sites, fragile: None) -> None:
    id = await rig.begin()
    sites["a"].acknowledging = False
    with rig.busy_store():
        rig.poll(*range(20))
        await rig.until(lambda: len(sites["a"].received) == 20)
        destination = rig.instance(id)
        await rig.until(lambda: destination.outbox is not None and destination.outbox.committing)
        assert destination.outbox is not None
        assert destination.outbox._committing is not None
        written = [numbers_of(row.payload)[0] for row in destination.outbox._committing.rows()]
        rig.base.tell(rig.destination(id), Boom())
        cell: Any = rig.base.mailboxes[rig.destination(id).addressDetails]
        await rig.until(lambda: cell.instance is not None and cell.instance is not destination)
    sites["a"].acknowledging = True
    await rig.until(lambda: rig.health(id) == "connected")
    await rig.settle(id)
    assert sites["a"].numbers == [*range(20), *written]
    node = rig.node(id)
    assert node is not None
    assert node.restarts == 1


async def test_disabled_and_enabled_while_it_restarts_it_goes_on(
    rig: Rig, sites: Sites, fragile: None
) -> None:
    id = await rig.begin()
    rig.base.tell(rig.destination(id), Boom())
    await rig.until(lambda: rig.instance(id) is None)
    await rig.change_destination(id, enabled=False)
    await rig.change_destination(id, enabled=True)
    rig.poll(1)
    await rig.reported(id, lambda report: report.delivered == 1)


async def test_a_connection_dies_with_the_life_that_made_it(rig: Rig, sites: Sites, fragile: None) -> None:
    id = await rig.begin()
    rig.base.tell(rig.destination(id), Boom())
    await rig.until(lambda: sites["a"].attempts == 2 and rig.health(id) == "connected")
    assert len(sites["a"].connected) == 1


async def test_a_destination_that_crashes_over_and_over_never_gives_up_and_loses_nothing_of_what_comes(
    rig: Rig, sites: Sites, fragile: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.system.supervision.random.uniform", lambda low, high: 0.0)
    id = await rig.begin()
    for number in range(30):
        rig.base.tell(rig.destination(id), Boom())
        rig.poll(number)
        await rig.until(lambda number=number: number in sites["a"].numbers)
        await rig.settle(id)
    assert rig.node(id).restarts == 30
    assert sites["a"].numbers == list(range(30))


async def test_what_comes_while_a_destination_is_away_is_stored_once_its_mailbox_is_full(
    rig: Rig, sites: Sites
) -> None:
    id = await rig.begin()
    cell: Any = rig.base.mailboxes[rig.destination(id).addressDetails]
    cell.crashes.policy = msgspec.structs.replace(cell.crashes.policy, backoff=30.0)
    rig.base.crash(cell, RuntimeError("boom"))
    await poll_all(rig, id, 3000)
    await rig.until(lambda: len(rig.stored(id)) > 1900)
    assert rig.node(id).mailbox <= 1000
    for timer in list(cell.timers):
        timer.cancel()
    rig.base._begin(cell)
    await rig.until(lambda: rig.health(id) == "connected")
    await rig.settle(id)
    assert sites["a"].numbers == list(range(3000))


async def test_what_waits_for_a_destination_that_ends_is_stored(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    cell: Any = rig.base.mailboxes[rig.destination(id).addressDetails]
    cell.crashes.policy = msgspec.structs.replace(cell.crashes.policy, backoff=30.0, max_restarts=1)
    rig.base.crash(cell, RuntimeError("boom"))
    rig.poll(*range(5))
    await rig.until(lambda: rig.node(id).mailbox == 5)
    rig.base.crash(cell, RuntimeError("boom"))
    assert [child.state for child in tree.dump(rig.base.mailboxes["/publisher"]).root.children] == ["gave up"]
    await rig.until(lambda: rig.stored(id) == list(range(5)))


async def test_payloads_that_cannot_be_stored_while_it_is_away_are_counted(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    cell: Any = rig.base.mailboxes[rig.destination(id).addressDetails]
    cell.crashes.policy = msgspec.structs.replace(cell.crashes.policy, backoff=30.0)
    rig.base.crash(cell, RuntimeError("boom"))
    await rig.fill_disk()
    await poll_all(rig, id, 1500)
    await rig.until(lambda: any(isinstance(message, Transacted) for message, _ in cell.mailbox))
    for timer in list(cell.timers):
        timer.cancel()
    rig.base._begin(cell)
    report = await rig.reported(id, lambda report: report.dropped_quota)
    assert report.dropped_quota == 1000


async def poll_all(rig: Rig, id: int, count: int) -> None:
    """So many polls, no more at a time than mailboxes hold, until they have left the subscription."""
    for start in range(0, count, 500):
        rig.poll(*range(start, start + 500))
        await rig.base.ask(rig.router, ReportRouting(), 5)
        await rig.until(lambda: not rig.node(id).children[0].mailbox)


# Stopped


async def test_an_orderly_stop_and_a_start_lose_nothing_and_send_nothing_twice(
    tmp_path: Path, sites: Sites
) -> None:
    rig = Rig(tmp_path, sites)
    await rig.start()
    id = await rig.begin()
    rig.poll(*range(200))
    await rig.stop()
    assert rig.stored() == [number for number in range(200) if number not in sites["a"].numbers]
    await rig.start()
    await rig.until(lambda: rig.health(id) == "connected")
    rig.poll(*range(200, 300))
    await rig.settle(id)
    assert sites["a"].numbers == list(range(300))
    await rig.end()


async def test_a_stop_right_after_the_start_keeps_what_came_before_the_outbox_was_there(
    tmp_path: Path, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites["a"].up = False
    rig = Rig(tmp_path, sites)
    await rig.start()
    destination = await rig.add_destination()
    await rig.add_subscription(destination.id)
    await rig.stop()
    release, summary = threading.Event(), stored.summary

    def wait_and_summarise(database: Any, id: int) -> Any:
        release.wait(5)
        return summary(database, id)

    monkeypatch.setattr(stored, "summary", wait_and_summarise)
    await rig.start()
    rig.poll(1, 2, 3)
    stopping = asyncio.ensure_future(rig.ask(StopSubsystem(), SubsystemStopped))
    await asyncio.sleep(0.05)
    assert not stopping.done()
    release.set()
    await stopping
    assert rig.stored() == [1, 2, 3]
    await rig.end()


async def test_a_stop_asks_nothing_of_a_system_without_destinations(rig: Rig) -> None:
    await rig.ask(StopSubsystem(), SubsystemStopped)


async def test_a_stop_does_not_wait_for_a_destination_that_ends_meanwhile(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    sites["a"].acknowledging = False
    rig.poll(1)
    await rig.until(lambda: sites["a"].numbers == [1])
    stopping = asyncio.ensure_future(rig.ask(StopSubsystem(), SubsystemStopped))
    await asyncio.sleep(0)
    rig.base.terminate(rig.base.mailboxes[rig.destination(id).addressDetails])
    await stopping


async def test_a_publisher_that_is_told_to_stop_before_it_has_loaded_its_rows_stops_what_runs(
    tmp_path: Path, sites: Sites
) -> None:
    sites["a"].acknowledging = False
    rig = Rig(tmp_path, sites)
    rig.limits = limits(hold=5.0)
    await rig.start()
    await rig.begin()
    rig.poll(*range(10))
    await rig.until(lambda: len(sites["a"].received) == 10)
    rig.base.crash(rig.base.mailboxes[rig.publisher.addressDetails], RuntimeError("boom"))
    await rig.stop()
    assert rig.stored() == list(range(10))


# A store in trouble


async def test_a_full_disk_loses_nothing_while_memory_lasts_and_is_reported(
    rig: Rig, sites: Sites, caplog: pytest.LogCaptureFixture
) -> None:
    id = await rig.begin()
    sites["a"].leave()
    await rig.reported(id, lambda report: not report.connected)
    await rig.fill_disk()
    for start in range(0, 3000, 500):
        rig.poll(*range(start, start + 500))
        await rig.until(lambda expected=start + 500: rig.held(id) == expected)  # type: ignore[misc]
    instance = rig.instance(id)
    await rig.until(lambda: instance.store_error is not None)
    assert instance.store_error is not None
    assert instance.store_error.startswith("outbox cannot be stored: ")
    assert "full" in instance.store_error
    assert caplog.text.count("outbox cannot be stored") == 1
    assert (await rig.reported(id, lambda report: report.rows == 3000)).dropped_quota == 0
    await rig.free_disk()
    await rig.until(lambda: len(rig.stored()) == 3000)
    sites["a"].come_back()
    await rig.settle(id)
    assert sites["a"].numbers == list(range(3000))


async def test_a_full_disk_is_shown_while_connected_and_forgotten_when_it_is_over(
    rig: Rig, sites: Sites
) -> None:
    id = await rig.begin()
    sites["a"].acknowledging = False
    await rig.fill_disk()
    # As many bytes as surely need a new page.
    rig.poll(*range(100))
    report = await rig.reported(id, lambda report: report.last_error)
    assert report.last_error is not None
    assert report.last_error.startswith("outbox cannot be stored: ")
    assert report.connected
    await rig.free_disk()
    await rig.reported(id, lambda report: report.last_error is None)
    sites["a"].acknowledge()
    await rig.settle(id)
    assert sites["a"].numbers == list(range(100))


async def test_memory_stays_bounded_when_the_disk_fails_for_long(tmp_path: Path, sites: Sites) -> None:
    rig = Rig(tmp_path, sites)
    rig.limits = limits(memory_bytes=20_000)
    async with rig:
        id = await rig.begin()
        sites["a"].leave()
        await rig.reported(id, lambda report: not report.connected)
        await rig.fill_disk()
        for start in range(0, 4000, 200):
            rig.poll(*range(start, start + 200))
            await asyncio.sleep(0.01)
        report = await rig.reported(id, lambda report: report.dropped_quota and report.rows < 4000)
        assert report.bytes <= HARD_BOUND * 20_000 + 200 * 200
        await rig.free_disk()
        sites["a"].come_back()
        await rig.settle(id)
        dropped = (await rig.report(id)).dropped_quota
        # The oldest went; what is delivered is the rest, in order.
        assert sites["a"].numbers == sorted(sites["a"].numbers)
        assert len(sites["a"].numbers) + dropped == 4000
        assert sites["a"].numbers[-1] == 3999


async def test_a_store_that_does_not_answer_is_asked_again(
    rig: Rig, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_client, "PATIENCE", 0.1)
    id = await rig.begin()
    sites["a"].leave()
    with rig.busy_store():
        rig.poll(*range(20))
        await rig.reported(id, lambda report: report.rows == 20)
        instance = rig.instance(id)
        await rig.until(lambda: instance.store_error is not None)
    await rig.until(lambda: rig.stored() == list(range(20)))
    sites["a"].come_back()
    await rig.settle(id)
    assert sites["a"].numbers == list(range(20))


# Limits


async def test_a_store_that_does_not_answer_for_long_is_handed_no_more_payloads(
    rig: Rig, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_client, "PATIENCE", 0.05)
    id = await rig.begin()
    sites["a"].leave()
    asked: list[str] = []
    ask_store = Destination.ask_store

    def count(self: Destination, kind: str, *args: Any, **options: Any) -> None:
        asked.append(kind)
        ask_store(self, kind, *args, **options)

    monkeypatch.setattr(Destination, "ask_store", count)
    with rig.busy_store():
        rig.poll(*range(10))
        await rig.until(lambda: asked.count("ping") >= 10)
        assert asked.count("commit") == 1
        rig.poll(*range(10, 20))
    await rig.until(lambda: rig.stored() == list(range(20)))
    sites["a"].come_back()
    await rig.settle(id)
    assert sites["a"].numbers == list(range(20))


async def test_quota_drops_the_oldest_counts_them_and_logs_once(
    tmp_path: Path, sites: Sites, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path, sites)
    rig.limits = limits(max_rows=50, memory_bytes=3000)
    async with rig:
        id = await rig.begin()
        sites["a"].leave()
        for number in range(200):
            rig.poll(number)
            if number % 20 == 0:
                await asyncio.sleep(0.01)
        report = await rig.reported(id, lambda report: report.dropped_quota == 150)
        assert report.rows == 50
        await rig.until(lambda: rig.stored() == list(range(150, 200)))
        assert caplog.text.count("the oldest readings are dropped") == 1
        sites["a"].come_back()
        await rig.settle(id)
        assert sites["a"].numbers == list(range(150, 200))


# Strict durability


async def test_strict_sends_nothing_that_is_not_on_disk(tmp_path: Path, sites: Sites) -> None:
    rig = Rig(tmp_path, sites)
    rig.limits = limits(strict=True)
    async with rig:
        id = await rig.begin()
        sites["a"].acknowledging = False
        with rig.busy_store():
            rig.poll(*range(5))
            destination = rig.instance(id)
            await rig.until(lambda: destination.outbox is not None and destination.outbox.rows == 5)
            await asyncio.sleep(0.05)
            assert sites["a"].numbers == []
        await rig.until(lambda: sites["a"].numbers == list(range(5)))
        assert rig.stored() == list(range(5))
        sites["a"].acknowledge()
        await rig.settle(id)


async def test_a_stop_while_nothing_can_be_stored_sends_what_can_still_be_sent(
    tmp_path: Path, sites: Sites
) -> None:
    rig = Rig(tmp_path, sites)
    rig.flow = Flow(window=3)
    async with rig:
        id = await rig.begin()
        site = sites["a"]
        site.acknowledging = False
        await rig.fill_disk()
        rig.poll(*range(40))
        await rig.until(lambda: rig.held(id) == 40)
        site.acknowledging = True
        stopping = asyncio.ensure_future(rig.ask(StopSubsystem(), SubsystemStopped))
        await rig.until(lambda: rig.instance(id).draining)
        assert len(site.numbers) == 3
        site.acknowledge()
        await rig.until(lambda: site.numbers == [*range(40)])
        await rig.free_disk()
        await stopping


async def test_until_the_outbox_is_known_only_so_much_is_held_and_drops_are_counted(
    rig: Rig, sites: Sites, fragile: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await rig.begin()
    rig.poll(99)
    await rig.until(lambda: sites["a"].payloads)
    room = 5.5 * len(sites["a"].payloads[0])
    monkeypatch.setattr(keeping, "HARD_BOUND", room / rig.limits.memory_bytes)
    with rig.busy_store():
        rig.base.tell(rig.destination(id), Boom())
        await rig.until(lambda: rig.health(id) == "connected" and rig.node(id).restarts == 1)  # type: ignore[union-attr]
        destination = rig.instance(id)
        rig.poll(*range(12))
        await rig.until(lambda: destination.early_dropped == 7)
    await rig.reported(id, lambda report: report.dropped_quota == 7)
    await rig.settle(id)
    assert sites["a"].numbers == [99, *range(7, 12)]


async def test_readings_polled_while_a_crashed_destination_is_away_wait_for_its_return(
    rig: Rig, sites: Sites, fragile: None
) -> None:
    id = await rig.begin()
    destination = rig.instance(id)
    rig.base.tell(rig.destination(id), Boom())
    cell: Any = rig.base.mailboxes[rig.destination(id).addressDetails]
    await rig.until(lambda: cell.instance is None)
    rig.poll(*range(10))
    await rig.until(lambda: cell.instance not in (None, destination) and rig.health(id) == "connected")
    await rig.settle(id)
    assert sites["a"].numbers == list(range(10))


async def test_a_crash_of_the_publisher_costs_its_destinations_nothing(
    rig: Rig, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(self: Publisher, message: Boom, sender: Any) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(Publisher, "receiveMsg_Boom", explode, raising=False)
    id = await rig.begin()
    sites["a"].acknowledging = False
    rig.poll(*range(10))
    await rig.until(lambda: len(sites["a"].received) == 10)
    destination = rig.instance(id)
    cell: Any = rig.base.mailboxes[rig.publisher.addressDetails]
    publisher = cell.instance
    rig.base.tell(rig.publisher, Boom())
    await rig.until(lambda: cell.instance not in (None, publisher))
    await rig.reported(id, lambda report: report.connected and report.rows == 10)
    rig.poll(*range(10, 20))
    await rig.until(lambda: len(sites["a"].received) == 20)
    assert rig.instance(id) is destination
    sites["a"].acknowledging = True
    sites["a"].acknowledge()
    await rig.settle(id)
    assert sites["a"].numbers == list(range(20))
    assert [row.name for row in (await rig.ask(ListDestinations(), DestinationsListed)).destinations] == [
        "one"
    ]


async def test_a_destination_that_only_accepts_connections_is_tried_less_and_less(
    rig: Rig, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    away: list[float] = []

    def delay(self: retry.Retry, failures: int, seconds: float, permanent: bool) -> float:
        away.append(seconds)
        return 0.01

    monkeypatch.setattr(retry.ByAbsence, "delay", delay)
    sites["a"].leaves_at_once = True
    destination = await rig.add_destination()
    await rig.until(lambda: len(away) > 20)
    assert away == sorted(away)
    assert away[-1] > 0.15

    sites["a"].leaves_at_once = False
    await rig.add_subscription(destination.id)
    await rig.until(lambda: rig.health(destination.id) == "connected")
    rig.poll(1)
    await rig.settle(destination.id)
    away.clear()
    sites["a"].leave()
    await rig.until(lambda: away)
    assert away[0] < 0.05
