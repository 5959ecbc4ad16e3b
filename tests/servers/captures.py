"""What goes over an interface of a `servers.namespaces.Namespace`, packet by packet."""

import contextlib
import select
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterable
from ipaddress import ip_address
from time import monotonic
from types import TracebackType
from typing import Literal, NamedTuple, Self

from servers.namespaces import Namespace

_EVERYTHING = 3
_PACKET, _STATISTICS = 263, 6
_OUTGOING = 4
_IPV4, _ARP, _IPV6 = 0x0800, 0x0806, 0x86DD
_KINDS: dict[int, "Kind"] = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmp"}
_BUFFER = 4 << 20  # bytes, some thousand packets

Kind = Literal["arp", "icmp", "igmp", "tcp", "udp", "other"]


class Packet(NamedTuple):
    """`at` is when it was seen, monotonic seconds; `sent`: by the namespace itself. Of ARP, `destination` is
    whom it asks for. Ports and flags (of TCP) are 0 where there are none."""

    at: float
    sent: bool
    kind: Kind
    source: str
    destination: str
    source_port: int
    port: int
    flags: int
    length: int

    @property
    def syn(self) -> bool:
        """It begins a connection."""
        return self.flags & 0x12 == 0x02

    @property
    def rst(self) -> bool:
        return bool(self.flags & 0x04)


class Capture:
    """Everything on `interface` while it is entered, from the moment when it is; complete once it is left,
    which raises when anything was missed."""

    def __init__(self, namespace: Namespace, interface: str = "eth0") -> None:
        self.packets: list[Packet] = []
        self._namespace = namespace
        self._interface = interface
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)

    def sent(self, *kinds: Kind) -> Counter[str]:
        """How many packets went to each address; of these kinds only, if any."""
        return Counter(
            each.destination for each in self.packets if each.sent and (not kinds or each.kind in kinds)
        )

    def begun(self, port: int | None = None) -> Counter[str]:
        """How many connections over TCP were tried to each address."""
        return Counter(
            each.destination
            for each in self.packets
            if each.sent and each.syn and (port is None or each.port == port)
        )

    def outside(self, allowed: Iterable[str]) -> Counter[str]:
        """How many packets went to each address that is none of these."""
        known = set(allowed)
        return Counter({to: count for to, count in self.sent().items() if to not in known})

    def __enter__(self) -> Self:
        # It hears nothing before it is bound: else it would hear the other interfaces until then.
        self._socket = self._namespace.socket(
            socket.AF_PACKET, socket.SOCK_RAW, 0, (self._interface, _EVERYTHING)
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.setblocking(False)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        self._thread.join()
        _, missed = struct.unpack("II", self._socket.getsockopt(_PACKET, _STATISTICS, 8))
        self._socket.close()
        if missed and error is None:
            raise RuntimeError(f"{missed} packets were not captured")

    def _read(self) -> None:
        while not self._ends.is_set():
            select.select([self._socket], [], [], 0.02)
            self._drain()
        self._drain()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                octets, (_, ethertype, direction, *_) = self._socket.recvfrom(65_536)
                packet = _packet(octets[14:], ethertype, direction == _OUTGOING)
                if packet is not None:
                    self.packets.append(packet)


def _packet(octets: bytes, ethertype: int, sent: bool) -> Packet | None:
    length = len(octets)
    if ethertype == _ARP:
        source, destination = octets[14:18], octets[24:28]
        return Packet(monotonic(), sent, "arp", _text(source), _text(destination), 0, 0, 0, length)
    if ethertype == _IPV4:
        start = 4 * (octets[0] & 0x0F)
        fragment = (octets[6] & 0x1F) << 8 | octets[7]
        protocol, source, destination = octets[9], octets[12:16], octets[16:20]
        upper = b"" if fragment else octets[start:]
    elif ethertype == _IPV6:
        protocol, source, destination, upper = octets[6], octets[8:24], octets[24:40], octets[40:]
    else:
        return None
    kind: Kind = _KINDS.get(protocol, "other")
    ports = struct.unpack_from(">HH", upper) if kind in ("tcp", "udp") and len(upper) >= 4 else (0, 0)
    flags = upper[13] if kind == "tcp" and len(upper) > 13 else 0
    return Packet(monotonic(), sent, kind, _text(source), _text(destination), *ports, flags, length)


def _text(address: bytes) -> str:
    return str(ip_address(address))
