"""The actor of the log, and who is known for having logged."""

import asyncio
import logging
from typing import Any

import msgspec
import pytest
from puppets import until
from thespian.actors import ActorAddress

from actors.logs import capture as captures
from actors.logs import logs
from actors.logs.entries import LogFilter
from actors.logs.logs import Logs, RunLogs
from actors.logs.messages import FollowLogs, LogsAdded, LogsReported, ReportLogs, UnfollowLogs
from actors.subsystems.messages import CheckSubsystem, SubsystemChecked, SubsystemStarted
from actors.system.actor import Actor
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.supervision import Restart
from actors.system.whose import path_here
from conf.runtime import Logging

log = logging.getLogger("actors.test")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A log of the test's own."""
    attached: list[captures.LogCapture] = []
    monkeypatch.setattr(captures, "_attached", attached)
    monkeypatch.setattr(logs, "BATCH", 0.01)
    root = logging.getLogger()
    factory, level = logging.getLogRecordFactory(), root.level
    root.setLevel(logging.DEBUG)
    yield
    for one in attached:
        root.removeHandler(one)
        one.close()
    root.setLevel(level)
    logging.setLogRecordFactory(factory)


class Begin(msgspec.Struct, frozen=True):
    children: tuple[str, ...] = ()


class Say(msgspec.Struct, frozen=True):
    how: str


class Saying(Actor):
    """Says who it is in all the ways there are."""

    def receiveMsg_Begin(self, message: Begin, sender: ActorAddress) -> None:
        for name in message.children:
            self.spawn(Saying, name, Begin())

    def receiveMsg_Say(self, message: Say, sender: ActorAddress) -> None:
        match message.how:
            case "handler":
                log.info("handler")
            case "task":
                self.run(_say("task"))
            case "thread":
                self.run(asyncio.to_thread(log.info, "thread"))
            case "library":
                self.run(_in_a_task_of_its_own("library"))
            case "callback":
                self.run(_call_later())
            case "release":
                self.release(_say("release"))
            case "timer":
                self.wakeupAfter(0.001, Say("handler"))
            case "crash":
                raise RuntimeError("crash")


async def _say(text: str) -> None:
    await asyncio.sleep(0)
    log.info(text)


async def _in_a_task_of_its_own(text: str) -> None:
    await asyncio.create_task(_say(text))


async def _call_later() -> None:
    said = asyncio.Event()
    asyncio.get_running_loop().call_later(0.001, lambda: (log.info("callback"), said.set()))
    await said.wait()


def newest(**chosen: object) -> Any:
    return captures.attach().ring.newest(LogFilter(**chosen), 1000)


@pytest.mark.parametrize("how", ["handler", "task", "thread", "library", "callback", "release", "timer"])
async def test_whoever_logs_is_named_by_path(system, how):
    captures.attach()
    root = system.spawn(None, Saying, "agent", Begin(children=("hall 1/é",)))
    (child,) = await children_of(system, root)
    system.tell(child, Say(how))
    text = "handler" if how == "timer" else how
    await until(lambda: newest(text=text))
    assert [one.actor for one in newest(text=text)] == ["hall 1/é"]
    system.tell(root, Say(how))
    await until(lambda: len(newest(text=text)) == 2)
    assert newest(text=text)[1].actor == "agent"


async def children_of(system: AsyncioSystemBase, root: ActorAddress) -> list[ActorAddress]:
    await until(lambda: system.mailboxes[root.addressDetails].children)
    return [cell.address for cell in system.mailboxes[root.addressDetails].children.values()]


async def test_a_task_of_one_that_gives_another_its_turn_is_not_that_other(system):
    """The end of a task hands its result over on the same stack, and whoever has mail has a turn there."""
    captures.attach()
    root = system.spawn(None, Saying, "agent", Begin(children=("a", "b")))
    first, second = await children_of(system, root)
    for number in range(4):
        system.tell(first, Say("task"))
        system.tell(second, Say("handler" if number % 2 else "task"))
    await until(lambda: len(newest(text="task")) + len(newest(text="handler")) >= 8)
    assert {one.actor for one in newest() if one.logger == "actors.test"} == {"a", "b"}


async def test_outside_of_actors_nobody_is_named():
    assert path_here() is None
    captures.attach()
    log.info("outside")
    assert newest(text="outside")[0].actor is None


async def test_a_crash_is_logged_for_the_actor(system):
    captures.attach()
    root = system.spawn(None, Saying, "agent", Begin(children=("a",)))
    (child,) = await children_of(system, root)
    system.tell(child, Say("crash"))
    await until(lambda: newest(level="error"))
    (said,) = newest(level="error")
    assert said.actor == "a"
    assert "RuntimeError: crash" in said.exception


# The actor


