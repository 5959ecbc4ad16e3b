import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from puppets import SECONDS, node, until
from shelf import THING, Gate, Owner, RunOwner, configured, fill_disk

from actors.state import store as store_module
from actors.state.messages import StoreOpened, Transact, Transacted
from actors.subsystems.messages import Check, CheckSubsystem, SubsystemChecked, SubsystemFailed
from actors.system.addresses import child_address
from actors.system.asyncio_base import AsyncioSystemBase
from storage import database as storage_database
from storage import endpoints, target_state
from storage.database import Database, Standing, open_database
from storage.errors import Duplicate, StorageError
from storage.lock import Lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.sqlite"


class Stage:
    """A store and what it tells its parent."""

    def __init__(self, system: AsyncioSystemBase, path: Path) -> None:
        self.system = system
        self.path = path
        self.owners: list[Owner] = []
        self.owner = system.spawn(None, Owner, "owner", RunOwner(self.owners, configured(path)))
        self.store = child_address(self.owner, "store")

    @property
    def told(self) -> list[Any]:
        return self.owners[0].told if self.owners else []

    def opened(self) -> list[StoreOpened]:
        return [message for message in self.told if isinstance(message, StoreOpened)]

    async def transact(self, call: Any, *args: Any, token: Any = None) -> Transacted:
        reply = await self.system.ask(self.store, Transact(token, call, args), SECONDS)
        assert isinstance(reply, Transacted)
        return reply

    def crash(self) -> None:
        cell = self.system.mailboxes[self.store.addressDetails]
        self.system.crash(cell, RuntimeError("boom"))

    def stored(self) -> list[str]:
        """The names on disk, as another program sees them."""
        with closing(sqlite3.connect(self.path)) as connection:
            return [name for (name,) in connection.execute("SELECT name FROM target_state ORDER BY id")]


@pytest.fixture
async def stage(path: Path) -> AsyncGenerator[Stage, None]:
    system = AsyncioSystemBase()
    yield Stage(system, path)
    system.shutdown()
    await system.released()


def put(database: Database, name: str) -> str:
    return target_state.insert(database, THING, name, {}).name or ""


async def test_an_opened_store_tells_its_parent_whose_it_is_and_what_kinds_of_rows_it_holds(path):
    with closing(open_database(path)) as database:
        endpoints.add_endpoint(database, "plc", {"enabled": True}, "id-1", "modbus")
        target_state.insert(database, "destination", "broker", {})
        target_state.insert(database, "app", "bridge", {})
    system = AsyncioSystemBase()
    stage = Stage(system, path)
    await until(lambda: stage.owners and stage.owners[0].started)
    [opened] = stage.opened()
    assert opened.kinds == {"endpoint": 1, "destination": 1, "app": 1}
    assert opened.identity.name == "agent-7"
    assert opened.notes == ()
    system.shutdown()
    await system.released()


async def test_answers_come_in_the_order_of_the_requests(stage):
    names = [f"thing-{n}" for n in range(200)]
    for name in names:
        stage.system.deliver(stage.store, Transact(name, put, (name,)), stage.owner)
    await until(lambda: sum(isinstance(m, Transacted) for m in stage.told) == len(names))
    assert [m.token for m in stage.told if isinstance(m, Transacted)] == names
    assert [m.result for m in stage.told if isinstance(m, Transacted)] == names
    assert stage.stored() == names


async def test_what_is_answered_is_on_disk(stage):
    for name in ("a", "b"):
        await stage.transact(put, name)
        assert stage.stored()[-1] == name


async def test_a_job_that_fails_is_answered_with_its_error_and_leaves_nothing_behind(stage):
    def put_then_fail(database: Database) -> None:
        put(database, "half")
        raise ValueError("no")

    gate = Gate()
    held = asyncio.ensure_future(stage.transact(gate))
    await asyncio.to_thread(gate.entered.wait, SECONDS)
    jobs = [(put, "before"), (put_then_fail,), (put, "before"), (put, "after")]
    replies = [asyncio.ensure_future(stage.transact(*job, token=n)) for n, job in enumerate(jobs)]
    gate.open()
    before, failed, duplicate, after = await asyncio.gather(*replies)
    assert (before.result, before.error) == ("before", None)
    assert (failed.token, failed.result) == (1, None)
    assert isinstance(failed.error, ValueError)
    assert isinstance(duplicate.error, Duplicate)
    assert after.error is None
    assert stage.stored() == ["before", "after"]
    assert (await held).result == "opened"


async def test_what_a_store_was_asked_before_it_ends_is_stored(stage):
    await stage.transact(put, "first")

    def ask_and_end() -> None:
        for name in ("second", "third"):
            stage.system.deliver(stage.store, Transact(name, put, (name,)), stage.owner)
        stage.system.terminate(stage.system.mailboxes[stage.owner.addressDetails])

    ask_and_end()
    await stage.system.released()
    assert stage.stored() == ["first", "second", "third"]


# Crashes


async def test_a_store_that_crashed_opens_the_database_again_and_goes_on(stage):
    await stage.transact(put, "before")
    stage.crash()
    await until(lambda: len(stage.opened()) == 2)
    assert stage.opened()[1].kinds == {THING: 1}
    assert (await stage.transact(put, "after")).error is None
    assert stage.stored() == ["before", "after"]
    assert node(stage.system, stage.store).restarts == 1


