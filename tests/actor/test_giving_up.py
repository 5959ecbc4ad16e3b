"""Who crashes too often gives up; what comes of that, up to the root."""

import asyncio
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from puppets import (
    CRASH,
    SECONDS,
    SOON,
    Ask,
    Do,
    Lives,
    Puppet,
    Tell,
    below,
    boom,
    node,
    spawn,
    until,
    with_child,
)

import actors
import api
from actors.system.actor import Actor
from actors.system.failure import Failed
from actors.system.supervision import Crashes, Restart

FRAIL = Restart(max_restarts=1, backoff=0.001, rest=0.02)
ESCALATES = msgspec.structs.replace(FRAIL, escalate=True, rest=None)


def actor_classes() -> Iterator[type[Actor]]:
    for package in (actors, api):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for value in vars(importlib.import_module(module.name)).values():
                if inspect.isclass(value) and issubclass(value, Actor) and value.__module__ == module.name:
                    yield value


@pytest.mark.parametrize("actor", list(actor_classes()), ids=lambda actor: actor.__name__)
def test_every_policy_gives_up_within_its_period_or_never_does_so_on_purpose(actor, monkeypatch):
    """Crashing at every start, at the slowest that backoff and jitter allow."""
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    policy = actor.RESTART
    crashes, now = Crashes(policy), 0.0
    for _ in range(1000):
        delay = crashes.next_delay(now)
        if delay is None:
            assert now < policy.period
            return
        now += delay
    assert policy.max_restarts is None


async def test_a_child_that_gave_up_comes_back_after_a_rest(system):
    child: list[Puppet] = []
    parent, parents = spawn(system, "parent", with_child(child, None, FRAIL))
    await until(lambda: child)
    for _ in range(2):
        system.tell(below(parent), CRASH)
    await until(lambda: node(system, parent).children[0].state == "gave up")
    assert node(system, parent).state == "degraded"
    await until(lambda: node(system, parent).children[0].state == "running")
    assert await system.ask(below(parent), Ask("back"), SECONDS) == "back"
    shown = node(system, parent)
    assert (shown.state, len(parents)) == ("running", 1)
    assert (shown.children[0].restarts, shown.children[0].last_error) == (2, "RuntimeError: boom")


async def test_a_child_that_gives_up_again_and_again_rests_each_time(system):
    child: list[Puppet] = []
    parent, _ = spawn(system, "parent", with_child(child, boom, FRAIL))
    await until(lambda: len(child) >= 6)
    assert node(system, parent).restarts == 0


async def test_mail_to_a_child_that_gave_up_is_refused_and_what_comes_after_its_return_is_not(system):
    child: list[Puppet] = []
    parent, _ = spawn(system, "parent", with_child(child, None, FRAIL))
    await until(lambda: child)
    for _ in range(2):
        system.tell(below(parent), CRASH)
    await until(lambda: node(system, parent).state == "degraded")
    refused = await system.ask(below(parent), Ask(1), SECONDS)
    assert refused == Failed("unavailable", "child is not running")
    await until(lambda: node(system, parent).state == "running")
    assert await system.ask(below(parent), Ask(2), SECONDS) == 2


@pytest.mark.parametrize("forget", ["keep_only", "stop_child"])
async def test_a_child_that_gave_up_and_is_no_longer_wanted_does_not_come_back(system, forget):
    child: list[Puppet] = []
    parent, _ = spawn(system, "parent", with_child(child, boom, FRAIL))
    await until(lambda: node(system, parent).state == "degraded")
    call = {
        "keep_only": lambda self, sender: self.keep_only([]),
        "stop_child": lambda self, sender: self.stop_child(below(parent)),
    }[forget]
    lives = len(child)
    system.tell(parent, Do(call))
    await until(lambda: node(system, parent).state == "running")
    resting = Do(lambda self, sender: self.wakeupAfter(3 * (FRAIL.rest or 0), Tell("rested")))
    other, others = spawn(system, "other")
    system.tell(other, resting)
    await until(lambda: others and others[0].told)
    assert len(child) == lives
    assert node(system, parent).children == []


async def test_a_parent_that_restarts_without_its_children_forgets_who_gave_up(system):
    child: list[Puppet] = []
    parent, parents = spawn(system, "parent", with_child(child, boom, FRAIL))
    await until(lambda: node(system, parent).state == "degraded")
    system.tell(parent, CRASH)
    await until(lambda: len(parents) == 2)
    assert [shown.name for shown in node(system, parent).children] == ["child"]


