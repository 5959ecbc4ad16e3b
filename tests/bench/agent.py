"""The agent under test: `callboard run` in a process of its own, configured over its HTTP API."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from processes import Process
from servers.agent import AgentApi
from servers.mosquitto import free_port

START_S = 30


class Wanted(msgspec.Struct, frozen=True):
    """A subscription: to which of the brokers, on which topic, and as what."""

    broker: int
    topic: str
    format: str
    compression: str


class Agent(Process):
    """Runs in `directory` on a free port. `command` is what starts it, without arguments of ours."""

    def __init__(self, directory: Path, command: Sequence[str]) -> None:
        port = free_port()
        self.api = AgentApi(f"http://127.0.0.1:{port}")
        self.subscriptions: list[int] = []
        """Their ids."""
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
        """One endpoint a port."""
        for index, port in enumerate(ports):
            self.api.post("/v1/endpoints", endpoint(index, port, registers, interval_ms))

    def publish(self, broker_ports: Sequence[int], wanted: Sequence[Wanted]) -> None:
        """All readings, once for each of `wanted`; a destination for each broker."""
        destinations = [
            self.api.post(
                "/v1/publish/destinations",
                {
                    "name": f"bench-{port}",
                    "type": "mqtt",
                    "config_json": {"host": "127.0.0.1", "port": port},
                },
            )
            for port in broker_ports
        ]
        self.subscriptions = [self._subscribe(destinations[each.broker]["id"], each) for each in wanted]

    def _subscribe(self, destination: int, wanted: Wanted) -> int:
        body = {
            "publish_destination_id": destination,
            "topics": ["modbus"],
            "payload_format": wanted.format,
            "compression": wanted.compression,
            "route_json": {"topic": wanted.topic},
        }
        id: int = self.api.post("/v1/publish/subscriptions", body)["id"]
        return id

    def enable(self, subscription: int, enabled: bool) -> None:
        self.api.patch(f"/v1/publish/subscriptions/{subscription}", {"enabled": enabled})


def endpoint(number: int, port: int, registers: int, interval_ms: int) -> dict[str, Any]:
    """The endpoint `bench-<number>`: one data point a register; two for each of seq and clock."""
    points = [
        {"name": "seq", "register": "holding:0", "type": "uint32"},
        {"name": "clock", "register": "holding:2", "type": "uint32"},
        *(
            {"name": f"r{index}", "register": f"holding:{index}", "type": "uint16"}
            for index in range(4, registers)
        ),
    ]
    return {
        "name": f"bench-{number}",
        "protocol": "modbus",
        "connection": {"host": "127.0.0.1", "port": port, "unitId": 1},
        "poll_interval": interval_ms,
        "data_points": points,
    }


def default_command() -> list[str]:
    """The `callboard` command of this interpreter's environment."""
    return [str(Path(sys.executable).with_name("callboard")), "run"]
