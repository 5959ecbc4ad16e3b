"""The `config_json` of an MQTT destination (spec 02 section 8.2)."""

import ssl
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from actors.failure import Refusal

SECRETS = ("password", "key")

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_WEBSOCKETS = ("ws", "wss")
_MAX_BYTES = 65_535


class Config(msgspec.Struct, frozen=True):
    """Where the broker is and how to log in; `ca`, `cert` and `key` are PEM texts, `keepalive` is in
    seconds."""

    host: str
    port: int
    tls: bool = False
    username: str | None = None
    password: str | None = None
    client_id: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    reject_unauthorized: bool = True
    keepalive: int = 60


def check(config_json: dict[str, Any]) -> Config:
    """Validate `config_json`; raises `Refusal`. Unknown keys are left alone."""
    url_key = next((key for key in ("brokerUrl", "url") if _text(config_json, key)), None)
    if url_key:
        broker = _from_url(_text(config_json, url_key) or "", f"config_json.{url_key}")
    else:
        broker = _from_host(config_json)
    config = msgspec.structs.replace(
        broker,
        username=_text(config_json, "username") or broker.username,
        password=_text(config_json, "password", strip=False) or broker.password,
        client_id=_text(config_json, "clientId") or _text(config_json, "deviceId"),
        ca=_pem(config_json, "ca"),
        cert=_pem(config_json, "cert"),
        key=_pem(config_json, "key"),
        reject_unauthorized=_flag(config_json, "rejectUnauthorized", default=True),
        keepalive=_integer(config_json, "keepalive", 1, 65_535, default=60),
    )
    for key in ("topicTemplate", "publishTopicTemplate", "path", "topicPrefix"):
        _text(config_json, key)
    _check_together(config)
    return config


def _check_together(config: Config) -> None:
    if config.password and not config.username:
        raise Refusal("A password needs a username", "config_json.username")
    if (config.cert is None) != (config.key is None):
        missing = "cert" if config.cert is None else "key"
        raise Refusal("cert and key belong together", f"config_json.{missing}")
    for key, pem in (("ca", config.ca), ("cert", config.cert)):
        if pem is not None and not config.tls:
            raise Refusal(f"{key} has no effect without TLS; use an mqtts:// URL", f"config_json.{key}")
    for key, text in (("username", config.username), ("password", config.password)):
        _check_length(text, f"config_json.{key}")
    _check_length(config.client_id, "config_json.clientId")
    _given_pems(config)


def _check_length(text: str | None, field: str) -> None:
    if text and len(text.encode()) > _MAX_BYTES:
        raise Refusal(f"Longer than MQTT's {_MAX_BYTES} bytes", field)


def _from_url(url: str, field: str) -> Config:
    parts, port = _split(url if "://" in url else f"mqtt://{url}", field)
    if parts.scheme in _WEBSOCKETS:
        raise Refusal("MQTT over WebSocket is not supported by this version; use mqtt or mqtts", field)
    if parts.scheme not in _PORTS:
        raise Refusal(f"Invalid scheme: {parts.scheme}. Supported: {', '.join(_PORTS)}", field)
    if not parts.hostname:
        raise Refusal("Host is required", field)
    return Config(
        host=_host(parts.hostname, field),
        port=_PORTS[parts.scheme] if port is None else port,
        tls=parts.scheme == "mqtts",
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


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


def _from_host(config_json: dict[str, Any]) -> Config:
    host = _text(config_json, "host")
    if not host:
        raise Refusal("Host is required", "config_json.host")
    if "/" in host or "@" in host:
        raise Refusal("host must be a host name or address; give a URL as brokerUrl", "config_json.host")
    return Config(
        host=_host(host, "config_json.host"), port=_integer(config_json, "port", 1, 65_535, default=1883)
    )


def _host(host: str, field: str) -> str:
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise Refusal("Not a valid host name", field) from error
    return host


def _text(config_json: dict[str, Any], key: str, strip: bool = True) -> str | None:
    """None for a blank one: forms send every field."""
    value = config_json.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or "\0" in value:
        raise Refusal(f"{key} must be a string", f"config_json.{key}")
    return (value.strip() if strip else value) or None


def _pem(config_json: dict[str, Any], key: str) -> str | None:
    pem = _text(config_json, key)
    return pem and pem.replace("\\n", "\n")


def _flag(config_json: dict[str, Any], key: str, default: bool) -> bool:
    value = config_json.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Refusal(f"{key} must be true or false", f"config_json.{key}")
    return value


def _integer(config_json: dict[str, Any], key: str, lowest: int, highest: int, default: int) -> int:
    value = config_json.get(key)
    if value is None or value == "":
        return default
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise Refusal(f"{key} must be an integer from {lowest} to {highest}", f"config_json.{key}")
    return value


def tls_context(config: Config) -> ssl.SSLContext:
    """What verifies the broker and identifies this client. Without a `ca` the system's authorities are
    trusted; reading those takes tens of ms."""
    context = _given_pems(config)
    if config.ca is None and config.reject_unauthorized:
        context.load_default_certs()
    return context


def _given_pems(config: Config) -> ssl.SSLContext:
    """Raises `Refusal` for unusable PEM texts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not config.reject_unauthorized:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.ca is not None:
        try:
            context.load_verify_locations(cadata=config.ca)
        except (ssl.SSLError, ValueError) as error:
            raise Refusal("ca is not a PEM certificate", "config_json.ca") from error
    if config.cert is not None:
        _load_identity(context, config)
    return context


def _load_identity(context: ssl.SSLContext, config: Config) -> None:
    # ssl reads a private key from files only; this one only its owner may read, and it goes at once.
    with NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(f"{config.cert}\n{config.key}\n")
        file.flush()
        try:
            # The empty password makes an encrypted key fail; without one OpenSSL asks at the terminal.
            context.load_cert_chain(file.name, password="")
        except (ssl.SSLError, ValueError) as error:
            raise Refusal(
                "cert and key are not a PEM certificate and its unencrypted private key", "config_json.key"
            ) from error
