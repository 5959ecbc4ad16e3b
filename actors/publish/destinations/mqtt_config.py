"""The `config_json` of an MQTT destination (spec 02 section 8.2)."""

import re
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

import msgspec

from actors.publish import topics
from actors.publish.destinations import fields
from actors.publish.destinations.broker import MAX_PAYLOAD, MAX_TEXT, Broker, check_pems
from actors.system.failure import Refusal

SECRETS = ("password", "key")

PLACEHOLDERS = ("deviceId", "topic", "endpoint", "protocol", "name", "device")
PATH = "/mqtt"  # where the websocket of most brokers is; mosquitto's answers at any path

_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class Config(msgspec.Struct, frozen=True):
    """`topic_template` may hold `PLACEHOLDERS` in braces; `max_payload` is in bytes."""

    broker: Broker
    username: str | None = None
    password: str | None = None
    client_id: str | None = None
    topic_template: str | None = None
    max_payload: int = MAX_PAYLOAD


def check(config_json: dict[str, Any]) -> Config:
    """Validate `config_json`; raises `Refusal`. Unknown keys are left alone."""
    url_key = next((key for key in ("brokerUrl", "url") if fields.text(config_json, key)), None)
    if url_key:
        found = _from_url(fields.text(config_json, url_key) or "", f"config_json.{url_key}")
    else:
        found = Config(_from_host(config_json))
    config = Config(
        broker=_broker(found.broker, config_json),
        username=fields.text(config_json, "username") or found.username,
        password=fields.text(config_json, "password", strip=False) or found.password,
        client_id=fields.first_text(config_json, "clientId", "deviceId"),
        topic_template=_template(config_json),
        max_payload=fields.integer(config_json, "maxPayloadBytes", 1, MAX_PAYLOAD, default=MAX_PAYLOAD),
    )
    _check_together(config)
    return config


def _broker(found: Broker, config_json: dict[str, Any]) -> Broker:
    """With what the URL does not say."""
    path = fields.text(config_json, "path")
    if path and not path.startswith("/"):
        path = f"/{path}"
    return msgspec.structs.replace(
        found,
        path=(path or found.path) if found.websocket else found.path,
        ca=fields.pem(config_json, "ca"),
        cert=fields.pem(config_json, "cert"),
        key=fields.pem(config_json, "key"),
        reject_unauthorized=fields.flag(config_json, "rejectUnauthorized", default=True),
        keepalive=fields.integer(config_json, "keepalive", 1, 65_535, default=60),
    )


def _check_together(config: Config) -> None:
    broker = config.broker
    if config.password and not config.username:
        raise Refusal("A password needs a username", "config_json.username")
    if (broker.cert is None) != (broker.key is None):
        missing = "cert" if broker.cert is None else "key"
        raise Refusal("cert and key belong together", f"config_json.{missing}")
    for key, pem in (("ca", broker.ca), ("cert", broker.cert)):
        if pem is not None and not broker.tls:
            secure = "a wss" if broker.websocket else "an mqtts"
            raise Refusal(f"{key} has no effect without TLS; use {secure}:// URL", f"config_json.{key}")
    for key, text in (("username", config.username), ("password", config.password)):
        _check_length(text, f"config_json.{key}")
    _check_length(config.client_id, "config_json.clientId")
    check_pems(broker)


def _check_length(text: str | None, field: str) -> None:
    if text and len(text.encode()) > MAX_TEXT:
        raise Refusal(f"Longer than MQTT's {MAX_TEXT} bytes", field)


def _from_url(url: str, field: str) -> Config:
    """The broker and what credentials its URL holds."""
    parts, port = _split(url if "://" in url else f"mqtt://{url}", field)
    if parts.scheme not in _PORTS:
        raise Refusal(f"Invalid scheme: {parts.scheme}. Supported: {', '.join(_PORTS)}", field)
    if not parts.hostname:
        raise Refusal("Host is required", field)
    websocket = parts.scheme in ("ws", "wss")
    broker = Broker(
        host=fields.host(parts.hostname, field),
        port=_PORTS[parts.scheme] if port is None else port,
        tls=parts.scheme in ("mqtts", "wss"),
        websocket=websocket,
        path=_path(parts) if websocket else "/",
    )
    return Config(
        broker,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


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


def _from_host(config_json: dict[str, Any]) -> Broker:
    host = fields.text(config_json, "host")
    if not host:
        raise Refusal("Host is required", "config_json.host")
    if "/" in host or "@" in host:
        raise Refusal("host must be a host name or address; give a URL as brokerUrl", "config_json.host")
    return Broker(
        host=fields.host(host, "config_json.host"),
        port=fields.integer(config_json, "port", 1, 65_535, default=1883),
    )


def _template(config_json: dict[str, Any]) -> str | None:
    for key in ("topicTemplate", "publishTopicTemplate"):
        template = fields.text(config_json, key)
        if template is not None:
            return check_template(template, f"config_json.{key}")
    return None


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
