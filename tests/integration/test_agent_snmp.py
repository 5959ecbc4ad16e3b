"""A real agent and Net-SNMP's: polled, written, browsed, found, and heard when something happens to it."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers.agent import AgentProcess
from servers.mosquitto import Mosquitto
from servers.snmpd import FIXED, USERS, Snmpd
from servers.udp_relay import free_udp_port

MASK = "********"
pytestmark = pytest.mark.timeout(60)


def until(happened: Callable[[], Any], seconds: float = 15.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_from_a_search_to_an_alarm(tmp_path: Path) -> None:
    port = free_udp_port()
    snmpd = Snmpd(tmp_path)
    snmpd.integers = {"1.0": 7, "2.0": 0}
    with (
        snmpd,
        Mosquitto(tmp_path) as broker,
        AgentProcess(tmp_path / "data", CALLBOARD_SNMP_TRAP_PORT=str(port)) as agent,
    ):
        user = {"username": "aes", **USERS["aes"]}
        asked = {"hosts": "127.0.0.1", "port": snmpd.port, "timeout": 1000, **user}
        found = agent.post(
            "/v1/discover", {"protocols": ["snmp"], "validate": True, "overrides": {"snmp": asked}}
        )
        [device] = found["devices"]
        assert (device["name"], device["validated"]) == ("callboard-test", True)
        assert "aes private" not in json.dumps(found)

        browse = {"connection": {"host": "127.0.0.1", "port": snmpd.port, **user}, "node": FIXED}
        nodes = agent.post("/v1/discover/snmp/browse", browse)["nodes"]
        assert [node["nodeId"] for node in nodes] == [f"{FIXED}.1.0", f"{FIXED}.2.0"]

        points = [
            {"name": "level", "oid": f"{FIXED}.1.0"},
            {"name": "setpoint", "oid": f"{FIXED}.2.0", "writable": True},
            {"name": "state", "oid": "1.3.6.1.2.1.2.2.1.8", "table": True, "enum": {"1": "up"}},
        ]
        connection = {"host": "127.0.0.1", "port": snmpd.port, **user}
        body = {"name": "ups", "protocol": "snmp", "connection": connection, "data_points": points}
        agent.post("/v1/endpoints", {**body, "poll_interval": 200})
        [row] = agent.get("/v1/endpoints")["endpoints"]
        assert (row["connection"]["authKey"], row["connection"]["privKey"]) == (MASK, MASK)
        write = {"register": "setpoint", "value": 42}
        until(lambda: agent.request("POST", "/v1/adapters/snmp/devices/ups/write", write)[0] == 200)
        assert snmpd.ask("2.0") == 42

        event = heard(agent, broker, port)
        assert (event["endpoint"], event["name"], event["source"]) == ("ups", "coldStart", "127.0.0.1")


def heard(agent: AgentProcess, broker: Mosquitto, port: int) -> Any:
    """What the broker is told of when the device sends a trap."""
    config = {"host": "127.0.0.1", "port": broker.port, "topicTemplate": "plant/traps"}
    destination = agent.post(
        "/v1/publish/destinations", {"name": "broker", "type": "mqtt", "config_json": config}
    )
    topics = {"publish_destination_id": destination["id"], "topics": ["events/traps/#"]}
    agent.post("/v1/publish/subscriptions", topics)
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", "#", "-C", "1", "-W", "20"]
    trap = ["snmptrap", "-v3", "-e", "0x8000000001020304", "-u", "aes", "-l", "authPriv", "-a", "SHA-256"]
    trap += ["-A", "aes secret 1", "-x", "AES", "-X", "aes private", f"127.0.0.1:{port}", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as subscriber:
        while subscriber.poll() is None:
            subprocess.run([*trap, "1.3.6.1.6.3.1.1.5.1"], check=True, env={"MIBS": "", "PATH": "/usr/bin"})
            time.sleep(0.5)
        received, _ = subscriber.communicate(timeout=25)
    return json.loads(received)
