"""An endpoint of SNMP with all that is around it: rows that are found, sessions built anew, events."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from field_rig import Collect, Keeper, Wanted
from servers.snmp_agent import BASE, ScriptedAgent
from servers.udp_relay import free_udp_port

from actors.endpoints.endpoint import RunEndpoint
from actors.endpoints.lines import Lines
from actors.endpoints.protocol import PollResult
from actors.endpoints.protocols import find
from actors.endpoints.protocols.snmp import oids, pdus
from actors.endpoints.protocols.snmp.ber import OCTETS, integer, sequence, tlv
from actors.endpoints.protocols.snmp.session import SnmpSession
from actors.endpoints.trying import attempt
from actors.readings.batch import Batch
from actors.readings.messages import EventRaised, ForgetSource
from actors.system.actor import Actor
from actors.system.addresses import child_address
from actors.system.asyncio_base import AsyncioSystemBase

POINTS = [
    {"name": "one", "oid": f"{BASE}.1.0"},
    {"name": "t", "oid": f"{BASE}.9", "table": True},
]


class Router(Actor):
    def receiveMsg_Collect(self, message: Collect, sender: Any) -> None:
        self.take = message.take

    def receiveMsg_Batch(self, message: Batch, sender: Any) -> None:
        self.take(message)

    def receiveMsg_EventRaised(self, message: EventRaised, sender: Any) -> None:
        self.take(message)  # type: ignore[arg-type]

    def receiveMsg_ForgetSource(self, message: ForgetSource, sender: Any) -> None: ...


class Running:
    """`latest` is what came last of each point: a value, or a quality code."""

    def __init__(self, base: AsyncioSystemBase, endpoint: Any) -> None:
        self.base = base
        self.endpoint = endpoint
        self.latest: dict[str, Any] = {}
        self.events: list[EventRaised] = []

    def take(self, told: Any) -> None:
        if isinstance(told, EventRaised):
            self.events.append(told)
            return
        codes = told.qualities or [None] * len(told.values)
        for point, value, code in zip(told.points, told.values, codes, strict=True):
            self.latest[point.name] = code or value

    @property
    def crashes(self) -> int:
        return self.base.mailboxes[self.endpoint.addressDetails].crashes.restarts

    async def until(self, happened: Callable[[], Any]) -> None:
        async with asyncio.timeout(8):
            while not happened():  # noqa: ASYNC110 - what is waited for announces itself to nobody
                await asyncio.sleep(0.005)

    async def has(self, **expected: Any) -> None:
        """Until that is what came last; names with underscores for dots."""
        wanted = {name.replace("_", "."): value for name, value in expected.items()}
        await self.until(lambda: wanted.items() <= self.latest.items())


@asynccontextmanager
async def running(agent: ScriptedAgent, **connection: Any) -> AsyncIterator[Running]:
    base = AsyncioSystemBase()
    router = base.spawn(None, Router, "router", Collect(lambda told: found.take(told)))
    given = {"host": "127.0.0.1", "port": agent.port, "timeout": 200, "retries": 0, **connection}
    start = RunEndpoint(
        uuid="uuid-switch",
        name="switch",
        protocol="snmp",
        device_uuid="device-switch",
        device="switch",
        connection=msgspec.Raw(msgspec.json.encode(given)),
        data_points=msgspec.Raw(msgspec.json.encode(POINTS)),
        poll_interval=40,
        phase=0.0,
        reconnect_min_ms=50,
        reconnect_max_ms=200,
        router=router,
    )
    keeper = base.spawn(None, Keeper, "endpoints", Wanted("snmp", [start]))
    found = Running(base, child_address(child_address(keeper, "snmp"), "switch"))
    try:
        yield found
    finally:
        base.shutdown()
        await base.released()


@pytest.fixture
async def agent() -> AsyncIterator[ScriptedAgent]:
    async with ScriptedAgent() as scripted:
        scripted.set("1.0", integer(1))
        scripted.set("9.4", integer(4))
        yield scripted


async def test_rows_become_data_points_and_stay_them(agent: ScriptedAgent) -> None:
    async with running(agent) as endpoint:
        await endpoint.has(one=1, t_rows=1, t_4=4)
        agent.set("9.5", integer(5))
        agent.set("9.4", integer(44))
        await endpoint.has(t_rows=2, t_4=44, t_5=5)
        del agent.values[oids.parse(f"{BASE}.9.4")]
        await endpoint.has(t_rows=1, t_4="NO_SUCH_INSTANCE", t_5=5)
        agent.sent = lambda message: []
        await endpoint.until(lambda: all(isinstance(one, str) for one in endpoint.latest.values()))
        agent.sent = lambda message: [message]
        agent.set("9.4", integer(6))
        await endpoint.has(one=1, t_rows=2, t_4=6, t_5=5)
        assert endpoint.crashes == 0


async def test_a_session_that_is_built_anew_knows_the_rows(
    agent: ScriptedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(agent) as endpoint:
        await endpoint.has(one=1, t_4=4)
        whole, hangs = SnmpSession.read, [True]

        async def read(self: SnmpSession, within: float) -> PollResult:
            if hangs:
                await asyncio.Event().wait()
            return await whole(self, within)

        monkeypatch.setattr(SnmpSession, "read", read)
        monkeypatch.setattr(SnmpSession, "patience", property(lambda self: 0.1))
        await endpoint.until(lambda: isinstance(endpoint.latest["one"], str))
        hangs.clear()
        agent.set("9.5", integer(5))
        await endpoint.has(one=1, t_rows=2, t_4=4, t_5=5)
        assert endpoint.crashes == 0


async def test_a_trap_is_an_event_of_the_endpoint_whose_device_sent_it(agent: ScriptedAgent) -> None:
    port = free_udp_port()
    bindings = [
        sequence(oids.encode(oids.parse("1.3.6.1.2.1.1.3.0")), integer(7, 0x43)),
        sequence(
            oids.encode(oids.parse("1.3.6.1.6.3.1.1.4.1.0")), oids.encode(oids.parse("1.3.6.1.6.3.1.1.5.1"))
        ),
    ]
    pdu = tlv(pdus.TRAP, integer(1) + integer(0) + integer(0) + sequence(*bindings))
    async with running(agent, trapPort=port) as endpoint:
        await endpoint.has(one=1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(sequence(integer(1), tlv(OCTETS, b"public"), pdu), ("127.0.0.1", port))
        await endpoint.until(lambda: endpoint.events)
        [event] = endpoint.events
        assert event.topic == "events/traps/snmp/switch"
        assert (event.body["name"], event.body["endpoint"]) == ("coldStart", "switch")


async def test_an_endpoint_that_is_only_tried_shows_its_rows(agent: ScriptedAgent) -> None:
    connection = {"host": "127.0.0.1", "port": agent.port, "timeout": 500}
    protocol = find("snmp")
    tried = await attempt(protocol, protocol.accept(connection, POINTS), Lines())
    assert tried.error is None
    assert {one.name: one.value for one in tried.values} == {"one": 1, "t.rows": 1, "t.4": 4}