async def test_giving_up_that_escalates_is_the_crash_of_the_parent_and_so_on_to_the_root(system):
    grandchild: list[Puppet] = []
    child: list[Puppet] = []
    grow = with_child(child, with_child(grandchild, boom, ESCALATES), ESCALATES)
    root, roots = spawn(system, "root", grow, Restart("transient", max_restarts=1, backoff=0.001))
    async with asyncio.timeout(SECONDS):
        await system.ended(root)
    # Each of two lives of the root sees two of the child, and each of those two of the grandchild.
    assert (len(roots), len(child), len(grandchild)) == (2, 4, 8)


async def test_a_parent_that_keeps_its_children_starts_only_who_gave_up(system):
    steady: list[Puppet] = []
    frail: list[Puppet] = []

    def first(puppet: Puppet) -> None:
        if not puppet.running(below(puppet.myAddress, "steady")):
            with_child(steady, name="steady")(puppet)
        if not puppet.running(below(puppet.myAddress, "frail")):
            with_child(frail, None, ESCALATES, "frail")(puppet)

    parent, parents = spawn(system, "parent", first, Restart(backoff=0.001, keep_children=True))
    await until(lambda: frail)
    for _ in range(2):
        system.tell(below(parent, "frail"), CRASH)
    await until(lambda: len(parents) == 2 and len(frail) == 3)
    assert node(system, parent).last_error == "ChildGaveUp: frail gave up: RuntimeError: boom"
    assert len(steady) == 1
    assert {shown.name: shown.state for shown in node(system, parent).children} == {
        "steady": "running",
        "frail": "running",
    }


