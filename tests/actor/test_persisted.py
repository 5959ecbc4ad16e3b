"""When an endpoint may say that what it was told is safe: with router, subscriptions, destinations, store."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from publishing_rig import Rig, Sites
from publishing_system import limits

from actors.publish.destination import Destination
from actors.publish.messages import DestinationRemoved, RemoveDestination
from actors.publish.subscription import Subscription
from actors.readings.batch import Batch
from actors.readings.messages import AwaitPersisted, ForgetSource, Observe, Persisted
from actors.readings.router import Router
from actors.system.actor import Actor
from actors.system.addresses import child_address


class Boom(msgspec.Struct, frozen=True):
    """Makes who gets it crash."""


@pytest.fixture(autouse=True)
def fragile(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(self: Any, message: Boom, sender: Any) -> None:
        raise RuntimeError("boom")

    for kind in (Router, Subscription, Destination):
        monkeypatch.setattr(kind, "receiveMsg_Boom", explode, raising=False)


def endpoint(rig: Rig) -> str:
    return rig.sources["line-1"].endpoint_uuid


async def persisted(rig: Rig, number: int = 1, within: float = 5.0) -> Persisted | None:
    """None: there was no answer in time."""
    answer = await rig.base.ask(rig.router, AwaitPersisted(endpoint(rig), number), within)
    assert answer is None or isinstance(answer, Persisted)
    return answer


async def safe(rig: Rig, id: int) -> list[int]:
    """The numbers on disk or delivered, when an answer has come."""
    assert await persisted(rig) == Persisted(1)
    return sorted([*_on_disk(rig, id), *rig.sites["a"].numbers])


def _on_disk(rig: Rig, id: int) -> list[int]:
    with closing(sqlite3.connect(rig.path)) as connection:
        rows = connection.execute("SELECT payload FROM outbox WHERE destination_id = ?", (id,)).fetchall()
    return [tag["value"] for (payload,) in rows for tag in json.loads(payload)["tags"]]


async def test_what_nobody_wants_is_safe_at_once(rig: Rig) -> None:
    rig.poll(1)
    assert await persisted(rig, 7) == Persisted(7)
    assert await rig.base.ask(rig.router, AwaitPersisted("unheard of", 8), 5) == Persisted(8)


async def test_what_is_delivered_is_safe(rig: Rig) -> None:
    id = await rig.begin()
    rig.poll(1, 2, 3)
    assert await safe(rig, id) == [1, 2, 3]


async def test_while_the_destination_is_away_what_is_on_disk_is_safe_and_sooner_than_it_would_be(
    tmp_path: Path, sites: Sites
) -> None:
    rig = Rig(tmp_path, sites)
    rig.limits = limits(hold=60.0)
    async with rig:
        id = await rig.begin()
        sites["a"].leave()
        await rig.until(lambda: not rig.instance(id).connected)
        rig.poll(1, 2, 3)
        assert await safe(rig, id) == [1, 2, 3]


async def test_what_is_not_acknowledged_is_safe_when_it_is_on_disk(rig: Rig) -> None:
    id = await rig.begin()
    sites_a = rig.sites["a"]
    sites_a.acknowledging = False
    rig.poll(1, 2)
    assert await persisted(rig) == Persisted(1)
    assert sorted(_on_disk(rig, id)) == [1, 2]


async def test_what_waits_in_a_buffer_goes(rig: Rig) -> None:
    destination = await rig.add_destination()
    await rig.add_subscription(destination.id, route_json={"bufferSize": 1000, "bufferTimeMs": 0})
    await rig.observed(destination.id)
    await rig.until(lambda: rig.health(destination.id) == "connected")
    rig.poll(1, 2, 3)
    rig.poll(9, endpoint="line-2")
    assert await safe(rig, destination.id) == [1, 2, 3]


async def test_every_destination_that_wants_them_has_them(rig: Rig) -> None:
    first = await rig.begin()
    second = await rig.begin("b", "two")
    other = await rig.begin("c", "three", topics=["sensors/line-2/#"])
    for site in "abc":
        rig.sites[site].leave()
    rig.poll(1, 2)
    assert await persisted(rig) == Persisted(1)
    assert [len({*_on_disk(rig, id)}) for id in (first, second, other)] == [2, 2, 0]


async def test_without_a_disk_there_is_no_answer_until_there_is_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await rig.begin()
    rig.sites["a"].leave()
    await rig.until(lambda: not rig.instance(id).connected)
    with closing(sqlite3.connect(rig.path, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        rig.poll(1)
        assert await persisted(rig, within=0.3) is None
        assert _on_disk(rig, id) == []
        lock.execute("ROLLBACK")
    assert await safe(rig, id) == [1]


@pytest.mark.parametrize("whose", ["router", "subscription", "destination"])
async def test_when_somebody_has_begun_anew_what_was_sent_before_is_not_certain(rig: Rig, whose: str) -> None:
    id = await rig.begin()
    rig.poll(1)
    assert await persisted(rig, 1) == Persisted(1)
    rig.sites["a"].acknowledging = False
    rig.poll(2)
    await rig.routed()
    destination = rig.destination(id)
    victim = {
        "router": rig.router,
        "subscription": child_address(destination, f"subscription-{min(rig.instance(id).subscriptions)}"),
        "destination": destination,
    }[whose]
    before: Any = rig.base.mailboxes[victim.addressDetails]
    life = before.instance
    rig.base.tell(victim, Boom())
    await rig.until(lambda: before.instance not in (None, life))
    assert await persisted(rig, 2) == Persisted(2, certain=False)
    assert await persisted(rig, 2) == Persisted(2, certain=False), (
        "it was asked again: perhaps it did not hear"
    )
    rig.poll(2)
    assert await persisted(rig, 3) == Persisted(3)


async def test_no_crash_loses_what_was_said_to_be_safe(tmp_path: Path, sites: Sites) -> None:
    """Whatever the destination does meanwhile; a crash comes right behind each answer."""
    rig, numbers = Rig(tmp_path, sites), iter(range(1, 100))
    rig.limits = limits(hold=0.2)
    told: list[int] = []
    for life in range(6):
        await rig.start()
        if life == 0:
            id = await rig.begin()
        site = sites["a"]
        site.acknowledging = life % 2 == 0
        if life % 3 == 1:
            site.leave()
        else:
            site.come_back()
        await rig.observed(id)
        for _ in range(3):
            told += [next(numbers), next(numbers)]
            rig.poll(*told[-2:])
            assert await persisted(rig) == Persisted(1)
        await rig.end()
    sites["a"].come_back()
    sites["a"].acknowledging = True
    async with rig:
        await rig.until(lambda: set(told) <= set(sites["a"].numbers))


@pytest.mark.parametrize("removed", [True, False])
async def test_a_destination_that_is_no_more_is_not_waited_for(rig: Rig, removed: bool) -> None:
    id = await rig.begin()
    rig.sites["a"].leave()
    await rig.until(lambda: not rig.instance(id).connected)
    with closing(sqlite3.connect(rig.path, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        rig.poll(1)
        assert await persisted(rig, within=0.2) is None
        lock.execute("ROLLBACK")
    if removed:
        await rig.ask(RemoveDestination(id), DestinationRemoved)
    else:
        await rig.change_destination(id, enabled=False)
    assert await persisted(rig) == Persisted(1)


async def test_only_the_latest_question_is_answered(rig: Rig) -> None:
    id = await rig.begin()
    rig.sites["a"].leave()
    await rig.until(lambda: not rig.instance(id).connected)
    with closing(sqlite3.connect(rig.path, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        rig.poll(1)
        for number in range(1, 20):
            assert await persisted(rig, number, within=0.02) is None
        cell: Any = rig.base.mailboxes[rig.router.addressDetails]
        assert len(cell.instance.questions.awaited()) == 1
        lock.execute("ROLLBACK")
    assert await persisted(rig, 20) == Persisted(20)


async def test_nothing_is_kept_of_an_endpoint_that_is_no_more(rig: Rig) -> None:
    await rig.begin()
    rig.poll(1)
    await persisted(rig)
    rig.base.tell(rig.router, ForgetSource(endpoint(rig)))
    await rig.routed()
    cell: Any = rig.base.mailboxes[rig.router.addressDetails]
    assert not cell.instance.questions._latest
    assert not cell.instance.questions._open


class Onlooker(Actor):
    """Observes everything, and delivers nothing."""

    def __init__(self) -> None:
        self.seen: list[Batch] = []

    def receiveMsg_Boom(self, message: Boom, sender: Any) -> None:
        """A start."""

    def receiveMsg_Batch(self, message: Batch, sender: Any) -> None:
        self.seen.append(message)


async def test_who_delivers_nothing_may_drop_what_it_gets(rig: Rig) -> None:
    onlooker = rig.base.spawn(None, Onlooker, "onlooker", Boom())
    rig.base.tell(rig.router, Observe(onlooker))
    await rig.begin()
    cell: Any = rig.base.mailboxes[rig.router.addressDetails]
    cell.put(msgspec.structs.replace(rig.poll(1)[0], kept=True, values=[2], encoded={}), rig.store)
    seen: Any = rig.base.mailboxes[onlooker.addressDetails]
    await rig.until(lambda: len(seen.instance.seen) == 2)
    assert [batch.kept for batch in seen.instance.seen] == [False, False]
    await rig.until(lambda: rig.sites["a"].numbers == [1, 2])


async def test_a_full_mailbox_drops_no_reading_that_somebody_waits_for(rig: Rig) -> None:
    """Its oldest one of a poll goes instead."""
    await rig.begin()
    rig.base.mailbox_size = 5
    rig.poll(1, 2, 3, 4, 5)
    kept = [msgspec.structs.replace(batch, kept=True) for batch in rig.poll(6)]
    cell: Any = rig.base.mailboxes[rig.router.addressDetails]
    for number in range(7, 12):
        cell.put(msgspec.structs.replace(kept[0], values=[number], encoded={}), rig.store)
    rig.base.mailbox_size = 1000
    await rig.until(lambda: 11 in rig.sites["a"].numbers)
    assert set(rig.sites["a"].numbers) >= {7, 8, 9, 10, 11}
