"""Destination `gcp-iot`: an MQTT broker that takes JSON web tokens (spec 02 section 8.6).

Google's own service has ended; there are compatible ones.
"""

import re
import time
from typing import Any

import msgspec

from actors.connections.connection import Permanent
from actors.publish.destinations import external, fields, signed_jwt
from actors.publish.destinations.broker import MAX_TEXT, Broker, Login, check_pems
from actors.publish.destinations.driver import DestinationType, Driver, Identity, Listener
from actors.publish.messages import DestinationTested
from actors.publish.topics import Target
from actors.system.failure import Refusal

SECRETS = ("jwt", "privateKey")
ENDPOINT = "mqtt.googleapis.com"
USERNAME = "unused"
RENEW_AT = 0.8
"""The share of a token's life after which there is a new one."""

_AUTH = f"{fields.ROOT}.auth"
_PROJECT = re.compile(r"projects/([^/]+)/")
_DEVICE = re.compile(r"projects/.+/devices/([^/]+)")


class Signing(msgspec.Struct, frozen=True):
    """How to make tokens; one is good for `token_seconds`."""

    private_key: str
    algorithm: str
    project_id: str
    token_seconds: int


class Config(msgspec.Struct, frozen=True):
    """`auth` is a token as it is, or how to make one."""

    broker: Broker
    client_id: str
    username: str
    auth: str | Signing
    topic_template: str | None


def check(config_json: dict[str, Any]) -> Config:
    """Validate `config_json`; raises `Refusal`. With a private key a `jwt` beside it is not used."""
    broker = Broker(
        host=external.host(config_json, "endpoint") or ENDPOINT,
        port=external.port(config_json),
        tls=True,
        ca=fields.pem(config_json, "ca"),
    )
    check_pems(broker)
    client_id = _limited(config_json, "clientId")
    if client_id is None:
        raise Refusal("clientId is required", f"{fields.ROOT}.clientId")
    return Config(
        broker=broker,
        client_id=client_id,
        username=_limited(config_json, "username") or USERNAME,
        auth=_auth(fields.section(config_json, "auth"), client_id),
        topic_template=external.template(config_json),
    )


def _auth(auth: dict[str, Any], client_id: str) -> str | Signing:
    external.check_kind(auth, "jwt")
    private_key = fields.pem(auth, "privateKey", path=_AUTH)
    if private_key is not None:
        return _signing(auth, private_key, client_id)
    token = _limited(auth, "jwt", path=_AUTH)
    if token is None:
        raise Refusal("auth.privateKey or auth.jwt is required", f"{_AUTH}.privateKey")
    return token


def _signing(auth: dict[str, Any], private_key: str, client_id: str) -> Signing:
    algorithm = fields.text(auth, "algorithm", path=_AUTH) or signed_jwt.ALGORITHMS[0]
    if algorithm not in signed_jwt.ALGORITHMS:
        supported = ", ".join(signed_jwt.ALGORITHMS)
        raise Refusal(f"Invalid algorithm: {algorithm}. Supported: {supported}", f"{_AUTH}.algorithm")
    named = _PROJECT.match(client_id)
    project_id = _limited(auth, "projectId", path=_AUTH) or (named and named[1])
    if not project_id:
        raise Refusal("projectId is required unless clientId is projects/...", f"{_AUTH}.projectId")
    token_seconds = fields.integer(auth, "tokenTtlSeconds", 5, 86_400, default=3600, path=_AUTH)
    try:
        signed_jwt.sign(private_key, algorithm, project_id, 0, 1)
    except signed_jwt.UnusableKey as error:
        raise Refusal(f"auth.privateKey cannot be used: {error}", f"{_AUTH}.privateKey") from error
    return Signing(private_key, algorithm, project_id, token_seconds)


def _limited(config: dict[str, Any], key: str, path: str = fields.ROOT) -> str | None:
    """A text that MQTT has room for."""
    found = fields.text(config, key, path=path)
    if found and len(found.encode()) > MAX_TEXT:
        raise Refusal(f"{key} is longer than MQTT's {MAX_TEXT} bytes", f"{path}.{key}")
    return found


def login(config: Config) -> Login:
    """With a token that is good now. Raises `Permanent` when the configured one is not any more."""
    now = _clock()
    auth = config.auth
    if isinstance(auth, str):
        expires = signed_jwt.expiry(auth)
        if expires is not None and expires <= now:
            raise Permanent("the configured jwt has expired; configure a new one, or a privateKey instead")
        return Login(config.client_id, config.username, auth)
    issued = int(now)
    token = signed_jwt.sign(
        auth.private_key, auth.algorithm, auth.project_id, issued, issued + auth.token_seconds
    )
    return Login(config.client_id, config.username, token, renew_after=auth.token_seconds * RENEW_AT)


def device_id(client_id: str) -> str:
    """What topics call the device: the end of `projects/.../devices/<id>`, else the whole client id."""
    named = _DEVICE.fullmatch(client_id)
    return named[1] if named else client_id


def target(config: Config, topic: str | None, identity: Identity) -> Target:
    return external.target(topic, config.topic_template, device_id(config.client_id), identity)


def driver(config: Config, identity: Identity, listener: Listener) -> Driver:
    from actors.publish.destinations.mqtt_driver import MqttDriver

    return MqttDriver(config.broker, lambda: login(config), listener)


async def test(config: Config, identity: Identity) -> DestinationTested:
    """As the device itself, for whom the token is: a running connection of it is ended, and is soon
    there again."""
    from actors.publish.destinations.mqtt_driver import try_connect

    success = f"Connected — {config.broker.host}/{device_id(config.client_id)}"
    return await try_connect(config.broker, lambda: login(config), success)


_clock = time.time

DESTINATION = DestinationType(
    name="gcp-iot", check=check, target=target, driver=driver, test=test, secrets=SECRETS
)
