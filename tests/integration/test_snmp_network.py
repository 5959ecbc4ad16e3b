"""Names, addresses, IPv6, and what comes from elsewhere."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from servers.snmp_agent import BASE, ScriptedAgent
from servers.udp_relay import UdpRelay
from snmp_sessions import asking

from actors.connections.connection import Transient
from actors.endpoints.protocols.snmp import port
from actors.endpoints.protocols.snmp.ber import integer

POINTS = [{"name": "a", "oid": f"{BASE}.1.0"}]


@pytest.fixture
async def agent() -> AsyncIterator[ScriptedAgent]:
    async with ScriptedAgent() as running:
        running.set("1.0", integer(1))
        yield running


def found(*addresses: str, at: int) -> list[Any]:
    kind = socket.SOCK_STREAM
    return [
        (socket.AF_INET6, kind, 0, "", (address, at, 0, 0))
        if ":" in address
        else (socket.AF_INET, kind, 0, "", (address, at))
        for address in addresses
    ]


async def test_an_agent_at_an_address_of_ipv6() -> None:
    async with ScriptedAgent("::1") as agent:
        agent.set("1.0", integer(1))
        async with asking(agent.port, POINTS, host="::1") as asked:
            assert await asked.read() == {"a": 1}


async def test_each_address_of_a_name_has_its_turn(agent: ScriptedAgent, monkeypatch: Any) -> None:
    async def addresses(host: str, at: int) -> list[Any]:
        return found("::1", "127.0.0.3", "127.0.0.1", at=at)

    monkeypatch.setattr(port, "addresses", addresses)
    async with asking(agent.port, POINTS, host="switch.example", timeout=100) as asked:
        assert await asked.read() == {"a": 1}


async def test_a_name_is_looked_up_with_each_connection(agent: ScriptedAgent, monkeypatch: Any) -> None:
    where = ["127.0.0.1"]

    async def addresses(host: str, at: int) -> list[Any]:
        return found(*where, at=at)

    monkeypatch.setattr(port, "addresses", addresses)
    async with ScriptedAgent("127.0.0.4") as other:
        async with asking(agent.port, POINTS, host="switch.example") as asked:
            assert await asked.read() == {"a": 1}
            where[0] = "127.0.0.4"
            monkeypatch.setattr(asked.session, "_connection", asked.session._connection)
            with pytest.raises(Transient):  # nobody is at that port there
                await asked.session.connect()
            where[0] = "127.0.0.1"
            await asked.session.connect()
            assert await asked.read() == {"a": 1}
        assert other.requests == []


async def test_a_name_that_nobody_knows_is_said(agent: ScriptedAgent) -> None:
    with pytest.raises(Transient, match="name is not known") as error:
        async with asking(agent.port, POINTS, host="no-such-host.invalid"):
            pass
    assert error.value.code == "HOST_UNREACHABLE"


async def test_where_no_agent_runs_that_is_told_at_once() -> None:
    async with ScriptedAgent() as agent:
        gone = agent.port
    began = asyncio.get_running_loop().time()
    with pytest.raises(Transient) as error:
        async with asking(gone, POINTS, timeout=5000):
            pass
    assert error.value.code == "CONNECTION_REFUSED"
    assert asyncio.get_running_loop().time() - began < 2


async def test_a_lost_answer_is_asked_for_again(agent: ScriptedAgent) -> None:
    async with UdpRelay(agent.port) as relay, asking(relay.port, POINTS, timeout=150, retries=8) as asked:
        relay.requests.loss = relay.answers.loss = 0.3
        for _ in range(10):
            assert await asked.read(within=5.0) == {"a": 1}


async def test_a_poll_asks_again_only_until_the_next_is_due(agent: ScriptedAgent) -> None:
    async with asking(agent.port, POINTS, timeout=100, retries=10) as asked:
        agent.requests.clear()
        agent.sent = lambda message: []
        with pytest.raises(Transient):
            await asked.read(within=0.25)
        assert len(agent.requests) <= 4  # three times, and whether it answers at all


async def test_a_read_and_a_write_take_turns(agent: ScriptedAgent) -> None:
    points = [*POINTS, {"name": "b", "oid": f"{BASE}.2.0", "writable": True, "dataType": "integer"}]
    agent.set("2.0", integer(0))
    async with asking(agent.port, points) as asked:
        for number in range(20):
            read, written = await asyncio.gather(asked.read(), asked.write("b", number))
            assert read["a"] == 1
            assert written == number
        assert (await asked.read())["b"] == 19


async def test_a_session_that_is_closed_while_it_waits_ends(agent: ScriptedAgent) -> None:
    async with asking(agent.port, POINTS, timeout=5000) as asked:
        agent.sent = lambda message: []
        reading = asyncio.ensure_future(asked.read())
        await asyncio.sleep(0.05)
        await asked.session.close()
        with pytest.raises(Transient):
            await asyncio.wait_for(reading, 1)


@pytest.mark.parametrize("noise", [b"", b"\x30", bytes(500), b"\x30\x84\xff\xff\xff\xff", b"\xff" * 1500])
async def test_noise_beside_the_answer_is_not_heard(agent: ScriptedAgent, noise: bytes) -> None:
    agent.sent = lambda message: [noise, message[:-1], message]
    async with asking(agent.port, POINTS) as asked:
        for _ in range(5):
            assert await asked.read() == {"a": 1}
    agent.sent = lambda message: [noise or b"x"]
    with pytest.raises(Transient, match="no answer within"):
        async with asking(agent.port, POINTS):
            pass
