"""Schema drift, end to end: a device whose register vanishes, a broker that is told of it."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.modbus_server import ILLEGAL_ADDRESS
from servers.agent import AgentProcess
from servers.field import field
from servers.mosquitto import Mosquitto

GONE = 5
"""A register."""


def until(happened: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_a_register_that_vanishes_is_an_event_to_read_and_a_message_to_receive(tmp_path: Path) -> None:
    vanished = False

    def faults(_unit: int, _function: int, address: int, count: int) -> int | None:
        return ILLEGAL_ADDRESS if vanished and address <= GONE < address + count else None

    with (
        Mosquitto(tmp_path) as broker,
        field(registers=10, on_request=faults) as device,
        AgentProcess(tmp_path / "data") as agent,
    ):
        destination = agent.post(
            "/v1/publish/destinations",
            {
                "name": "broker",
                "type": "mqtt",
                "config_json": {
                    "host": "127.0.0.1",
                    "port": broker.port,
                    "topicTemplate": "plant/{protocol}",
                },
            },
        )
        agent.post(
            "/v1/publish/subscriptions",
            {"publish_destination_id": destination["id"], "topics": ["events/drift/#"]},
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
        subscriber = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            options = {"warmupBatches": 5, "windowMs": 100, "consecutiveMissingThreshold": 3}
            agent.patch("/v1/protocol-outputs/modbus/drift", {"drift_options": options})
            agent.post(
                "/v1/endpoints",
                {
                    "name": "press",
                    "protocol": "modbus",
                    "poll_interval": 20,
                    "connection": {"host": "127.0.0.1", "port": device.port},
                    "data_points": [
                        {"name": "kept", "register": "holding:4", "type": "uint16"},
                        {"name": "oilTemp", "register": f"holding:{GONE}", "type": "uint16"},
                    ],
                },
            )
            baselines = "/v1/protocol-outputs/drift/baselines"
            until(lambda: [b for b in agent.get(baselines)["baselines"] if not b["learning"]])
            vanished = True
            (event,) = until(lambda: agent.get("/v1/protocol-outputs/drift/events")["events"])
            told, _ = subscriber.communicate(timeout=20)
        finally:
            subscriber.kill()
            subscriber.wait()
    assert (event["drift_type"], event["severity"]) == ("missing-field", "critical")
    assert (event["device"], event["field"]) == ("press", "reading:oil_temp")
    message = json.loads(told)
    assert message["type"] == "schema-drift"
    assert message["field"] == "reading:oil_temp"
    assert message["detected_at"] == event["detected_at"]
