"""The `config_json` of a webhook."""

import re
import ssl
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from actors.connections.tls import client_context, server_context
from actors.publish.destinations import http_url
from actors.publish.destinations.fields import ROOT
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import allowed, missing, reads
from conf.fields import NUMERAL, Flag, Pem, filled, lower, trimmed, upper

SECRETS = ("headers", "secret", "key")
TOPIC_HEADER = "X-Topic"
KEY_HEADER = "Idempotency-Key"

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_MAX_HEADERS = 50
_MAX_VALUE = 8000
# What HTTP itself says with every request, and what is said of each.
_OURS = {
    *("host", "connection", "keep-alive", "upgrade", "te", "trailer", "transfer-encoding", "expect"),
    *("content-length", "content-encoding", "accept-encoding", "proxy-connection"),
    *(TOPIC_HEADER.lower(), KEY_HEADER.lower()),
}


def _header_name(value: Any) -> Any:
    """The name of a header that may be set; raises `ValueError`."""
    if isinstance(value, str):
        if not _NAME.fullmatch(value):
            raise ValueError("must be the name of a header: letters, digits, - and _")
        if value.lower() in _OURS:
            raise ValueError("must be the name of a header that is not set already")
    return value


class Signature(msgspec.Struct, frozen=True, rename="camel"):
    """A keyed digest of the body: `header: sha256=<hexadecimal digits>`."""

    secret: Annotated[str, reads(filled), missing("hmac.secret is required")]
    header: Annotated[str, reads(trimmed, _header_name)] = "X-Signature"
    algorithm: Annotated[Literal["sha256", "sha384", "sha512"], reads(trimmed, lower)] = "sha256"


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send; `timeout` is in ms."""

    url: Annotated[str, reads(trimmed, http_url.read), missing("URL is required")]
    method: Annotated[Literal["POST", "PUT"], reads(trimmed, upper)] = "POST"
    headers: Annotated[dict[str, str], reads(filled), allowed("an object of texts")] = {}
    hmac: Signature | None = None
    batch: Annotated[int, Meta(ge=1, le=1000), NUMERAL] = 1
    expect: Annotated[
        tuple[Annotated[int, Meta(ge=200, le=299)], ...],
        Meta(min_length=1),
        reads(filled),
        allowed("an array of statuses from 200 to 299"),
    ] = (200, 201, 202, 204)
    accept_html: Flag = False
    timeout: Annotated[int, Meta(ge=1, le=600_000), NUMERAL] = 10_000
    ca: Pem | None = None
    cert: Pem | None = None
    key: Pem | None = None
    reject_unauthorized: Flag = True


def check(config_json: dict[str, Any]) -> Given:
    """Validate `config_json`; raises `Refusal`."""
    given = checked(config_json, Given, ROOT)
    _check_headers(given)
    if (given.cert is None) != (given.key is None):
        raise Refusal("cert and key belong together", f"{ROOT}.{'cert' if given.cert is None else 'key'}")
    for name, pem in (("ca", given.ca), ("cert", given.cert)):
        if pem is not None and not http_url.is_tls(given.url):
            raise Refusal(f"{name} has no effect without TLS; use an https:// URL", f"{ROOT}.{name}")
    if given.ca is not None or given.cert is not None:
        client_context(ca=given.ca, cert=given.cert, key=given.key)
    return given


def _check_headers(given: Given) -> None:
    """No part of a header may end it and begin another one."""
    field = f"{ROOT}.headers"
    if len(given.headers) > _MAX_HEADERS:
        raise Refusal(f"headers may hold {_MAX_HEADERS} of them", field)
    seen = {given.hmac.header.lower()} if given.hmac else set()
    for name, value in given.headers.items():
        try:
            _header_name(name)
        except ValueError as error:
            raise Refusal(f"Each of headers {error}", field) from error
        if name.lower() in seen:
            raise Refusal(f"headers has {name} twice, or the signature goes there", f"{field}.{name}")
        seen.add(name.lower())
        if not value or len(value) > _MAX_VALUE or not (value.isascii() and value.isprintable()):
            what = f"must consist of 1 to {_MAX_VALUE} printable ASCII characters"
            raise Refusal(f"headers.{name} {what}", f"{field}.{name}")


def tls_context(config: Given) -> ssl.SSLContext:
    """What verifies the server and identifies this client."""
    verify = http_url.is_tls(config.url) and config.reject_unauthorized
    return server_context(ca=config.ca, cert=config.cert, key=config.key, verify=verify)
