"""Ask and tell on the loop that the actors run on."""

import asyncio
from datetime import timedelta

from puppets import SECONDS, Ask, Do, Puppet, Tell, spawn, until
from thespian.actors import ActorAddress, ActorSystem, PoisonMessage

from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.failure import Failed


async def test_hundreds_of_asks_at_once_each_get_their_own_reply():
    system = AsyncioSystemBase(mailbox_size=500)
    puppet, _ = spawn(system)
    replies = await asyncio.gather(*(system.ask(puppet, Ask(n), SECONDS) for n in range(499)))
    assert replies == list(range(499))
    system.shutdown()


async def test_an_ask_through_thespians_actor_system_can_be_awaited():
    base = AsyncioSystemBase()
    system = ActorSystem(systemBase=base, transientUnique=True)
    assert await system.ask(system.createActor(Puppet), Ask("hello"), SECONDS) == "hello"
    base.shutdown()


async def test_an_ask_that_nobody_answers_gives_none_when_its_time_is_over(system):
    puppet, instances = spawn(system)
    assert await system.ask(puppet, Tell("silence"), 0.01) is None
    assert await system.ask(puppet, Tell("silence"), timedelta(milliseconds=10)) is None
    assert instances[0].told == ["silence", "silence"]


async def test_the_reply_address_of_an_ask_stands_for_nothing_afterwards(system):
    puppet, _ = spawn(system)
    known = set(system.mailboxes)
    reply_to = await system.ask(puppet, Do(lambda self, sender: sender), SECONDS)
    assert isinstance(reply_to, ActorAddress)
    assert set(system.mailboxes) == known
    late = system.dead_letters
    await system.ask(puppet, Do(lambda self, sender: self.send(reply_to, "too late") or 1), SECONDS)
    assert system.dead_letters == late + 1


async def test_only_the_first_reply_to_an_ask_counts(system):
    puppet, _ = spawn(system)

    def answer_twice(self: Puppet, sender: ActorAddress) -> None:
        self.send(sender, 1)
        self.send(sender, 2)

    assert await system.ask(puppet, Do(answer_twice), SECONDS) == 1


async def test_an_ask_that_is_cancelled_leaves_no_address_behind(system):
    puppet, _ = spawn(system)
    known = set(system.mailboxes)
    ask = asyncio.ensure_future(system.ask(puppet, Tell("silence"), SECONDS))
    await until(lambda: set(system.mailboxes) != known)
    ask.cancel()
    await asyncio.wait([ask])
    assert set(system.mailboxes) == known


async def test_a_request_that_an_actor_does_not_know_is_answered_unsupported(system):
    puppet, instances = spawn(system)
    reply = await system.ask(puppet, "what is this?", SECONDS)
    assert reply == Failed("unsupported", "Puppet does not understand str")
    assert len(instances) == 1


async def test_two_actors_that_do_not_understand_each_other_do_not_refuse_for_ever(system):
    a, _ = spawn(system, "a")
    b, _ = spawn(system, "b")
    await system.ask(a, Do(lambda self, sender: self.send(b, "what is this?") or 1), SECONDS)
    # Later requests are behind the refusal and whatever would follow from it.
    for _ in range(10):
        await asyncio.gather(system.ask(a, Ask(1), SECONDS), system.ask(b, Ask(1), SECONDS))
    handled = [system.mailboxes[box.addressDetails].handled for box in (a, b)]
    assert handled == [13, 12]  # start, order, refusal and ten; start, riddle and ten


async def test_an_ask_of_an_address_that_stands_for_nothing_is_refused_at_once(system):
    puppet, _ = spawn(system)
    system.terminate(system.mailboxes[puppet.addressDetails])
    assert await system.ask(puppet, Ask(1), None) == Failed("unavailable", "puppet is not running")


async def test_an_ask_that_waits_in_the_mailbox_of_an_actor_that_ends_is_refused_at_once(system):
    puppet, _ = spawn(system)
    system.tell(puppet, Do(lambda self, sender: system.terminate(self._myRef)))
    assert await system.ask(puppet, Ask(1), None) == Failed("unavailable", "puppet is not running")


async def test_who_asks_what_crashes_an_actor_gets_his_message_back_as_poison(system):
    puppet, _ = spawn(system)
    crash = Do(lambda self, sender: 1 / 0)
    reply = await system.ask(puppet, crash, SECONDS)
    assert isinstance(reply, PoisonMessage)
    assert reply.poisonMessage is crash
    assert "ZeroDivisionError" in reply.details


async def test_many_are_asked_at_once_and_each_answers_for_itself(system):
    puppets = [spawn(system, name=f"puppet-{number}")[0] for number in range(100)]
    known = set(system.mailboxes)
    nobody = ActorAddress("/nobody")
    replies = await system.ask_each([*puppets, nobody], Do(lambda self, sender: self.myAddress), SECONDS)
    assert replies == [*puppets, None]
    assert await system.ask_each([], Ask(1), SECONDS) == []
    assert set(system.mailboxes) == known


async def test_who_does_not_answer_in_time_keeps_no_answer_from_the_others(system):
    silent, _ = spawn(system, name="silent")
    quick, _ = spawn(system, name="quick")

    def answer(self: Puppet, sender: ActorAddress) -> int | None:
        return 1 if self.myAddress == quick else None

    assert await system.ask_each([silent, quick], Do(answer), 0.05) == [None, 1]
