"""What users of other products have reported of devices behind gateways, of writes, and of a broker's users,
tried on ours."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.agent import AgentProcess
from servers.field import on_a_thread
from servers.mosquitto import Mosquitto
from servers.rude_device import RudeDevice, always, rude_device, when
from test_agent_broker_users import _OfUsers, publish, until

WRITE = "/v1/adapters/modbus/devices/plc/write"


@pytest.fixture
def plc() -> Iterator[RudeDevice]:
    with on_a_thread(rude_device()) as device:
        yield device


def add_plc(agent: AgentProcess, port: int, interval: int = 1000) -> None:
    points = [{"name": f"p{n}", "register": f"holding:{n}", "type": "uint16"} for n in (50, 51)]
    connection = {"host": "127.0.0.1", "port": port, "timeout": 1000}
    endpoint = {"name": "plc", "protocol": "modbus", "connection": connection, "data_points": points}
    agent.post("/v1/endpoints", {**endpoint, "poll_interval": interval})
    until(lambda: agent.get("/v1/adapters/modbus/devices/plc")["connected"])


def test_a_value_that_is_written_during_a_poll_is_not_taken_for_reverted(agent, plc):
    """nathanmarlor/foxess_modbus, issue 542, and 0xAHA/Growatt_ModbusTCP, issue 358: what a poll had read
    before the write was compared with what was written."""
    plc.behave(when(always, delay=0.02))
    add_plc(agent, plc.port, interval=100)
    for value in range(20):
        done = agent.post(WRITE, {"register": "p50", "value": value, "verify": True})
        assert (done["verified"], done["readBack"]) == (True, value)


def test_two_registers_of_one_value_are_written_at_once(agent, plc):
    """thingsboard/thingsboard-gateway, issue 1023: a value of two registers was not written, and nobody said
    so."""
    add_plc(agent, plc.port)
    before = len(plc.log)
    body = {"register": "holding:38", "value": 0x85A15100, "type": "uint32", "verify": True}
    assert agent.post(WRITE, body)["readBack"] == 0x85A15100
    assert [one[1:] for one in plc.log[before:] if one[1] in (6, 16)] == [(16, 38, 2)]


def test_a_write_that_the_device_rejects_is_no_success(agent, plc):
    """timlaing/modbus_local_gateway, pull request 277: a rejected write looked like any other."""
    add_plc(agent, plc.port)
    plc.behave(when(lambda asked: asked.function == 6, exception=3))
    status, answer = agent.request("POST", WRITE, {"register": "p50", "value": 1})
    assert (status, answer["field"]) == (400, "value")
    assert "ILLEGAL_VALUE" in answer["message"]


def test_a_device_that_takes_a_write_and_keeps_its_value_is_found_out(agent, plc):
    """svasek/homeassistant-neopool-modbus, pull request 134: registers that hold something else than what was
    written are only seen by who reads them back."""
    add_plc(agent, plc.port)
    before = agent.post(WRITE, {"register": "p51", "value": 7, "verify": True})["readBack"]
    plc.behave(when(lambda asked: asked.function == 6, reframe=_as_if_done(plc)))
    status, answer = agent.request("POST", WRITE, {"register": "p51", "value": 8, "verify": True})
    assert (status, answer["verified"], answer["value"], answer["readBack"]) == (409, False, 8, before)


def _as_if_done(plc: RudeDevice) -> Any:
    """The device answers a write, and then has its old value again."""

    def reframe(frame: bytes) -> bytes:
        plc.registers[51] = 7
        return frame

    return reframe


def test_a_topic_that_begins_with_a_slash_names_devices_too(agent, tmp_path):
    """thingsboard/thingsboard-gateway, issue 239: the device's name was not found in /sensor/SN-001/data."""
    with Mosquitto(tmp_path / "broker") as broker:
        point = {"topic": "/sensor/{device}/data", "metric": "temp", "field": "temp"}
        connection = {"brokerUrl": f"mqtt://127.0.0.1:{broker.port}"}
        given = {"name": "sensors", "protocol": "mqtt", "connection": connection, "data_points": [point]}
        agent.post("/v1/endpoints", given)

        def found() -> bool:
            login = ["-h", "127.0.0.1", "-p", str(broker.port)]
            command = ["mosquitto_pub", *login, "-t", "/sensor/SN-001/data", "-m", '{"temp": 42}']
            subprocess.run(command, check=True, timeout=5)
            names = {one["name"] for one in agent.get("/v1/devices?protocol=mqtt")["devices"]}
            return "SN-001" in names

        until(found)


def test_who_is_connected_stays_so_while_users_come_and_go(tmp_path: Path):
    """eclipse-mosquitto/mosquitto, issues 657, 1521 and 2029: SIGHUP took connections away; and so nobody
    sends it without need."""
    folder = tmp_path / "broker"
    with _OfUsers(folder) as broker:
        config = tmp_path / "agent.toml"
        config.write_text(f'[mosquitto]\npid_file = "{folder / "pid"}"\n')
        environment = {
            "MQTT_BROKER_URL": f"mqtt://127.0.0.1:{broker.port}",
            "MQTT_USERNAME": "admin",
            "MQTT_PASSWORD": "pw-of-the-agent",
            "MQTT_AUTH_DIR": str(folder),
        }
        with AgentProcess(tmp_path / "data", config, **environment) as agent:
            agent.post("/v1/endpoints", user("one"))
            until(lambda: publish(broker, "one", "pw-one", "one/x", "1"))
            login = ["-h", "127.0.0.1", "-p", str(broker.port), "-u", "admin", "-P", "pw-of-the-agent"]
            follower = subprocess.Popen(
                ["mosquitto_sub", *login, "-i", "follower", "-t", "one/#", "-W", "8", "-C", "1"],
                stdout=subprocess.PIPE,
            )
            log = folder / f"mosquitto-{broker.port}.log"
            until(lambda: "as follower" in log.read_text())
            reloads = log.read_text().count("Reloading config")
            for number in range(3):
                agent.post("/v1/endpoints", user(f"more-{number}"))
            until(lambda: publish(broker, "more-2", "pw-more-2", "more-2/x", "1"))
            agent.patch("/v1/endpoints/one", {"poll_interval": 2000})
            time.sleep(0.5)
            told = log.read_text()
            assert 1 <= told.count("Reloading config") - reloads <= 3
            assert "Client follower disconnected" not in told
            assert told.count("as follower") == 1
            publish(broker, "one", "pw-one", "one/x", "still here")
            assert follower.communicate(timeout=9)[0] == b"still here\n"


def user(name: str) -> dict[str, Any]:
    connection = {"username": name, "password": f"pw-{name}", "topic": name}
    return {
        "name": name,
        "protocol": "mqtt",
        "connection": connection,
        "data_points": [{"topic": f"{name}/x", "metric": "x"}],
    }
