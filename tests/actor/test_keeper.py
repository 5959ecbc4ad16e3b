"""Changes that are stored before they take effect."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from puppets import SECONDS, SOON, node, until
from shelf import Gate, List, Owner, Put, Remove, RunOwner, RunShelf, Shelf, configured, fill_disk
from thespian.actors import ActorAddress

from actors.state.messages import Transact, Transacted
from actors.system.addresses import child_address
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.failure import Failed, Refusal
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


async def test_a_refusal_when_a_change_is_put_into_effect_reaches_who_asked_for_it(stage):
    cup = await stage.ask(Put("cup"))
    assert await stage.ask(Remove(cup.id, Refusal("too late", kind="conflict"))) == Failed(
        "conflict", "too late"
    )
    assert await stage.ask(List()) == ["cup"]


async def test_an_answer_of_the_store_to_an_earlier_life_is_not_taken_for_one_to_this(stage, caplog):
    gate = Gate()
    held = asyncio.ensure_future(stage.store_runs(gate))
    await asyncio.to_thread(gate.entered.wait, SECONDS)
    lost = asyncio.ensure_future(stage.system.ask(stage.shelf, Put("old"), 0.2))
    await stage.ask(List())
    stage.system.crash(stage.system.mailboxes[stage.shelf.addressDetails], RuntimeError("boom"))
    await until(lambda: node(stage.system, stage.shelf).state == "running")
    reply = asyncio.ensure_future(stage.ask(Put("new")))
    await stage.ask(List())
    gate.open()
    assert (await reply).name == "new"
    assert await stage.ask(List()) == ["new"]
    assert "before it crashed" in caplog.text
    assert await lost is None
    await held
