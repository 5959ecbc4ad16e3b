"""The four ways to a broker, for tests that go all of them."""

from pathlib import Path
from typing import Any

from servers.mosquitto import Mosquitto

SCHEMES = ("mqtt", "mqtts", "ws", "wss")
SECURE = ("mqtts", "wss")
WEBSOCKETS = ("ws", "wss")


def mosquitto(directory: Path, scheme: str, **options: Any) -> Mosquitto:
    return Mosquitto(directory, tls=scheme in SECURE, websocket=scheme in WEBSOCKETS, **options)


def to(broker: Mosquitto, scheme: str, port: int | None = None, **config_json: Any) -> dict[str, Any]:
    """A `config_json`; `port` is that of what stands in front of the broker."""
    trust = {"ca": broker.ca_pem} if broker.ca_pem else {}
    return {"brokerUrl": f"{scheme}://127.0.0.1:{port or broker.port}", **trust, **config_json}
