"""Destination `aws-iot`: AWS IoT Core over MQTT with mutual TLS (spec 02 section 8.5)."""

from typing import Any

import msgspec

from actors.publish.destinations import external, fields
from actors.publish.destinations.broker import Broker, Login, check_pems
from actors.publish.destinations.driver import DestinationType, Driver, Identity, Listener
from actors.publish.messages import DestinationTested
from actors.publish.topics import Target
from actors.system.failure import Refusal

SECRETS = ("key",)
MAX_PAYLOAD = 131_072
MAX_CLIENT_ID = 128

_AUTH = f"{fields.ROOT}.auth"
_HTTPS_PORT = 443
_ALPN = "x-amzn-mqtt-ca"


class Config(msgspec.Struct, frozen=True):
    broker: Broker
    device_id: str | None
    topic_template: str | None


def check(config_json: dict[str, Any]) -> Config:
    """Validate `config_json`; raises `Refusal`."""
    auth = fields.section(config_json, "auth")
    external.check_kind(auth, "mtls")
    endpoint = external.host(config_json, "endpoint")
    if endpoint is None:
        raise Refusal("endpoint is required", f"{fields.ROOT}.endpoint")
    device_id = fields.text(config_json, "deviceId")
    if device_id is not None and len(device_id.encode()) > MAX_CLIENT_ID:
        raise Refusal(f"deviceId is longer than {MAX_CLIENT_ID} bytes", f"{fields.ROOT}.deviceId")
    port = external.port(config_json)
    broker = Broker(
        host=endpoint,
        port=port,
        tls=True,
        ca=fields.pem(auth, "ca", path=_AUTH),
        cert=_required_pem(auth, "cert"),
        key=_required_pem(auth, "key"),
        # Port 443 is that of HTTPS too.
        alpn=_ALPN if port == _HTTPS_PORT else None,
    )
    check_pems(broker, _AUTH)
    return Config(broker, device_id, external.template(config_json))


def _required_pem(auth: dict[str, Any], key: str) -> str:
    found = fields.pem(auth, key, path=_AUTH)
    if found is None:
        raise Refusal(f"auth.{key} is required", f"{_AUTH}.{key}")
    return found


def _device_id(config: Config, identity: Identity) -> str:
    return config.device_id or identity.agent_uuid


def target(config: Config, topic: str | None, identity: Identity) -> Target:
    return external.target(topic, config.topic_template, _device_id(config, identity), identity)


def driver(config: Config, identity: Identity, listener: Listener) -> Driver:
    from actors.publish.destinations.mqtt_driver import MqttDriver

    login = Login(_device_id(config, identity))
    return MqttDriver(config.broker, lambda: login, listener, max_payload=MAX_PAYLOAD)


async def test(config: Config, identity: Identity) -> DestinationTested:
    """As the device itself, for policies commonly admit no other client id: a running connection of it
    is ended, and is soon there again."""
    from actors.publish.destinations.mqtt_driver import try_connect

    login = Login(_device_id(config, identity))
    return await try_connect(
        config.broker, lambda: login, f"Connected — {config.broker.host}/{login.client_id}"
    )


DESTINATION = DestinationType(
    name="aws-iot", check=check, target=target, driver=driver, test=test, secrets=SECRETS
)
