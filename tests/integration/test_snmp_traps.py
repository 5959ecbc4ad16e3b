"""Traps as Net-SNMP's tools send them, and as nobody should."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from servers.snmp_agent import BASE, ScriptedAgent
from servers.udp_relay import free_udp_port
from snmp_sessions import Asking, asking

from actors.connections.connection import Transient
from actors.endpoints.lines import Lines
from actors.endpoints.protocols.snmp import keys, oids, pdus, traps, usm
from actors.endpoints.protocols.snmp.ber import OCTETS, OID, integer, sequence, tlv
from actors.endpoints.protocols.snmp.traps import AT_ONCE, TrapPort

POINTS = [{"name": "a", "oid": f"{BASE}.1.0"}]
LINK_DOWN = "1.3.6.1.6.3.1.1.5.3"
USER = {
    "version": "v3",
    "username": "ann",
    "authProtocol": "sha256",
    "authKey": "ann's secret",
    "privProtocol": "aes",
    "privKey": "ann's private",
}


@pytest.fixture
async def agent() -> AsyncIterator[ScriptedAgent]:
    async with ScriptedAgent() as running:
        running.set("1.0", integer(1))
        yield running


async def until(happened: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110 - what is waited for announces itself to nobody
            await asyncio.sleep(0.005)


async def tool(program: str, *arguments: str) -> int:
    """Net-SNMP's, which has no MIBs here."""
    environment = os.environ | {"MIBS": ""}
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()


def port_of(lines: Lines) -> TrapPort:
    [found] = [shared for key, shared in lines if key[0] == "traps"]  # type: ignore[index]
    assert isinstance(found, TrapPort)
    return found


def listening(port: int) -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::", port))
        except OSError:
            return True
    return False


async def test_without_a_port_nothing_is_listened_for(agent: ScriptedAgent) -> None:
    lines = Lines()
    async with asking(agent.port, POINTS, lines=lines):
        assert not [key for key, _ in lines if key[0] == "traps"]  # type: ignore[index]


async def test_traps_of_v1_and_v2c_and_informs(agent: ScriptedAgent) -> None:
    port = free_udp_port()
    at = f"127.0.0.1:{port}"
    async with asking(agent.port, POINTS, trapPort=port) as asked:
        events = asked.told.events
        variable = (f"{BASE}.5.0", "s", "on fire")
        assert await tool("snmptrap", "-v2c", "-c", "public", at, "4711", LINK_DOWN, *variable) == 0
        await until(lambda: len(events) == 1)
        assert events[0] == {
            "source": "127.0.0.1",
            "version": "v2c",
            "trap": LINK_DOWN,
            "name": "linkDown",
            "uptime": 4711,
            "inform": False,
            "variables": [{"oid": f"{BASE}.5.0", "value": "on fire"}],
        }
        inform = ("snmpinform", "-r0", "-t2", "-v2c", "-c", "public", at, "1", f"{BASE}.0.7")
        assert await tool(*inform) == 0, "the inform is not answered"
        assert (events[1]["trap"], events[1]["inform"]) == (f"{BASE}.0.7", True)
        old = ("snmptrap", "-v1", "-c", "public", at, BASE, "192.0.2.9", "6", "17", "33", *variable)
        assert await tool(*old) == 0
        await until(lambda: len(events) == 3)
        assert events[2] == {
            "source": "127.0.0.1",
            "version": "v1",
            "trap": f"{BASE}.0.17",
            "uptime": 33,
            "enterprise": BASE,
            "agent": "192.0.2.9",
            "inform": False,
            "variables": [{"oid": f"{BASE}.5.0", "value": "on fire"}],
        }
        assert await tool("snmptrap", "-v1", "-c", "public", at, BASE, "", "2", "0", "33") == 0
        await until(lambda: len(events) == 4)
        assert events[3]["name"] == "linkDown"
    assert not listening(port)


async def test_traps_of_v3_are_signed_and_not_told_twice(agent: ScriptedAgent) -> None:
    port = free_udp_port()
    auth_key, priv_key = keys.master("sha256", "ann's secret"), keys.master("sha256", "ann's private")
    agent.user = usm.User("ann", "sha256", auth_key, "aes", priv_key)
    who = ("-e", "0x8000000001020304", "-u", "ann", "-a", "SHA-256", "-A", "ann's secret")
    private = ("-x", "AES", "-X", "ann's private")
    async with asking(agent.port, POINTS, trapPort=port, **USER) as asked:
        events, lines = asked.told.events, asked.session._lines
        at = f"127.0.0.1:{port}"
        assert await tool("snmptrap", "-v3", "-l", "authPriv", *who, *private, at, "5", LINK_DOWN) == 0
        await until(lambda: len(events) == 1)
        assert (events[0]["version"], events[0]["name"], events[0]["uptime"]) == ("v3", "linkDown", 5)
        refused = port_of(lines).refused
        await tool("snmptrap", "-v3", "-l", "authNoPriv", *who, at, "5", LINK_DOWN)
        wrong = (*who[:-1], "another secret")
        await tool("snmptrap", "-v3", "-l", "authPriv", *wrong, *private, at, "5", LINK_DOWN)
        await tool("snmptrap", "-v2c", "-c", "public", at, "5", LINK_DOWN)
        await until(lambda: port_of(lines).refused == refused + 3)
        security = usm.Security(agent.user, usm.Engine(b"\x80\0\0\0\x01\x02\x03\x04", 9, 5000), b"")
        news = security.wrap(trap(), 1, 3)
        security.engine.set(9, 100)
        stale = security.wrap(trap(), 2, 3)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for message in (news, stale):
                sender.sendto(message, ("127.0.0.1", port))
            await until(lambda: port_of(lines).refused == refused + 4)
        assert len(events) == 2


