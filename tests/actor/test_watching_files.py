"""Thespian's watches: an actor returns the files that it waits for."""

import asyncio
import socket
from typing import Any

from puppets import SECONDS, Ask, Lives, Puppet, Tell, spawn, until
from thespian.actors import ThespianWatch, WatchMessage

from actors.system.supervision import Restart


class Watcher(Puppet):
    """Watches the file that it is told of."""

    def receiveMsg_Tell(self, message: Tell, sender: Any) -> ThespianWatch:
        return ThespianWatch([message.what])

    def receiveMsg_WatchMessage(self, message: WatchMessage, sender: Any) -> None:
        self.told.append(message.ready)


async def test_an_actor_learns_once_that_a_file_is_readable(system):
    watchers: list[Watcher] = []
    watcher = system.spawn(None, Watcher, "watcher", Lives(watchers))
    near, far = socket.socketpair()
    with near, far:
        system.tell(watcher, Tell(near.fileno()))
        await asyncio.sleep(0)
        far.send(b"x")
        await until(lambda: watchers and watchers[0].told == [[near.fileno()]])
        await system.ask(watcher, Ask(1), SECONDS)
        assert len(watchers[0].told) == 1
        assert not system.loop.remove_reader(near.fileno())


async def test_a_watch_dies_with_its_instance(system):
    watchers: list[Watcher] = []
    watcher = system.spawn(None, Watcher, "watcher", Lives(watchers), Restart(backoff=0.001))
    near, far = socket.socketpair()
    with near, far:
        system.tell(watcher, Tell(near.fileno()))
        await until(lambda: system.mailboxes[watcher.addressDetails].watched)
        system.crash(system.mailboxes[watcher.addressDetails], RuntimeError("boom"))
        assert not system.loop.remove_reader(near.fileno())


async def test_a_failing_watch_is_a_crash_and_stops_nobody_else(system):
    watchers: list[Watcher] = []
    watcher = system.spawn(None, Watcher, "watcher", Lives(watchers), Restart(backoff=0.001))
    system.tell(watcher, Tell(-1))
    other, _ = spawn(system)
    await until(lambda: len(watchers) == 2)
    assert await system.ask(other, Ask("alive"), SECONDS) == "alive"
