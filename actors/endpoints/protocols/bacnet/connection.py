"""The `connection` object of a BACnet/IP endpoint (spec 03 section 4)."""

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from actors.endpoints.discovering import At
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import allowed, also, reads
from conf.fields import Host, trimmed
from conf.hosts import host_name, is_address
from conf.settings import Settings

from .kinds import ANY_INSTANCE

PORT: Final = 47808
_ANYWHERE: Final = At("")
LOCAL_PORT: Final = 47809

_HEX: Final = re.compile(r"(?:0x)?((?:[0-9a-f]{2}[:\s]?)+)", re.IGNORECASE)

Place = tuple[str, int]
"""A host and its UDP port."""


class Local(msgspec.Struct, frozen=True):
    """The agent's own end: endpoints that agree on it share one UDP port."""

    port: int = LOCAL_PORT
    address: str = ""
    """with its prefix length where it was said (`10.0.0.5/24`); "": every address of this machine"""
    broadcast: str = ""
    """"": that of the network of the local address, or 255.255.255.255"""
    bbmd: Place | None = None
    """where to register as a foreign device"""
    ttl: int = 300
    """seconds for which it is registered"""


class Connection(msgspec.Struct, frozen=True):
    """A checked connection; one of `host` and `instance` is there. Times are seconds."""

    host: str | None
    """of the device, or of the router that it is behind; None: found by its instance"""
    port: int
    instance: int | None
    """None: whichever answers at the host"""
    local: Local = Local()
    network: int | None = None
    """of a device behind a router"""
    mac: bytes | None = None
    """its address there; None: found by its instance"""
    concurrent: int = 5
    timeout: float = 5.0
    retries: int = 1
    retry_delay: float = 0.5
    use_cov: bool = False
    confirmed: bool = False
    lifetime: int = 300
    """seconds of a subscription"""
    poll_interval: float = 60.0
    """between two polls of what was subscribed to"""

    @property
    def identifier(self) -> str:
        return str(self.instance) if self.instance is not None else self.address

    @property
    def address(self) -> str:
        where = [] if self.host is None else [f"{self.host}:{self.port}"]
        if self.network is not None:
            where.append(f"network:{self.network}" + (f":{self.mac.hex()}" if self.mac else ""))
        if self.instance is not None:
            where.append(f"device:{self.instance}")
        return "bacnet:" + ":".join(where)

    @property
    def known_by(self) -> tuple[At, str] | None:
        """Of a device that only its host or only its instance is said of; None: both are, or it is behind a
        router."""
        if self.network is not None or (self.host is not None and self.instance is not None):
            return None
        return (_ANYWHERE, str(self.instance)) if self.host is None else (At(self.host, self.port), "")

    @property
    def answers_to(self) -> tuple[tuple[At, str], ...]:
        if self.host is None or self.instance is None:
            return ()
        by_instance = (_ANYWHERE, str(self.instance))
        return (by_instance,) if self.network is not None else ((At(self.host, self.port), ""), by_instance)


def _ipv4(value: Any) -> Any:
    """BACnet/IP has no other addresses than those; names are allowed."""
    if isinstance(value, str) and ":" in (found := host_name(value)):
        raise ValueError(f"{found} is an IPv6 address: BACnet/IP knows IPv4 only")
    return host_name(value) if isinstance(value, str) else value


def _local_address(value: Any) -> Any:
    text = trimmed(value)
    if not isinstance(text, str):
        return text
    address, slash, prefix = text.partition("/")
    try:
        plain = host_name(address)
    except ValueError:
        plain = ""
    good = is_address(plain) and ":" not in plain if plain else False
    if not good or (slash and not (prefix.isascii() and prefix.isdecimal() and 1 <= int(prefix[:3]) <= 32)):
        raise ValueError
    return text


def _broadcast(value: Any) -> Any:
    text = trimmed(value)
    if not isinstance(text, str):
        return text
    try:
        host = host_name(text)
    except ValueError:
        raise ValueError from None
    if not is_address(host) or ":" in host:
        raise ValueError
    return host


def read_place(text: str) -> Place:
    """`<host>[:<port>]`. Raises `ValueError` with the rest of a sentence that begins with the field."""
    host, colon, port = text.strip().rpartition(":") if text.count(":") == 1 else (text.strip(), "", "")
    if colon and not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65_536):
        raise ValueError("must be a host and a port such as 10.0.0.1:47808")
    return str(_ipv4(host)), int(port) if colon else PORT


def _place(value: Any) -> Any:
    text = trimmed(value)
    if isinstance(text, str):
        read_place(text)
    return text


