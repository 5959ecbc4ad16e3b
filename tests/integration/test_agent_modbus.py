"""A real agent and Modbus devices with the manners of the field."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from servers.agent import AgentProcess
from servers.field import on_a_thread
from servers.mosquitto import free_port
from servers.rude_device import RudeDevice, always, rude_device, silent_on, when

WRITE = "/v1/adapters/modbus/devices/plc/write"
REGISTERS = (0, 1, 2, 50, 51)


@pytest.fixture
def plc() -> Iterator[RudeDevice]:
    with on_a_thread(rude_device()) as device:
        yield device


def add(agent: AgentProcess, port: int, *, interval: int = 50, **connection: Any) -> None:
    points = [{"name": f"p{n}", "register": f"holding:{n}", "type": "uint16"} for n in REGISTERS]
    connection = {"host": "127.0.0.1", "port": port, "timeout": 200, **connection}
    endpoint = {"name": "plc", "protocol": "modbus", "connection": connection, "data_points": points}
    agent.post("/v1/endpoints", {**endpoint, "poll_interval": interval})


def device(agent: AgentProcess) -> dict[str, Any]:
    found: dict[str, Any] = agent.get("/v1/adapters/modbus/devices/plc")
    return found


def after_polls(agent: AgentProcess, count: int, seconds: float = 8.0) -> dict[str, Any]:
    """The device once it has been polled so many times more."""
    before = device(agent)["metrics"]["pollTotalCount"]
    deadline = time.monotonic() + seconds
    while (found := device(agent))["metrics"]["pollTotalCount"] < before + count:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return found


def test_every_poll_and_every_write_of_a_device_that_closes_after_each_reply_succeeds(agent, plc):
    plc.behave(when(always, close="after"))
    add(agent, plc.port)
    after_polls(agent, 2)
    for value in range(5):
        assert agent.post(WRITE, {"register": "p50", "value": value})["value"] == value
    found = after_polls(agent, 10)
    assert (found["connected"], found["pollSuccessRate"], found["communicationQuality"]) == (True, 1.0, 100.0)
    assert found["metrics"]["lastErrors"] == []


def test_one_silent_register_leaves_the_others_good_and_polled(agent, plc):
    plc.behave(silent_on(51))
    add(agent, plc.port, interval=200)
    deadline = time.monotonic() + 8
    while device(agent)["registersUpdated"] < 4:
        assert time.monotonic() < deadline, device(agent)
        time.sleep(0.05)
    found = after_polls(agent, 10)
    by_name = {point["name"]: (point["quality"], point["qualityCode"]) for point in found["registers"]}
    assert by_name == {**dict.fromkeys(("p0", "p1", "p2", "p50"), ("GOOD", None)), "p51": ("BAD", "TIMEOUT")}
    assert (found["connected"], found["communicationQuality"] <= 80) == (True, True)


def test_a_device_of_which_nothing_can_be_read_is_not_well(agent, plc):
    plc.behave(when(always, exception=2))
    add(agent, plc.port)
    found = after_polls(agent, 3)
    assert (found["connected"], found["communicationQuality"], found["quality"]) == (True, 0, "poor")
    assert found["lastError"] == "no data point can be read: ILLEGAL_ADDRESS"
    [listed] = agent.get("/v1/endpoints")["endpoints"]
    assert listed["health"]["communicationQuality"] == 0
    plc.behave()
    assert after_polls(agent, 3)["registersUpdated"] == len(REGISTERS)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    ("register", "value", "status", "field"),
    [
        ("p0", 70000, 400, "value"),
        ("p0", "warm", 400, "value"),
        ("p0", None, 400, "value"),
        ("nothing", 1, 404, "register"),
        ("input:3", 1, 400, "register"),
        ("discrete:3", 1, 400, "register"),
    ],
)
def test_a_write_that_can_never_be_done_is_refused_whether_the_device_is_there_or_not(
    agent, plc, there: bool, register: str, value: Any, status: int, field: str
):
    add(agent, plc.port if there else free_port())
    if there:
        after_polls(agent, 1)
    answered, reply = agent.request("POST", WRITE, {"register": register, "value": value})
    assert (answered, reply["field"]) == (status, field), reply


@pytest.mark.parametrize("key", ["scaling", "byte_order", "Scale", "datatype"])
def test_a_misspelt_option_of_a_data_point_is_refused_with_what_it_may_have_meant(agent, plc, key: str):
    point = {"name": "p", "register": "holding:0", key: 2}
    body = {"name": "plc", "protocol": "modbus", "connection": {"host": "127.0.0.1", "port": plc.port}}
    status, reply = agent.request("POST", "/v1/endpoints", {**body, "data_points": [point]})
    assert (status, reply["field"]) == (400, f"data_points[0].{key}")
    assert "did you mean" in reply["message"]
    assert agent.get("/v1/endpoints")["endpoints"] == []


def test_a_device_is_shown_with_what_it_says_of_itself(agent, plc):
    plc.identification = {0: b"Acme", 1: b"PM-5", 2: b"1.02"}
    add(agent, plc.port, identify=True)
    after_polls(agent, 1)
    said = {"vendor": "Acme", "productCode": "PM-5", "revision": "1.02"}
    assert device(agent)["identification"] == said


# Writing


def entries(agent: AgentProcess) -> list[str]:
    """The log's entries of writes."""
    found = agent.get("/v1/logs?limit=1000")["logs"]
    return [one["message"] for one in found if one["message"].startswith("write to ")]


def asked(agent: AgentProcess, **body: Any) -> tuple[int, Any]:
    return agent.request("POST", WRITE, body)


def connected(agent: AgentProcess) -> None:
    deadline = time.monotonic() + 8
    while not device(agent)["connected"]:
        assert time.monotonic() < deadline, device(agent)
        time.sleep(0.02)


def test_a_write_is_verified_and_each_is_in_the_log(agent, plc):
    add(agent, plc.port, interval=5000)
    connected(agent)
    before = len(entries(agent))
    done = agent.post(WRITE, {"register": "p50", "value": 7, "verify": True})
    assert (done["value"], done["verified"], done["readBack"]) == (7, True, 7)
    assert set(agent.post(WRITE, {"register": "p50", "value": 8})) == {
        "success",
        "deviceName",
        "register",
        "value",
    }
    assert asked(agent, register="p50", value=70000)[0] == 400
    assert asked(agent, register="p50", value=7, unit="bar")[1]["field"] == "unit"
    assert asked(agent, register="nothing", value=7)[0] == 404
    told = entries(agent)
    assert len(told) == before + 5
    assert all("by somebody from 127.0.0.1" in line for line in told)
    assert any(line.endswith("value 7, by somebody from 127.0.0.1: done, verified") for line in told)


def test_a_write_under_way_is_answered_when_its_endpoint_is_deleted(agent, plc):
    add(agent, plc.port, interval=5000, timeout=5000)
    connected(agent)
    plc.behave(silent_on(50))
    with ThreadPoolExecutor(1) as others:
        before = len(plc.log)
        writing = others.submit(asked, agent, register="p50", value=1)
        deadline = time.monotonic() + 8
        while not any(one[1] == 6 for one in plc.log[before:]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        [row] = agent.get("/v1/endpoints")["endpoints"]
        agent.delete(f"/v1/endpoints/{row['uuid']}")
        status, answer = writing.result(timeout=8)
    assert (status, answer["error"]) == (503, "Interrupted: it may have been written")
