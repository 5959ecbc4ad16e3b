"""Destination `azure-iot`: Azure IoT Hub over MQTT with SAS tokens (spec 02 section 8.4)."""

import math
from base64 import b64decode
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta

from actors.mqtt.broker import Broker, Login, check_pems
from actors.mqtt.topics import Room
from actors.publish.destinations import external, sas
from actors.publish.destinations.driver import DestinationType, Driver, Identity, Listener
from actors.publish.destinations.fields import ROOT
from actors.publish.destinations.mqtt_session import Addressed
from actors.publish.destinations.token_clock import token_clock
from actors.publish.messages import DestinationTested
from actors.publish.topics import Target
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import allowed, reads
from conf.fields import NUMERAL, Flag, Host, Pem, Text, trimmed

SECRETS = ("sharedAccessKey", "connectionString")
API_VERSION = "2021-04-12"
MAX_PAYLOAD = 262_144
MAX_TOPIC = 21_000
RENEW_AT = 0.8
"""The share of a token's life after which there is a new one."""

_JSON = "&%24.ct=application%2Fjson&%24.ce=utf-8"
_BINARY = "&%24.ct=application%2Foctet-stream"


class Auth(msgspec.Struct, frozen=True, rename="camel"):
    type: Annotated[Literal["sas"], reads(trimmed)] = "sas"
    shared_access_key: Text | None = None
    token_ttl_seconds: Annotated[int, Meta(ge=5, le=31_536_000), NUMERAL] = 3600


class Given(external.Config, frozen=True, kw_only=True, rename="camel"):
    """`connectionString` gives what the other keys do not."""

    host_name: Host | None = None
    device_id: Annotated[str, reads(trimmed, sas.device_id)] | None = None
    connection_string: Annotated[dict[str, str], reads(trimmed, sas.parts), allowed("a string")] = {}
    ca: Pem | None = None
    reject_unauthorized: Flag = True
    auth: Auth

    def part(self, own: str | None, key: str) -> str:
        """Its own value, or that in the connection string; raises `Refusal`."""
        found = own or self.connection_string.get(key.rpartition(".")[2].lower())
        if not found:
            raise Refusal(f"{key} is required, here or in connectionString", f"{ROOT}.{key}")
        return found


class Config(msgspec.Struct, frozen=True):
    """`key` is the device's, decoded; a token is good for `token_seconds`."""

    broker: Broker
    device_id: str
    key: bytes
    token_seconds: int
    topic_template: str | None


def check(config_json: dict[str, Any]) -> Config:
    """Validate `config_json`; raises `Refusal`."""
    given = checked(config_json, Given, ROOT)
    broker = Broker(
        host=given.part(given.host_name, "hostName"),
        port=given.port,
        tls=True,
        ca=given.ca,
        reject_unauthorized=given.reject_unauthorized,
    )
    check_pems(broker)
    return Config(
        broker=broker,
        device_id=given.part(given.device_id, "deviceId"),
        key=_decoded(given.part(given.auth.shared_access_key, "auth.sharedAccessKey")),
        token_seconds=given.auth.token_ttl_seconds,
        topic_template=given.with_template().topic_template,
    )


def _decoded(key: str) -> bytes:
    try:
        return b64decode(key, validate=True)
    except ValueError as error:
        field = "auth.sharedAccessKey"
        raise Refusal(f"{field} is not base64", f"{ROOT}.{field}") from error


def login(config: Config) -> Login:
    """With a token that is good from now on."""
    clock = token_clock(config.broker.host, config.device_id)
    resource = f"{config.broker.host}/devices/{config.device_id}"
    expires = math.ceil(clock.unix_ms() / 1000) + config.token_seconds
    return Login(
        client_id=config.device_id,
        username=f"{config.broker.host}/{config.device_id}/?api-version={API_VERSION}",
        password=sas.signature(resource, config.key, expires),
        renew_after=config.token_seconds * RENEW_AT,
        accepted=clock.accepted,
    )


def address(config: Config, _identity: Identity, topic: str, payload: bytes) -> str:
    """The topic of the hub's own: the given one and the content type are properties in it."""
    name = quote(topic, safe="", errors="replace")
    properties = _JSON if payload.startswith(b"{") else _BINARY
    return f"devices/{config.device_id}/messages/events/?endpoint={name}{properties}"


def target(config: Config, topic: str | None, identity: Identity) -> Target:
    return external.target(topic, config.topic_template, config.device_id, identity, _room)


def _room(_topic: str) -> Room:
    """Quoted, each byte takes up to three, and the rest of the topic on the wire is short."""
    return Room(MAX_TOPIC)


def driver(config: Config, identity: Identity, listener: Listener) -> Driver:
    from actors.publish.destinations.mqtt_driver import MqttDriver

    return MqttDriver(
        config.broker,
        lambda: login(config),
        listener,
        session=Addressed(partial(address, config, identity)),
        max_payload=MAX_PAYLOAD,
    )


async def test(config: Config, identity: Identity) -> DestinationTested:
    """As the device itself, for the hub knows no other: a running connection of it is ended, and is
    soon there again."""
    from actors.publish.destinations.mqtt_driver import try_connect

    success = f"Connected — {config.broker.host}/{config.device_id}"
    return await try_connect(config.broker, lambda: login(config), success)


DESTINATION = DestinationType(
    name="azure-iot",
    check=check,
    target=target,
    driver=driver,
    test=test,
    secrets=SECRETS,
    schema=Given,
    mqtt_topics=True,
    max_payload=lambda _: MAX_PAYLOAD,
    address=address,
)
