"""A protocol in a package outside of the tree, in a real agent: found, polled, subscribed to, written to.
`docs/protocols.rst` explains it.
"""

import ast
import asyncio
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packages import install
from servers.agent import AgentProcess
from servers.field import on_a_thread
from servers.mosquitto import free_port
from servers.toy import ToyDevice, install_toy

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "protocols.rst"


class Device(ToyDevice):
    """On a loop of its own."""

    async def __aenter__(self) -> "Device":
        self._loop = asyncio.get_running_loop()
        await self.start()
        return self

    def change(self, **values: Any) -> None:
        """From any thread."""
        self._loop.call_soon_threadsafe(lambda: self.set(**values))

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    device = Device(free_port())
    device.values = {"speed": 1.5, "setpoint": 0}
    with on_a_thread(device):
        yield device


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    packages = install_toy(tmp_path_factory.mktemp("packages"))
    install(packages, "broken", {"broken": "no_such_module:PROTOCOL", "Modbus!": "no_such_module:PROTOCOL"})
    path = os.pathsep.join((str(ROOT), str(packages)))
    with AgentProcess(tmp_path_factory.mktemp("agent") / "data", PYTHONPATH=path) as agent:
        yield agent
        assert agent.stop() == 0
    assert "Traceback" not in agent.log.read_text()


def until(look: Callable[[], Any], right: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 5
    while not right(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)
    return seen


def values(agent: AgentProcess, name: str) -> dict[str, Any]:
    found = agent.get(f"/v1/adapters/toy/devices/{name}")
    return {point["name"]: (point["lastValue"], point["quality"]) for point in found["registers"]}


def test_it_is_a_protocol_like_those_of_the_agent_itself(agent: AgentProcess) -> None:
    toy = agent.get("/v1/protocols/toy")
    assert (toy["available"], toy["package"], toy["title"]) == (True, "callboard-toy 1.0", "Toy")
    can = {name for name, does in toy["capabilities"].items() if does}
    assert can == {"reads", "listens", "writes", "verifies", "browses", "discovers"}
    assert toy["connection_schema"]["required"] == ["host", "port"]
    assert toy["connection_schema"]["properties"]["password"]["format"] == "password"


def test_a_broken_package_costs_its_own_protocol_and_nothing_else(agent: AgentProcess) -> None:
    broken = agent.get("/v1/protocols/broken")
    assert not broken["available"]
    assert "No module named 'no_such_module'" in broken["reason"]
    body = {"name": "x", "protocol": "broken", "connection": {}}
    status, reply = agent.request("POST", "/v1/endpoints", body)
    assert (status, reply["field"]) == (503, "protocol")
    assert "no_such_module" in reply["error"]
    assert [one["name"] for one in agent.get("/v1/protocols")["not_used"]] == ["Modbus!"]
    assert agent.log.read_text().count("no_such_module") == 1


@pytest.mark.parametrize("subscribe", [False, True], ids=["polled", "pushed"])
def test_its_endpoints_are_read_and_written(agent: AgentProcess, device: Device, subscribe: bool) -> None:
    name = "pushed" if subscribe else "polled"
    connection = {"host": "127.0.0.1", "port": device.port, "subscribe": subscribe}
    points = [{"name": "speed", "unit": "m/s"}, {"name": "setpoint", "writable": True}]
    body = {"name": name, "protocol": "toy", "connection": connection, "poll_interval": 50}
    agent.post("/v1/endpoints", body | {"data_points": points})
    until(lambda: values(agent, name), lambda seen: seen["speed"] == (device.values["speed"], "GOOD"))
    device.change(speed=7.25 + subscribe)
    until(lambda: values(agent, name), lambda seen: seen["speed"] == (7.25 + subscribe, "GOOD"))
    path = f"/v1/adapters/toy/devices/{name}/write"
    assert agent.post(path, {"register": "setpoint", "value": 42 + subscribe})["success"]
    assert device.written[-1] == ("setpoint", 42 + subscribe)
    until(lambda: values(agent, name), lambda seen: seen["setpoint"] == (42 + subscribe, "GOOD"))
    assert agent.request("POST", path, {"register": "speed", "value": 1})[0] == 400
    latest = agent.get("/v1/readings/latest")["readings"]
    assert {one["metric"] for one in latest if one["endpoint"] == name} == {"speed", "setpoint"}


def test_what_its_schemas_do_not_know_is_refused(agent: AgentProcess) -> None:
    body = {"name": "y", "protocol": "toy", "connection": {"host": "h", "port": 1, "userr": "x"}}
    status, reply = agent.request("POST", "/v1/endpoints", body)
    assert (status, reply["field"]) == (400, "connection.userr")
    assert "did you mean user?" in reply["message"]


def test_its_devices_are_found_and_become_endpoints(agent: AgentProcess, device: Device) -> None:
    options = {"network": "127.0.0.77-78,localhost", "port": device.port, "timeout": 500}
    connection = {"host": "127.0.0.1", "port": device.port}
    body = {"name": "reads", "protocol": "toy", "connection": connection}
    agent.post("/v1/endpoints", body | {"data_points": [{"name": "speed"}]})
    found = agent.post(
        "/v1/discover", {"protocols": ["toy"], "validate": True, "overrides": {"toy": options}}
    )
    [one] = [one for one in found["devices"] if one["connection"]["host"] == "127.0.0.1"]
    assert (one["validated"], one["confidence"], one["known"]) == (True, "high", True)
    assert {point["name"] for point in one["dataPoints"]} == {"speed", "setpoint"}

    rule = {"name": "toys", "protocol": "toy", "params_json": options, "auto_enable": True}
    uuid = agent.post("/v1/discovery-rules", rule)["uuid"]
    ran = agent.post(f"/v1/discovery-rules/{uuid}/run", {})
    assert (ran["rule"]["status"], ran["prunedCount"]) == ("ok", 0)
    assert ran["rule"]["last_result_json"]["skipped"] == 1
    [run] = agent.get(f"/v1/discovery-rules/{uuid}/runs")["runs"]
    assert (run["status"], run["devices_found"]) == ("success", 1)


# The guide


def used() -> set[str]:
    """The modules of callboard that the toy imports."""
    found = set()
    for file in (ROOT / "tests" / "toy_protocol").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module or "")
    return {module for module in found if module.startswith(("actors.", "conf.", "api.", "storage."))}


def test_it_uses_nothing_but_what_the_guide_names() -> None:
    table = re.split(r"^=+  =+$", GUIDE.read_text(), flags=re.MULTILINE)[2]
    named = set(re.findall(r"``((?:actors|conf|storage)\.[a-z_.]+)``", table))
    assert used() <= named
    for module in named:
        __import__(module)
