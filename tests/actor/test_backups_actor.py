"""The actor that makes backups, over a real store."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from puppets import SECONDS, Do, Puppet, until
from shelf import configured, fill_disk
from thespian.actors import ActorAddress

from actors.backups import changing, scheduling
from actors.backups import messages as said
from actors.backups.backups import Backups
from actors.backups.one_at_a_time import RunBackups
from actors.backups.timetable import AFTER_START_MS
from actors.state.messages import StoreOpened, Transact, Transacted
from actors.state.store import Store
from actors.subsystems.messages import (
    CheckSubsystem,
    PrepareReset,
    ResetPrepared,
    RestartAgent,
    RestartBegun,
    StopSubsystem,
    SubsystemChecked,
    SubsystemFailed,
    SubsystemStarted,
    SubsystemStopped,
)
from actors.system.addresses import child_address
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.failure import Failed
from storage import backup_files, backups, identity, outbox, outcomes, target_state
from storage.backups import Site


class RunRoot(msgspec.Struct, frozen=True):
    site: Site
    made: list["Root"]
    prepares: bool


class Root(Puppet):
    """The agent: restarts, or refuses to; and a subsystem that prepares for resets, or does not."""

    refusing: Failed | None = None

    def receiveMsg_RunRoot(self, message: RunRoot, sender: ActorAddress) -> None:
        self.message = message
        message.made.append(self)
        self.store = self.spawn(Store, "store", configured(message.site.database))

    def receiveMsg_StoreOpened(self, message: StoreOpened, sender: ActorAddress) -> None:
        self.told.append(message)
        self.run_backups()

    def run_backups(self) -> None:
        prepare = (self.spawn(Preparing, "apps", "go"),) if self.message.prepares else ()
        start = RunBackups(self.store, self.myAddress, self.message.site, prepare)
        self.backups = self.spawn(Backups, "backups", start)

    def receiveMsg_RestartAgent(self, message: RestartAgent, sender: ActorAddress) -> None:
        self.told.append(message)
        if self.refusing is not None:
            self.send(sender, self.refusing)
            return
        self.send(sender, RestartBegun("RUNNING"))
        self.send(sender, StopSubsystem())

    def receiveMsg_SubsystemStopped(self, message: SubsystemStopped, sender: ActorAddress) -> None:
        self.stop_child(sender)
        if self.message.prepares:
            self.stop_child(child_address(self.myAddress, "apps"))
        restart = next(one for one in reversed(self.told) if isinstance(one, RestartAgent))
        self.send(self.store, restart.store)

    def receiveMsg_SubsystemStarted(self, message: SubsystemStarted, sender: ActorAddress) -> None:
        self.told.append(message)

    def receiveMsg_SubsystemFailed(self, message: SubsystemFailed, sender: ActorAddress) -> None:
        self.told.append(message)


class Preparing(Puppet):
    ready = True
    asked = 0

    def receiveMsg_str(self, message: str, sender: ActorAddress) -> None:
        pass

    def receiveMsg_PrepareReset(self, message: PrepareReset, sender: ActorAddress) -> None:
        type(self).asked += 1
        if self.ready:
            self.send(sender, ResetPrepared())


class Stage:
    def __init__(self, system: AsyncioSystemBase, folder: Path, prepares: bool = False) -> None:
        self.system = system
        self.site = Site(folder / "agent.sqlite", folder, folder / "backups", "1.2.3")
        made: list[Root] = []
        self.root = system.spawn(None, Root, "agent", RunRoot(self.site, made, prepares))
        self.made = made
        self.backups = child_address(self.root, "backups")
        self.store = child_address(self.root, "store")

    async def ask(self, message: Any) -> Any:
        return await self.system.ask(self.backups, message, SECONDS)

    async def transact(self, call: Any, *args: Any) -> Any:
        answer = await self.system.ask(self.store, Transact(None, call, args), SECONDS)
        assert isinstance(answer, Transacted)
        assert answer.error is None
        return answer.result

    async def ready(self) -> "Stage":
        await until(lambda: self.made and self.told(SubsystemStarted) >= 2)
        return self

    def told(self, kind: type) -> int:
        return len([one for one in self.made[0].told if isinstance(one, kind)])

    async def health(self) -> SubsystemChecked:
        answer = await self.ask(CheckSubsystem())
        assert isinstance(answer, SubsystemChecked)
        return answer

    async def described(self) -> said.ScheduleDescribed:
        answer = await self.ask(said.DescribeSchedule())
        assert isinstance(answer, said.ScheduleDescribed)
        return answer

    async def last(self) -> Any:
        listed = await self.ask(said.ListBackups())
        return listed.last if isinstance(listed, said.BackupsListed) else None

    async def over(self) -> Any:
        """How the change went that is under way."""
        return await answered(self.last, lambda found: found is not None and found.ok is not None)


async def answered(ask: Callable[[], Any], wanted: Callable[[Any], Any]) -> Any:
    """What is asked again and again until it is as wanted."""
    async with asyncio.timeout(SECONDS):
        while not wanted(found := await ask()):  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.005)
    return found


@pytest.fixture
async def stage(system: AsyncioSystemBase, tmp_path: Path) -> Stage:
    return await Stage(system, tmp_path).ready()


async def test_one_thing_at_a_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, go_on = threading.Event(), threading.Event()
    create = backups.create

    def slow(*args: Any) -> Any:
        entered.set()
        assert go_on.wait(SECONDS)
        return create(*args)

    monkeypatch.setattr(backups, "create", slow)
    first = stage.ask(said.MakeBackup())
    making = asyncio.ensure_future(first)
    await until(entered.is_set)
    for message in (
        said.MakeBackup(),
        said.RestoreBackup("x"),
        said.ResetEverything(),
        said.DeleteBackup("x"),
        said.VerifyBackup("x"),
    ):
        answer = await stage.ask(message)
        assert isinstance(answer, Failed)
        assert answer.kind == "conflict"
    assert isinstance(await stage.ask(said.ListBackups()), said.BackupsListed)
    go_on.set()
    assert isinstance(await making, said.BackupMade)
    assert isinstance(await stage.ask(said.MakeBackup()), said.BackupMade)


async def test_a_restore_goes_through_the_store_and_says_so_afterwards(stage: Stage) -> None:
    await stage.transact(target_state.insert, "endpoint", "plc", {})
    made = await stage.ask(said.MakeBackup())
    await stage.transact(target_state.insert, "endpoint", "newer", {})
    assert isinstance(await stage.ask(said.RestoreBackup(made.backup.file)), said.ChangeBegun)
    await until(lambda: stage.told(StoreOpened) == 2)
    last = await stage.over()
    assert (last.what, last.file, last.ok) == ("restore", made.backup.file, True)
    assert [row.name for row in await stage.transact(target_state.load)] == ["plc"]
    assert (await stage.health()).error is None


def failing(*_: Any) -> None:
    raise OSError(errno.EIO, "Input/output error")


async def test_a_restore_that_fails_leaves_what_there_was_and_is_in_health(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.transact(target_state.insert, "endpoint", "plc", {})
    made = await stage.ask(said.MakeBackup())
    await stage.transact(target_state.insert, "endpoint", "newer", {})
    monkeypatch.setattr(changing.restoring, "replace", failing)
    assert isinstance(await stage.ask(said.RestoreBackup(made.backup.file)), said.ChangeBegun)
    await until(lambda: stage.told(StoreOpened) == 2)
    last = await stage.over()
    assert last.ok is False
    assert "Input/output error" in last.error
    assert [row.name for row in await stage.transact(target_state.load)] == ["plc", "newer"]
    assert "restore failed" in ((await stage.health()).error or "")
    monkeypatch.undo()
    await stage.ask(said.RestoreBackup(made.backup.file))
    await until(lambda: stage.told(StoreOpened) == 3)
    assert (await stage.over()).ok
    assert (await stage.health()).error is None


async def test_a_disk_that_is_full_by_then_leaves_what_there_was(stage: Stage) -> None:
    broker = await stage.transact(target_state.insert, "destination", "broker", {})
    for number in range(40):
        await stage.transact(target_state.insert, "endpoint", f"e{number}", {"filling": "x" * 20_000})
    made = await stage.ask(said.MakeBackup())
    await stage.transact(_delete_endpoints)
    rows = [outbox.OutboxRow(number, "t", bytes(20_000), 1) for number in range(1, 51)]
    await stage.transact(outbox.commit, broker.id, rows, [])
    await stage.transact(fill_disk)
    assert isinstance(await stage.ask(said.RestoreBackup(made.backup.file)), said.ChangeBegun)
    last = await stage.over()
    assert last.ok is False
    assert "full" in last.error
    assert [row.name for row in await stage.transact(target_state.load)] == ["broker"]


def _delete_endpoints(database: Any) -> None:
    database.db.execute("DELETE FROM target_state WHERE kind = 'endpoint'")


async def test_an_agent_that_cannot_restart_now_says_so(stage: Stage) -> None:
    made = await stage.ask(said.MakeBackup())
    stage.made[0].refusing = Failed("conflict", "not now")
    for message in (said.RestoreBackup(made.backup.file), said.ResetEverything()):
        assert await stage.ask(message) == Failed("conflict", "not now")
        assert (await stage.over()).ok is False
    stage.made[0].refusing = None
    assert isinstance(await stage.ask(said.ResetEverything()), said.ChangeBegun)


@pytest.mark.parametrize("done", [False, True])
async def test_what_was_cut_off_is_settled_by_what_the_database_says(
    system: AsyncioSystemBase, tmp_path: Path, done: bool
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    begun = outcomes.begin(folder, "restore", "x")
    if done:
        from storage.database import open_database

        database = open_database(tmp_path / "agent.sqlite")
        database.db.execute(f"PRAGMA user_version={begun.token}")
        database.close()
    stage = await Stage(system, tmp_path).ready()
    last = await stage.over()
    assert last.ok is done
    assert last.error == (None if done else outcomes.CUT_OFF)


async def test_a_reset_waits_for_who_prepares_for_it(system: AsyncioSystemBase, tmp_path: Path) -> None:
    Preparing.asked, Preparing.ready = 0, True
    stage = await Stage(system, tmp_path, prepares=True).ready()
    await stage.transact(target_state.insert, "endpoint", "plc", {})
    me = await stage.transact(identity.load_or_create, None, None, None)
    assert isinstance(await stage.ask(said.ResetEverything()), said.ChangeBegun)
    await until(lambda: stage.told(StoreOpened) == 2)
    assert (await stage.over()).ok
    assert Preparing.asked == 1
    assert await stage.transact(target_state.load) == []
    assert (await stage.transact(identity.load_or_create, None, None, None)).uuid == me.uuid
    assert stage.made[0].told[0].identity.name == "agent-7"


async def test_a_reset_does_not_wait_for_ever(
    system: AsyncioSystemBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing, "PREPARED_WITHIN", 0.05)
    Preparing.ready = False
    stage = await Stage(system, tmp_path, prepares=True).ready()
    try:
        assert isinstance(await stage.ask(said.ResetEverything(backup=False)), said.ChangeBegun)
    finally:
        Preparing.ready = True


async def test_without_its_backup_nothing_is_reset(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await stage.transact(target_state.insert, "endpoint", "plc", {})
    monkeypatch.setattr(backup_files, "room", lambda folder: 0)
    answer = await stage.ask(said.ResetEverything())
    assert isinstance(answer, Failed)
    assert "nothing was deleted" in answer.message
    assert "disk is full" in answer.message
    assert len(await stage.transact(target_state.load)) == 1


# The schedule


async def scheduled(stage: Stage, monkeypatch: pytest.MonkeyPatch, keep: int = 7) -> Callable[[float], None]:
    """A schedule that is on, and a way to let hours pass."""
    passed = [0.0]
    running = scheduling.running_ms
    monkeypatch.setattr(scheduling, "running_ms", lambda: running() + round(passed[0] * 3_600_000))
    monkeypatch.setattr(scheduling, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(scheduling, "TRY_AGAIN", 0.01)
    changed = await stage.ask(said.ChangeSchedule(enabled=True, interval_hours=1, keep_count=keep))
    assert isinstance(changed, said.ScheduleDescribed)

    def later(hours: float) -> None:
        passed[0] += hours

    return later


def files(stage: Stage) -> list[str]:
    return [one.file for one in backup_files.listed(stage.site.folder)]


async def test_backups_are_made_on_time_and_old_ones_go(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = (await stage.ask(said.MakeBackup())).backup.file
    later = await scheduled(stage, monkeypatch, keep=2)
    later(AFTER_START_MS / 3_600_000)
    last = None
    for number in range(2, 6):
        described = await answered(
            stage.described, lambda found, last=last: found.last_run_at not in (None, last)
        )
        assert files(stage)[0].endswith(f"-{number}.sqlite")
        last = described.last_run_at
        later(1)
    await answered(stage.described, lambda found: found.last_run_at != last)
    assert len(files(stage)) == 3
    assert files(stage)[-1] == mine


async def test_a_full_disk_is_told_tried_again_and_costs_no_older_backup(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # backwpup 118: after days of failures only broken files were left
    later = await scheduled(stage, monkeypatch, keep=1)
    later(1)
    await answered(stage.described, lambda found: found.last_run_at is not None)
    before = files(stage)
    tried = []

    def full(folder: Path) -> int:
        tried.append(folder)
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(backup_files, "room", full)
        later(1)
        await until(lambda: len(tried) == 1)
        described = await answered(stage.described, lambda found: found.last_error)
        assert "disk is full" in described.last_error
        assert "no scheduled backup" in ((await stage.health()).error or "")
        assert files(stage) == before
        later(1)
        await until(lambda: len(tried) == 2)
        assert files(stage) == before
    later(1)
    await answered(stage.health, lambda found: found.error is None)
    assert len(files(stage)) == 1
    assert files(stage) != before


async def test_what_is_under_way_when_the_agent_stops_leaves_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.transact(_fill)
    entered = []
    digest = backup_files.checksum

    def slow(path: Path, ended: Any) -> str:
        entered.append(path)
        while not ended():
            os.sched_yield()
        return digest(path, ended)

    monkeypatch.setattr(backup_files, "checksum", slow)
    asking = asyncio.ensure_future(stage.ask(said.MakeBackup()))
    await until(lambda: entered)
    assert isinstance(await stage.ask(StopSubsystem()), SubsystemStopped)
    answer = await asking
    assert isinstance(answer, Failed)
    assert answer.kind == "unavailable"
    assert list(stage.site.folder.iterdir()) == []


def _fill(database: Any) -> None:
    for number in range(10):
        target_state.insert(database, "endpoint", f"e{number}", {})


@pytest.mark.parametrize("how", ["ended", "crashed"])
@pytest.mark.parametrize("message", [said.MakeBackup(), said.RestoreBackup("it"), said.ResetEverything()])
async def test_who_asked_is_answered_when_it_ends_meanwhile(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, message: Any, how: str
) -> None:
    """At once: a client would wait for half a minute, and be told that it takes long."""
    entered, go_on = threading.Event(), threading.Event()

    def slow(*_: Any) -> None:
        entered.set()
        go_on.wait(SECONDS)
        raise OSError(errno.EIO, "too late")

    monkeypatch.setattr(backups, "create", slow)
    monkeypatch.setattr(changing.restoring, "prepare", slow)
    asking = asyncio.ensure_future(stage.ask(message))
    await until(entered.is_set)
    if how == "ended":
        stage.system.tell(stage.root, Do(lambda root, _: root.stop_child(root.backups)))
    else:
        stage.system.crash(stage.system.mailboxes[stage.backups.addressDetails], RuntimeError("boom"))
    answer = await asking
    go_on.set()
    assert isinstance(answer, Failed)
    assert answer.kind == "unavailable"
