"""Alarms, end to end: an OPC UA server that raises one, a broker that is told of it."""

import json
import subprocess
import time
from pathlib import Path

from servers.agent import AgentProcess
from servers.mosquitto import Mosquitto
from servers.opcua import OpcUaServer


def test_an_alarm_of_a_server_is_a_message_to_receive(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path) as broker,
        OpcUaServer(tmp_path, "node", nodes=[], interval_ms=0) as server,
        AgentProcess(tmp_path / "data") as agent,
    ):
        destination = agent.post(
            "/v1/publish/destinations",
            {
                "name": "broker",
                "type": "mqtt",
                "config_json": {"host": "127.0.0.1", "port": broker.port, "topicTemplate": "plant/alarms"},
            },
        )
        agent.post(
            "/v1/publish/subscriptions",
            {"publish_destination_id": destination["id"], "topics": ["events/alarms/#"]},
        )
        command = [
            "mosquitto_sub",
            "-h",
            "127.0.0.1",
            "-p",
            str(broker.port),
            "-t",
            "#",
            "-C",
            "1",
            "-W",
            "20",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as subscriber:
            connection = {"endpointUrl": server.url, "alarms": True, "publishingInterval": 50}
            agent.post("/v1/endpoints", {"name": "press", "protocol": "opcua", "connection": connection})
            deadline = time.monotonic() + 10
            while server.ask("counts")["subscriptions"] == 0:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            server.ask("alarm", name="Hot", active=True, severity=700, message="too hot")
            received, _ = subscriber.communicate(timeout=25)
    event = json.loads(received)
    assert (event["type"], event["endpoint"], event["condition"]) == ("alarm", "press", "Hot")
    assert (event["active"], event["severity"], event["message"]) == (True, 700, "too hot")
