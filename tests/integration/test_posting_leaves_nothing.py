"""What is left of connections over HTTP that are made and lost again and again: nothing, and no work for the
collector."""

import asyncio
import gc
import os
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from posting_owner import InfluxOwner, WebhookOwner, until
from servers.influxdb import InfluxDB, Reply
from servers.relay import Relay
from servers.webhook import WebhookReceiver

from actors.connections.connection import NoConnection
from actors.publish.destinations import posting, request_pace

TIMES = 25


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Place:
    """A server behind a relay, and who sends there."""

    def __init__(self, server: InfluxDB | WebhookReceiver, relay: Relay) -> None:
        self.server = server
        self.relay = relay
        config_json: dict[str, Any] = server.config_json(timeout=60)
        config_json["url"] = config_json["url"].replace(str(server.port), str(relay.port))
        kind = InfluxOwner if isinstance(server, InfluxDB) else WebhookOwner
        self.owner = kind(config_json)


@pytest.fixture(params=[InfluxDB, WebhookReceiver])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        server = request.param()
        if isinstance(server, InfluxDB):
            stack.enter_context(server)
        else:
            await stack.enter_async_context(server)
        relay = await stack.enter_async_context(Relay(server.port))
        yield Place(server, relay)


async def lose(place: Place, how: str) -> None:
    """A connection, until it is lost with payloads under way."""
    owner = place.owner
    if how == "refused":
        await place.relay.refuse()
        with pytest.raises(NoConnection):
            await owner.driver.connect()
        await place.relay.admit()
        return
    await owner.driver.connect()
    if how == "closed":
        owner.send(*range(5))
        await owner.driver.close()
        return
    if how == "in trouble":
        place.server.script = [Reply(503)]  # type: ignore[list-item]
        owner.send(*range(50))
        await until(lambda: owner.losses)
    else:
        with place.relay.answers.held():
            owner.send(*range(50))
            if how == "cut":
                await until(lambda: place.server.script == [])
                await place.relay.cut()
            await until(lambda: owner.losses)
    owner.losses.clear()


@pytest.mark.parametrize("how", ["in trouble", "cut", "silent", "refused", "closed"])
@pytest.mark.usefixtures("without_collector")
async def test_a_connection_that_is_lost_again_and_again_leaves_nothing(
    place: Place, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Any]] = []
    init = posting.Posting.__init__

    def remembered(self: posting.Posting, *args: Any) -> None:
        init(self, *args)
        made.extend(map(weakref.ref, (self, self._session, self._session.connector)))

    monkeypatch.setattr(posting.Posting, "__init__", remembered)
    monkeypatch.setattr(request_pace, "LEAST_ROOM", 0.0)
    await lose(place, how)
    await until(lambda: place.relay.connections == 0)
    tasks, descriptors = asyncio.all_tasks(), len(os.listdir("/proc/self/fd"))
    for _ in range(TIMES):
        await lose(place, how)
    assert len(made) == 3 * (TIMES + 1)
    await until(lambda: place.relay.connections == 0)
    assert [each for each in made if each() is not None] == []
    await until(lambda: len(asyncio.all_tasks()) <= len(tasks))
    await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
