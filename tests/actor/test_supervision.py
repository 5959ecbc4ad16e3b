"""Let it crash: what a supervised actor and those around it see of it."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

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
from thespian.actors import ActorExitRequest

from actors.system.failure import Failed
from actors.system.supervision import Restart

LATER = Restart(backoff=30.0)
"""Nothing restarts within a test."""


# Restart


async def test_a_crashed_actor_is_replaced_under_its_address(system):
    puppet, instances = spawn(system)
    system.tell(puppet, CRASH)
    await until(lambda: len(instances) == 2)
    assert await system.ask(puppet, Ask("alive"), SECONDS) == "alive"
    assert instances[0] is not instances[1]
    assert instances[0].ended
    assert not instances[1].ended


async def test_messages_to_a_crashed_actor_wait_for_its_next_life_behind_the_start_message(system):
    puppet, instances = spawn(system, first=lambda self: self.told.append("start"))
    system.tell(puppet, Tell("before"))
    system.tell(puppet, CRASH)
    for n in range(3):
        system.tell(puppet, Tell(n))
    await until(lambda: len(instances) == 2 and len(instances[1].told) == 4)
    assert [instance.told for instance in instances] == [["start", "before"], ["start", 0, 1, 2]]


async def test_messages_that_arrive_while_an_actor_is_away_are_kept(system):
    puppet, instances = spawn(system, restart=Restart(backoff=0.05))
    system.tell(puppet, CRASH)
    await until(lambda: node(system, puppet).state == "restarting")
    system.tell(puppet, Tell("while away"))
    assert node(system, puppet).mailbox == 1
    await until(lambda: len(instances) == 2 and instances[1].told == ["while away"])


async def test_the_message_that_crashed_an_actor_is_not_tried_again(system):
    puppet, instances = spawn(system)
    crashes: list[Puppet] = []
    system.tell(puppet, Do(lambda self, sender: crashes.append(self) or boom()))
    await until(lambda: len(instances) == 2)
    await system.ask(puppet, Ask(1), SECONDS)
    assert crashes == instances[:1]


async def test_siblings_of_a_crashed_actor_notice_nothing(system):
    crashing: list[Puppet] = []
    unharmed: list[Puppet] = []

    def first(self: Puppet) -> None:
        with_child(crashing, name="crashing")(self)
        with_child(unharmed, name="unharmed")(self)

    parent, parents = spawn(system, "parent", first)
    await until(lambda: crashing and unharmed)
    system.tell(below(parent, "unharmed"), Tell("before"))
    system.tell(below(parent, "crashing"), CRASH)
    await until(lambda: len(crashing) == 2)
    system.tell(below(parent, "unharmed"), Tell("after"))
    await until(lambda: unharmed[0].told == ["before", "after"])
    assert (len(parents), len(unharmed)) == (1, 1)
    assert node(system, parent).health is None


async def test_the_tree_shows_restarts_and_the_latest_error(system):
    puppet, instances = spawn(system)
    for _ in range(2):
        system.tell(puppet, CRASH)
    await until(lambda: len(instances) == 3)
    shown = node(system, puppet)
    assert (shown.restarts, shown.last_error, shown.state) == (2, "RuntimeError: boom", "running")


async def test_the_tree_shows_who_is_away(system):
    puppet, _ = spawn(system, restart=LATER)
    system.tell(puppet, CRASH)
    await until(lambda: node(system, puppet).state == "restarting")
    assert node(system, puppet).restarts == 1


async def test_a_constructor_that_raises_is_a_crash_like_any_other(system):
    attempts: list[int] = []

    class Reluctant(Puppet):
        def __init__(self) -> None:
            attempts.append(1)
            if len(attempts) < 3:
                raise OSError("not yet")
            super().__init__()

    instances: list[Puppet] = []
    address = system.spawn(None, Reluctant, "reluctant", Lives(instances), SOON)
    system.tell(address, Tell("patience"))
    await until(lambda: instances and instances[0].told == ["patience"])
    shown = node(system, address)
    assert (shown.restarts, shown.last_error) == (2, "OSError: not yet")


async def test_a_start_message_that_crashes_is_tried_again_with_backoff(system):
    tries: list[float] = []

    def first(self: Puppet) -> None:
        tries.append(system.loop.time())
        if len(tries) < 5:
            raise OSError

    restart = Restart(backoff=0.01, backoff_max=0.04)
    puppet, _ = spawn(system, first=first, restart=restart)
    assert await system.ask(puppet, Ask("at last"), SECONDS) == "at last"
    gaps = [later - sooner for sooner, later in pairwise(tries)]
    for gap, backoff in zip(gaps, [0.01, 0.02, 0.04, 0.04], strict=True):
        assert gap >= 0.75 * backoff - 0.001  # the loop's clock counts in ms


async def test_a_cancellation_that_leaves_a_handler_is_a_crash_and_stops_nobody_else(system):
    def cancelled(self: Puppet, sender: Any) -> None:
        raise asyncio.CancelledError

    puppet, instances = spawn(system)
    other, _ = spawn(system, "other")
    system.tell(puppet, Do(cancelled))
    assert await system.ask(other, Ask("alive"), SECONDS) == "alive"
    await until(lambda: len(instances) == 2)


async def test_an_actor_that_fails_when_it_is_stopped_is_restarted_all_the_same(system, caplog):
    class Clinging(Puppet):
        stopped = boom

    instances: list[Puppet] = []
    address = system.spawn(None, Clinging, "clinging", Lives(instances), SOON)
    system.tell(address, CRASH)
    await until(lambda: len(instances) == 2)
    assert "failed in stopped()" in caplog.text


# Policies


async def test_an_actor_that_crashes_too_often_exits_and_its_parent_says_that_it_is_degraded(system):
    child: list[Puppet] = []
    parent, _ = spawn(system, "parent", with_child(child, boom, Restart(max_restarts=2, backoff=0.001)))
    await until(lambda: len(child) == 3 and node(system, parent).state == "degraded")
    [gone] = node(system, parent).children
    assert (gone.name, gone.state, gone.restarts) == ("child", "gave up", 2)
    assert gone.last_error == "RuntimeError: boom"
    refused = Failed("unavailable", "child is not running")
    assert await system.ask(below(parent), Ask(1), SECONDS) == refused


async def test_a_parent_can_start_a_child_that_gave_up_anew(system):
    child: list[Puppet] = []
    parent, parents = spawn(system, "parent", with_child(child, boom, Restart("temporary")))
    await until(lambda: parents and node(system, parent).state == "degraded")
    system.tell(parent, Do(lambda self, sender: with_child(child)(self) and None))
    await until(lambda: len(child) == 2)
    assert await system.ask(below(parent), Ask("alive"), SECONDS) == "alive"


def exit_itself(address: Any) -> Callable[[Any], None]:
    return lambda system: system.tell(
        address, Do(lambda self, sender: self.send(self.myAddress, ActorExitRequest()))
    )


def exit_by_exception(address: Any) -> Callable[[Any], None]:
    def leave(self: Puppet, sender: Any) -> None:
        raise SystemExit

    return lambda system: system.tell(address, Do(leave))


def exit_asked_by_another(address: Any) -> Callable[[Any], None]:
    return lambda system: system.tell(address, ActorExitRequest())


@pytest.mark.parametrize("leave", [exit_itself, exit_by_exception, exit_asked_by_another])
async def test_a_permanent_actor_that_exits_is_restarted(system, leave):
    child: list[Puppet] = []
    parent, parents = spawn(system, "parent", with_child(child))
    await until(lambda: child)
    leave(below(parent))(system)
    await until(lambda: len(child) == 2)
    shown = node(system, below(parent))
    assert (shown.restarts, shown.last_error) == (1, "exited")
    assert parents[0].health is None


@pytest.mark.parametrize("policy", ["transient", "temporary"])
@pytest.mark.parametrize("leave", [exit_itself, exit_by_exception, exit_asked_by_another])
async def test_another_actor_that_exits_is_not_restarted(system, leave, policy):
    child: list[Puppet] = []
    parent, _ = spawn(system, "parent", with_child(child, None, Restart(policy, backoff=0.001)))
    await until(lambda: child)
    leave(below(parent))(system)
    await system.ended(below(parent))
    assert len(child) == 1
    assert node(system, parent).children == []


async def test_a_permanent_actor_whose_parent_asks_it_to_exit_is_not_restarted(system):
    child: list[Puppet] = []
    parent, _ = spawn(system, "parent", with_child(child))
    await until(lambda: child)
    system.tell(parent, Do(lambda self, sender: self.send(below(parent), ActorExitRequest())))
    await system.ended(below(parent))
    assert len(child) == 1


async def test_a_root_ends_when_it_is_asked_to_from_outside(system):
    puppet, instances = spawn(system)
    system.tell(puppet, ActorExitRequest())
    await system.ended(puppet)
    assert len(instances) == 1


async def test_a_transient_actor_that_crashes_is_restarted(system):
    puppet, instances = spawn(system, restart=Restart("transient", backoff=0.001))
    system.tell(puppet, CRASH)
    await until(lambda: len(instances) == 2)


async def test_a_temporary_actor_that_crashes_is_not_restarted(system):
    child: list[Puppet] = []
    parent, parents = spawn(system, "parent", with_child(child, None, Restart("temporary")))
    await until(lambda: child)
    system.tell(below(parent), CRASH)
    await system.ended(below(parent))
    assert [shown.state for shown in node(system, parent).children] == ["gave up"]
    assert (len(child), len(parents)) == (1, 1)


# Families


async def test_children_of_a_crashed_parent_are_stopped_and_come_back_under_the_same_addresses(system):
    child: list[Puppet] = []
    parent, parents = spawn(system, "parent", with_child(child))
    await until(lambda: child)
    system.tell(parent, CRASH)
    await until(lambda: len(child) == 2)
    assert child[0].ended
    assert len(parents) == 2
    assert parents[1].health is None  # their end is no news to the new parent
    assert await system.ask(below(parent), Ask("alive"), SECONDS) == "alive"
    assert [shown.name for shown in node(system, parent).children] == ["child"]


async def test_children_of_a_crashed_parent_do_not_run_while_it_is_away(system):
    child: list[Puppet] = []
    parent, _ = spawn(system, "parent", with_child(child), LATER)
    await until(lambda: child)
    system.tell(parent, CRASH)
    await until(lambda: child[0].ended)
    assert node(system, parent).children == []


async def test_children_that_are_kept_go_on_while_their_parent_restarts(system):
    child: list[Puppet] = []

    def adopt(puppet: Puppet) -> None:
        if not puppet.running(below(puppet.myAddress)):
            with_child(child)(puppet)

    keeping = Restart(backoff=0.05, keep_children=True)
    parent, parents = spawn(system, "parent", adopt, keeping)
    await until(lambda: child)
    system.tell(parent, CRASH)
    await until(lambda: parents[0].ended)
    assert await system.ask(below(parent), Ask("alive"), SECONDS) == "alive"
    await until(lambda: len(parents) == 2)
    assert len(child) == 1
    assert [shown.name for shown in node(system, parent).children] == ["child"]


async def test_a_child_that_waits_for_its_restart_ends_with_its_parent(system):
    child: list[Puppet] = []
    parent, _ = spawn(system, "parent", with_child(child, None, Restart(backoff=0.05)))
    await until(lambda: child)
    system.tell(below(parent), CRASH)
    await until(lambda: child[0].ended)
    system.tell(parent, ActorExitRequest())
    await system.ended(parent)
    puppet, others = spawn(system, "another")
    system.tell(puppet, Do(lambda self, sender: self.wakeupAfter(0.1, Tell("after the backoff"))))
    await until(lambda: others and others[0].told)
    assert len(child) == 1


async def test_a_name_cannot_be_spawned_twice(system):
    spawn(system, "puppet")
    with pytest.raises(ValueError, match="already running"):
        spawn(system, "puppet")


async def test_names_are_quoted_in_addresses_so_that_no_two_paths_are_equal(system):
    child: list[Puppet] = []
    parent, _ = spawn(system, "a/b", with_child(child, name="c"))
    await until(lambda: child)
    child_of_another, _ = spawn(system, "a")
    assert below(parent, "c").addressDetails == "/a%2Fb/c"
    assert below(below(child_of_another, "b"), "c").addressDetails == "/a/b/c"
    assert node(system, parent).name == "a/b"


async def test_a_restated_child_gets_its_new_start_message_now_and_in_each_life_to_come(system):
    old: list[Puppet] = []
    new: list[Puppet] = []
    parent, _ = spawn(system, "parent", with_child(old))
    await until(lambda: old)
    system.tell(parent, Do(lambda self, sender: self.restate(below(parent), Lives(new), "renamed")))
    await until(lambda: new)
    assert new == old
    system.tell(below(parent), CRASH)
    await until(lambda: len(new) == 2)
    assert len(old) == 1
    assert node(system, below(parent)).name == "renamed"


async def test_a_child_that_is_restated_while_it_is_away_begins_with_the_new_start_message(system):
    old: list[Puppet] = []
    new: list[Puppet] = []
    parent, _ = spawn(system, "parent", with_child(old, None, Restart(backoff=0.02)))
    await until(lambda: old)
    system.tell(below(parent), CRASH)
    await until(lambda: old[0].ended)
    system.tell(parent, Do(lambda self, sender: self.restate(below(parent), Lives(new))))
    await until(lambda: new)
    assert len(old) == 1
    assert len(new) == 1


async def test_each_life_to_come_begins_with_the_start_and_what_an_earlier_one_left(system):
    puppet, instances = spawn(system, first=lambda self: self.told.append("start"))
    system.tell(puppet, Do(lambda self, sender: self.remember(Tell("left"))))
    for lives in (2, 3):
        system.tell(puppet, CRASH)
        system.tell(puppet, Tell("mail"))
        await until(lambda lives=lives: len(instances) == lives and len(instances[-1].told) == 3)
        assert instances[-1].told == ["start", "left", "mail"]
    system.tell(puppet, Do(lambda self, sender: self.remember(None)))
    system.tell(puppet, CRASH)
    await until(lambda: len(instances) == 4 and instances[3].told == ["start"])


async def test_a_parent_that_stops_a_child_is_not_told_that_it_exited(system):
    child: list[Puppet] = []
    grandchild: list[Puppet] = []
    parent, parents = spawn(system, "parent", with_child(child, with_child(grandchild)))
    await until(lambda: grandchild)

    def stop(self: Puppet, sender: Any) -> bool:
        assert self.running(below(parent))
        self.stop_child(below(parent))
        return not self.running(below(parent)) and child[0].ended and grandchild[0].ended

    assert await system.ask(parent, Do(stop), SECONDS) is True
    await system.ask(parent, Ask(1), SECONDS)
    assert parents[0].health is None
    assert node(system, parent).children == []


async def test_what_a_stopped_child_had_said_still_arrives(system):
    child: list[Puppet] = []
    parent, parents = spawn(system, "parent", with_child(child))
    await until(lambda: child)
    tell = Do(lambda self, sender: self.send(parent, Tell("last words")))
    await system.ask(below(parent), Do(lambda self, sender: tell.call(self, sender) or 1), SECONDS)
    system.tell(parent, Do(lambda self, sender: self.stop_child(below(parent))))
    await until(lambda: parents[0].told == ["last words"])


async def test_a_stopped_child_can_be_spawned_again(system):
    child: list[Puppet] = []
    parent, _ = spawn(system, "parent", with_child(child))
    await until(lambda: child)

    def replace(self: Puppet, sender: Any) -> None:
        self.stop_child(below(parent))
        with_child(child)(self)

    system.tell(parent, Do(replace))
    await until(lambda: len(child) == 2)
    assert await system.ask(below(parent), Ask("alive"), SECONDS) == "alive"


async def test_waiting_for_the_end_of_an_actor_can_be_given_up_without_hurting_others_who_wait(system):
    puppet, _ = spawn(system)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(system.ended(puppet), 0.01)
    waiting = asyncio.ensure_future(system.ended(puppet))
    system.tell(puppet, ActorExitRequest())
    await waiting
    await system.ended(puppet)  # has ended: nothing to wait for
