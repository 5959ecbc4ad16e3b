"""A real agent: an endpoint with an odd name, a preview of what it publishes, and what a broker then gets."""

import subprocess
import time
from pathlib import Path
from typing import Any

from servers.agent import AgentProcess
from servers.field import field
from servers.mosquitto import Mosquitto

NAME = "hall 1/press+#4 "
SPELLED = "hall 1_press__4_"


def test_what_a_preview_shows_is_what_the_broker_gets(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path) as broker,
        field(registers=4) as device,
        AgentProcess(tmp_path / "data") as agent,
    ):
        config = {"host": "127.0.0.1", "port": broker.port, "topicTemplate": "plant/{name}/{device}"}
        body = {"name": "broker", "type": "mqtt", "config_json": config}
        destination = agent.post("/v1/publish/destinations", body)
        wanted = {
            "publish_destination_id": destination["id"],
            "topics": ["modbus/+/+/m0", "sensors/hall 1/press/#"],
            "payload_format": "tags",
        }
        before = agent.post("/v1/publish/subscriptions/preview", wanted)
        assert [one["code"] for one in before["warnings"]] == ["nothing-read"]
        point = {"name": "m0", "register": "holding:0", "type": "uint16"}
        agent.post(
            "/v1/endpoints",
            {
                "name": NAME,
                "protocol": "modbus",
                "connection": {"host": "127.0.0.1", "port": device.port},
                "data_points": [point, {**point, "name": "m1"}],
                "poll_interval": 100,
            },
        )
        subscription = agent.post("/v1/publish/subscriptions", wanted)
        path = f"/v1/publish/subscriptions/{subscription['id']}/preview"
        found = _read(agent, path)
        assert [(one["endpoint"], one["metric"]) for one in found["points"]] == [(NAME, "m0")]
        assert found["topics"] == [{"topic": f"plant/{SPELLED}/{SPELLED}", "endpoints": 1}]
        [fruitless, changed] = found["warnings"]
        assert (fruitless["code"], changed["code"]) == ("filter-selects-nothing", "name-changed")
        assert "press__4_" in fruitless["message"]
        command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", "#", "-C", "1"]
        heard = subprocess.run([*command, "-F", "%t"], capture_output=True, text=True, timeout=20, check=True)
        assert heard.stdout.strip("\n") == found["payload"]["topic"]
        assert agent.stop() == 0


def _read(agent: AgentProcess, path: str) -> Any:
    """The preview once the endpoint has been read."""
    deadline = time.monotonic() + 10
    while not (found := agent.get(path))["total"]:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found
