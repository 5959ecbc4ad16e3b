"""The `connection` object of an OPC UA endpoint (spec 03 section 3)."""

import re
import ssl
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from actors.connections.tls import client_context
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import allowed, reads
from conf.fields import Pem, Text, kept, lower, trimmed
from conf.hosts import host_name

from .nodes import BrowsePath, NodeRef, parse_place

Place = NodeRef | BrowsePath
SecurityMode = Literal["None", "Sign", "SignAndEncrypt"]
SecurityPolicy = Literal[
    "None", "Basic128Rsa15", "Basic256", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"
]
TrustMode = Literal["strict", "trust-on-first-use", "thumbprint"]
PORT = 4840
SERVER: Final = "i=2253"
"""The node that tells of every alarm of a server."""

_POLICIES: Final = (
    *("None", "Basic128Rsa15", "Basic256", "Basic256Sha256"),
    *("Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"),
)
_MODES: Final = ("None", "Sign", "SignAndEncrypt")
_TRUST: Final = ("strict", "trust-on-first-use", "thumbprint")
_THUMBPRINT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


Timestamps = Literal["source", "arrival"]


class Connection(msgspec.Struct, frozen=True):
    """A checked connection. Times are seconds, but for the intervals that go to the server."""

    urls: tuple[str, ...]
    """`opc.tcp://<host>:<port>[/<path>]`, in the order in which they are tried"""
    username: str | None = None
    password: str | None = None
    allow_insecure_password: bool = False
    """whether the password may be sent as it is over a connection that everybody can read"""
    user_certificate: str | None = None
    """PEM, with `user_key`: who the user is, instead of a name"""
    user_key: str | None = None
    security_mode: SecurityMode = "None"
    security_policy: SecurityPolicy = "None"
    trust_mode: TrustMode | None = None
    """None: the client does not say, which is strict where there is a certificate to look at"""
    thumbprint: str | None = None
    """of the server's certificate: SHA-1 (40 digits) or SHA-256 (64), in lower-case hex"""
    trusted_certificates: str | None = None
    """PEM: certificates of servers, and of authorities that have signed such"""
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
    timestamps: Timestamps = "source"
    """what times readings have: the source's, the server's where it says none; or when they came"""
    alarm_sources: tuple[Place, ...] = ()
    """nodes that tell of alarms; none: nobody wants to know"""
    alarm_severity: int = 0
    """from which on alarms are told of"""

    @property
    def address(self) -> str:
        return self.urls[0]

    @property
    def secured(self) -> bool:
        return self.security_mode != "None"

    @property
    def looks_at_certificate(self) -> bool:
        """Whether the server's certificate is to be trusted: without security only if the client says how."""
        return self.secured or not (self.trust_mode is self.thumbprint is self.trusted_certificates is None)


def _spelled(known: tuple[str, ...]) -> Any:
    """Reads one of these words however it is spelled; a policy also as its URI."""
    by_plain = {re.sub(r"[^a-z0-9]", "", word.lower()): word for word in known}

    def read(value: Any) -> Any:
        text = trimmed(value)
        if not isinstance(text, str):
            return text
        plain = re.sub(r"[^a-z0-9]", "", text.rpartition("#")[2].lower())
        return by_plain.get(plain, text)

    return read


def _thumbprint(value: Any) -> Any:
    """Tools write it in upper case, and with blanks or colons between the bytes."""
    text = trimmed(value)
    if not isinstance(text, str):
        return text
    digits = re.sub(r"[\s:]", "", text).lower()
    if not _THUMBPRINT.fullmatch(digits):
        raise ValueError
    return digits


def url_of(value: Any) -> Any:
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
    if port == 0:
        raise ValueError("must not have the port 0")
    host = host_name(parts.hostname)
    host = f"[{host}]" if ":" in host else host
    return f"opc.tcp://{host}:{port or PORT}{parts.path}"


def _listed(value: Any) -> Any:
    return [url_of(one) for one in value] if isinstance(value, list | tuple) else value