def trap(about: str = LINK_DOWN) -> bytes:
    name = oids.encode(oids.parse(about))
    bindings = [
        sequence(oids.encode(oids.parse("1.3.6.1.2.1.1.3.0")), integer(7, 0x43)),
        sequence(oids.encode(oids.parse("1.3.6.1.6.3.1.1.4.1.0")), name),
    ]
    return tlv(pdus.TRAP, integer(1) + integer(0) + integer(0) + sequence(*bindings))


def message(community: str = "public", pdu: bytes | None = None) -> bytes:
    return sequence(integer(1), tlv(OCTETS, community.encode()), pdu or trap())


async def test_what_is_malformed_or_from_nobody_is_counted_and_does_no_harm(agent: ScriptedAgent) -> None:
    """Uninett/nav 59: one trap whose time could not be read ended the receiver for all."""
    port = free_udp_port()
    whole = message()
    bad = [b"", b"hello", whole[:-3], message("other"), message(pdu=tlv(pdus.GET, b"")), bytes(2000)]
    bad.append(whole.replace(b"\x43\x01\x07", b"\x43\x82\xff\xff"))
    bad.append(message(pdu=tlv(pdus.TRAP, integer(1) + integer(0) + integer(0) + sequence())))
    bad.append(sequence(integer(0), tlv(OCTETS, b"public"), tlv(pdus.TRAP_V1, tlv(OID, b"\x80"))))
    async with asking(agent.port, POINTS, trapPort=port) as asked:
        shared = port_of(asked.session._lines)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for octets in bad:
                sender.sendto(octets, ("127.0.0.1", port))
            for place in range(len(whole)):
                sender.sendto(whole[:place] + b"\xff" + whole[place + 1 :], ("127.0.0.1", port))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.bind(("127.0.0.9", 0))
                stranger.sendto(whole, ("127.0.0.1", port))
            await until(lambda: shared.unknown == 1)
            assert shared.refused >= len(bad)
            asked.told.events.clear()
            sender.sendto(whole, ("127.0.0.1", port))
            await until(lambda: asked.told.events)
        assert await asked.read() == {"a": 1}


async def test_a_flood_is_told_in_part_and_counted(agent: ScriptedAgent, monkeypatch: Any) -> None:
    port = free_udp_port()
    monkeypatch.setattr(traps, "A_SECOND", 0.0)
    async with asking(agent.port, POINTS, trapPort=port) as asked:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for sent in range(1, 2 * AT_ONCE + 1):
                sender.sendto(message(), ("127.0.0.1", port))
                if sent % 50 == 0:
                    await asyncio.sleep(0.01)
            receiver = port_of(asked.session._lines)._receivers["127.0.0.1"][0]
            await until(lambda: receiver.dropped == AT_ONCE)
            assert len(asked.told.events) == AT_ONCE
            monkeypatch.setattr(traps, "A_SECOND", 1000.0)
            await asyncio.sleep(0.01)
            sender.sendto(message(), ("127.0.0.1", port))
            await until(lambda: len(asked.told.events) == AT_ONCE + 1)
        assert asked.told.events[-1]["dropped"] == AT_ONCE


async def test_endpoints_share_the_port_and_each_is_told_of_its_own_device(agent: ScriptedAgent) -> None:
    port = free_udp_port()
    lines = Lines()
    async with ScriptedAgent("127.0.0.2", "secret") as other:
        async with asking(agent.port, POINTS, trapPort=port, lines=lines) as here:
            given = {"trapPort": port, "lines": lines, "community": "secret"}
            async with asking(other.port, POINTS, host="127.0.0.2", **given) as there:
                await told_of(here, there, port)
            assert listening(port)
        assert not listening(port)


async def told_of(here: Asking, there: Asking, port: int) -> None:
    for address, community, whose in (("127.0.0.2", "secret", there), ("127.0.0.1", "public", here)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((address, 0))
            sender.sendto(message(community), ("127.0.0.1", port))
            await until(lambda whose=whose: whose.told.events)  # type: ignore[misc]
    assert [len(one.told.events) for one in (here, there)] == [1, 1]


async def test_a_port_that_is_taken_costs_no_reading(
    agent: ScriptedAgent, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as taken:
        taken.bind(("::", 0))
        port = taken.getsockname()[1]
        async with asking(agent.port, POINTS, trapPort=port) as asked:
            assert await asked.read() == {"a": 1}
    assert f"UDP port {port}" in caplog.text


async def test_endpoints_of_one_device_are_all_told(agent: ScriptedAgent) -> None:
    port = free_udp_port()
    lines = Lines()
    async with asking(agent.port, POINTS, trapPort=port, lines=lines) as one:
        async with asking(agent.port, POINTS, trapPort=port, lines=lines) as other:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(message(), ("127.0.0.1", port))
            await until(lambda: one.told.events and other.told.events)
        assert listening(port)


async def test_traps_are_heard_while_the_device_does_not_answer(agent: ScriptedAgent) -> None:
    port = free_udp_port()
    async with asking(agent.port, POINTS, trapPort=port, connect=False) as asked:
        agent.sent = lambda message: []
        with pytest.raises(Transient):
            await asked.session.connect()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(message(), ("127.0.0.1", port))
        await until(lambda: asked.told.events)
