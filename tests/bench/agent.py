"""The agent under test: `callboard run` in a process of its own, configured over its HTTP API."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from processes import Process
from servers.agent import AgentApi
from servers.mosquitto import free_port

START_S = 30


class Agent(Process):
    """Runs in `directory` on a free port. `command` is what starts it, without arguments of ours."""

    def __init__(self, directory: Path, command: Sequence[str]) -> None:
        port = free_port()
        self.api = AgentApi(f"http://127.0.0.1:{port}")
        self.exec_at = time.monotonic()
        super().__init__(
            [*command, "--data-dir", str(directory / "data")],
            directory / "agent.log",
            {"DEVICE_API_PORT": str(port)},
            answers=False,
        )

    def wait_until_running(self) -> float:
        """Seconds from exec to state RUNNING. Raises RuntimeError after START_S."""
        while not self.api.ready():
            if self.ended() or time.monotonic() - self.exec_at > START_S:
                raise RuntimeError(f"the agent did not get to RUNNING: {self.last_words()}")
            time.sleep(0.01)
        return time.monotonic() - self.exec_at

    def poll_devices(self, ports: Sequence[int], registers: int, interval_ms: int) -> None:
        """One endpoint `bench-<n>` a port, one data point a register; two for each of seq and clock."""
        points = [
            {"name": "seq", "register": "holding:0", "type": "uint32"},
            {"name": "clock", "register": "holding:2", "type": "uint32"},
            *(
                {"name": f"r{index}", "register": f"holding:{index}", "type": "uint16"}
                for index in range(4, registers)
            ),
        ]
        for index, port in enumerate(ports):
            body = {
                "name": f"bench-{index}",
                "protocol": "modbus",
                "connection": {"host": "127.0.0.1", "port": port, "unitId": 1},
                "poll_interval": interval_ms,
                "data_points": points,
            }
            self.api.post("/v1/endpoints", body)

    def publish_to(self, broker_port: int) -> None:
        """All readings to topic `bench` of the broker, in format `tags`."""
        config = {"host": "127.0.0.1", "port": broker_port}
        destination = self.api.post(
            "/v1/publish/destinations", {"name": "bench", "type": "mqtt", "config_json": config}
        )
        body = {
            "publish_destination_id": destination["id"],
            "topics": [],
            "payload_format": "tags",
            "route_json": {"topic": "bench"},
        }
        self.api.post("/v1/publish/subscriptions", body)


def default_command() -> list[str]:
    """The `callboard` command of this interpreter's environment."""
    return [str(Path(sys.executable).with_name("callboard")), "run"]
