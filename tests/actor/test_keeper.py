"""Changes that are stored before they take effect."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from puppets import SECONDS, SOON, node, until
from shelf import THING, Gate, List, Owner, Put, Remove, RunOwner, RunShelf, Shelf, configured, fill_disk
from thespian.actors import ActorAddress

from actors.state import client, keeper
from actors.state.messages import Transact, Transacted
from actors.subsystems.messages import CheckSubsystem
from actors.system.addresses import child_address
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.failure import Failed, Refusal
from storage import target_state
from storage.database import open_database
from storage.errors import StorageError
from storage.target_state import Row


class Stage:
    def __init__(self, path: Path) -> None:
        self.system = AsyncioSystemBase()
        owner = self.system.spawn(None, Owner, "owner", RunOwner([], configured(path)))
        self.store = child_address(owner, "store")
        self.shelf = self.system.spawn(None, Shelf, "shelf", RunShelf(self.store), SOON)

    async def ask(self, message: Any, of: ActorAddress | None = None) -> Any:
        return await self.system.ask(of or self.shelf, message, SECONDS)

    async def store_runs(self, call: Any) -> Transacted:
        reply = await self.ask(Transact(None, call), self.store)
        assert isinstance(reply, Transacted)
        return reply


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncGenerator[Stage, None]:
    stage = Stage(tmp_path / "agent.sqlite")
    yield stage
    stage.system.shutdown()
    await stage.system.released()


async def test_a_change_is_answered_and_in_effect_once_it_is_stored(stage):
    await stage.ask(List())
    gate = Gate()
    held = asyncio.ensure_future(stage.store_runs(gate))
    await asyncio.to_thread(gate.entered.wait, SECONDS)
    reply = asyncio.ensure_future(stage.ask(Put("cup")))
    assert await stage.ask(List()) == []
    assert not reply.done()
    gate.open()
    row = await reply
    assert isinstance(row, Row)
    assert row.name == "cup"
    assert await stage.ask(List()) == ["cup"]
    await held


async def test_requests_before_the_rows_are_loaded_wait_for_them(tmp_path):
    path = tmp_path / "agent.sqlite"
    with closing(open_database(path)) as database:
        target_state.insert(database, THING, "cup", {})
    stage = Stage(path)
    listed, added = await asyncio.gather(stage.ask(List()), stage.ask(Put("cup")))
    assert listed == ["cup"]
    assert added.kind == "conflict"
    stage.system.shutdown()
    await stage.system.released()


async def test_changes_under_way_at_once_each_get_their_own_answer(stage):
    names = [f"cup-{n}" for n in range(50)]
    rows = await asyncio.gather(*(stage.ask(Put(name)) for name in names))
    assert [row.name for row in rows] == names


async def test_a_refused_change_never_reaches_the_store(stage):
    assert await stage.ask(Put("")) == Failed("invalid", "name is required", "name")
    assert await stage.ask(List()) == []


async def test_a_name_that_was_taken_meanwhile_is_a_conflict(stage):
    first, second = await asyncio.gather(stage.ask(Put("cup")), stage.ask(Put("cup")))
    assert isinstance(first, Row)
    assert (second.kind, second.field) == ("conflict", "name")
    assert await stage.ask(List()) == ["cup"]


async def test_on_a_full_disk_a_change_is_refused_and_nothing_is_changed(stage):
    cup = await stage.ask(Put("cup"))
    await stage.store_runs(fill_disk)
    refused = await stage.ask(Put("barrel", size=1_000_000))
    assert isinstance(refused, Failed)
    assert refused.kind == "unavailable"
    assert "full" in refused.message
    assert await stage.ask(List()) == ["cup"]
    assert await stage.ask(Remove(cup.id)) == 1  # what makes room is still possible
    assert await stage.ask(List()) == []


async def test_a_job_that_fails_for_no_known_reason_is_an_internal_error(stage, monkeypatch, caplog):
    def out_of_order(database: Any, *_: Any) -> None:
        raise ZeroDivisionError("out of order")

    monkeypatch.setattr("storage.target_state.insert", out_of_order)
    assert await stage.ask(Put("cup")) == Failed("internal", "out of order")
    assert "a transaction failed" in caplog.text
    assert await stage.ask(List()) == []


async def test_a_stored_change_that_cannot_be_put_into_effect_is_answered_and_crashes_the_keeper(stage):
    cup = await stage.ask(Put("cup"))
    failed = await stage.ask(Remove(cup.id, ValueError("apply")))
    assert failed == Failed("internal", "stored, but it could not be put into effect")
    await until(lambda: node(stage.system, stage.shelf).restarts == 1)
    assert node(stage.system, stage.shelf).last_error == "ValueError: apply"


async def test_a_refusal_when_a_change_is_put_into_effect_is_a_defect_like_any_other(stage):
    cup = await stage.ask(Put("cup"))
    failed = await stage.ask(Remove(cup.id, Refusal("too late", kind="conflict")))
    assert failed == Failed("internal", "stored, but it could not be put into effect")
    assert await stage.ask(List()) == []  # as it is on disk


async def test_a_keeper_that_crashes_with_a_change_under_way_finds_it_in_its_next_life(stage, caplog):
    await stage.ask(List())
    gate = Gate()
    held = asyncio.ensure_future(stage.store_runs(gate))
    await asyncio.to_thread(gate.entered.wait, SECONDS)
    under_way = asyncio.ensure_future(stage.ask(Put("old")))
    waiting = asyncio.ensure_future(stage.ask(Put("never")))
    await stage.ask(List())
    stage.system.crash(stage.system.mailboxes[stage.shelf.addressDetails], RuntimeError("boom"))
    assert await under_way == Failed("unavailable", "Interrupted: look whether it was stored")
    assert await waiting == Failed("unavailable", "Interrupted: nothing was changed")
    listed = asyncio.ensure_future(stage.ask(List()))
    gate.open()
    assert await listed == ["old"]
    assert (await stage.ask(Put("old"))).kind == "conflict"
    row = await stage.ask(Put("new"))
    assert await stage.ask(List()) == ["old", "new"]
    assert await stage.ask(Remove(row.id)) == 1
    await held


async def test_a_store_that_does_not_answer_is_given_up_and_asked_what_has_become_of_it(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(client, "PATIENCE", 0.2)
    stage = Stage(tmp_path / "agent.sqlite")
    await stage.ask(List())
    gate = Gate()
    held = asyncio.ensure_future(stage.store_runs(gate))
    await asyncio.to_thread(gate.entered.wait, SECONDS)
    refused = await stage.ask(Put("cup"))
    assert refused == Failed("unavailable", "the store does not answer: look whether it was stored")
    gate.open()
    await held
    await until_answer(lambda: stage.ask(List()), ["cup"])
    stage.system.shutdown()
    await stage.system.released()


async def test_a_change_that_its_requester_no_longer_waits_for_is_not_made(stage):
    await stage.ask(List())
    gate = Gate()
    held = asyncio.ensure_future(stage.store_runs(gate))
    await asyncio.to_thread(gate.entered.wait, SECONDS)
    under_way = asyncio.ensure_future(stage.ask(Put("cup")))
    await stage.ask(List())
    assert await stage.system.ask(stage.shelf, Put("barrel"), 0.01) is None
    last = asyncio.ensure_future(stage.ask(Put("bowl")))
    gate.open()
    await asyncio.gather(held, under_way, last)
    assert await stage.ask(List()) == ["cup", "bowl"]


async def test_rows_that_cannot_be_loaded_refuse_who_waits_and_are_asked_for_again(tmp_path, monkeypatch):
    def fail(*_: Any) -> None:
        raise StorageError("no room", "full")

    monkeypatch.setattr(keeper, "RELOAD", 0.01)
    load = target_state.load
    monkeypatch.setattr("storage.target_state.load", fail)
    stage = Stage(tmp_path / "agent.sqlite")
    assert await stage.ask(List()) == Failed("unavailable", "no room")
    assert node(stage.system, stage.shelf).health == "degraded: no room"
    checked = await stage.ask(CheckSubsystem())
    assert checked.error == "its rows are not loaded yet"
    monkeypatch.setattr("storage.target_state.load", load)
    await until_answer(lambda: stage.ask(List()), [])
    assert (await stage.ask(CheckSubsystem())).error is None
    stage.system.shutdown()
    await stage.system.released()


async def test_too_many_waiting_changes_are_refused(stage, monkeypatch):
    await stage.ask(List())
    monkeypatch.setattr(keeper, "WAITING", 2)
    gate = Gate()
    held = asyncio.ensure_future(stage.store_runs(gate))
    await asyncio.to_thread(gate.entered.wait, SECONDS)
    changes = [asyncio.ensure_future(stage.ask(Put(f"cup-{n}"))) for n in range(4)]
    assert await changes[3] == Failed("unavailable", "Too many changes are under way")
    gate.open()
    await held
    await asyncio.gather(*changes)
    assert await stage.ask(List()) == ["cup-0", "cup-1", "cup-2"]


async def until_answer(ask: Any, wanted: Any) -> None:
    async with asyncio.timeout(SECONDS):
        while await ask() != wanted:  # noqa: ASYNC110 - a store that recovers tells nobody else
            await asyncio.sleep(0.01)
