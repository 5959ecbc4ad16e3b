"""The `config_json` of an MQTT destination (spec 02 section 8.2)."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from actors.mqtt import broker_url
from actors.mqtt.broker import MAX_PAYLOAD, V5, V311, Broker, Version, check_pems, with_what_is_said
from actors.mqtt.broker_url import websocket_path
from actors.mqtt.fields import MAX_TEXT, Limited, Port, limited
from actors.mqtt.message import Message
from actors.publish.destinations.fields import ROOT
from actors.publish.destinations.mqtt_presence import Said, message
from actors.publish.destinations.topic_templates import check_template
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import allowed, also, reads, spelled
from conf.fields import NUMERAL, Flag, Host, Pem, Text, Unused, filled, kept, one_line, trimmed
from conf.texts import has_controls

SECRETS = ("password", "key")

NAME_LENGTH = 200


def name(value: Any) -> Any:
    """A name in the topics of Sparkplug; raises `ValueError`."""
    if isinstance(value, str):
        found = next((each for each in "/+#{}" if each in value), None)
        if found is not None:
            raise ValueError(f"must not hold {found}")
        if len(value) > NAME_LENGTH:
            raise ValueError(f"is longer than {NAME_LENGTH} characters")
    return value


Name = Annotated[str, reads(trimmed, one_line, name)]


class Sparkplug(msgspec.Struct, frozen=True, rename="camel"):
    """The node that the destination is to Sparkplug hosts; at a broker there is no other one of both
    names. While the primary host is not online, readings wait."""

    group_id: Name
    edge_node_id: Name
    primary_host_id: Name | None = None


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send."""

    broker_url: Annotated[Text, also("url")] | None = None
    host: Host | None = None
    port: Port = 1883
    path: Annotated[str, reads(trimmed, websocket_path)] | None = None
    username: Limited | None = None
    password: Annotated[str, reads(kept, limited)] | None = None
    client_id: Annotated[Limited, also("deviceId")] | None = None
    ca: Pem | None = None
    cert: Pem | None = None
    key: Pem | None = None
    reject_unauthorized: Flag = True
    keepalive: Annotated[int, Meta(ge=1, le=65_535), NUMERAL] = 60
    topic_template: Annotated[Text, also("publishTopicTemplate")] | None = None
    max_payload_bytes: Annotated[int, Meta(ge=1, le=MAX_PAYLOAD), NUMERAL] = MAX_PAYLOAD
    protocol_version: Version = V311
    user_properties: Annotated[dict[str, str], reads(filled), allowed("an object of texts")] = {}
    will: Said | None = None
    birth: Said | None = None
    sparkplug: Sparkplug | None = None
    topic_prefix: Unused = None  # forms of the original's clients store it, and nothing ever read it


class Config(msgspec.Struct, frozen=True):
    """`topic_template` may hold placeholders in braces; `max_payload` is in bytes. `user_properties` go with
    each payload."""

    broker: Broker
    username: str | None = None
    password: str | None = None
    client_id: str | None = None
    topic_template: str | None = None
    max_payload: int = MAX_PAYLOAD
    user_properties: tuple[tuple[str, str], ...] = ()
    will: Message | None = None
    birth: Message | None = None
    sparkplug: Sparkplug | None = None


def check(config_json: dict[str, Any]) -> Config:
    """Validate `config_json`; raises `Refusal`."""
    given = checked(config_json, Given, ROOT)
    if given.broker_url is not None:
        found = broker_url.read(given.broker_url, f"{ROOT}.{spelled(config_json, Given, 'brokerUrl')}")
    elif given.host is not None:
        found = broker_url.Found(Broker(given.host, given.port))
    else:
        raise Refusal("Host is required", f"{ROOT}.host")
    if given.topic_template is not None:
        check_template(given.topic_template, f"{ROOT}.{spelled(config_json, Given, 'topicTemplate')}")
    config = Config(
        broker=with_what_is_said(found.broker, given),
        username=given.username or found.username,
        password=given.password or found.password,
        client_id=given.client_id,
        topic_template=given.topic_template,
        max_payload=given.max_payload_bytes,
        user_properties=tuple(given.user_properties.items()),
        will=message(given.will, f"{ROOT}.will"),
        birth=message(given.birth, f"{ROOT}.birth"),
        sparkplug=given.sparkplug,
    )
    _check_together(config)
    return config


def _check_user_properties(config: Config) -> None:
    field = f"{ROOT}.userProperties"
    if config.user_properties and config.broker.version != V5:
        raise Refusal("userProperties need protocolVersion 5", field)
    for text in (each for pair in config.user_properties for each in pair):
        if has_controls(text) or len(text.encode()) > MAX_TEXT:
            message = f"userProperties must have at most {MAX_TEXT} bytes each, without control characters"
            raise Refusal(message, field)


def _check_together(config: Config) -> None:
    broker = config.broker
    _check_user_properties(config)
    if config.sparkplug is not None and (config.will or config.birth):
        key = "will" if config.will else "birth"
        raise Refusal(f"{key} is not for a Sparkplug node, which has its own", f"{ROOT}.{key}")
    if config.password and not config.username:
        raise Refusal("A password needs a username", f"{ROOT}.username")
    if (broker.cert is None) != (broker.key is None):
        missing = "cert" if broker.cert is None else "key"
        raise Refusal("cert and key belong together", f"{ROOT}.{missing}")
    for key, pem in (("ca", broker.ca), ("cert", broker.cert)):
        if pem is not None and not broker.tls:
            secure = "a wss" if broker.websocket else "an mqtts"
            raise Refusal(f"{key} has no effect without TLS; use {secure}:// URL", f"{ROOT}.{key}")
    check_pems(broker)
