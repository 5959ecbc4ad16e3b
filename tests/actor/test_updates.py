"""The updater's actor, with an updater that does what a test says."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from puppets import until
from thespian.actors import ActorAddress

from actors.backups.messages import BackupMade, MakeBackup
from actors.subsystems.descriptor import SubsystemActor
from actors.subsystems.messages import (
    LifecycleChanged,
    ReportState,
    StateReported,
    StopSubsystem,
    SubsystemStopped,
)
from actors.system.actor import Actor
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.failure import Failed
from actors.update import history as histories
from actors.update import startup, steps, updates
from actors.update.history import History, UpdateEvent
from actors.update.layout import TakenBack, Trial
from actors.update.messages import ReportUpdate, UpdateAgent, UpdateAnswered, UpdateReported
from actors.update.signature import Signed, signature
from actors.update.updater import NotUpdatable, Prepared, UpdateFailed
from actors.update.updates import RunUpdates, Updates
from conf.settings import Settings, load
from storage.timestamps import unix_ms


class Fake:
    """An updater on no disk."""

    launcher = Path("/launcher")

    def __init__(self) -> None:
        self.did: list[Any] = []
        self.refusal: str | None = None
        self.newest = "2.0.0"
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: str | None = None
        self.on_trial: Trial | None = None
        self.back: TakenBack | None = None
        self.confirms = True

    def check(self) -> None:
        if self.refusal:
            raise UpdateFailed(self.refusal)

    async def latest(self, tell: Callable[[str], None]) -> str:
        return self.newest

    async def prepare(self, version: str, wheel: Path | None, tell: Callable[[str], None]) -> Prepared:
        self.did.append(("prepare", version, wheel))
        await self.gate.wait()
        if self.failure:
            raise UpdateFailed(self.failure)
        return Prepared(f"{version}-1", version, ())

    def switch(self, to: Prepared, failing: frozenset[str]) -> None:
        self.did.append(("switch", to.version))

    def discard(self, prepared: Prepared) -> None:
        self.did.append(("discard", prepared.version))

    def trial(self) -> Trial | None:
        return self.on_trial

    def taken_back(self) -> TakenBack | None:
        return self.back

    def forget_taken_back(self) -> None:
        self.did.append("forgot")

    def ail(self, what: str) -> None:
        self.did.append(("ails", what))

    def stop(self, trial: Trial, orderly: bool) -> None:
        self.did.append(("stop", orderly))

    def confirm(self, trial: Trial) -> bool:
        self.did.append("confirmed")
        return self.confirms

    def clean(self) -> None:
        self.did.append("cleaned")


class Root(Actor):
    """In the place of the root: says that all is well."""

    def receiveMsg_str(self, message: str, sender: ActorAddress) -> None:
        pass

    def receiveMsg_ReportState(self, message: ReportState, sender: ActorAddress) -> None:
        self.send(sender, StateReported("RUNNING", True, []))


class Backups(SubsystemActor):
    """Makes none, or says that it has."""

    answer: Any = None

    def receiveMsg_str(self, message: str, sender: ActorAddress) -> None:
        pass

    def receiveMsg_MakeBackup(self, message: MakeBackup, sender: ActorAddress) -> None:
        assert message.trigger == "before-update"
        self.send(sender, Backups.answer)


class Rig:
    def __init__(self, base: AsyncioSystemBase, folder: Path) -> None:
        self.base, self.folder, self.updater = base, folder, Fake()
        self.left: list[Path] = []
        self.root = base.spawn(None, Root, "root", "begin")
        self.actor = ActorAddress("/update")

    def start(self, **overrides: Any) -> None:
        given = {f"update.{name}": value for name, value in overrides.items()}
        settings: Settings = load(
            None, {}, {"storage.data_dir": self.folder, "update.healthy_ms": 100} | given
        )
        message = RunUpdates(settings, "1.0.0", self.root, ActorAddress("/backups"))
        self.actor = self.base.spawn(None, Updates, "update", message)

    async def order(self, version: str = "2.0.0", **fields: Any) -> UpdateAnswered:
        await until(lambda: self.base.mailboxes["/update"].instance.unable is None)
        names = Signed.__struct_fields__
        command = Signed(**dict.fromkeys(names) | {"version": version} | fields)
        answer = await self.base.ask(self.actor, UpdateAgent(command), 5)
        assert isinstance(answer, UpdateAnswered), answer
        return answer

    async def report(self) -> UpdateReported:
        answer = await self.base.ask(self.actor, ReportUpdate(), 5)
        assert isinstance(answer, UpdateReported)
        return answer

    async def until_state(self, state: str) -> UpdateReported:
        deadline = time.monotonic() + 5
        while (found := await self.report()).state != state:
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.005)
        return found


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(updates, "LOOK", 0.02)
    base = AsyncioSystemBase()
    rig = Rig(base, tmp_path)
    monkeypatch.setattr(steps, "find_updater", lambda settings: rig.updater)
    monkeypatch.setattr(startup, "hand_over_to", rig.left.append)
    yield rig
    base.shutdown()
    await base.released()


def events(report: UpdateReported) -> list[str]:
    return [one.event for one in report.history]


async def test_an_update_is_prepared_switched_to_and_the_process_handed_over(rig):
    rig.start()
    assert await rig.order() == UpdateAnswered("triggered", "2.0.0")
    await until(lambda: rig.left)
    assert rig.left == [Path("/launcher")]
    assert rig.updater.did == ["cleaned", "cleaned", ("prepare", "2.0.0", None), ("switch", "2.0.0")]
    stored = histories.load(
        rig.folder / "updates" / "history.json"
    )  # what it was is told by the next version
    assert [one.event for one in stored.events] == ["update_started", "update_switched"]


async def test_one_at_a_time(rig):
    rig.updater.gate.clear()
    rig.start()
    await rig.order()
    answer = await rig.order("3.0.0")
    assert (answer.outcome, answer.message) == ("conflict", "An update to 2.0.0 is under way")
    both = await asyncio.gather(rig.order("3.0.0"), rig.order("4.0.0"))
    assert {one.outcome for one in both} == {"conflict"}


async def test_of_two_at_once_one_is_made(rig):
    rig.updater.gate.clear()
    rig.start()
    both = await asyncio.gather(rig.order("3.0.0"), rig.order("4.0.0"))
    assert sorted(one.outcome for one in both) == ["conflict", "triggered"]


async def test_a_failure_is_told_and_the_next_may_come(rig, caplog):
    rig.updater.failure = "pip ended with 1: no such package"
    rig.start()
    await rig.order()
    report = await rig.until_state("failed")
    assert (report.reason, report.origin, report.target) == (rig.updater.failure, "1.0.0", "2.0.0")
    assert "update failed 2.0.0: pip ended with 1" in caplog.text
    assert (await rig.order()).outcome == "triggered"


async def test_a_preflight_that_fails_is_in_the_answer(rig):
    rig.updater.refusal = "7 MB are free, and 500 MB must be"
    rig.start()
    answer = await rig.order()
    assert (answer.outcome, answer.message) == ("conflict", f"Pre-flight failed: {rig.updater.refusal}")
    assert events(await rig.report()) == ["preflight_failed"]
    assert not rig.left


async def test_an_installation_that_cannot_update_itself_says_why(rig, monkeypatch):
    monkeypatch.setattr(steps, "find_updater", lambda settings: NotUpdatable("It runs in a container"))
    rig.start()
    report = await rig.until_state("unavailable")
    assert report.reason == "It runs in a container"
    answer = await rig.base.ask(
        rig.actor, UpdateAgent(Signed("2.0.0", None, None, None, None, None, None)), 5
    )
    assert answer == UpdateAnswered(
        "unavailable", "2.0.0", "Agent updater not available", "It runs in a container"
    )


async def test_the_latest_is_asked_for_and_skipped_when_it_runs(rig):
    rig.updater.newest = "1.0.0"
    rig.start()
    assert await rig.order("latest") == UpdateAnswered("triggered", "latest")
    report = await rig.until_state("skipped")
    assert report.reason == "1.0.0 is running already"
    rig.updater.newest = "0.9.0"
    await rig.order("latest")
    assert (await rig.until_state("failed")).reason == "0.9.0 is older than 1.0.0, which runs"


async def test_what_cannot_be_read_is_refused_with_its_field(rig):
    rig.start()
    await rig.until_state("idle")
    await until(lambda: rig.base.mailboxes["/update"].instance.unable is None)
    for version, file in (("1.2", None), ("2.0.0", "../x")):
        command = Signed(version, None, None, None, None, file, None)
        answer = await rig.base.ask(rig.actor, UpdateAgent(command), 5)
        assert isinstance(answer, Failed)
        assert answer.kind == "invalid"
    assert (await rig.order()).outcome == "triggered"


async def test_a_signed_command_is_good_for_once_and_over_restarts(rig):
    rig.updater.failure = "no network"
    rig.start(secret="of the plant")
    assert (await rig.order()).outcome == "unsigned"
    issued = unix_ms()
    plain = Signed("2.0.0", None, issued, None, None, None, None)
    sign = signature("of the plant", plain)
    assert (await rig.order(issued_at=issued, signature="0" * 64)).outcome == "forbidden"
    assert (await rig.order(issued_at=issued, signature=sign)).outcome == "triggered"
    await rig.until_state("failed")
    assert (await rig.order(issued_at=issued, signature=sign)).outcome == "forbidden"
    file = rig.folder / "updates" / "history.json"
    await until(lambda: histories.load(file).latest_issued == issued)


async def test_an_end_in_the_middle_is_told_by_the_next_life(rig):
    rig.updater.gate.clear()
    rig.start()
    await rig.order()
    await until(lambda: ("prepare", "2.0.0", None) in rig.updater.did)
    await until(lambda: histories.load(rig.folder / "updates" / "history.json").events)
    rig.base.crash(rig.base.mailboxes["/update"], RuntimeError("boom"))
    report = await rig.until_state("failed")
    assert "ended while it prepared" in report.reason
    rig.updater.gate.set()
    assert (await rig.order()).outcome == "triggered"


@pytest.mark.parametrize(
    ("version", "state", "why"),
    [("1.0.0", "completed", "from 0.9.0"), ("2.0.0", "failed", "1.0.0 was started instead")],
)
async def test_an_end_after_the_switch_is_told_by_what_runs_then(rig, version, state, why):
    switched = UpdateEvent(1, "update_switched", version, "from 0.9.0")
    histories.save(rig.folder / "updates" / "history.json", History((switched,)))
    rig.start()
    report = await rig.until_state(state)
    assert (report.target, report.reason) == (version, why)


async def test_an_update_that_was_interrupted_is_not_held_against_the_version(rig):
    rig.updater.back = TakenBack("2.0.0-1", "1.0.0-1", "the update was interrupted", blamed=False)
    rig.start()
    assert (await rig.until_state("failed")).reason == "the update was interrupted"
    assert (await rig.order("2.0.0")).outcome == "triggered"


async def test_a_stop_during_the_switch_waits_for_it(rig):
    """A thread goes on when nobody waits for it: a version would be switched to and nobody knew."""
    switching, go_on = threading.Event(), threading.Event()

    def slow(to: Prepared, failing: frozenset[str]) -> None:
        switching.set()
        assert go_on.wait(5)

    rig.updater.switch = slow
    rig.start()
    await rig.order()
    await until(switching.is_set)
    stopping = asyncio.ensure_future(rig.base.ask(rig.actor, StopSubsystem(), 5))
    await rig.report()
    assert not stopping.done()
    go_on.set()
    assert isinstance(await stopping, SubsystemStopped)
    await until(lambda: rig.left)


# A backup before


@pytest.mark.parametrize(("forced", "switched"), [(False, False), (True, True)])
async def test_without_a_backup_only_by_force(rig, forced, switched):
    Backups.answer = Failed("unavailable", "the disk is full")
    rig.base.spawn(None, Backups, "backups", "begin")
    rig.start()
    await rig.order(force=forced)
    if switched:
        await until(lambda: rig.left)
    else:
        report = await rig.until_state("failed")
        assert report.reason == "no backup could be made: the disk is full"
        await until(lambda: ("discard", "2.0.0") in rig.updater.did)
        assert not rig.left


async def test_with_a_backup_it_goes_on(rig):
    Backups.answer = BackupMade(None)
    rig.base.spawn(None, Backups, "backups", "begin")
    rig.start()
    await rig.order()
    await until(lambda: rig.left)


async def test_a_backup_that_never_comes_is_not_waited_for(rig, monkeypatch):
    monkeypatch.setattr(updates, "BACKUP_PATIENCE", 0.05)
    Backups.answer = "something else"
    rig.base.spawn(None, Backups, "backups", "begin")
    rig.start()
    await rig.order()
    assert "not been made in time" in (await rig.until_state("failed")).reason


# Later


async def test_a_scheduled_update_waits_for_its_time_and_for_the_agent(rig):
    rig.start()
    at = unix_ms() + 300
    assert await rig.order(scheduled_time=at) == UpdateAnswered("scheduled", "2.0.0", scheduled=at)
    assert (await rig.report()).state == "scheduled"
    await asyncio.sleep(0.4)
    assert not rig.left  # it is not RUNNING
    rig.base.tell(rig.actor, LifecycleChanged("RUNNING"))
    await until(lambda: rig.left)


async def test_a_scheduled_update_outlives_the_agent(rig):
    history = History(scheduled=histories.Order("2.0.0", at=unix_ms() - 1))
    histories.save(rig.folder / "updates" / "history.json", history)
    rig.start()
    rig.base.tell(rig.actor, LifecycleChanged("RUNNING"))
    await until(lambda: rig.left)


async def test_a_later_command_takes_the_place_of_a_scheduled_one(rig):
    rig.start()
    at = unix_ms() + 3_600_000
    await rig.order(scheduled_time=at)
    await rig.order("3.0.0", scheduled_time=at)
    assert (await rig.report()).target == "3.0.0"
    await rig.order("4.0.0")
    await until(lambda: rig.left)
    assert ("switch", "4.0.0") in rig.updater.did
    assert rig.base.mailboxes["/update"].instance.history.scheduled is None


# On trial

TRIAL = Trial("0.9.0-1", "1.0.0-1", "id", 600)


async def test_a_version_on_trial_confirms_itself(rig):
    rig.updater.on_trial = TRIAL
    rig.start()
    report = await rig.until_state("trial")
    assert (report.origin, report.target) == ("0.9.0", "1.0.0")
    assert (await rig.order("3.0.0")).outcome == "conflict"
    rig.base.tell(rig.actor, LifecycleChanged("RUNNING"))
    report = await rig.until_state("completed")
    assert events(report)[-1] == "update_completed"
    assert rig.updater.did.count("confirmed") == 1


async def test_one_that_was_taken_back_meanwhile_says_so(rig):
    rig.updater.on_trial, rig.updater.confirms = TRIAL, False
    rig.start()
    rig.base.tell(rig.actor, LifecycleChanged("RUNNING"))
    await rig.until_state("rolled_back")


async def test_a_stop_on_trial_is_noted_with_how_it_was(rig):
    rig.updater.on_trial = TRIAL
    rig.start(healthy_ms=60_000)
    await rig.until_state("trial")
    rig.base.tell(rig.actor, LifecycleChanged("RUNNING"))
    await until(lambda: rig.base.mailboxes["/update"].instance.trial.was_well)
    assert isinstance(await rig.base.ask(rig.actor, StopSubsystem(), 5), SubsystemStopped)
    stops = [one for one in rig.updater.did if isinstance(one, tuple) and one[0] == "stop"]
    assert stops == [("stop", False), ("stop", True)]  # at its start it goes on


async def test_what_was_taken_back_is_told_once(rig):
    rig.updater.back = TakenBack("2.0.0-1", "1.0.0-1", "it was started 3 times")
    rig.start()
    report = await rig.until_state("rolled_back")
    assert (report.target, report.reason) == ("2.0.0", "it was started 3 times")
    await until(lambda: "forgot" in rig.updater.did)
    answer = await rig.order("2.0.0")
    assert answer.outcome == "conflict"
    assert "taken back before: it was started 3 times" in answer.message
    assert (await rig.order("2.0.0", force=True)).outcome == "triggered"


def test_the_history_has_the_words_of_the_reference():
    assert msgspec.json.encode(UpdateEvent(1, "update_started", "2.0.0")) == (
        b'{"at":1,"event":"update_started","version":"2.0.0"}'
    )
