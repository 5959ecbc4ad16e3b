"""Thousands of endpoints: what they cost, how soon the agent runs with them, and what one more takes."""

import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from agent import START_S, Agent, endpoint
from figures import Figure
from loads import load_figures, watch
from rig import ONE, Load, rig

from storage.database import open_database
from storage.endpoints import NewEndpoint, add_endpoints

ADDITIONS = 15


class Filled(Agent):
    """An agent that finds all its endpoints in the database. `running_after` and `begun_after` are seconds
    from exec: to state RUNNING, and until every endpoint has its actor."""

    running_after = 0.0
    begun_after = 0.0


def measure_many(name: str, command: Sequence[str], load: Load, seconds: float) -> list[Figure]:
    def start(load: Load, ports: Sequence[int], broker_ports: Sequence[int], directory: Path) -> Filled:
        fill(directory / "data" / "agent.sqlite", load, ports)
        agent = Filled(directory, command)
        try:
            agent.running_after = agent.wait_until_running()
            agent.begun_after = _wait_until_begun(agent, load.devices)
            agent.publish(broker_ports, ONE)
        except BaseException:
            agent.__exit__(None, None, None)
            raise
        return agent

    with rig(load, start) as running:
        window = watch(running, seconds)
        agent = running.subject
        return [
            *load_figures(name, running, window),
            Figure(name, "running after s", agent.running_after),
            Figure(name, "actors after s", agent.begun_after),
            Figure(name, "last one added ms", _addition_ms(agent, load.devices - 1)),
        ]


def fill(path: Path, load: Load, ports: Sequence[int]) -> None:
    """The endpoints that `Agent.poll_devices` would add."""
    with closing(open_database(path)) as database:
        bodies = [
            endpoint(number, port, load.registers, load.interval_ms) for number, port in enumerate(ports)
        ]
        new = (NewEndpoint(body.pop("name"), body | {"enabled": True}, "1", "modbus") for body in bodies)
        add_endpoints(database, new)


def _wait_until_begun(agent: Agent, count: int) -> float:
    """Seconds from exec. Raises RuntimeError after START_S."""
    while True:
        tree = agent.api.get("/v1/actors")["root"]
        endpoints = next(one for one in tree["children"] if one["name"] == "endpoints")
        if sum(len(adapter["children"]) for adapter in endpoints["children"]) == count:
            return time.monotonic() - agent.exec_at
        if time.monotonic() - agent.exec_at > START_S:
            raise RuntimeError(f"not all endpoints have their actor: {agent.last_words()}")
        time.sleep(0.02)


def _addition_ms(agent: Agent, number: int) -> float:
    """The median of taking the endpoint of that number out and adding it again."""
    name, spent = f"bench-{number}", []
    body = next(one for one in agent.api.get("/v1/endpoints/export")["endpoints"] if one["name"] == name)
    uuid = next(one["uuid"] for one in agent.api.get("/v1/endpoints")["endpoints"] if one["name"] == name)
    for _ in range(ADDITIONS):
        agent.api.delete(f"/v1/endpoints/{uuid}")
        began = time.perf_counter()
        uuid = agent.api.post("/v1/endpoints", body)["uuid"]
        spent.append(time.perf_counter() - began)
    return 1000 * statistics.median(spent)
