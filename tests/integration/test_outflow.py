"""What is seen of how far bytes have got."""

import asyncio
import socket

import pytest
import uvloop
from mqtt_owner import until

from actors.connections.outflow import Outflow


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_bytes_that_the_peer_takes_are_seen_to_move_and_others_are_not(factory):
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_connection(asyncio.Protocol, *listening.getsockname())
            peer, _ = await loop.sock_accept(listening)
            outflow = Outflow(transport)
            assert (outflow.moved(), outflow.unsent) == (False, 0)
            transport.write(b"x")
            await until(outflow.moved)
            assert (outflow.moved(), outflow.unsent) == (False, 0)
            transport.write(bytes(10_000_000))
            await until(lambda: not outflow.moved())
            stuck = outflow.unsent
            assert stuck > 0
            await loop.sock_recv(peer, 2_000_000)
            await until(outflow.moved)
            assert outflow.unsent < stuck
            transport.abort()
            assert (outflow.moved(), outflow.unsent) == (False, 0)
            peer.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(scenario())