Url = Annotated[str, reads(url_of), Meta(max_length=4096)]
Mode = Annotated[SecurityMode, reads(_spelled(_MODES))]
Policy = Annotated[SecurityPolicy, reads(_spelled(_POLICIES))]
Trust = Annotated[TrustMode, reads(_spelled(_TRUST))]
Thumbprint = Annotated[
    str,
    reads(_thumbprint),
    allowed("a certificate's SHA-1 or SHA-256 thumbprint: 40 or 64 hexadecimal digits"),
]


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send."""

    endpoint_url: Url | None = None
    endpoint_urls: Annotated[tuple[str, ...], reads(_listed), Meta(max_length=16)] = ()
    username: Text | None = None
    password: Annotated[str, reads(kept)] | None = None
    allow_insecure_password: bool = False
    user_certificate: Pem | None = None
    user_key: Pem | None = None
    security_mode: Mode = "None"
    security_policy: Policy = "None"
    certificate_trust_mode: Trust | None = None
    expected_server_thumbprint: Thumbprint | None = None
    trusted_certificates: Annotated[Pem, Meta(max_length=1_000_000)] | None = None
    connection_timeout: Annotated[int, Meta(ge=100, le=120_000)] = 10_000
    session_timeout: Annotated[int, Meta(ge=1000, le=3_600_000)] = 60_000
    keep_alive_interval: Annotated[int, Meta(ge=500, le=300_000)] = 5000
    use_subscription: bool = True
    publishing_interval: Annotated[int, Meta(ge=10, le=3_600_000)] = 1000
    sampling_interval: Annotated[int, Meta(ge=-1, le=3_600_000)] = 500
    max_monitored_items_per_subscription: Annotated[int, Meta(ge=1, le=100_000)] = 100
    queue_size: Annotated[int, Meta(ge=1, le=100_000)] = 1
    timestamps: Annotated[Timestamps, reads(trimmed, lower)] = "source"
    alarms: bool = False
    alarm_sources: Annotated[tuple[str, ...], Meta(max_length=100)] | None = None
    alarm_min_severity: Annotated[int, Meta(ge=0, le=1000)] | None = None


def read_connection(given: dict[str, Any]) -> Connection:
    """Check a connection as the client sent it. Raises `Refusal` naming `connection.<key>`."""
    found = checked(given, Given, "connection")
    urls = (found.endpoint_url, *found.endpoint_urls) if found.endpoint_url else found.endpoint_urls
    if not urls:
        raise Refusal("endpointUrl is required", "connection.endpointUrl")
    _check_user(found)
    _check_security(found)
    return Connection(
        urls=tuple(dict.fromkeys(urls)),
        username=found.username,
        password=found.password,
        allow_insecure_password=found.allow_insecure_password,
        user_certificate=found.user_certificate,
        user_key=found.user_key,
        security_mode=found.security_mode,
        security_policy=found.security_policy,
        trust_mode=found.certificate_trust_mode,
        thumbprint=found.expected_server_thumbprint,
        trusted_certificates=found.trusted_certificates,
        connection_timeout=found.connection_timeout / 1000,
        session_timeout=found.session_timeout / 1000,
        keep_alive_interval=found.keep_alive_interval / 1000,
        use_subscription=found.use_subscription,
        publishing_interval=found.publishing_interval,
        sampling_interval=found.sampling_interval,
        max_items=found.max_monitored_items_per_subscription,
        queue_size=found.queue_size,
        timestamps=found.timestamps,
        alarm_sources=_alarm_sources(found),
        alarm_severity=found.alarm_min_severity or 0,
    )


def _alarm_sources(found: Given) -> tuple[Place, ...]:
    if not found.alarms:
        for key, value in (
            ("alarmSources", found.alarm_sources),
            ("alarmMinSeverity", found.alarm_min_severity),
        ):
            if value is not None:
                raise Refusal(f"{key} means nothing without alarms", f"connection.{key}")
        return ()
    if not found.use_subscription:
        raise Refusal("alarms need useSubscription", "connection.alarms")
    sources: list[Place] = []
    for index, text in enumerate(found.alarm_sources or (SERVER,)):
        try:
            sources.append(parse_place(text.strip()))
        except ValueError as error:
            name = f"alarmSources[{index}]"
            raise Refusal(f"{name} {error}", f"connection.{name}") from error
    return tuple(sources)


def _check_user(found: Given) -> None:
    if found.password is not None and found.username is None:
        raise Refusal("password needs a username", "connection.username")
    if (found.user_certificate is None) != (found.user_key is None):
        absent = "userCertificate" if found.user_certificate is None else "userKey"
        raise Refusal("userCertificate and userKey come together", f"connection.{absent}")
    if found.user_certificate is None:
        return
    if found.username is not None:
        raise Refusal("a user has a username or a userCertificate, not both", "connection.userCertificate")
    try:
        client_context(cert=found.user_certificate, key=found.user_key, path="connection")
    except Refusal as refusal:
        message = refusal.message.replace("cert and key", "userCertificate and userKey")
        raise Refusal(message, "connection.userKey", refusal.kind) from refusal


def _check_security(found: Given) -> None:
    if found.security_mode == "None" and found.security_policy != "None":
        message = f"securityPolicy {found.security_policy} needs a securityMode, Sign or SignAndEncrypt"
        raise Refusal(message, "connection.securityMode")
    if found.security_mode != "None" and found.security_policy == "None":
        message = f"securityMode {found.security_mode} needs a securityPolicy such as Basic256Sha256"
        raise Refusal(message, "connection.securityPolicy")
    if found.certificate_trust_mode == "thumbprint" and found.expected_server_thumbprint is None:
        message = "certificateTrustMode thumbprint needs the expectedServerThumbprint"
        raise Refusal(message, "connection.expectedServerThumbprint")
    if found.security_mode == "None" and found.username is None:
        for key, value in (
            ("expectedServerThumbprint", found.expected_server_thumbprint),
            ("trustedCertificates", found.trusted_certificates),
        ):
            if value is not None:
                raise Refusal(f"{key} means nothing without a securityMode", f"connection.{key}")
    if found.trusted_certificates is not None:
        _check_certificates(found.trusted_certificates)


def _check_certificates(pem: str) -> None:
    try:
        # Names of authorities may stand between certificates, in any letters; ssl takes ASCII alone.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
            cadata=pem.encode("ascii", "replace").decode()
        )
    except (ssl.SSLError, ValueError) as error:
        raise Refusal(
            "trustedCertificates is not one or more PEM certificates", "connection.trustedCertificates"
        ) from error