def read_mac(value: int | str) -> bytes:
    """A number is an address on MS/TP; a text is hexadecimal, or an address on BACnet/IP with its port.
    Raises `ValueError`."""
    if isinstance(value, int):
        return bytes((value,))
    text = value.strip()
    if text.isascii() and text.isdecimal() and int(text[:4]) < 256:
        return bytes((int(text),))
    if text.count(".") == 3:
        host, port = read_place(text)
        if not is_address(host):
            raise ValueError("must be an address")
        return bytes(int(part) for part in host.split(".")) + port.to_bytes(2, "big")
    found = _HEX.fullmatch(text)
    mac = bytes.fromhex(re.sub(r"[:\s]", "", found[1])) if found else b""
    if not 1 <= len(mac) <= 18:
        raise ValueError
    return mac


def _mac(value: Any) -> Any:
    value = trimmed(value)
    if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value <= 254:
        raise ValueError
    if isinstance(value, str):
        try:
            read_mac(value)
        except ValueError:
            raise ValueError from None
    return value


Instance = Annotated[int, Meta(ge=0, le=ANY_INSTANCE)]
Udp = Annotated[int, Meta(ge=1, le=65_535)]
Address = Annotated[
    str, reads(_local_address), allowed("an IPv4 address of this machine such as 10.0.0.5 or 10.0.0.5/24")
]
Broadcast = Annotated[str, reads(_broadcast), allowed("an IPv4 address such as 10.0.0.255")]
Bbmd = Annotated[str, reads(_place)]


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send."""

    host: Annotated[Host, also("ipAddress"), reads(trimmed, _ipv4)] | None = None
    port: Udp = PORT
    device_instance: Annotated[Instance, also("deviceId")] | None = None
    max_concurrent_reads: Annotated[int, Meta(ge=1, le=10)] = 5
    timeout: Annotated[int, Meta(ge=100, le=60_000)] = 5000
    retry_attempts: Annotated[int, Meta(ge=0, le=5)] = 1
    retry_delay: Annotated[int, Meta(ge=0, le=60_000)] = 500
    local_port: Udp | None = None
    local_address: Address | None = None
    broadcast_address: Broadcast | None = None
    bbmd: Bbmd | None = None
    ttl: Annotated[int, Meta(ge=10, le=65_535)] = 300
    network: Annotated[int, Meta(ge=1, le=65_534)] | None = None
    mac: (
        Annotated[
            int | str,
            reads(_mac),
            allowed(
                "an address on that network: 0 to 254 on MS/TP, else hexadecimal digits or 10.0.0.5:47808"
            ),
        ]
        | None
    ) = None
    use_cov: bool = False
    cov_confirmed: bool = False
    cov_lifetime: Annotated[int, Meta(ge=10, le=86_400)] = 300
    poll_interval: Annotated[int, Meta(ge=100, le=86_400_000)] = 60_000
    max_apdu: Annotated[int, Meta(ge=50, le=1476)] | None = None
    """Accepted, without effect: what a device takes is asked of it."""


def read_connection(given: dict[str, Any]) -> Connection:
    """Check a connection as the client sent it. Raises `Refusal` naming `connection.<key>`."""
    found = checked(given, Given, "connection")
    instance = None if found.device_instance == ANY_INSTANCE else found.device_instance
    if found.host is None and instance is None:
        if found.device_instance is not None:
            text = f"deviceInstance {ANY_INSTANCE} is any device: say which, or its host"
            raise Refusal(text, "connection.deviceInstance")
        raise Refusal("host or deviceInstance is required", "connection.host")
    if found.mac is not None and found.network is None:
        raise Refusal("mac needs the network that it is an address of", "connection.network")
    if found.network is not None and found.mac is None and instance is None:
        raise Refusal("a device on another network needs its mac or deviceInstance", "connection.mac")
    return Connection(
        host=found.host,
        port=found.port,
        instance=instance,
        local=local_of(found),
        network=found.network,
        mac=None if found.mac is None else read_mac(found.mac),
        concurrent=found.max_concurrent_reads,
        timeout=found.timeout / 1000,
        retries=found.retry_attempts,
        retry_delay=found.retry_delay / 1000,
        use_cov=found.use_cov,
        confirmed=found.cov_confirmed,
        lifetime=found.cov_lifetime,
        poll_interval=found.poll_interval / 1000,
    )


def local_of(found: Given) -> Local:
    return Local(
        port=found.local_port or LOCAL_PORT,
        address=found.local_address or "",
        broadcast=found.broadcast_address or "",
        bbmd=None if found.bbmd is None else read_place(found.bbmd),
        ttl=found.ttl,
    )


def completed(given: dict[str, Any], settings: Settings, agent_uuid: str) -> dict[str, Any]:
    """With the local port and address of files and environment where the connection says none."""
    own = {"localPort": settings.bacnet.local_port, "localAddress": settings.bacnet.local_address}
    absent = {key: value for key, value in own.items() if value and given.get(key) in (None, "")}
    return {**given, **absent}
