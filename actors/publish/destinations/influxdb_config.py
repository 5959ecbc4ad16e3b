"""The `config_json` of an InfluxDB destination (spec 02 section 8.3)."""

import ssl
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from actors.connections.tls import client_context, server_context
from actors.publish.destinations import http_url
from actors.publish.destinations.driver import Identity
from actors.publish.destinations.fields import ROOT
from actors.publish.topics import Target
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import allowed, missing, reads
from conf.fields import NUMERAL, Flag, Line, Pem, filled, trimmed
from conf.texts import has_controls

SECRETS = ("token",)
MAX_FIELD_TYPES = 1000
MAX_FIELD_NAME = 1000
MAX_MEASUREMENT = 1000
"""Bytes; a measurement and its tags together may have 65,535."""

_TOPIC = "route_json.topic"


def _header(value: Any) -> Any:
    if isinstance(value, str) and not (value.isascii() and value.isprintable()):
        raise ValueError("must consist of printable ASCII characters")
    return value


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send; times are in ms."""

    url: Annotated[str, reads(trimmed, http_url.read_base), missing("URL is required")]
    token: Annotated[str, reads(trimmed, _header), missing("Token is required")]
    org: Annotated[Line, missing("Org is required")]
    bucket: Annotated[Line, missing("Bucket is required")]
    precision: Annotated[Literal["ms", "s", "us", "ns"], reads(trimmed)] = "ms"
    batch_size: Annotated[int, Meta(ge=1, le=10_000), NUMERAL] = 1000
    flush_interval: Annotated[int, Meta(ge=0, le=60_000), NUMERAL] = 50
    timeout: Annotated[int, Meta(ge=1, le=600_000), NUMERAL] = 10_000
    ca: Pem | None = None
    reject_unauthorized: Flag = True
    gzip: Flag = False
    field_types: Annotated[
        dict[str, Literal["float", "integer", "string", "boolean"]],
        reads(filled),
        allowed("an object of float, integer, string or boolean by field"),
    ] = {}


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
    gzip: bool = False
    field_types: dict[str, str] = {}

    @property
    def tls(self) -> bool:
        return http_url.is_tls(self.url)


def check(config_json: dict[str, Any]) -> Config:
    """Validate `config_json`; raises `Refusal`."""
    given = checked(config_json, Given, ROOT)
    seconds = {"flush_interval": given.flush_interval / 1000, "timeout": given.timeout / 1000}
    config = Config(**{**msgspec.structs.asdict(given), **seconds})
    _check_field_types(config.field_types)
    if config.ca is not None:
        if not config.tls:
            raise Refusal("ca has no effect without TLS; use an https:// URL", f"{ROOT}.ca")
        client_context(ca=config.ca)
    return config


def _check_field_types(declared: dict[str, str]) -> None:
    field = f"{ROOT}.fieldTypes"
    if len(declared) > MAX_FIELD_TYPES:
        raise Refusal(f"fieldTypes may name {MAX_FIELD_TYPES} fields", field)
    for name in declared:
        if not name.strip() or has_controls(name) or len(name) > MAX_FIELD_NAME:
            what = f"1 to {MAX_FIELD_NAME} characters, no control characters"
            raise Refusal(f"fieldTypes must name fields ({what})", field)


def tls_context(config: Config) -> ssl.SSLContext:
    """What verifies the server."""
    return server_context(ca=config.ca, verify=config.tls and config.reject_unauthorized)


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
