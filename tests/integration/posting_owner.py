"""What a destination actor is to a driver that sends over HTTP: it is told, and keeps what it is told."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from outgoing import Handed
from servers.influxdb import InfluxDB, Point

from actors.connections.connection import Permanent, Transient
from actors.publish.destinations import influxdb_config, webhook_config
from actors.publish.destinations.driver import Driver, Listener
from actors.publish.destinations.influxdb_driver import InfluxDriver
from actors.publish.destinations.webhook_driver import WebhookDriver

MS = 1741083325004
SOON = {"flushInterval": 5}


class Owner:
    """`refused` and `parts` are with their reasons."""

    def __init__(self, make: Callable[[Listener], Driver]) -> None:
        self.batches: list[list[int]] = []
        self.refused: list[tuple[list[int], str]] = []
        self.parts: list[tuple[int, bytes, str]] = []
        self.losses: list[Transient | Permanent] = []
        self.driver = make(self)

    def delivered(self, seqs: list[int]) -> None:
        self.batches.append(seqs)

    def rejected(self, seqs: list[int], reason: str) -> None:
        self.refused.append((seqs, reason))

    def rejected_part(self, seq: int, payload: bytes, reason: str) -> None:
        assert seq not in self.done, "it is told before the rest of the payload is delivered"
        self.parts.append((seq, payload, reason))

    def lost(self, error: Transient | Permanent) -> None:
        self.losses.append(error)

    def expiring(self) -> None:
        raise AssertionError("nothing here expires")

    @property
    def done(self) -> list[int]:
        """What was delivered, in the order told."""
        return [seq for seqs in self.batches for seq in seqs]

    @property
    def dead(self) -> list[int]:
        return [seq for seqs, _ in self.refused for seq in seqs]

    def send_payload(self, seq: int, topic: str, payload: bytes) -> None:
        self.driver.send(Handed(seq, topic, payload))


class InfluxOwner(Owner):
    def __init__(self, config_json: dict[str, Any]) -> None:
        super().__init__(lambda listener: InfluxDriver(influxdb_config.check(config_json), listener))

    def send(self, *seqs: int, topic: str = "line1") -> None:
        for seq in seqs:
            self.send_payload(seq, topic, payload(seq))

    def send_fields(self, seq: int, fields: bytes, topic: str = "line1", device: str = "press") -> None:
        """A point of those fields, of its own time."""
        self.send_payload(seq, topic, b"device=%b %b %d" % (device.encode(), fields, MS + seq))


class WebhookOwner(Owner):
    def __init__(self, config_json: dict[str, Any]) -> None:
        super().__init__(lambda listener: WebhookDriver(webhook_config.check(config_json), listener))

    def send(self, *seqs: int, topic: str = "plant", size: int = 0) -> None:
        for seq in seqs:
            self.send_payload(seq, topic, document(seq, size))


def document(seq: int, size: int = 0) -> bytes:
    return json.dumps({"seq": seq, "text": "x" * size}).encode()


def payload(seq: int, device: str = "press", ms: int = MS) -> bytes:
    """The point number `seq`, whose time is that many ms later."""
    return b"device=%b n=%d %d" % (device.encode(), seq, ms + seq)


def numbers(points: list[Point]) -> list[int]:
    return [int(point.fields["n"]) for point in points]


async def until(happened: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if happened():
                return
            await asyncio.sleep(0.002)


async def connected(server: InfluxDB, **config_json: Any) -> InfluxOwner:
    owner = InfluxOwner(server.config_json(**{**SOON, **config_json}))
    await owner.driver.connect()
    return owner
