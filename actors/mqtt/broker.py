"""Where an MQTT broker is and how to log in; what everyone who speaks MQTT configures."""

import ssl
from collections.abc import Callable
from typing import Annotated, Any, Protocol

import msgspec

from actors.connections.tls import client_context, server_context
from actors.mqtt.fields import MAX_TEXT
from conf.annotations import allowed, reads
from conf.fields import trimmed

MAX_PAYLOAD = 268_435_455 - MAX_TEXT - 4
"""Bytes that certainly fit into an MQTT packet beside the longest topic."""

V311 = 4
V5 = 5
"""MQTT's versions, as on the wire."""


def version(value: Any) -> Any:
    """MQTT's version as on the wire. Raises `ValueError`."""
    known = {4: V311, "4": V311, "3.1.1": V311, 5: V5, "5": V5, "5.0": V5, None: None}
    if not isinstance(value, int | str | None) or isinstance(value, bool) or value not in known:
        raise ValueError
    return known[value]


Version = Annotated[int, reads(trimmed, version), allowed("3.1.1 or 5")]
"""A field of configurations."""


class Broker(msgspec.Struct, frozen=True):
    """`ca`, `cert` and `key` are PEM texts, `keepalive` is in seconds, `path` that of the websocket;
    `alpn` is the protocol to ask for where a port serves several; `version` is `V311` or `V5`."""

    host: str
    port: int
    tls: bool = False
    websocket: bool = False
    path: str = "/"
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    reject_unauthorized: bool = True
    keepalive: int = 60
    alpn: str | None = None
    version: int = V311


class Said(Protocol):
    """What clients say of a broker besides its address."""

    @property
    def path(self) -> str | None: ...
    @property
    def ca(self) -> str | None: ...
    @property
    def cert(self) -> str | None: ...
    @property
    def key(self) -> str | None: ...
    @property
    def reject_unauthorized(self) -> bool: ...
    @property
    def keepalive(self) -> int: ...
    @property
    def protocol_version(self) -> int: ...


def with_what_is_said(place: Broker, said: Said) -> Broker:
    """The broker at that place, with what its URL does not say."""
    path = place.path
    if said.path is not None and place.websocket:
        path = said.path if said.path.startswith("/") else f"/{said.path}"
    return msgspec.structs.replace(
        place,
        path=path,
        ca=said.ca,
        cert=said.cert,
        key=said.key,
        reject_unauthorized=said.reject_unauthorized,
        keepalive=said.keepalive,
        version=said.protocol_version,
    )


class Login(msgspec.Struct, frozen=True):
    """What a connection is opened with; it should be renewed `renew_after` seconds later, if given.
    `accepted` is to be called when it was."""

    client_id: str
    username: str | None = None
    password: str | None = None
    renew_after: float | None = None
    accepted: Callable[[], None] = lambda: None


def check_pems(broker: Broker, path: str = "config_json") -> None:
    """Raises `Refusal` for unusable PEM texts, naming the one in the object at `path`."""
    if broker.ca is not None or broker.cert is not None:
        client_context(
            ca=broker.ca, cert=broker.cert, key=broker.key, verify=broker.reject_unauthorized, path=path
        )


def tls_context(broker: Broker) -> ssl.SSLContext:
    """What verifies the broker and identifies this client. Raises `Refusal` where private keys cannot be
    loaded."""
    context = server_context(
        ca=broker.ca, cert=broker.cert, key=broker.key, verify=broker.reject_unauthorized
    )
    if broker.alpn is not None:
        context.set_alpn_protocols([broker.alpn])
    return context
