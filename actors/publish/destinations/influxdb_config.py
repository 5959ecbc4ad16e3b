"""The `config_json` of an InfluxDB destination (spec 02 section 8.3)."""

import re
import ssl
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from actors.publish.destinations import fields
from actors.publish.destinations.driver import Identity
from actors.publish.destinations.tls import client_context
from actors.publish.topics import Target
from actors.system.failure import Refusal

SECRETS = ("token",)
PRECISIONS = ("ms", "s", "us", "ns")
MAX_MEASUREMENT = 1000
"""Bytes; a measurement and its tags together may have 65,535."""

_TOPIC = "route_json.topic"


class Config(msgspec.Struct, frozen=True):
    """`url` has no slash at its end; `flush_interval` and `timeout` are in seconds; `ca` is a PEM text."""

    url: str
    org: str
    bucket: str
    token: str
    precision: str = "ms"
    batch_size: int = 1000
    flush_interval: float = 0.05
    timeout: float = 10.0
    ca: str | None = None
    reject_unauthorized: bool = True

    @property
    def where(self) -> str:
        """The server's host and port."""
        parts = urlsplit(self.url)
        return parts.netloc if parts.port else f"{parts.netloc}:{443 if self.tls else 80}"

    @property
    def tls(self) -> bool:
        return self.url.startswith("https:")


def check(config_json: dict[str, Any]) -> Config:
    """Validate `config_json`; raises `Refusal`. Unknown keys are left alone."""
    config = Config(
        url=_required(config_json, "url", "URL"),
        token=_required(config_json, "token", "Token"),
        org=_required(config_json, "org", "Org"),
        bucket=_required(config_json, "bucket", "Bucket"),
        precision=fields.text(config_json, "precision") or "ms",
        batch_size=fields.integer(config_json, "batchSize", 1, 10_000, 1000),
        flush_interval=fields.integer(config_json, "flushInterval", 0, 60_000, 50) / 1000,
        timeout=fields.integer(config_json, "timeout", 1, 600_000, 10_000) / 1000,
        ca=fields.pem(config_json, "ca"),
        reject_unauthorized=fields.flag(config_json, "rejectUnauthorized", True),
    )
    if not (config.token.isascii() and config.token.isprintable()):
        raise Refusal("token must consist of printable ASCII characters", "config_json.token")
    if config.precision not in PRECISIONS:
        raise Refusal(f"precision must be one of {', '.join(PRECISIONS)}", "config_json.precision")
    config = msgspec.structs.replace(config, url=_url(config.url))
    _check_ca(config)
    return config


def _required(config_json: dict[str, Any], key: str, name: str) -> str:
    found = fields.text(config_json, key)
    if found is None:
        raise Refusal(f"{name} is required", f"config_json.{key}")
    return found


def _url(url: str) -> str:
    field = "config_json.url"
    parts = _split(url, field)
    if parts.scheme not in ("http", "https"):
        raise Refusal("url must begin with http:// or https://", field)
    if not parts.hostname:
        raise Refusal("url has no host", field)
    fields.host(parts.hostname, field)
    if "@" in parts.netloc:
        raise Refusal("url must not hold a user name or password; the token says who writes", field)
    if parts.query or parts.fragment:
        raise Refusal("url must not have a query or fragment", field)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _split(url: str, field: str) -> SplitResult:
    # The reason is dropped: it repeats part of the URL, which may be a password.
    try:
        parts = urlsplit(url)
        usable = parts.port != 0 and not re.search(r"[\s\x00-\x1f\x7f\\]", url)
    except ValueError:
        usable = False
    if not usable:
        raise Refusal("Not a valid URL", field) from None
    return parts


def _check_ca(config: Config) -> None:
    if config.ca is None:
        return
    if not config.tls:
        raise Refusal("ca has no effect without TLS; use an https:// URL", "config_json.ca")
    client_context(ca=config.ca)


def tls_context(config: Config) -> ssl.SSLContext:
    """What verifies the server. Without a `ca` the system's authorities are trusted; reading those takes
    tens of ms."""
    verify = config.tls and config.reject_unauthorized
    context = client_context(ca=config.ca, verify=verify)
    if verify and config.ca is None:
        context.load_default_certs()
    return context


def target(_: Config, topic: str | None, __: Identity) -> Target:
    """The measurement that points go to; raises `Refusal` when it cannot be one.

    The server keeps names with an underscore in front to itself and takes a line with `#` in front for a
    comment; about a backslash its versions disagree.
    """
    if topic is None:
        raise Refusal("route_json.topic is required for external destinations", _TOPIC)
    if not topic.isprintable():
        raise Refusal("A measurement cannot hold control characters", _TOPIC)
    if topic[0] in "_#":
        raise Refusal(f"A measurement cannot begin with {topic[0]}", _TOPIC)
    if "\\" in topic:
        raise Refusal("A measurement cannot hold a backslash", _TOPIC)
    if len(topic.encode()) > MAX_MEASUREMENT:
        raise Refusal(f"A measurement cannot be longer than {MAX_MEASUREMENT} bytes", _TOPIC)
    return Target(topic)
