"""What happens to a message that a full mailbox has no room for, or that nobody receives."""

import asyncio
from typing import Any

import pytest
from puppets import (
    CRASH,
    SECONDS,
    Ask,
    Do,
    Lives,
    Puppet,
    Reading,
    Tell,
    below,
    node,
    spawn,
    until,
    with_child,
)
from thespian.actors import ActorExitRequest, ChildActorExited, DeadEnvelope, PoisonMessage

from actors.system.addresses import child_address
from actors.system.failure import Failed
from actors.system.supervision import Restart

ROOM = 10
AWAY = Restart("permanent", backoff=0.05)
"""Long enough away for its mailbox to be filled meanwhile."""


@pytest.fixture
async def full(system):
    """An actor that is away, and as many readings in its mailbox as it has room for."""
    puppet, instances = spawn(system, restart=AWAY)
    system.tell(puppet, CRASH)
    await until(lambda: instances and instances[0].ended)
    for n in range(ROOM):
        system.tell(puppet, Reading(n))
    return puppet, instances


async def test_a_full_mailbox_drops_its_oldest_telemetry_and_counts(system, full):
    puppet, instances = full
    system.tell(puppet, Reading(ROOM))
    system.tell(puppet, Reading(ROOM + 1))
    assert node(system, puppet).mailbox_dropped == 2
    await until(lambda: len(instances) == 2 and instances[1].told)
    assert instances[1].told == list(range(2, ROOM + 2))


async def test_telemetry_makes_no_room_at_the_expense_of_commands(system):
    puppet, instances = spawn(system, restart=AWAY)
    system.tell(puppet, CRASH)
    await until(lambda: instances and instances[0].ended)
    for n in range(ROOM):
        system.tell(puppet, Tell(n))
    system.tell(puppet, Reading("dropped itself"))
    assert node(system, puppet).mailbox_dropped == 1
    await until(lambda: len(instances) == 2 and instances[1].told)
    assert instances[1].told == list(range(ROOM))


async def test_what_is_asked_of_an_actor_with_a_full_mailbox_is_refused(system, full):
    puppet, _ = full
    assert await system.ask(puppet, Ask(1), SECONDS) == Failed("unavailable", "mailbox of puppet is full")
    assert node(system, puppet).mailbox == ROOM
    assert node(system, puppet).mailbox_dropped == 1


async def test_a_command_of_a_thread_to_a_full_mailbox_is_refused(system, full):
    puppet, _ = full
    assert isinstance(system.listen(0), PoisonMessage)  # the answer to what crashed it
    system.tell(puppet, Tell("from outside"))
    assert system.listen(0) == Failed("unavailable", "mailbox of puppet is full")


async def test_what_actors_tell_each_other_is_always_admitted(system, full):
    puppet, instances = full
    other, _ = spawn(system, "other")
    system.tell(other, Do(lambda self, sender: self.send(puppet, Tell("between actors"))))
    await until(lambda: len(instances) == 2 and instances[1].told)
    assert instances[1].told == [*range(ROOM), "between actors"]


async def test_an_actor_with_a_full_mailbox_can_be_asked_to_exit(system, full):
    puppet, _ = full
    system.tell(puppet, ActorExitRequest())
    await asyncio.wait_for(system.ended(puppet), SECONDS)


async def test_an_actor_with_a_full_mailbox_learns_that_a_child_has_exited(system):
    exited: list[Any] = []

    class Parent(Puppet):
        def receiveMsg_ChildActorExited(self, message: ChildActorExited, sender: Any) -> None:
            exited.append(message.childAddress)

    parent, _ = spawn(system, "parent")
    cell = system.mailboxes[parent.addressDetails]
    cell.actor_class = Parent
    child: list[Puppet] = []
    system.tell(parent, CRASH)
    await until(lambda: isinstance(cell.instance, Parent))
    system.tell(parent, Do(lambda self, sender: with_child(child)(self) and None))
    await until(lambda: child)

    def fill_up(self: Puppet, sender: Any) -> None:
        for n in range(ROOM):
            system.tell(parent, Reading(n))
        system.terminate(system.mailboxes[below(parent).addressDetails])

    system.tell(parent, Do(fill_up))
    await until(lambda: exited == [below(parent)])


async def test_the_tree_shows_how_full_a_mailbox_is_and_was(system, full):
    puppet, instances = full
    assert (node(system, puppet).mailbox, node(system, puppet).mailbox_high) == (ROOM, ROOM)
    await until(lambda: len(instances) == 2 and len(instances[1].told) == ROOM)
    assert (node(system, puppet).mailbox, node(system, puppet).mailbox_high) == (0, ROOM)


