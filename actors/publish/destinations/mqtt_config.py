"""The `config_json` of an MQTT destination (spec 02 section 8.2)."""

import re
from typing import Annotated, Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

import msgspec
from msgspec import Meta

from actors.publish import topics
from actors.publish.destinations.broker import MAX_PAYLOAD, Broker, check_pems
from actors.publish.destinations.fields import MAX_TEXT, ROOT, Host, Limited, Port, check_host, limited
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import also, reads, spelled
from conf.fields import NUMERAL, Flag, Pem, Text, kept
from conf.schema import is_broken_text

SECRETS = ("password", "key")

PLACEHOLDERS = ("deviceId", "topic", "endpoint", "protocol", "name", "device")
PATH = "/mqtt"  # where the websocket of most brokers is; mosquitto's answers at any path

_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send. Unknown keys are left alone."""

    broker_url: Annotated[Text, also("url")] | None = None
    host: Host | None = None
    port: Port = 1883
    path: Text | None = None
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


class Config(msgspec.Struct, frozen=True):
    """`topic_template` may hold `PLACEHOLDERS` in braces; `max_payload` is in bytes."""

    broker: Broker
    username: str | None = None
    password: str | None = None
    client_id: str | None = None
    topic_template: str | None = None
    max_payload: int = MAX_PAYLOAD


def check(config_json: dict[str, Any]) -> Config:
    """Validate `config_json`; raises `Refusal`."""
    given = checked(config_json, Given, ROOT)
    if given.broker_url is not None:
        found = _from_url(given.broker_url, f"{ROOT}.{spelled(config_json, Given, 'brokerUrl')}")
    elif given.host is not None:
        found = Config(Broker(given.host, given.port))
    else:
        raise Refusal("Host is required", f"{ROOT}.host")
    if given.topic_template is not None:
        check_template(given.topic_template, f"{ROOT}.{spelled(config_json, Given, 'topicTemplate')}")
    config = Config(
        broker=_broker(found.broker, given),
        username=given.username or found.username,
        password=given.password or found.password,
        client_id=given.client_id,
        topic_template=given.topic_template,
        max_payload=given.max_payload_bytes,
    )
    _check_together(config)
    return config


def _broker(found: Broker, given: Given) -> Broker:
    """With what the URL does not say."""
    path = found.path
    if given.path is not None and found.websocket:
        path = given.path if given.path.startswith("/") else f"/{given.path}"
    return msgspec.structs.replace(
        found,
        path=path,
        ca=given.ca,
        cert=given.cert,
        key=given.key,
        reject_unauthorized=given.reject_unauthorized,
        keepalive=given.keepalive,
    )


def _check_together(config: Config) -> None:
    broker = config.broker
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


def _from_url(url: str, field: str) -> Config:
    """The broker and what credentials its URL holds."""
    parts, port = _split(url if "://" in url else f"mqtt://{url}", field)
    if parts.scheme not in _PORTS:
        raise Refusal(f"Invalid scheme: {parts.scheme}. Supported: {', '.join(_PORTS)}", field)
    websocket = parts.scheme in ("ws", "wss")
    broker = Broker(
        host=_host(parts.hostname or "", field),
        port=_PORTS[parts.scheme] if port is None else port,
        tls=parts.scheme in ("mqtts", "wss"),
        websocket=websocket,
        path=_path(parts) if websocket else "/",
    )
    return Config(broker, _login(parts.username, field), _login(parts.password, field))


def _login(quoted: str | None, field: str) -> str | None:
    text = unquote(quoted or "")
    if is_broken_text(text) or len(text.encode()) > MAX_TEXT:
        raise Refusal(f"User name and password in the URL may have {MAX_TEXT} bytes without NUL", field)
    return text or None


def _path(parts: SplitResult) -> str:
    # A lone slash is how people and programs end a URL without a path.
    path = parts.path if parts.path not in ("", "/") else PATH
    return f"{path}?{parts.query}" if parts.query else path


def _split(url: str, field: str) -> tuple[SplitResult, int | None]:
    # The reason is dropped: it repeats part of the URL, which may be a password.
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refusal("Not a valid broker URL", field) from None
    if port == 0:
        raise Refusal("The port must be from 1 to 65535", field)
    return parts, port


def _host(name: str, field: str) -> str:
    if not name:
        raise Refusal("Host is required", field)
    try:
        check_host(name)
    except ValueError:
        raise Refusal("Not a valid host name", field) from None
    return name


def check_template(template: str, field: str) -> str:
    """The template itself; raises `Refusal` for an unknown placeholder, or when no topic comes of it."""
    for name in _PLACEHOLDER.findall(template):
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
            raise Refusal(f"Unknown placeholder: {{{name}}}. Supported: {known}", field)
    topics.check_topic(_PLACEHOLDER.sub("x", template), field)
    return template


def fill_template(template: str, client_id: str, own_topic: str) -> str:
    """With what is known before a payload is; `own_topic` is the agent's own one for readings."""
    return template.replace("{deviceId}", quote(client_id, safe="")).replace("{topic}", own_topic)
