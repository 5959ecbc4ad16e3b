"""Destination `aws-iot`: AWS IoT Core over MQTT with mutual TLS (spec 02 section 8.5)."""

import re
from typing import Annotated, Any, Literal

import msgspec

from actors.mqtt.broker import Broker, Login, check_pems
from actors.mqtt.topics import AMPLE, Room
from actors.publish.destinations import external
from actors.publish.destinations.driver import DestinationType, Driver, Identity, Listener
from actors.publish.destinations.fields import ROOT
from actors.publish.messages import DestinationTested
from actors.publish.topics import Target
from actors.system.checking import checked
from conf.annotations import reads
from conf.fields import Host, Pem, one_line, trimmed

SECRETS = ("key",)
MAX_PAYLOAD = 131_072
MAX_CLIENT_ID = 128

MAX_TOPIC = 256
MAX_SLASHES = 7

_BASIC_INGEST = re.compile(r"\$aws/rules/[^/]+/", re.IGNORECASE)
_HTTPS_PORT = 443
_ALPN = "x-amzn-mqtt-ca"


def _client_id(value: Any) -> Any:
    if isinstance(value, str) and len(value.encode()) > MAX_CLIENT_ID:
        raise ValueError(f"is longer than {MAX_CLIENT_ID} bytes")
    return value


class Auth(msgspec.Struct, frozen=True):
    cert: Pem
    key: Pem
    ca: Pem | None = None
    type: Annotated[Literal["mtls"], reads(trimmed)] = "mtls"


class Config(external.Config, frozen=True, kw_only=True, rename="camel"):
    """`config_json` as clients send it."""

    endpoint: Host
    device_id: Annotated[str, reads(trimmed, one_line, _client_id)] | None = None
    auth: Auth

    @property
    def broker(self) -> Broker:
        auth = self.auth
        # Port 443 is that of HTTPS too.
        alpn = _ALPN if self.port == _HTTPS_PORT else None
        return Broker(self.endpoint, self.port, tls=True, ca=auth.ca, cert=auth.cert, key=auth.key, alpn=alpn)


def check(config_json: dict[str, Any]) -> Config:
    """Validate `config_json`; raises `Refusal`."""
    config = checked(config_json, Config, ROOT)
    check_pems(config.broker, f"{ROOT}.auth")
    return config.with_template(room)


def _device_id(config: Config, identity: Identity) -> str:
    return config.device_id or identity.agent_uuid


def target(config: Config, topic: str | None, identity: Identity) -> Target:
    return external.target(topic, config.topic_template, _device_id(config, identity), identity, room)


def room(topic: str) -> Room:
    """What the service takes of a topic: 256 bytes and 7 slashes, without the head of a Basic Ingest topic.
    Its other reserved topics have limits of their own."""
    ingest = _BASIC_INGEST.match(topic)
    if ingest is None:
        return AMPLE if topic.lower().startswith("$aws/") else Room(MAX_TOPIC, MAX_SLASHES)
    return Room(MAX_TOPIC + len(ingest[0].encode()), MAX_SLASHES + ingest[0].count("/"))


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
    name="aws-iot",
    check=check,
    target=target,
    driver=driver,
    test=test,
    secrets=SECRETS,
    schema=Config,
    mqtt_topics=True,
    max_payload=lambda _: MAX_PAYLOAD,
)
