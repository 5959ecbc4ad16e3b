"""`run`, `abandon`, `release` and `wakeupAfter`: they belong to an instance, but for what it releases."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from puppets import CRASH, SECONDS, Ask, Do, Lives, Puppet, Tell, node, spawn, until, with_child
from thespian.actors import ActorAddress, ActorExitRequest

from actors.system.failure import Failed, Refusal
from actors.system.supervision import Restart


async def giving(value: Any) -> Any:
    return value


async def raising(error: BaseException) -> Any:
    raise error


class Gate:
    """A coroutine that waits to be let through, and notes when it is cancelled."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.entered = False
        self.cancelled = False

    async def passing(self, value: Any = "through") -> Any:
        self.entered = True
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return value


def doing(call: Callable[[Puppet], Any]) -> Do:
    """Have the puppet do something and reply nothing."""
    return Do(lambda self, sender: call(self) and None)


def running(gate: Gate) -> Do:
    return doing(lambda self: self.run(gate.passing(), then=Tell))


def asking(gate: Gate) -> Do:
    """Have the asker answered by what goes through the gate."""
    return Do(lambda self, sender: self.run(gate.passing(), reply_to=sender))


# run


async def test_the_result_of_a_coroutine_comes_back_as_a_message(system):
    puppet, instances = spawn(system)
    system.tell(puppet, doing(lambda self: self.run(giving(42), then=Tell)))
    await until(lambda: instances and instances[0].told == [42])


async def test_the_result_of_a_coroutine_goes_to_whom_it_should_reply_to(system):
    puppet, _ = spawn(system)
    reply = await system.ask(puppet, Do(lambda self, sender: self.run(giving(42), reply_to=sender)), SECONDS)
    assert reply == 42


async def test_a_coroutine_that_refuses_is_answered_and_no_crash(system):
    puppet, instances = spawn(system)
    refusal = Refusal("not you", "who", "conflict")
    order = Do(lambda self, sender: self.run(raising(refusal), reply_to=sender))
    assert await system.ask(puppet, order, SECONDS) == Failed("conflict", "not you", "who")
    assert await system.ask(puppet, Ask("alive"), SECONDS) == "alive"
    assert len(instances) == 1


async def test_a_coroutine_that_raises_crashes_its_actor(system):
    puppet, instances = spawn(system)
    system.tell(puppet, doing(lambda self: self.run(raising(ValueError("no")), then=Tell)))
    await until(lambda: len(instances) == 2)
    assert node(system, puppet).last_error == "ValueError: no"
    assert instances[0].ended


async def test_who_asked_for_a_coroutine_that_raises_is_told(system):
    puppet, _ = spawn(system)
    order = Do(lambda self, sender: self.run(raising(ValueError("no")), reply_to=sender))
    assert await system.ask(puppet, order, SECONDS) == Failed("internal", "puppet failed: ValueError")


async def test_a_refusal_that_nobody_asked_for_crashes_its_actor(system):
    puppet, instances = spawn(system)
    system.tell(puppet, doing(lambda self: self.run(raising(Refusal("no")), then=Tell)))
    await until(lambda: len(instances) == 2)


async def test_a_result_that_cannot_be_made_into_a_message_crashes_the_actor(system):
    puppet, instances = spawn(system)
    system.tell(puppet, doing(lambda self: self.run(giving(0), then=lambda n: 1 / n)))
    await until(lambda: len(instances) == 2)
    assert node(system, puppet).last_error == "ZeroDivisionError: division by zero"


async def test_a_coroutine_that_is_cancelled_under_its_actor_crashes_it(system):
    """As when a library cancels the future that the coroutine waits for: the actor waits for a result."""
    puppet, instances = spawn(system)
    shared: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        await shared

    system.tell(puppet, doing(lambda self: self.run(wait(), then=Tell)))
    await until(lambda: instances)
    await asyncio.sleep(0)
    shared.cancel()
    await until(lambda: len(instances) == 2)


async def test_coroutines_die_with_a_crashed_instance_and_what_they_would_have_told(system):
    puppet, instances = spawn(system)
    gate = Gate()
    system.tell(puppet, running(gate))
    await until(lambda: gate.entered)
    system.tell(puppet, CRASH)
    await until(lambda: len(instances) == 2 and gate.cancelled)
    gate.open.set()
    await system.ask(puppet, Ask(1), SECONDS)
    assert instances[1].told == []


@pytest.mark.parametrize("order", [CRASH, ActorExitRequest()], ids=["crash", "exit"])
async def test_who_waits_for_a_coroutine_of_an_instance_that_ends_is_told(system, order):
    puppet, _ = spawn(system, restart=Restart("transient", backoff=0.001))
    gate = Gate()
    reply = asyncio.ensure_future(system.ask(puppet, asking(gate), SECONDS))
    await until(lambda: gate.entered)
    system.tell(puppet, order)
    assert await reply == Failed("unavailable", "puppet was stopped meanwhile")


