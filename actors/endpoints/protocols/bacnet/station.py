"""Where a device is, and what that makes of a packet (ASHRAE 135, clause 6.2 and annex J)."""

import socket
from functools import lru_cache
from typing import Any, Final, NamedTuple

_BVLC: Final = 0x81
ORIGINAL_UNICAST: Final = 0x0A
_NETWORK_MESSAGE: Final = 0x80
_HAS_DESTINATION: Final = 0x20
_HAS_SOURCE: Final = 0x08
_EXPECTS_REPLY: Final = 0x04


class Station(NamedTuple):
    """An IPv4 address with its UDP port; of what is behind a router there, `network` and `mac` too."""

    host: str
    port: int
    network: int = 0
    mac: bytes = b""

    def __str__(self) -> str:
        behind = f" network {self.network} address {self.mac.hex()}" if self.network else ""
        return f"{self.host}:{self.port}{behind}"

    def library(self) -> Any:
        """As bacpypes3 has it. What it is told by one without its router it would not recognise."""
        from bacpypes3.pdu import IPv4Address, RemoteStation

        local = IPv4Address((self.host, self.port))
        return RemoteStation(self.network, self.mac, route=local) if self.network else local


def station_of(address: Any) -> Station:
    """Of bacpypes3's; one behind a router carries its router. Raises `ValueError` for anything else."""
    route = address.addrRoute
    local = route if route is not None else address
    raw = local.addrAddr
    if raw is None or len(raw) != 6 or local.addrNet is not None:
        raise ValueError(f"{address} is no station on BACnet/IP")
    host, port = socket.inet_ntoa(raw[:4]), int.from_bytes(raw[4:], "big")
    return Station(host, port) if route is None else Station(host, port, address.addrNet, address.addrAddr)


@lru_cache(maxsize=4096)
def _network_part(network: int, mac: bytes, expects_reply: bool) -> bytes:
    control = _EXPECTS_REPLY if expects_reply else 0
    if not network:
        return bytes((1, control))
    control |= _HAS_DESTINATION
    return bytes((1, control)) + network.to_bytes(2, "big") + bytes((len(mac),)) + mac + b"\xff"


def packet(station: Station, apdu: bytes, *, expects_reply: bool) -> bytes:
    """What goes to the station's host and port."""
    network = _network_part(station.network, station.mac, expects_reply)
    length = 4 + len(network) + len(apdu)
    return bytes((_BVLC, ORIGINAL_UNICAST, length >> 8, length & 0xFF)) + network + apdu


def unpack(data: bytes, host: str, port: int) -> tuple[Station, int] | None:
    """Whom a unicast packet is from, and where in it the APDU begins; None for anything else or odder: the
    library's."""
    size = len(data)
    if size < 8 or data[0] != _BVLC or data[1] != ORIGINAL_UNICAST:
        return None
    if data[2] << 8 | data[3] != size or data[4] != 1:
        return None
    control = data[5]
    if not control & (_NETWORK_MESSAGE | _HAS_DESTINATION | _HAS_SOURCE):
        return Station(host, port), 6
    if control & (_NETWORK_MESSAGE | _HAS_DESTINATION):
        return None
    length = data[8] if size > 8 else 0
    start = 9 + length
    network = data[6] << 8 | data[7]
    if not length or not 0 < network < 0xFFFF or start + 2 > size:
        return None
    return Station(host, port, network, data[9:start]), start


def unconfirmed(data: bytes) -> int | None:
    """The service of an unconfirmed request, however it came; None: it is something else, or makes no
    sense."""
    try:
        at = _NETWORK_PARTS[data[1]]
        control = data[at + 1]
        if data[0] != _BVLC or control & _NETWORK_MESSAGE:
            return None
        at += 2
        if control & _HAS_DESTINATION:
            at += 3 + data[at + 2]
        if control & _HAS_SOURCE:
            at += 3 + data[at + 2]
        if control & _HAS_DESTINATION:
            at += 1  # hops
        return data[at + 1] if data[at] >> 4 == 1 else None
    except (IndexError, KeyError):
        return None


_NETWORK_PARTS: Final = {0x04: 10, ORIGINAL_UNICAST: 4, 0x0B: 4}
"""Where they begin: in what a BBMD forwards, in unicasts, in broadcasts."""
