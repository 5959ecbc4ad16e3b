"""Where an MQTT broker is and how to log in; what every destination that speaks MQTT configures."""

import ssl
from tempfile import NamedTemporaryFile

import msgspec

from actors.system.failure import Refusal

MAX_TEXT = 65_535
"""Bytes that MQTT has room for in a client id, user name, password or topic."""
MAX_PAYLOAD = 268_435_455 - MAX_TEXT - 4
"""Bytes that certainly fit into an MQTT packet beside the longest topic."""


class Broker(msgspec.Struct, frozen=True):
    """`ca`, `cert` and `key` are PEM texts, `keepalive` is in seconds, `path` that of the websocket;
    `alpn` is the protocol to ask for where a port serves several."""

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


class Login(msgspec.Struct, frozen=True):
    """What a connection is opened with; it should be renewed `renew_after` seconds later, if given."""

    client_id: str
    username: str | None = None
    password: str | None = None
    renew_after: float | None = None


def check_pems(broker: Broker, path: str = "config_json") -> None:
    """Raises `Refusal` for unusable PEM texts, naming the one in the object at `path`."""
    _given_pems(broker, path)


def tls_context(broker: Broker) -> ssl.SSLContext:
    """What verifies the broker and identifies this client. Without a `ca` the system's authorities are
    trusted; reading those takes tens of ms."""
    context = _given_pems(broker, "config_json")
    if broker.ca is None and broker.reject_unauthorized:
        context.load_default_certs()
    if broker.alpn is not None:
        context.set_alpn_protocols([broker.alpn])
    return context


def _given_pems(broker: Broker, path: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not broker.reject_unauthorized:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if broker.ca is not None:
        try:
            context.load_verify_locations(cadata=broker.ca)
        except (ssl.SSLError, ValueError) as error:
            raise Refusal("ca is not a PEM certificate", f"{path}.ca") from error
    if broker.cert is not None:
        _load_identity(context, broker, path)
    return context


def _load_identity(context: ssl.SSLContext, broker: Broker, path: str) -> None:
    # ssl reads a private key from files only; this one only its owner may read, and it goes at once.
    with NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(f"{broker.cert}\n{broker.key}\n")
        file.flush()
        try:
            # The empty password makes an encrypted key fail; without one OpenSSL asks at the terminal.
            context.load_cert_chain(file.name, password="")
        except (ssl.SSLError, ValueError) as error:
            raise Refusal(
                "cert and key are not a PEM certificate and its unencrypted private key", f"{path}.key"
            ) from error