async def test_transactions_under_way_when_the_store_crashes_are_stored_and_answered(stage):
    gate = Gate()
    replies = [
        asyncio.ensure_future(stage.transact(gate)),
        asyncio.ensure_future(stage.transact(put, "thing")),
    ]
    await asyncio.to_thread(gate.entered.wait, SECONDS)
    stage.crash()
    gate.open()
    opened, stored = await asyncio.gather(*replies)
    assert (opened.result, stored.result) == ("opened", "thing")
    assert stage.stored() == ["thing"]


async def test_transactions_that_arrive_while_the_store_is_away_are_run_when_it_is_back(stage):
    await until(stage.opened)
    stage.crash()
    assert (await stage.transact(put, "patience")).result == "patience"


async def test_transactions_that_wait_for_the_database_when_the_store_crashes_are_refused(system, path):
    lock = Lock(path.parent / "agent.lock")
    stage = Stage(system, path)
    reply = asyncio.ensure_future(stage.transact(put, "thing"))
    await until(lambda: stage.told)
    stage.crash()
    answer = await reply
    assert isinstance(answer.error, StorageError)
    assert answer.error.kind == "closed"
    lock.release()


async def test_the_end_of_the_store_lets_the_next_agent_in(stage, path):
    await until(stage.opened)
    with pytest.raises(StorageError):
        Lock(path.parent / "agent.lock")
    stage.system.shutdown()
    await stage.system.released()
    Lock(path.parent / "agent.lock").release()


# A database that cannot be used


async def test_a_database_in_use_is_reported_and_tried_again_until_it_is_free(system, path, monkeypatch):
    monkeypatch.setattr(store_module, "REOPEN", 0.01)
    lock = Lock(path.parent / "agent.lock")
    stage = Stage(system, path)
    reply = asyncio.ensure_future(stage.transact(put, "patience"))
    await until(lambda: len(stage.told) >= 2)
    assert all(isinstance(message, SubsystemFailed) for message in stage.told)
    assert "in use by another agent" in stage.told[0].message
    shown = node(stage.system, stage.store)
    assert (shown.state, shown.restarts) == ("degraded", 0)
    assert "in use by another agent" in (shown.health or "")
    lock.release()
    assert (await reply).result == "patience"
    assert node(stage.system, stage.store).health is None


async def test_a_corrupt_database_is_set_aside_and_the_store_says_so(path):
    path.write_bytes(b"this is not a database" * 100)
    system = AsyncioSystemBase()
    stage = Stage(system, path)
    await until(stage.opened)
    [aside] = path.parent.glob("agent.sqlite.corrupt-*")
    assert aside.read_bytes().startswith(b"this is not")
    [note] = stage.opened()[0].notes
    assert aside.name in note
    assert node(system, stage.store).health == note
    checked = await system.ask(stage.store, CheckSubsystem(), SECONDS)
    assert checked == SubsystemChecked(None, note)
    assert (await stage.transact(put, "anew")).error is None
    system.shutdown()
    await system.released()


async def test_a_ping_is_answered(stage):
    answer = await stage.transact(storage_database.ping, token="ping")
    assert answer == Transacted("ping", Standing(None, None))


async def test_what_the_disk_did_not_take_is_told_for_a_while_and_fails_nothing(stage, monkeypatch):
    await stage.transact(put, "before")
    await stage.transact(fill_disk)
    refused = await stage.transact(put, "x" * 100_000)
    assert isinstance(refused.error, StorageError)
    assert refused.error.kind == "full"
    told = await stage.system.ask(stage.store, CheckSubsystem(), SECONDS)
    assert told == SubsystemChecked(
        checks=[Check("database-writes", False, last_error="not stored: database or disk is full")]
    )
    monkeypatch.setattr(store_module, "REFUSAL_TOLD", 0.0)
    assert await stage.system.ask(stage.store, CheckSubsystem(), SECONDS) == SubsystemChecked()


async def test_a_database_that_is_deleted_is_written_anew_and_told(stage, path):
    await stage.transact(put, "before")
    assert await stage.system.ask(stage.store, CheckSubsystem(), SECONDS) == SubsystemChecked()
    path.unlink()
    checked = await stage.system.ask(stage.store, CheckSubsystem(), SECONDS)
    assert checked.error is None
    assert f"{path}: was deleted while the agent runs; it was written anew" in checked.description
    assert stage.stored() == ["before"]


async def test_a_database_that_is_replaced_fails_the_check(stage, path):
    await stage.transact(put, "before")
    path.with_name("other").touch()
    path.with_name("other").rename(path)
    checked = await stage.system.ask(stage.store, CheckSubsystem(), SECONDS)
    assert f"{path}: was replaced by another file" in checked.error
    refused = await stage.transact(put, "after")
    assert f"{path}: was replaced by another file" in str(refused.error)


async def test_a_folder_that_is_away_blocks_the_readiness_and_no_more(stage, path):
    await stage.transact(put, "before")
    away = path.parent.with_name("away")
    path.parent.rename(away)
    checked = await stage.system.ask(stage.store, CheckSubsystem(), SECONDS)
    [line] = checked.checks
    assert (checked.error, line.name, line.healthy, line.critical) == (None, "database-writes", False, False)
    assert line.blocks_readiness
    assert f"{path}: is somewhere else" in line.last_error
    away.rename(path.parent)
    assert await stage.system.ask(stage.store, CheckSubsystem(), SECONDS) == SubsystemChecked()
