"""Connecting that nobody wants any more: an endpoint is deleted or changed meanwhile."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from asyncua.client import Client
from opcua_sessions import opened, point
from servers.opcua import OpcUaServer

from actors.endpoints.protocols.opcua import channel, server

SESSIONS = {"name": "sessions", "nodeId": "i=2277"}
"""How many the server has, that of who asks among them."""


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcUaServer]:
    with OpcUaServer(tmp_path_factory.mktemp("opcua"), "node") as found:
        yield found


@pytest.mark.parametrize(
    ("where", "what"),
    [(Client, "create_session"), (channel.security, "identify"), (server, "facts_of")],
    ids=["creating", "identifying", "looking"],
)
async def test_it_leaves_no_session_on_the_server(
    plant: OpcUaServer, monkeypatch: pytest.MonkeyPatch, where: Any, what: str
) -> None:
    begun, step = asyncio.Event(), getattr(where, what)

    async def slow(*given: Any) -> Any:
        begun.set()
        await asyncio.sleep(0.05)
        return await step(*given)

    one = opened(plant.url, [point("a", "s=Counter.0")])
    with monkeypatch.context() as patched:
        patched.setattr(where, what, slow)
        connecting = asyncio.create_task(one.session.connect())
        await begun.wait()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
    await one.session.close()
    async with opened(plant.url, [SESSIONS], useSubscription=False) as asking:
        assert (await asking.session.read(1)).values == [1]
