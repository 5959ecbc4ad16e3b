"""Searching among SNMP agents of which some answer, and yet let nothing be read."""

import asyncio
from typing import Any

import pytest
from probing import Tried, search
from servers.snmp_agent import GEN_ERROR, ScriptedAgent, integer, text

from actors.endpoints.protocols import find
from actors.endpoints.protocols.snmp import oids, pdus, scanning


async def scanned(agent: ScriptedAgent, **options: Any) -> Tried:
    discovery = find("snmp").discovery
    assert discovery is not None
    near = {"host": agent.host, "port": agent.port, "timeout": 400, "retries": 0}
    return await search(discovery, near | options, validate=True)


async def test_an_agent_that_says_nothing_but_errors_is_not_validated() -> None:
    async with ScriptedAgent() as agent:
        agent.answer = lambda version, pdu, names: (GEN_ERROR, 1, [(one, pdus.NOTHING) for one in names])
        found = (await scanned(agent)).only

    assert (found.validated, found.confidence, found.data_points) == (False, "low", ())


async def test_one_that_takes_its_time_for_each_answer_is_told_with_what_it_said_by_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scanning, "_VALIDATED_WITHIN", 0.5)
    async with ScriptedAgent() as agent:
        for row in range(1, 100):
            agent.values[oids.parse(f"1.3.6.1.2.1.2.2.1.8.{row}")] = integer(1)
        take = agent._take
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(agent, "_take", lambda *given: loop.call_later(0.1, take, *given))
        found = await scanned(agent, version="v1")
        await asyncio.sleep(0.15)

    assert [point["name"] for point in found.only.data_points] == ["sysUpTime"]
    assert found.only.validated
    assert "than it tells within" in found.troubles[0][1]


async def test_one_that_falls_silent_when_it_is_read_is_told() -> None:
    async with ScriptedAgent() as agent:
        known = agent.found
        agent.answer = lambda version, pdu, names: known(version, names) if pdu.kind == pdus.GET else None
        found = await scanned(agent, version="v1")

    assert [point["name"] for point in found.only.data_points] == ["sysUpTime"]
    assert [where for where, _ in found.troubles] == ["127.0.0.1"]


async def test_an_agent_is_one_by_name_and_by_address_and_two_at_two_ports() -> None:
    async with ScriptedAgent() as agent, ScriptedAgent() as other:
        by_name = (await scanned(agent, host="localhost")).only
        by_address = (await scanned(agent)).only
        elsewhere = (await scanned(other)).only

    assert by_name.connection["host"] == "localhost"
    assert by_name.identity == by_address.identity != elsewhere.identity


async def test_what_an_agent_says_of_itself_is_short_and_fit_to_be_seen() -> None:
    async with ScriptedAgent() as agent:
        agent.values[oids.parse("1.3.6.1.2.1.1.1.0")] = text("a\r\n\u2028" + "x" * 60_000)
        found = (await scanned(agent)).only

    assert found.metadata["sysDescr"].isprintable()
    assert len(found.metadata["sysDescr"]) <= 1000
