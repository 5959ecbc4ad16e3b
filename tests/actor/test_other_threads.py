"""Using the system from threads that are not its loop's: Thespian's blocking interface."""

import asyncio
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import pytest
from puppets import SECONDS, Ask, Do, Puppet, Tell
from thespian.actors import ActorSystem, ActorTypeDispatcher, WakeupMessage

from actors.system.asyncio_base import AsyncioSystemBase


@pytest.fixture
def threaded() -> Generator[ActorSystem, None, None]:
    """A system with a loop and a thread of its own."""
    system = ActorSystem(systemBase=AsyncioSystemBase(), transientUnique=True)
    yield system
    system.shutdown()


def test_tell_and_listen(threaded):
    puppet = threaded.createActor(Puppet)
    threaded.tell(puppet, Ask("first"))
    threaded.tell(puppet, Ask("second"))
    assert [threaded.listen(SECONDS), threaded.listen(SECONDS)] == ["first", "second"]


def test_listen_gives_none_when_its_time_is_over(threaded):
    assert threaded.listen(0.01) is None


def test_ask_blocks_until_the_reply(threaded):
    puppet = threaded.createActor(Puppet)
    assert threaded.ask(puppet, Ask("hello"), SECONDS) == "hello"
    assert threaded.ask(puppet, Tell("silence"), 0.01) is None


def test_threads_with_private_contexts_get_only_their_own_replies(threaded):
    puppet = threaded.createActor(Puppet)

    def ask_many(thread: int) -> list[int]:
        with threaded.private() as own:
            return [own.ask(puppet, Ask((thread, n)), SECONDS) for n in range(50)]

    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(ask_many, range(8)))
    assert replies == [[(thread, n) for n in range(50)] for thread in range(8)]


def test_a_private_context_leaves_no_address_behind():
    base = AsyncioSystemBase()
    system = ActorSystem(systemBase=base, transientUnique=True)
    known = set(base.mailboxes)
    with system.private() as own:
        assert set(base.mailboxes) != known
        assert own.listen(0) is None
    assert set(base.mailboxes) == known
    system.shutdown()


async def test_threads_can_tell_and_ask_actors_of_a_loop_that_runs_elsewhere(system):
    outside = ActorSystem(systemBase=system, transientUnique=True)

    def use() -> list[object]:
        puppet = outside.createActor(Puppet)
        return [outside.ask(puppet, Ask(n), SECONDS) for n in range(3)]

    assert await asyncio.to_thread(use) == [0, 1, 2]


def test_a_system_of_its_own_thread_ends_with_it():
    before = set(threading.enumerate())
    base = AsyncioSystemBase()
    base.newPrimaryActor(Puppet, None, None)
    base.shutdown()
    base.shutdown()
    assert set(threading.enumerate()) == before
    assert base.loop.is_closed()


def test_a_system_that_an_actor_has_shut_down_still_ends_its_thread():
    base = AsyncioSystemBase()
    system = ActorSystem(systemBase=base, transientUnique=True)
    system.ask(system.createActor(Puppet), Do(lambda self, sender: self.actorSystemShutdown()), 0.01)
    system.shutdown()
    assert base.loop.is_closed()


class Sleeper(ActorTypeDispatcher):  # type: ignore[misc]
    """Replies how much too late it was woken, in seconds."""

    def receiveMsg_float(self, seconds: float, sender: object) -> None:
        self.due, self.asker = time.monotonic() + seconds, sender
        self.wakeupAfter(seconds)

    def receiveMsg_WakeupMessage(self, message: WakeupMessage, sender: object) -> None:
        self.send(self.asker, time.monotonic() - self.due)


def test_no_timer_fires_early_though_the_loop_counts_in_whole_milliseconds(threaded):
    sleeper = threaded.createActor(Sleeper)
    late = [threaded.ask(sleeper, n / 3000, SECONDS) for n in range(1, 60)]
    assert min(late) >= 0
