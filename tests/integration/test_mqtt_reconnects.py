"""What connections that have ended leave behind, on every transport: nothing.

Counted without a garbage collection: cycles would only be found now and then, and memory grow meanwhile.
`make bench` loses a thousand.
"""

import asyncio
import contextlib
import gc
import os
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from mqtt_owner import Owner, until
from mqtt_schemes import SCHEMES, mosquitto, to
from servers.relay import Relay

from actors.mqtt.link import Link

CONNECTIONS = 24
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@contextlib.contextmanager
def links() -> Iterator[list[Callable[[], Any]]]:
    """Weak references to each link made within, and to its transports. Nothing is collected within."""
    made: list[Callable[[], Any]] = []
    connected = Link.connection_made

    def connection_made(link: Link, transport: Any) -> None:
        made.append(weakref.ref(link))
        with contextlib.suppress(TypeError):  # uvloop's cannot be referred to weakly
            made.append(weakref.ref(transport))
            made.append(weakref.ref(getattr(transport, "_below", transport)))
        connected(link, transport)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Link, "connection_made", connection_made)
        gc.collect()
        gc.disable()
        try:
            yield made
        finally:
            gc.enable()


def alive(made: list[Callable[[], Any]]) -> list[Any]:
    return [found for ref in made if (found := ref()) is not None]


@contextlib.asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Neither descriptors, nor tasks, nor links."""
    tasks, descriptors = asyncio.all_tasks(), set(os.listdir("/proc/self/fd"))
    with links() as made:
        yield
        assert len(made) >= CONNECTIONS
        await until(lambda: asyncio.all_tasks() <= tasks, 3)
        await until(lambda: not alive(made), 3)
        await until(lambda: len(os.listdir("/proc/self/fd")) <= len(descriptors), 3)


async def by_the_peer(owner: Owner, relay: Relay) -> None:
    await relay.cut()


async def by_us(owner: Owner, relay: Relay) -> None:
    owner.driver._end("as if nothing came any more")


async def by_us_while_it_takes_nothing(owner: Owner, relay: Relay) -> None:
    with relay.requests.held():
        for seq in range(5):
            owner.send(seq, "plant", bytes(1_000_000))
        await asyncio.sleep(0)
        owner.driver._end("as if nothing came any more")
        await relay.cut()


async def in_order(owner: Owner, relay: Relay) -> None:
    await owner.driver.close()


ENDINGS = (by_the_peer, by_us, by_us_while_it_takes_nothing, in_order)


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_connections_that_end_leave_nothing(tmp_path: Path, scheme: str, loop: Callable[[], Any]) -> None:
    async def scenario() -> None:
        with mosquitto(tmp_path, scheme) as broker:
            async with Relay(broker.port) as relay:
                owner = Owner(to(broker, scheme, relay.port, keepalive=65_535))
                await connect_and_end(owner, relay, ENDINGS[0])
                async with nothing_left():
                    for number in range(CONNECTIONS):
                        await connect_and_end(owner, relay, ENDINGS[number % len(ENDINGS)])
                    await relay.cut()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


async def connect_and_end(owner: Owner, relay: Relay, ending: Callable[[Owner, Relay], Any]) -> None:
    owner.told.clear()
    await owner.driver.connect()
    owner.send(1, "plant", b"x")
    await until(lambda: owner.seqs == [1])
    await ending(owner, relay)
    if ending is not in_order:
        await until(lambda: owner.losses)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_attempts_that_fail_leave_nothing(tmp_path: Path, scheme: str) -> None:
    """Refused, and not answered."""
    with mosquitto(tmp_path, scheme, username="user", password="right") as broker:
        async with Relay(broker.port) as relay:
            refused = Owner(to(broker, scheme, relay.port, username="user", password="wrong"))
            silent = Owner(to(broker, scheme, relay.port), connect_seconds=0.02)
            await attempt(refused)
            tasks, descriptors = asyncio.all_tasks(), os.listdir("/proc/self/fd")
            with links() as made:
                for _ in range(CONNECTIONS // 4):
                    await attempt(refused)
                    with relay.requests.held():
                        await attempt(silent)
                        await relay.cut()
                await until(lambda: asyncio.all_tasks() <= tasks, 3)
                await until(lambda: not alive(made), 3)
                await until(lambda: len(os.listdir("/proc/self/fd")) <= len(descriptors), 3)


async def attempt(owner: Owner) -> None:
    with contextlib.suppress(Exception):
        await owner.driver.connect()
    assert owner.driver._link is None