async def test_who_waits_for_a_coroutine_that_had_not_begun_when_its_instance_ended_is_told(system):
    puppet, _ = spawn(system)
    gate = Gate()
    reply = asyncio.ensure_future(system.ask(puppet, asking(gate), SECONDS))
    await asyncio.sleep(0)
    system.tell(puppet, CRASH)
    assert await reply == Failed("unavailable", "puppet was stopped meanwhile")
    assert not gate.entered


async def test_results_that_wait_in_the_mailbox_when_the_instance_ends_are_not_for_the_next(system):
    puppet, instances = spawn(system)

    def leave_notes_and_crash(self: Puppet, sender: ActorAddress) -> None:
        self.send(self.myAddress, Tell("a note to itself"))
        system.deliver(self.myAddress, Tell("from another"), sender)
        raise RuntimeError

    system.tell(puppet, Do(leave_notes_and_crash))
    await until(lambda: len(instances) == 2 and instances[1].told)
    assert instances[1].told == ["from another"]


async def test_an_instance_that_has_ended_can_tell_nothing_any_more(system):
    puppet, instances = spawn(system)
    system.tell(puppet, CRASH)
    await until(lambda: len(instances) == 2)
    old = instances[0]
    assert old.myAddress == puppet
    old.send(puppet, Tell("from the grave"))
    old.wakeupAfter(0.0, Tell("from the grave"))
    await system.ask(puppet, Ask(1), SECONDS)
    assert instances[1].told == []


async def test_an_actor_can_abandon_what_it_runs_and_go_on(system):
    puppet, instances = spawn(system)
    abandoned, kept = Gate(), Gate()
    system.tell(puppet, running(abandoned))
    await until(lambda: abandoned.entered)
    system.tell(puppet, doing(lambda self: self.abandon()))
    system.tell(puppet, running(kept))
    await until(lambda: abandoned.cancelled and kept.entered)
    kept.open.set()
    await until(lambda: instances[0].told == ["through"])
    assert len(instances) == 1


async def test_coroutines_that_are_overdue_together_are_one_crash(system):
    child: list[Puppet] = []
    parent, parents = spawn(system, "parent", with_child(child, restart=Restart(backoff=0.001)))
    await until(lambda: child)
    gates = [Gate() for _ in range(20)]
    for gate in gates:
        child[0].run(gate.passing(), then=Tell, within=0.01)
    await until(lambda: len(child) == 2 and all(gate.cancelled for gate in gates))
    [shown] = node(system, parent).children
    assert (shown.state, shown.restarts) == ("running", 1)
    assert shown.last_error == "Overdue: what it waited for did not come in time"
    assert len(parents) == 1


async def test_time_in_which_the_loop_stood_still_is_not_counted_as_waiting(system):
    _, instances = spawn(system)
    await until(lambda: instances)
    gate = Gate()
    instances[0].run(gate.passing(), then=Tell, within=0.7)
    await until(lambda: gate.entered)
    time.sleep(1.4)  # noqa: ASYNC251 - as when the process is stopped for a while
    beats = system.beats
    await until(lambda: system.beats > beats)
    assert system.waits(system.mailboxes["/puppet"]) < 0.7
    gate.open.set()
    await until(lambda: instances[0].told == ["through"])
    assert len(instances) == 1


class Awaited(Coroutine[Any, Any, Any]):
    """A coroutine that is no function's, as aiohttp's requests are."""

    def __init__(self, gate: Gate) -> None:
        self.carried = gate.passing()

    def __await__(self) -> Any:
        return self.carried.__await__()

    def send(self, value: Any) -> Any:
        return self.carried.send(value)

    def throw(self, *error: Any) -> Any:
        return self.carried.throw(*error)

    def close(self) -> None:
        self.carried.close()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_coroutine_that_is_no_functions_dies_with_its_instance_like_any_other(system, caplog, begun):
    child: list[Puppet] = []
    puppet, instances = spawn(system, first=with_child(child))
    await until(lambda: child)
    gate = Gate()
    instances[0].run(Awaited(gate), then=Tell)
    if begun:
        await until(lambda: gate.entered)
    system.crash(system.mailboxes[puppet.addressDetails], RuntimeError("boom"))
    await until(lambda: len(instances) == 2)
    assert (gate.entered, gate.cancelled) == (begun, begun)
    assert child[0].ended


class Panic(BaseException):
    """As extensions written in Rust raise."""


