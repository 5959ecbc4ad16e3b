"""BACnet: what many endpoints cost the whole agent."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent import Agent
from bacnet_bench import EVERY, MANY, OBJECTS, Plant
from figures import Figure
from servers.udp_relay import free_udp_port

RUN = "bacnet agent"
IDLE_S = 10
CONNECTED_S = 120
WINDOW_S = 4 * EVERY


def measure_bacnet_agent(command: Sequence[str]) -> list[Figure]:
    """500 devices of 20 objects, polled every 10 s; no destination."""
    plant = Plant(MANY)
    local = {"localAddress": "127.0.0.1", "localPort": free_udp_port()}
    try:
        with (
            tempfile.TemporaryDirectory(prefix="bench-") as directory,
            Agent(Path(directory), command) as agent,
        ):
            agent.wait_until_running()
            agent.watch(IDLE_S)
            rss = agent.rss_mb()
            for place, port in enumerate(plant.ports):
                agent.api.post("/v1/endpoints", _endpoint(place, port, local))
            _wait_until_connected(agent)
            agent.watch(EVERY)
            cpu, began = agent.cpu_s(), time.monotonic()
            agent.watch(WINDOW_S)
            share = (agent.cpu_s() - cpu) / (time.monotonic() - began)
            return [
                Figure(RUN, "CPU % of a core", 100 * share),
                Figure(RUN, "RSS over idle MB", agent.rss_mb() - rss),
            ]
    finally:
        plant.close()


def _endpoint(place: int, port: int, local: dict[str, Any]) -> dict[str, Any]:
    points = [{"name": f"p{number}", "object": f"analog-input:{number}"} for number in range(OBJECTS)]
    return {
        "name": f"device-{place}",
        "protocol": "bacnet",
        "poll_interval": int(1000 * EVERY),
        "connection": {"host": "127.0.0.1", "port": port, "deviceInstance": 1000 + place, **local},
        "data_points": points,
    }


def _wait_until_connected(agent: Agent) -> None:
    until = time.monotonic() + CONNECTED_S
    while time.monotonic() < until:
        devices = agent.api.get("/v1/adapters/bacnet/devices")["devices"]
        if len(devices) == MANY and all(device["connected"] for device in devices):
            return
        agent.watch(1)
    raise RuntimeError(f"not all of {MANY} devices were connected within {CONNECTED_S} s")