class Unsafe(Puppet):
    """One whose way to safety is broken."""

    SPILLS = (Tell,)

    @classmethod
    def spill(cls, start: Any, waiting: list[Any]) -> Any:
        raise RuntimeError("no way")


async def test_messages_that_cannot_be_spilled_wait_and_are_no_crash_of_who_sent_them(system):
    unsafe: list[Puppet] = []
    address = system.spawn(None, Unsafe, "unsafe", Lives(unsafe), AWAY)
    sender, senders = spawn(system)
    system.tell(address, CRASH)
    await until(lambda: senders and unsafe and unsafe[0].ended)
    for n in range(ROOM + 2):
        senders[0].send(address, Tell(n))
    await until(lambda: len(unsafe) == 2 and unsafe[1].told)
    assert unsafe[1].told == list(range(ROOM + 2))
    assert await system.ask(sender, Ask("alive"), SECONDS) == "alive"


class Sheltered(Puppet):
    """One whose messages are safe with the actor `shelter`."""

    SPILLS = (Tell,)

    @classmethod
    def spill(cls, start: Any, waiting: list[Any]) -> Any:
        return child_address(None, "shelter"), Tell([message.what for message in waiting])


async def test_messages_wait_for_who_keeps_them_safe_while_that_is_not_there(system):
    sheltered: list[Puppet] = []
    address = system.spawn(None, Sheltered, "sheltered", Lives(sheltered), Restart(backoff=60.0))
    _, senders = spawn(system)
    system.tell(address, CRASH)
    await until(lambda: senders and sheltered and sheltered[0].ended)
    for n in range(ROOM + 2):
        senders[0].send(address, Tell(n))
    _, shelters = spawn(system, "shelter")
    senders[0].send(address, Tell(ROOM + 2))
    await until(lambda: shelters and shelters[0].told)
    assert shelters[0].told == [list(range(ROOM + 2))]
    assert [message.what for message, _ in system.mailboxes[address.addressDetails].mailbox] == [ROOM + 2]
    assert system.dead_letters == 0


async def test_a_child_whose_messages_cannot_be_spilled_ends_all_the_same(system):
    unsafe: list[Puppet] = []
    parent, parents = spawn(system, first=lambda puppet: puppet.spawn(Unsafe, "child", Lives(unsafe)))
    await until(lambda: unsafe)
    parents[0].send(below(parent), Tell("never read"))
    parents[0].stop_child(below(parent))
    assert not parents[0].exists(below(parent))
    assert system.dead_letters == 1


async def test_mail_that_an_actor_takes_out_of_its_mailbox_is_not_handled_once_more(system):
    puppet, instances = spawn(system)
    await until(lambda: instances)
    taken: list[Any] = []
    system.tell(puppet, Do(lambda self, sender: taken.extend(self.unread(Tell)) or None))
    system.tell(puppet, Tell(1))
    system.tell(puppet, Reading(2))
    await until(lambda: instances[0].told)
    assert [message for message, _ in taken] == [Tell(1)]
    assert instances[0].told == [2]


# Dead letters


async def test_messages_to_nobody_go_to_the_dead_letter_handler(system):
    letters: list[DeadEnvelope] = []

    class Undertaker(Puppet):
        def receiveMsg_DeadEnvelope(self, message: DeadEnvelope, sender: Any) -> None:
            letters.append(message)

    puppet, _ = spawn(system)
    undertaker = system.newPrimaryActor(Undertaker, None, None)
    system.tell(undertaker, Do(lambda self, sender: self.handleDeadLetters()))
    system.tell(puppet, ActorExitRequest())
    await system.ended(puppet)
    system.tell(puppet, Tell("too late"))
    await until(lambda: letters)
    assert letters[0].deadAddress == puppet
    assert letters[0].deadMessage == Tell("too late")
    assert system.dead_letters == 1


async def test_what_waits_in_the_mailbox_of_an_actor_that_exits_is_a_dead_letter(system):
    puppet, _ = spawn(system, restart=Restart("transient", backoff=30))
    system.tell(puppet, ActorExitRequest())
    system.tell(puppet, Tell("never read"))
    await system.ended(puppet)
    assert system.dead_letters == 1


async def test_without_a_handler_dead_letters_are_only_counted(system):
    puppet, _ = spawn(system)
    system.terminate(system.mailboxes[puppet.addressDetails])
    before = system.dead_letters
    system.tell(puppet, Tell("too late"))
    assert system.dead_letters == before + 1
