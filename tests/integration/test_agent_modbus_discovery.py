"""From a search to readings: a real agent finds a Modbus device by a rule, and polls it as it was found."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from servers.agent import AgentProcess
from servers.rude_device import RudeDevice, holds, rude_device, when
from servers.sunspec_device import common, device, inverter

REGISTERS = device(common(), inverter())


@pytest.fixture
async def inverter_1() -> AsyncIterator[RudeDevice]:
    other = when(lambda asked: asked.unit != 1, exception=11)
    async with rude_device(holds(lambda: REGISTERS), other) as found:
        found.identification = {0: b"Sunny Works", 1: b"SW 10k", 2: b"1.4.2"}
        yield found


def until_connected(agent: AgentProcess, path: str) -> dict[str, Any]:
    deadline = time.monotonic() + 8
    while not (found := agent.get(path)).get("connected") and time.monotonic() < deadline:
        time.sleep(0.05)
    return dict(found)


async def test_what_a_rule_finds_is_polled(inverter_1: RudeDevice, tmp_path: Path) -> None:
    rule = {
        "name": "roof",
        "protocol": "modbus",
        "auto_enable": True,
        "params_json": {"network": "127.0.0.1/32", "port": inverter_1.port, "timeout": 500},
    }

    def drive() -> tuple[dict[str, Any], list[Any], list[Any]]:
        with AgentProcess(tmp_path / "data") as agent:
            created = agent.post("/v1/discovery-rules", rule)
            uuid = created.get("uuid") or created["rule"]["uuid"]
            run = agent.post(f"/v1/discovery-rules/{uuid}/run", {})
            [name] = [endpoint["name"] for endpoint in agent.get("/v1/endpoints")["endpoints"]]
            found = until_connected(agent, f"/v1/adapters/modbus/devices/{quote(name)}")
            again = agent.post(f"/v1/discovery-rules/{uuid}/run", {})
            return found, run["devices"], again["devices"]

    found, first, second = await asyncio.to_thread(drive)
    assert [one["fingerprint"] for one in first] == [one["fingerprint"] for one in second]
    assert first[0]["validated"] is True
    assert first[0]["validationData"]["dataPointValidation"]["meiVendor"] == "Sunny Works"
    assert second[0]["validationData"]["dataPointValidation"]["result"] == "config_match"
    assert found["connected"] is True, found
    assert inverter_1.connections <= 2  # the first search's, and the endpoint's, which the second used
