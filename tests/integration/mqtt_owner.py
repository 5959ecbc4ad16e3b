"""What tests of the MQTT driver share: its owner."""

import asyncio
from collections.abc import Callable
from typing import Any

import gmqtt
from gmqtt.mqtt.constants import MQTTv311
from outgoing import Handed

from actors.connections.connection import Permanent, Transient
from actors.mqtt.broker import Login
from actors.publish.destinations import mqtt
from actors.publish.destinations.driver import Listener
from actors.publish.destinations.mqtt_driver import MqttDriver


class Owner(Listener):
    """What a destination actor is to a driver: it takes the callbacks and keeps what they say."""

    def __init__(
        self, config_json: dict[str, Any], login: Callable[[], Login] | None = None, **options: Any
    ) -> None:
        self.told: list[tuple[str, Any]] = []
        self.pauses: list[float] = []
        config = mqtt.check(config_json)
        self.driver = MqttDriver(
            config.broker,
            login or (lambda: Login(config.client_id or "agent-1", config.username, config.password)),
            self,
            **{"max_payload": config.max_payload, **options},
        )

    def send(self, seq: int, topic: str, payload: bytes, **options: Any) -> None:
        self.driver.send(Handed(seq, topic, payload, **options))

    def delivered(self, seqs: list[int]) -> None:
        self.told.append(("delivered", seqs))

    def rejected(self, seqs: list[int], reason: str) -> None:
        self.told.append(("rejected", (seqs, reason)))

    def lost(self, error: Transient | Permanent) -> None:
        assert isinstance(error, Transient)
        self.pauses.append(error.retry_after)
        self.told.append(("lost", str(error)))

    def expiring(self) -> None:
        self.told.append(("expiring", None))

    def all(self, what: str) -> list[Any]:
        return [told for kind, told in self.told if kind == what]

    @property
    def losses(self) -> list[str]:
        return self.all("lost")

    @property
    def seqs(self) -> list[int]:
        return [seq for seqs in self.all("delivered") for seq in seqs]


def to_port(port: int, **config_json: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port, **config_json}


def tls_to(port: int, **config_json: Any) -> dict[str, Any]:
    return {"brokerUrl": f"mqtts://127.0.0.1:{port}", **config_json}


async def until(happened: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if happened():
                return
            await asyncio.sleep(0.005)


async def subscriber(port: int, received: list[tuple[str, bytes, int]]) -> gmqtt.Client:
    """A client that appends to `received` whatever the broker has, as topic, payload and QoS."""
    client = gmqtt.Client("subscriber")
    subscribed = asyncio.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _, topic, payload, qos, __: received.append((topic, payload, qos))
    await client.connect("127.0.0.1", port, version=MQTTv311)
    client.subscribe("#", qos=1)
    await subscribed.wait()
    return client
