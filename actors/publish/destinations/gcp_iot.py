"""Destination `gcp-iot`: an MQTT broker that takes JSON web tokens (spec 02 section 8.6).

Google's own service has ended; there are compatible ones.
"""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from actors.connections.connection import Permanent
from actors.mqtt.broker import Broker, Login, check_pems
from actors.mqtt.fields import Limited
from actors.publish.destinations import external, signed_jwt
from actors.publish.destinations.driver import DestinationType, Driver, Identity, Listener
from actors.publish.destinations.fields import ROOT
from actors.publish.destinations.token_clock import token_clock
from actors.publish.messages import DestinationTested
from actors.publish.topics import Target
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import reads
from conf.fields import NUMERAL, Host, Pem, trimmed
from storage.timestamps import iso

SECRETS = ("jwt", "privateKey")
RENEW_AT = 0.8
"""The share of a token's life after which there is a new one."""

_PROJECT = re.compile(r"projects/([^/]+)/")
_DEVICE = re.compile(r"projects/.+/devices/([^/]+)")


class Auth(msgspec.Struct, frozen=True, rename="camel"):
    """With a private key a `jwt` beside it is not used."""

    type: Annotated[Literal["jwt"], reads(trimmed)] = "jwt"
    private_key: Pem | None = None
    algorithm: Annotated[Literal["RS256", "ES256"], reads(trimmed)] = "RS256"
    project_id: Limited | None = None
    token_ttl_seconds: Annotated[int, Meta(ge=5, le=86_400), NUMERAL] = 3600
    jwt: Limited | None = None


class Given(external.Config, frozen=True, kw_only=True, rename="camel"):
    endpoint: Host = "mqtt.googleapis.com"
    client_id: Limited
    username: Limited = "unused"
    ca: Pem | None = None
    auth: Auth


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
    """Validate `config_json`; raises `Refusal`."""
    given = checked(config_json, Given, ROOT)
    broker = Broker(given.endpoint, given.port, tls=True, ca=given.ca)
    check_pems(broker)
    auth = _auth(given.with_template().auth, given.client_id)
    return Config(broker, given.client_id, given.username, auth, given.topic_template)


def _auth(auth: Auth, client_id: str) -> str | Signing:
    if auth.private_key is not None:
        return _signing(auth, auth.private_key, client_id)
    if auth.jwt is None:
        raise Refusal("auth.privateKey or auth.jwt is required", f"{ROOT}.auth.privateKey")
    return auth.jwt


def _signing(auth: Auth, private_key: str, client_id: str) -> Signing:
    named = _PROJECT.match(client_id)
    project_id = auth.project_id or (named and named[1])
    if not project_id:
        message = "auth.projectId is required unless clientId is projects/..."
        raise Refusal(message, f"{ROOT}.auth.projectId")
    try:
        signed_jwt.sign(private_key, auth.algorithm, project_id, 0, 1)
    except signed_jwt.UnusableKey as error:
        raise Refusal(f"auth.privateKey cannot be used: {error}", f"{ROOT}.auth.privateKey") from error
    return Signing(private_key, auth.algorithm, project_id, auth.token_ttl_seconds)


def login(config: Config) -> Login:
    """With a token that is good now. Raises `Permanent` when the configured one is not any more."""
    auth = config.auth
    clock = token_clock(config.broker.host, config.client_id)
    now = clock.unix_ms()
    if isinstance(auth, str):
        expires = signed_jwt.expiry(auth)
        if expires is not None and 1000 * expires <= now:
            raise Permanent(
                "the configured jwt has expired; configure a new one, or a privateKey instead"
                f" (the clock here says {iso(now)})"
            )
        return Login(config.client_id, config.username, auth, accepted=clock.accepted)
    issued = now // 1000
    token = signed_jwt.sign(
        auth.private_key, auth.algorithm, auth.project_id, issued, issued + auth.token_seconds
    )
    renew_after = auth.token_seconds * RENEW_AT
    return Login(config.client_id, config.username, token, renew_after, clock.accepted)


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


DESTINATION = DestinationType(
    name="gcp-iot",
    check=check,
    target=target,
    driver=driver,
    test=test,
    secrets=SECRETS,
    schema=Given,
    mqtt_topics=True,
)
