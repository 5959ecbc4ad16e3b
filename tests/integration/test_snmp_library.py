"""Why our messages are our own: what gufo-snmp, by far the cheapest library, does not tell. When one of these
fails, it may have become fit for the readings of an agent."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from gufo.snmp import SnmpVersion
from gufo.snmp.aio import SnmpSession
from servers.snmp_agent import BASE, GEN_ERROR, NO_SUCH_INSTANCE, TOO_BIG, ScriptedAgent, counter

from actors.endpoints.protocols.snmp import oids
from actors.endpoints.protocols.snmp.ber import integer, tlv

NAMES = [f"{BASE}.{number}.0" for number in (1, 2)]


@pytest.fixture
async def agent() -> AsyncIterator[ScriptedAgent]:
    async with ScriptedAgent() as running:
        running.set("1.0", integer(7))
        running.set("2.0", integer(8))
        yield running


async def asked(agent: ScriptedAgent, **more: Any) -> dict[str, Any]:
    session = SnmpSession("127.0.0.1", agent.port, timeout=1.0, **more)
    found: dict[str, Any] = await session.get_many(NAMES)
    return found


async def test_a_counter_an_integer_and_a_gauge_are_one_and_the_same(agent: ScriptedAgent) -> None:
    told = []
    for value in (integer(7), counter(7), integer(7, 0x42), integer(7, 0x43), integer(7, 0x46)):
        agent.set("1.0", value)
        told.append((await asked(agent))[NAMES[0]])
    assert told == [7] * 5
    for value in (tlv(0x04, b"\x9f\x78\x04\x41\x5b\x33\x33"), tlv(0x44, b"\x9f\x78\x04\x41\x5b\x33\x33")):
        agent.set("1.0", value)
        assert (await asked(agent))[NAMES[0]] == b"\x9f\x78\x04\x41\x5b\x33\x33"


@pytest.mark.parametrize("missing", [b"\x80\x00", NO_SUCH_INSTANCE, b"\x82\x00", b"\x05\x00"])
async def test_why_there_is_no_value_is_not_told(agent: ScriptedAgent, missing: bytes) -> None:
    agent.set("1.0", missing)
    assert await asked(agent) == {NAMES[1]: 8}


@pytest.mark.parametrize("status", [TOO_BIG, GEN_ERROR])
async def test_an_error_is_an_answer_without_values(agent: ScriptedAgent, status: int) -> None:
    agent.answer = lambda version, pdu, names: (status, 1, [(name, b"\x05\x00") for name in names])
    for version in (SnmpVersion.v1, SnmpVersion.v2c):
        assert await asked(agent, version=version) == {}


async def test_an_answer_about_another_variable_is_taken(agent: ScriptedAgent) -> None:
    agent.answer = lambda version, pdu, names: (0, 0, [(oids.parse(f"{BASE}.99.0"), integer(1))])
    session = SnmpSession("127.0.0.1", agent.port, timeout=1.0)
    assert await session.get(NAMES[0]) == 1


def test_nothing_can_be_written() -> None:
    assert not [name for name in dir(SnmpSession) if name.startswith("set")]
