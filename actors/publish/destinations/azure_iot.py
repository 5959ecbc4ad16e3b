"""Destination `azure-iot`: Azure IoT Hub over MQTT with SAS tokens (spec 02 section 8.4)."""

import math
import re
import time
from base64 import b64decode
from typing import Any
from urllib.parse import quote

import msgspec

from actors.publish.destinations import external, fields, sas
from actors.publish.destinations.broker import Broker, Login, check_pems
from actors.publish.destinations.driver import DestinationType, Driver, Identity, Listener
from actors.publish.messages import DestinationTested
from actors.publish.topics import Target
from actors.system.failure import Refusal

SECRETS = ("sharedAccessKey", "connectionString")
API_VERSION = "2021-04-12"
MAX_PAYLOAD = 262_144
RENEW_AT = 0.8
"""The share of a token's life after which there is a new one."""

_AUTH = f"{fields.ROOT}.auth"
_DEVICE_ID = re.compile(r"[A-Za-z0-9.%_*?!(),:=@$'-]{1,128}")
_JSON = "&%24.ct=application%2Fjson&%24.ce=utf-8"
_BINARY = "&%24.ct=application%2Foctet-stream"


class Config(msgspec.Struct, frozen=True):
    """`key` is the device's, decoded; a token is good for `token_seconds`."""

    broker: Broker
    device_id: str
    key: bytes
    token_seconds: int
    topic_template: str | None


def check(config_json: dict[str, Any]) -> Config:
    """Validate `config_json`; raises `Refusal`. `connectionString` gives what the other keys do not."""
    auth = fields.section(config_json, "auth")
    external.check_kind(auth, "sas")
    own = {
        "hostName": external.host(config_json, "hostName"),
        "deviceId": fields.text(config_json, "deviceId"),
        "sharedAccessKey": fields.text(auth, "sharedAccessKey", path=_AUTH),
    }
    device = _connection(config_json) | {key: value for key, value in own.items() if value is not None}
    for key, path in (("hostName", fields.ROOT), ("deviceId", fields.ROOT), ("sharedAccessKey", _AUTH)):
        if key not in device:
            raise Refusal(f"{key} is required, here or in connectionString", f"{path}.{key}")
    if not _DEVICE_ID.fullmatch(device["deviceId"]):
        raise Refusal("deviceId is not one that IoT Hub allows", f"{fields.ROOT}.deviceId")
    broker = Broker(
        host=device["hostName"],
        port=external.port(config_json),
        tls=True,
        ca=fields.pem(config_json, "ca"),
        reject_unauthorized=fields.flag(config_json, "rejectUnauthorized", default=True),
    )
    check_pems(broker)
    return Config(
        broker=broker,
        device_id=device["deviceId"],
        key=_decoded(device["sharedAccessKey"]),
        token_seconds=fields.integer(auth, "tokenTtlSeconds", 5, 31_536_000, default=3600, path=_AUTH),
        topic_template=external.template(config_json),
    )


def _connection(config_json: dict[str, Any]) -> dict[str, str]:
    """The three parts of a connection string by the names that they have in `config_json`."""
    text = fields.text(config_json, "connectionString")
    if text is None:
        return {}
    pairs = (part.partition("=") for part in text.split(";"))
    parts = {name.strip().lower(): value.strip() for name, _, value in pairs}
    found = {key: parts.get(key.lower()) for key in ("hostName", "deviceId", "sharedAccessKey")}
    given = {key: value for key, value in found.items() if value}
    if len(given) < len(found):
        # The text itself is not shown: it holds the key.
        wanted = "HostName=...;DeviceId=...;SharedAccessKey=..."
        raise Refusal(
            f"connectionString must be that of a device: {wanted}", f"{fields.ROOT}.connectionString"
        )
    external.host(given, "hostName")
    return given


def _decoded(key: str) -> bytes:
    try:
        return b64decode(key, validate=True)
    except ValueError as error:
        raise Refusal("sharedAccessKey is not base64", f"{_AUTH}.sharedAccessKey") from error


def login(config: Config) -> Login:
    """With a token that is good from now on."""
    resource = f"{config.broker.host}/devices/{config.device_id}"
    expires = math.ceil(_clock()) + config.token_seconds
    return Login(
        client_id=config.device_id,
        username=f"{config.broker.host}/{config.device_id}/?api-version={API_VERSION}",
        password=sas.signature(resource, config.key, expires),
        renew_after=config.token_seconds * RENEW_AT,
    )


def address(config: Config, topic: str, payload: bytes) -> str:
    """The topic of the hub's own: the given one and the content type are properties in it."""
    name = quote(topic, safe="", errors="replace")
    properties = _JSON if payload.startswith(b"{") else _BINARY
    return f"devices/{config.device_id}/messages/events/?endpoint={name}{properties}"


def target(config: Config, topic: str | None, identity: Identity) -> Target:
    return external.target(topic, config.topic_template, config.device_id, identity)


def driver(config: Config, identity: Identity, listener: Listener) -> Driver:
    from actors.publish.destinations.mqtt_driver import MqttDriver

    return MqttDriver(
        config.broker,
        lambda: login(config),
        listener,
        address=lambda topic, payload: address(config, topic, payload),
        max_payload=MAX_PAYLOAD,
    )


async def test(config: Config, identity: Identity) -> DestinationTested:
    """As the device itself, for the hub knows no other: a running connection of it is ended, and is
    soon there again."""
    from actors.publish.destinations.mqtt_driver import try_connect

    success = f"Connected — {config.broker.host}/{config.device_id}"
    return await try_connect(config.broker, lambda: login(config), success)


_clock = time.time

DESTINATION = DestinationType(
    name="azure-iot", check=check, target=target, driver=driver, test=test, secrets=SECRETS
)
