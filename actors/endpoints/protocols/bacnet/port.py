"""One UDP port of this machine, which all endpoints use that agree on it: bacpypes3's application and our own
requests on the same socket.

What is asked here (`ask`) has invoke ids from 128 on, what bacpypes3 asks (`request`) those below: which of
them a reply is for is seen from its first octets, and what is not ours goes to the library as it came.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

from bacpypes3.apdu import ConfirmedRequestPDU, ErrorRejectAbortNack
from bacpypes3.pdu import PDU, IPv4Address

from actors.connections.connection import Permanent, Transient
from actors.endpoints.lines import Lines

from . import quality
from .application import Application, Link, build
from .binding import bound, broadcast_of, resolve, unbound, widen
from .capability import Capability
from .connection import Local
from .foreign import Foreign
from .peer import OURS, Peer
from .station import Station, packet, station_of, unconfirmed, unpack

_AT_ONCE: Final = 128
"""Requests under way on the port to devices that answer: so many replies fit a receive buffer of the
size that systems grant to everybody."""
_SOON: Final = 0.5
"""Seconds after which a request that is not answered takes no room any more: many that are silent at the same
time keep nobody waiting."""
_HANDED_OVER: Final = 1000
"""Packets that the library is at."""
_MOST_PEERS: Final = 4096
_CONFIRMED, _UNCONFIRMED, _SIMPLE_ACK = 0, 1, 2
_IN_PARTS: Final = 0x0C
"""Of a request in segments; whether a reply may have some is another bit."""
_HEARD: Final = frozenset({None, 0})
"""Of unconfirmed requests, which networks are full of, only I-Am is of use to anybody here."""
_REPLIES: Final = frozenset({2, 3, 5, 6, 7})
_CONFIRMED_COV, _UNCONFIRMED_COV = 1, 2

Notified = Callable[[Station, bytes, int | None], bool]
"""Told of the body of a COV notification, which begins with the process identifier, and of the invoke id of a
confirmed one; whether it is one that it understands and waits for."""

# What others send wrongly is no error of ours, and may come a thousand times a second.
logging.getLogger("bacpypes3").setLevel(logging.CRITICAL)


class Port(asyncio.DatagramProtocol):
    """Constructing it touches no network. `open` before anything else."""

    app: Application
    """bacpypes3's. What asks by it goes through `request`."""

    def __init__(self, local: Local) -> None:
        self.local = local
        self.loop = asyncio.get_running_loop()
        self.unasked = 0
        """Replies that nobody waited for: too late, or twice."""
        self._transports: list[asyncio.DatagramTransport] = []
        self._peers: dict[Station, Peer] = {}
        self._capabilities: dict[Station, Capability] = {}
        self._notified: dict[tuple[Station, int], Notified] = {}
        self._opening = asyncio.Lock()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._link: Link | None = None
        self._own: tuple[str, int] | None = None
        self.heard_i_am: Callable[[Any], None] = lambda apdu: None
        """Told of each of the library's I-Am."""
        self.finder: object = None
        """Who looks for devices here (`finding`)."""

    # Opening and closing

    @property
    def is_open(self) -> bool:
        return bool(self._transports)

    @property
    def foreign(self) -> Foreign | None:
        """Its registration at a BBMD, if it is to have one."""
        service = None if self._link is None else self._link.service
        return service if isinstance(service, Foreign) else None

    async def open(self) -> None:
        """Bind it, unless it is bound. Raises `Transient` or `Permanent`."""
        async with self._opening:
            if self._transports:
                return
            address = self.local.address.partition("/")[0] or "0.0.0.0"
            await self._bind(address, self)
            try:
                if self.local.address and self.local.bbmd is None:
                    await self._bind(broadcast_of(self.local)[0], Broadcasts(self))
                self._own = (address, self.local.port)
                self.app, self._link = build(self.local, self._send_pdu)
                self.app.heard_i_am = lambda apdu: self.heard_i_am(apdu)
                if self.local.bbmd is not None:
                    host, port = self.local.bbmd
                    self._link.register(IPv4Address((await resolve(host), port)), self.local.ttl)
            except BaseException:
                self.close()
                raise

    async def _bind(self, address: str, protocol: asyncio.DatagramProtocol) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            widen(sock)
            await bound(sock, address, self.local.port)
            transport, _ = await self.loop.create_datagram_endpoint(lambda: protocol, sock=sock)
        except OSError as error:
            sock.close()
            raise unbound(error, address, self.local.port) from error
        except BaseException:
            sock.close()
            raise
        self._transports.append(transport)

    def close(self) -> None:
        """Whoever waits for a reply is told that there is none. It may be opened again."""
        if self._link is not None:
            self._link.give_up()
            self._link = None
        transports, self._transports = self._transports, []
        for peer in self._peers.values():
            peer.give_up()
        self._peers.clear()
        self._notified.clear()
        for task in list(self._tasks):
            task.cancel()
        for transport in transports:
            transport.close()

    # Asking

    async def ask(self, station: Station, body: bytes, seconds: float, at_once: int = 5) -> bytes | None:
        """Send a confirmed request, which is `body` from its service's number on, and return the APDU that
        answers it: whatever it says, it is from that station, and of that invoke id. None: there was none
        within so many seconds. At most `at_once` requests are under way to a station, however many ask.
        Raises `Transient` when the port is closed meanwhile."""
        peer = self._peer(station)
        await peer.turn(at_once)
        try:
            if peer.silent:
                return await self._ask(peer, body, seconds)
            await self._room.acquire()
            room = _Held(self._room)
            timer = self.loop.call_later(_SOON, room.give_back)
            try:
                return await self._ask(peer, body, seconds)
            finally:
                timer.cancel()
                room.give_back()
        finally:
            peer.done()

    async def _ask(self, peer: Peer, body: bytes, seconds: float) -> bytes | None:
        if not self._transports:
            raise Transient("the port is closed", code=quality.DEVICE_OFFLINE)
        invoke_id, reply = peer.begin(self.loop.time())
        # No segmented replies, of at most 1476 octets (clause 20.1.2.5).
        apdu = bytes((_CONFIRMED, 0x05, invoke_id)) + body
        self._send(peer.station, packet(peer.station, apdu, expects_reply=True))
        timer = self.loop.call_later(seconds, peer.expire, invoke_id)
        try:
            return await reply
        finally:
            timer.cancel()
            peer.end(invoke_id)

    async def request(self, apdu: Any, seconds: float, at_once: int = 5) -> Any:
        """Send one of bacpypes3's confirmed requests and return what acknowledges it, decoded by the library
        and in segments if need be. Raises its `ErrorRejectAbortNack` for a refusal, `Transient` (TIMEOUT)
        when nothing comes within so many seconds."""
        assert isinstance(apdu, ConfirmedRequestPDU)
        peer = self._peer(station_of(apdu.pduDestination))
        await peer.turn(at_once)
        try:
            if not self._transports:
                raise Transient("the port is closed", code=quality.DEVICE_OFFLINE)
            async with asyncio.timeout(seconds):
                reply = await self.app.request(apdu)
        except TimeoutError:
            self.app.forget(apdu)
            peer.silent = True
            text = f"{peer.station} did not answer within {seconds:g} s"
            raise Transient(text, code=quality.TIMEOUT) from None
        except ErrorRejectAbortNack:
            peer.silent = False
            raise
        finally:
            peer.done()
        peer.silent = False
        return reply

    def _peer(self, station: Station) -> Peer:
        peer = self._peers.get(station)
        if peer is None:
            if len(self._peers) >= _MOST_PEERS:
                for other in [place for place, known in self._peers.items() if known.idle]:
                    del self._peers[other]
            peer = self._peers[station] = Peer(station)
        return peer

    def capability(self, station: Station) -> Capability:
        """What is known of the device there, whoever has found it out."""
        known = self._capabilities.get(station)
        if known is None:
            if len(self._capabilities) >= _MOST_PEERS:
                self._capabilities.clear()
            known = self._capabilities[station] = Capability(behind_router=bool(station.network))
        return known

    # Notifications

    def notify(self, station: Station, process: int, notified: Notified) -> None:
        """Tell of COV notifications of that station for that process identifier, until `forget`."""
        self._notified[station, process] = notified

    def is_notified(self, station: Station, process: int) -> bool:
        """Whether somebody waits for those already."""
        return (station, process) in self._notified

    def forget(self, station: Station, process: int) -> None:
        self._notified.pop((station, process), None)

    def _notify(self, station: Station, data: bytes, at: int) -> bool:
        """Whether somebody waited for that notification; a confirmed one is acknowledged then."""
        confirmed = data[at] >> 4 == _CONFIRMED
        start = at + (4 if confirmed else 2)
        if data[at] & _IN_PARTS or len(data) <= start + 1:
            return False
        size = data[start]  # the process identifier is context tag 0, of 1 to 4 octets
        if not 0x09 <= size <= 0x0C:
            return False
        process = int.from_bytes(data[start + 1 : start + 1 + (size & 7)], "big")
        notified = self._notified.get((station, process))
        if notified is None or not notified(station, data[start:], data[at + 2] if confirmed else None):
            return False
        if confirmed:
            ack = bytes((_SIMPLE_ACK << 4, data[at + 2], _CONFIRMED_COV))
            self._send(station, packet(station, ack, expects_reply=False))
        return True

    # The socket

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr == self._own:
            return  # what we have broadcast
        if not self._take(data, addr):
            self.hand_over(data, addr, self._own)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transports:
            self.close()

    def error_received(self, exc: Exception) -> None:
        """The network is away: nobody answers, which is found out anyway."""

    def _take(self, data: bytes, addr: tuple[str, int]) -> bool:
        """Whether a packet is for us, and not for the library."""
        found = unpack(data, *addr)
        if found is None:
            return False
        station, at = found
        kind = data[at] >> 4
        if kind in _REPLIES:
            if len(data) < at + 3 or data[at + 1] < OURS:
                return False
            peer = self._peers.get(station)
            if peer is None or not peer.answer(data[at + 1], data[at:]):
                self.unasked += 1
            return True
        if kind == _UNCONFIRMED:
            return data[at + 1] == _UNCONFIRMED_COV and self._notify(station, data, at)
        if kind == _CONFIRMED and len(data) > at + 4:
            return data[at + 3] == _CONFIRMED_COV and self._notify(station, data, at)
        return False

    def hand_over(self, data: bytes, addr: tuple[str, int], to: tuple[str, int] | None) -> None:
        """To the library, which raises whatever it likes about what it does not understand."""
        if self._link is None or len(self._tasks) >= _HANDED_OVER:
            return
        if unconfirmed(data) not in _HEARD:
            return
        try:
            pdu = PDU(data, source=IPv4Address(addr), destination=None if to is None else IPv4Address(to))
        except Exception:  # noqa: BLE001 (of an address that it does not like)
            return
        task = self.loop.create_task(self._link.received(pdu))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send(self, station: Station, data: bytes) -> None:
        self._transports[0].sendto(data, (station.host, station.port))

    def _send_pdu(self, data: bytes, place: tuple[str, int] | None) -> None:
        """For the library; None: to everybody."""
        if self._transports:
            self._transports[0].sendto(data, broadcast_of(self.local) if place is None else place)


class _Held:
    """Room for a request that is under way, given back once."""

    def __init__(self, room: asyncio.Semaphore) -> None:
        self._room: asyncio.Semaphore | None = room

    def give_back(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.release()


class Broadcasts(asyncio.DatagramProtocol):
    """A socket that is bound to one address of several does not hear what goes to all: this one does."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._port.hand_over(data, addr, None)


async def open_port(lines: Lines, local: Local) -> Port:
    """The port of that address and number, open; to be released once by `release_port`. Raises `Transient`
    or `Permanent`."""
    key = _key(local)
    port = lines.acquire(key, lambda: Port(local))
    try:
        if port.local != local:
            text = f"another endpoint uses UDP port {local.port} with another broadcast address, BBMD or ttl"
            raise Permanent(text, code=quality.PORT_NOT_OPEN)
        await port.open()
    except BaseException:
        release_port(lines, port)
        raise
    return port


def release_port(lines: Lines, port: Port) -> None:
    """The last one closes it."""
    if lines.release(_key(port.local)):
        port.close()


def _key(local: Local) -> tuple[str, str, int]:
    return "port", local.address.partition("/")[0], local.port