class Following(Actor):
    """Follows the log; what it is told is in `told`."""

    told: list[Any]

    def receiveMsg_Begin(self, message: Begin, sender: ActorAddress) -> None:
        type(self).told = []

    def receiveMsg_LogsAdded(self, message: LogsAdded, sender: ActorAddress) -> None:
        self.told.append(message)

    def receiveMsg_SubsystemStarted(self, message: SubsystemStarted, sender: ActorAddress) -> None:
        self.told.append(message)


@pytest.fixture
async def house(system, tmp_path) -> "House":
    house = House(system, tmp_path)
    await until(lambda: captures._attached)
    return house


class House:
    def __init__(self, system: AsyncioSystemBase, folder: Any) -> None:
        self.system = system
        self.folder = folder / "logs"
        self.follower = system.spawn(None, Following, "follower", Begin())
        self.logs = system.spawn(
            None, Logs, "logs", RunLogs(Logging(), self.folder), Restart(backoff=0.01, backoff_max=0.01)
        )

    async def ask(self, message: Any) -> Any:
        return await self.system.ask(self.logs, message, 5.0)

    def state(self, **limits: Any) -> None:
        self.system.tell(self.logs, RunLogs(Logging(**limits), self.folder))

    def say(self, message: Any) -> None:
        self.system.deliver(self.logs, message, self.follower)

    @property
    def heard(self) -> list[str]:
        return [one.message for added in Following.told for one in added.entries if "test" in one.logger]


async def test_it_answers_with_the_newest(house):
    for number in range(5):
        log.info("number %d", number)
    found = await house.ask(ReportLogs(LogFilter(text="number"), 2))
    assert isinstance(found, LogsReported)
    assert [one.message for one in found.entries] == ["number 3", "number 4"]
    assert found.total >= 5
    assert found.newest >= found.entries[-1].number
    after = found.entries[0].number
    found = await house.ask(ReportLogs(LogFilter(text="number"), 100, after))
    assert [one.message for one in found.entries] == ["number 4"]


async def test_settings_are_applied_at_once(house):
    for number in range(50):
        log.info("number %d", number)
    house.state(max_logs=10)
    assert (await house.ask(ReportLogs(LogFilter(), 1000))).total == 10
    house.state(enable_file_persistence=True)
    log.info("to a file")
    await until(lambda: any("to a file" in path.read_text() for path in house.folder.glob("*.log")))
    house.state()
    await house.ask(ReportLogs(LogFilter(), 1))
    assert captures.attach().files is None


async def test_age_is_looked_at(house, monkeypatch):
    log.info("old")
    monkeypatch.setattr(logs, "monotonic", lambda: 1e12)
    house.state(log_max_age=60_000)
    assert (await house.ask(ReportLogs(LogFilter(text="old"), 10))).entries == []


async def test_files_that_cannot_be_written_are_a_line_of_the_health_report(house):
    house.folder.write_text("in the way")
    house.state(enable_file_persistence=True)
    await until(lambda: captures.attach().files is not None and captures.attach().files.trouble)
    checked = await house.ask(CheckSubsystem())
    assert isinstance(checked, SubsystemChecked)
    (check,) = checked.checks
    assert (check.name, check.healthy, check.critical) == ("log-files", False, False)
    assert str(house.folder) in check.last_error
    assert checked.error is None
    house.state()
    assert (await house.ask(CheckSubsystem())).checks == []


async def test_who_follows_is_told_in_batches(house):
    house.say(FollowLogs())
    await house.ask(CheckSubsystem())
    for number in range(100):
        log.info("%d", number)
    await until(lambda: len(house.heard) == 100)
    assert house.heard == [str(number) for number in range(100)]
    assert len(Following.told) < 10
    house.say(UnfollowLogs())
    await house.ask(CheckSubsystem())
    log.info("not heard")
    await asyncio.sleep(0.05)
    assert "not heard" not in house.heard
    assert captures.attach().sinks == ()


async def test_being_followed_makes_no_lines_of_its_own(house):
    """At level debug, with all that the agent and asyncio have to say."""
    house.say(FollowLogs())
    await house.ask(CheckSubsystem())
    log.info("one")
    await until(lambda: house.heard)
    told = len(Following.told)
    await asyncio.sleep(0.1)
    assert len(Following.told) <= told + 1


async def test_a_life_after_a_crash_is_followed_too(house):
    house.say(FollowLogs())
    await house.ask(CheckSubsystem())
    cell = house.system.mailboxes[house.logs.addressDetails]
    house.system.crash(cell, RuntimeError("a defect"))
    await until(lambda: cell.instance is not None)
    await house.ask(CheckSubsystem())
    assert len(captures.attach().sinks) == 1
    log.info("after")
    await until(lambda: "after" in house.heard)
    assert newest(text="a defect"), "nothing is lost"


async def test_a_large_log_is_looked_through_in_a_thread(house, monkeypatch):
    monkeypatch.setattr(logs, "MANY", 10)
    for number in range(50):
        log.info("number %d", number)
    found = await house.ask(ReportLogs(LogFilter(text="number 4"), 100))
    assert len(found.entries) == 11
