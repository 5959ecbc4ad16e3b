"""What an examination says of a tree is so, whenever it looks."""

from collections.abc import Callable

import pytest
from puppets import Lives, Puppet, Reading, Tell, below, spawn, until, with_child
from thespian.actors import ActorAddress

from actors.system.ailments import STUCK, Ailment, Examination
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.mailboxes import Cell

AGES = 1000 * STUCK


class Look:
    """Examines the tree below `root`, at moments of the test's choice."""

    def __init__(self, system: AsyncioSystemBase, root: ActorAddress) -> None:
        self.system = system
        self.examination = Examination()
        found = system.mailboxes[root.addressDetails]
        assert isinstance(found, Cell)
        self.root = found

    def __call__(self, later: float = 0.0) -> list[Ailment]:
        return self.examination.look(self.root, self.system.loop.time() + later)


@pytest.fixture
def look(system) -> Callable[[ActorAddress], Look]:
    return lambda root: Look(system, root)


async def test_an_actor_that_was_idle_for_ages_and_has_just_got_mail_is_well(system, look):
    puppet, instances = spawn(system)
    await until(lambda: instances)
    look = look(puppet)
    assert look() == []
    system.tell(puppet, Tell("mail"))
    assert look.root.mailbox
    assert look(AGES) == []
    assert look(AGES + STUCK / 2) == []
    assert [one.what for one in look(AGES + STUCK)] == ["does not handle its mail (1 messages wait)"]


async def test_readings_that_an_actor_dropped_before_the_first_look_are_told(system, look):
    puppet, instances = spawn(system)
    await until(lambda: instances)
    for number in range(13):
        system.tell(puppet, Reading(number))
    assert [one.what for one in look(puppet)()] == ["its mailbox was full: 3 messages dropped"]


async def test_an_actor_that_took_the_place_of_one_that_dropped_readings_has_dropped_none(system, look):
    child: list[Puppet] = []
    puppet, instances = spawn(system, first=with_child(child))
    await until(lambda: child)
    look = look(puppet)
    for number in range(13):
        system.tell(below(puppet), Reading(number))
    assert [one.sort for one in look()] == ["dropping"]
    instances[0].stop_child(below(puppet))
    with_child(child)(instances[0])
    assert look() == []


async def test_two_actors_that_people_call_the_same_are_told_apart(system, look):
    children: list[Puppet] = []

    def both(puppet: Puppet) -> None:
        for name in ("a", "b"):
            puppet.spawn(Puppet, name, Lives(children), label="line")

    puppet, _ = spawn(system, first=both)
    await until(lambda: len(children) == 2)
    look = look(puppet)
    for number in range(13):
        system.tell(below(puppet, "a"), Reading(number))
    await until(lambda: not system.mailboxes[below(puppet, "a").addressDetails].mailbox)
    assert len(look()) == 1
    assert look(AGES) == []
