"""The `connection` object of an OPC UA endpoint (spec 03 section 3)."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import reads
from conf.fields import Text, kept, trimmed
from conf.hosts import host_name

SecurityMode = Literal["None", "Sign", "SignAndEncrypt"]
SecurityPolicy = Literal[
    "None", "Basic128Rsa15", "Basic256", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"
]
PORT = 4840


class Connection(msgspec.Struct, frozen=True):
    """A checked connection. Times are seconds, but for the intervals that go to the server."""

    urls: tuple[str, ...]
    """`opc.tcp://<host>:<port>[/<path>]`, in the order in which they are tried"""
    username: str | None = None
    password: str | None = None
    security_mode: SecurityMode = "None"
    security_policy: SecurityPolicy = "None"
    connection_timeout: float = 10.0
    """of connecting, and of each request"""
    session_timeout: float = 60.0
    keep_alive_interval: float = 5.0
    """a server that says nothing for so long is lost"""
    use_subscription: bool = True
    publishing_interval: float = 1000.0
    """milliseconds"""
    sampling_interval: float = 500.0
    """milliseconds"""
    max_items: int = 100
    """monitored items in one subscription"""
    queue_size: int = 1

    @property
    def address(self) -> str:
        return self.urls[0]


def _url(value: Any) -> Any:
    """Refuses what the library would take for something else."""
    text = trimmed(value)
    if not isinstance(text, str):
        return text
    if not text.isprintable() or " " in text:
        raise ValueError("must not hold blanks or control characters")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(str(error)) from error
    if parts.scheme != "opc.tcp" or not parts.hostname:
        raise ValueError("must be a URL such as opc.tcp://192.168.1.10:4840")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user: say it by username and password")
    if parts.query or parts.fragment:
        raise ValueError("must not hold a query or a fragment")
    host = host_name(parts.hostname)
    host = f"[{host}]" if ":" in host else host
    return f"opc.tcp://{host}:{port or PORT}{parts.path}"


def _listed(value: Any) -> Any:
    return [_url(one) for one in value] if isinstance(value, list | tuple) else value


Url = Annotated[str, reads(_url), Meta(max_length=4096)]


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send."""

    endpoint_url: Url | None = None
    endpoint_urls: Annotated[tuple[str, ...], reads(_listed), Meta(max_length=16)] = ()
    username: Text | None = None
    password: Annotated[str, reads(kept)] | None = None
    security_mode: Annotated[SecurityMode, reads(trimmed)] = "None"
    security_policy: Annotated[SecurityPolicy, reads(trimmed)] = "None"
    connection_timeout: Annotated[int, Meta(ge=100, le=120_000)] = 10_000
    session_timeout: Annotated[int, Meta(ge=1000, le=3_600_000)] = 60_000
    keep_alive_interval: Annotated[int, Meta(ge=500, le=300_000)] = 5000
    use_subscription: bool = True
    publishing_interval: Annotated[int, Meta(ge=10, le=3_600_000)] = 1000
    sampling_interval: Annotated[int, Meta(ge=-1, le=3_600_000)] = 500
    max_monitored_items_per_subscription: Annotated[int, Meta(ge=1, le=100_000)] = 100
    queue_size: Annotated[int, Meta(ge=1, le=100_000)] = 1


def read_connection(given: dict[str, Any]) -> Connection:
    """Check a connection as the client sent it. Raises `Refusal` naming `connection.<key>`."""
    found = checked(given, Given, "connection")
    urls = (found.endpoint_url, *found.endpoint_urls) if found.endpoint_url else found.endpoint_urls
    if not urls:
        raise Refusal("endpointUrl is required", "connection.endpointUrl")
    if found.password is not None and found.username is None:
        raise Refusal("password needs a username", "connection.username")
    return Connection(
        urls=tuple(dict.fromkeys(urls)),
        username=found.username,
        password=found.password,
        security_mode=found.security_mode,
        security_policy=found.security_policy,
        connection_timeout=found.connection_timeout / 1000,
        session_timeout=found.session_timeout / 1000,
        keep_alive_interval=found.keep_alive_interval / 1000,
        use_subscription=found.use_subscription,
        publishing_interval=found.publishing_interval,
        sampling_interval=found.sampling_interval,
        max_items=found.max_monitored_items_per_subscription,
        queue_size=found.queue_size,
    )
