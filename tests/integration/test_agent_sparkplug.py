"""A real agent as a Sparkplug node: a device, a broker, and a host that checks everything."""

import asyncio
from pathlib import Path

import pytest
from mqtt_owner import until
from servers.agent import AgentProcess
from servers.field import on_a_thread
from servers.mosquitto import Mosquitto
from servers.rude_device import rude_device
from servers.sparkplug_host import GROUP, NODE, Host, Listening

REGISTERS = (0, 1, 2)


def configure(agent: AgentProcess, broker: int, device: int) -> None:
    points = [
        {"name": f"p{number}", "register": f"holding:{number}", "type": "uint16"} for number in REGISTERS
    ]
    endpoint = {
        "name": "plc",
        "protocol": "modbus",
        "connection": {"host": "127.0.0.1", "port": device, "timeout": 200},
        "data_points": points,
        "poll_interval": 50,
    }
    agent.post("/v1/endpoints", endpoint)
    config_json = {
        "host": "127.0.0.1",
        "port": broker,
        "sparkplug": {"groupId": GROUP, "edgeNodeId": NODE},
    }
    added = agent.post(
        "/v1/publish/destinations", {"name": "host", "type": "mqtt", "config_json": config_json}
    )
    subscription = {"publish_destination_id": added["id"], "payload_format": "sparkplug"}
    agent.post("/v1/publish/subscriptions", subscription)


async def more(host: Host) -> None:
    """Until some readings more have come."""
    before = len(host.data("plc", "p0"))
    await until(lambda: len(host.data("plc", "p0")) > before + 3)


@pytest.mark.timeout(60)
async def test_a_host_knows_when_the_agent_is_killed_or_stops_and_when_an_endpoint_goes(
    tmp_path: Path,
) -> None:
    host = Host()
    with (
        on_a_thread(rude_device()) as plc,
        Mosquitto(tmp_path / "broker") as broker,
        AgentProcess(tmp_path / "data") as agent,
    ):
        async with Listening(broker.port, host):
            await asyncio.to_thread(configure, agent, broker.port, plc.port)
            await more(host)
            agent.kill()
            await until(lambda: not host.online)
            assert host.deaths == host.births, "by its will"
            agent.start()
            await until(lambda: host.online)
            await more(host)
            assert host.devices["plc"].live["p2"].quality == "GOOD"
            await asyncio.to_thread(agent.delete, "/v1/endpoints")
            await until(lambda: not host.devices["plc"].online)
            assert agent.stop() == 0
            await until(lambda: not host.online)
            assert host.deaths == host.births, "in its own words"
    assert host.faults == []