# Nothing an exception does can unschedule an actor


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Unprintable(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no picture")

    __str__ = __repr__


class Deep(Exception):
    def __str__(self) -> str:
        return str(self)


@pytest.mark.parametrize(
    "error",
    [
        Unspeakable(),
        Unprintable(),
        Deep(),
        GeneratorExit(),
        BaseException("base"),
        BaseExceptionGroup("group", [Unspeakable(), GeneratorExit()]),
        asyncio.CancelledError(),
        StopIteration(),
        RecursionError(),
        MemoryError(),
        Exception("x" * 1_000_000),
        Exception("\ud800 half a pair"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_is_raised_the_actor_is_restarted_and_handles_its_mail(system, error, caplog):
    caplog.set_level("CRITICAL")  # the test runner cannot tell of what cannot be printed

    def fail(self: Puppet, sender: Any) -> None:
        raise error

    puppet, instances = spawn(system)
    other, _ = spawn(system, "other")
    system.tell(puppet, Do(fail))
    system.tell(puppet, Tell("behind it"))
    assert await system.ask(other, Ask("others go on"), SECONDS) == "others go on"
    await until(lambda: len(instances) == 2 and instances[1].told == ["behind it"])
    last_error = node(system, puppet).last_error
    assert last_error.startswith(type(error).__name__)
    assert len(last_error) < 600


@pytest.mark.parametrize("where", ["task", "then", "stopped", "constructor"])
async def test_an_exception_without_words_is_survived_wherever_it_is_raised(system, where):
    async def fail() -> None:
        raise Unspeakable

    def speechless(*_: Any) -> None:
        raise Unspeakable

    class Clinging(Puppet):
        stopped = speechless

    attempts: list[int] = []

    class Reluctant(Puppet):
        def __init__(self) -> None:
            attempts.append(1)
            if len(attempts) == 1:
                raise Unspeakable
            super().__init__()

    async def nothing() -> None:
        pass

    instances: list[Puppet] = []
    kind = {"stopped": Clinging, "constructor": Reluctant}.get(where, Puppet)
    puppet = system.spawn(None, kind, "puppet", Lives(instances), SOON)
    await until(lambda: instances)
    if where == "task":
        system.tell(puppet, Do(lambda self, sender: self.run(fail(), then=Tell)))
    elif where == "then":
        system.tell(puppet, Do(lambda self, sender: self.run(nothing(), then=speechless)))
    elif where == "stopped":
        system.tell(puppet, CRASH)
    await until(lambda: node(system, puppet).restarts == 1 and node(system, puppet).state == "running")
    assert await system.ask(puppet, Ask("alive"), SECONDS) == "alive"


async def test_an_interrupt_leaves_the_loop_and_unschedules_nobody(system):
    """Ctrl-C may come in the middle of a handler."""

    def interrupt(self: Puppet, sender: Any) -> None:
        raise KeyboardInterrupt

    puppet, instances = spawn(system)
    await until(lambda: instances)
    cell = system.mailboxes[puppet.addressDetails]
    cell.mailbox.extend([(Do(interrupt), puppet), (Tell("behind it"), puppet)])
    with pytest.raises(KeyboardInterrupt):
        cell.turn(0.0, 1e9)
    assert cell in system._ready
    system.tell(puppet, Tell("after"))
    await until(lambda: instances[0].told == ["behind it", "after"])


# Every wait ends


async def test_a_task_that_takes_longer_than_it_may_is_a_crash(system):
    def wait(self: Puppet, sender: Any) -> None:
        self.run(asyncio.Event().wait(), then=Tell, within=0.01)

    puppet, instances = spawn(system)
    system.tell(puppet, Do(wait))
    await until(lambda: len(instances) == 2)
    assert node(system, puppet).last_error == "Overdue: what it waited for did not come in time"
    await until(lambda: not system._due)


async def test_who_asked_for_a_task_that_takes_too_long_is_told(system):
    def wait(self: Puppet, sender: Any) -> None:
        self.run(asyncio.Event().wait(), reply_to=sender, within=0.01)

    puppet, _ = spawn(system)
    reply = await system.ask(puppet, Do(wait), SECONDS)
    assert isinstance(reply, Failed)
    assert reply.kind == "unavailable"


async def test_what_an_actor_leaves_behind_is_cancelled_when_it_takes_too_long(system, caplog):
    cancelled = asyncio.Event()

    async def close() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    puppet, _ = spawn(system)
    system.tell(puppet, Do(lambda self, sender: self.release(close(), within=0.01)))
    async with asyncio.timeout(SECONDS):
        await cancelled.wait()
        await system.released()
    assert "took too long" in caplog.text


async def test_what_withstands_its_cancellation_is_given_up(system, monkeypatch, caplog):
    monkeypatch.setattr("actors.system.tasks.RELEASE_WITHIN", 0.01)
    end = asyncio.Event()

    async def stubborn() -> None:
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue

    puppet, _ = spawn(system)
    try:
        system.tell(puppet, Do(lambda self, sender: self.release(stubborn(), within=0.01)))
        system.tell(puppet, Do(lambda self, sender: self.run(stubborn(), then=Tell, within=0.01)))
        async with asyncio.timeout(SECONDS):
            await until(lambda: node(system, puppet).restarts == 1)
            await system.released()
        assert caplog.text.count("does not end") == 2
    finally:
        end.set()


async def test_a_thousand_tasks_and_releases_leave_nothing_behind(system):
    async def brief() -> int:
        await asyncio.sleep(0)
        return 1

    def many(self: Puppet, sender: Any) -> None:
        for _ in range(500):
            self.run(brief(), then=Tell)
            self.release(brief())

    puppet, instances = spawn(system)
    before = len(asyncio.all_tasks())
    system.tell(puppet, Do(many))
    await until(lambda: len(instances) == 1 and len(instances[0].told) == 500)
    await system.released()
    assert (system._due, system._releases) == ({}, set())
    assert not system.mailboxes[puppet.addressDetails].tasks
    await until(lambda: len(asyncio.all_tasks()) == before)


class Unborn(Puppet):
    def __init__(self) -> None:
        raise RuntimeError("never born")


async def test_a_child_that_gives_up_at_its_birth_is_one_crash_of_the_parent_that_spawns_it(system):
    parents: list[Puppet] = []

    def first(puppet: Puppet) -> None:
        if len(parents) == 1:
            puppet.spawn(Unborn, "unborn", Lives([]), Restart(max_restarts=0, escalate=True))
            puppet.spawn(Puppet, "other", Lives([]))

    parent = system.spawn(None, Puppet, "parent", Lives(parents, first), SOON)
    await until(lambda: len(parents) == 2)
    shown = node(system, parent)
    assert (shown.restarts, shown.last_error) == (1, "ChildGaveUp: unborn gave up: RuntimeError: never born")