async def test_whatever_leaves_a_coroutine_crashes_its_actor(system):
    puppet, instances = spawn(system)
    order = Do(lambda self, sender: self.run(raising(Panic("panic")), reply_to=sender, within=None))
    assert await system.ask(puppet, order, SECONDS) == Failed("internal", "puppet failed: Panic")
    await until(lambda: len(instances) == 2)
    assert node(system, puppet).last_error == "Panic: panic"


class Untidy(Puppet):
    """Begins work while it ends."""

    gate: Gate

    def stopped(self) -> None:
        super().stopped()
        self.run(self.gate.passing(), then=Tell)
        self.wakeupAfter(0.001, Tell("tick"))


async def test_work_that_an_instance_begins_while_it_ends_does_not_reach_the_next(system):
    instances: list[Puppet] = []
    Untidy.gate = Gate()
    Untidy.gate.open.set()
    restart = Restart(backoff=0.02, backoff_max=0.02)
    puppet = system.spawn(None, Untidy, "untidy", Lives(instances), restart)
    system.tell(puppet, CRASH)
    await until(lambda: len(instances) == 2)
    await system.ask(puppet, Ask(1), SECONDS)
    assert instances[1].told == []
    assert not Untidy.gate.entered


async def test_an_actor_that_has_ended_for_good_has_no_more_lives(system):
    """As when the handler that shuts the system down raises."""
    puppet, instances = spawn(system)

    def shut_down_and_raise(self: Puppet, sender: ActorAddress) -> None:
        system.shutdown()
        raise RuntimeError

    system.tell(puppet, Do(shut_down_and_raise))
    await until(lambda: instances and instances[0].ended)
    await asyncio.sleep(0.02)  # several times the backoff: what is tested is that nothing happens
    assert len(instances) == 1


# release


async def test_what_an_actor_releases_outlives_it_and_can_still_reply(system):
    puppet, instances = spawn(system, restart=Restart("transient"))
    gate = Gate()
    order = Do(lambda self, sender: self.release(gate.passing("closed"), reply_to=sender))
    reply = asyncio.ensure_future(system.ask(puppet, order, SECONDS))
    await until(lambda: gate.entered)
    system.tell(puppet, ActorExitRequest())
    await until(lambda: instances[0].ended)
    gate.open.set()
    assert await reply == "closed"


async def test_a_release_that_fails_is_logged_and_hurts_nobody(system, caplog):
    puppet, instances = spawn(system)
    system.tell(puppet, doing(lambda self: self.release(raising(OSError("no route")))))
    await until(lambda: "release after an actor's end failed" in caplog.text)
    assert await system.ask(puppet, Ask("alive"), SECONDS) == "alive"
    assert len(instances) == 1


async def test_who_waits_for_a_release_that_fails_or_takes_too_long_is_told(system):
    puppet, _ = spawn(system)
    failing = Do(lambda self, sender: self.release(raising(OSError("no route")), reply_to=sender))
    assert await system.ask(puppet, failing, SECONDS) == Failed("internal", "puppet failed: OSError")
    gate = Gate()
    late = Do(lambda self, sender: self.release(gate.passing(), reply_to=sender, within=0.01))
    assert await system.ask(puppet, late, SECONDS) == Failed("unavailable", "it took too long")
    assert gate.cancelled


# wakeupAfter


async def test_the_payload_of_a_timer_is_handled_like_any_message(system):
    puppet, instances = spawn(system)
    system.tell(puppet, doing(lambda self: self.wakeupAfter(0.001, Tell("tick"))))
    system.tell(puppet, doing(lambda self: self.wakeupAfter(0, Tell("now"))))
    await until(lambda: instances and instances[0].told == ["now", "tick"])


async def test_timers_die_with_their_instance(system):
    puppet, instances = spawn(system)
    system.tell(puppet, doing(lambda self: self.wakeupAfter(0.01, Tell("of the first life"))))
    system.tell(puppet, CRASH)
    await until(lambda: len(instances) == 2)
    system.tell(puppet, doing(lambda self: self.wakeupAfter(0.02, Tell("of the second"))))
    await until(lambda: instances[1].told)
    assert instances[1].told == ["of the second"]


async def test_a_timer_that_has_fired_but_was_not_handled_dies_with_its_instance(system):
    puppet, instances = spawn(system)

    def outlast_the_timer(self: Puppet, sender: ActorAddress) -> None:
        self.wakeupAfter(0.001, Tell("tick"))
        time.sleep(0.02)  # longer than a slice: the loop looks at its timers before the next message

    system.tell(puppet, Do(outlast_the_timer))
    system.tell(puppet, CRASH)
    await until(lambda: len(instances) == 2)
    await system.ask(puppet, Ask(1), SECONDS)
    assert instances[0].told == instances[1].told == []
