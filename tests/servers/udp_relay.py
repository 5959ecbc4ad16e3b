"""A relay of datagrams in front of a server, for the troubles that lie between: lost, late, twice, in another
order, refused, held back, from somebody else."""

import asyncio
import contextlib
import random
import socket
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

_BUFFER = 4 << 20  # bytes; a burst of notifications is the receiver's to lose
_SILENT_AFTER = 0.5  # seconds
_AT_ONCE = 50
_Send = Callable[[bytes], None]


class DatagramWay:
    """One direction of all flows. `count` is how many datagrams came this way, whatever became of them.

    `delay` is seconds that each is under way, and `jitter` the most that chance adds to it, so that one
    overtakes another. `loss` is the share that chance takes, `copies` how often each arrives; `altered` makes
    of each what arrives instead, None: nothing. Chance is the same in every run.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self.jitter = 0.0
        self.loss = 0.0
        self.copies = 1
        self.altered: Callable[[bytes], bytes | None] | None = None
        self.count = 0
        self._chance = random.Random(1)
        self._held: deque[tuple[_Send, bytes]] | None = None
        self._timers: set[asyncio.TimerHandle] = set()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Within it nothing passes; what came passes afterwards, unless its flow was forgotten."""
        self._held = held = deque()
        try:
            yield
        finally:
            self._held = None
            for send, octets in held:
                self._pass(send, octets)

    def take(self, send: _Send, octets: bytes) -> None:
        """A datagram that `send` is to pass on."""
        self.count += 1
        if self._held is not None:
            self._held.append((send, octets))
        else:
            self._pass(send, octets)

    def forget(self) -> None:
        """What is held or under way is lost."""
        if self._held is not None:
            self._held.clear()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _pass(self, send: _Send, octets: bytes) -> None:
        if self.loss and self._chance.random() < self.loss:
            return
        arrives = octets if self.altered is None else self.altered(octets)
        for _ in range(0 if arrives is None else self.copies):
            assert arrives is not None
            if self.delay or self.jitter:
                self._later(send, arrives, self.delay + self._chance.uniform(0.0, self.jitter))
            else:
                send(arrives)

    def _later(self, send: _Send, octets: bytes, seconds: float) -> None:
        def arrive() -> None:
            self._timers.discard(timer)
            send(octets)

        timer = asyncio.get_running_loop().call_later(seconds, arrive)
        self._timers.add(timer)


class _Port:
    """A socket on the running loop; `heard` is told what comes and from whom, until it is closed."""

    def __init__(self, host: str, port: int, heard: Callable[[bytes, Any], None]) -> None:
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._socket = bound(host, port)
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._read)

    def _read(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                octets, sender = self._socket.recvfrom(65_536)
            except (
                BlockingIOError,
                ConnectionRefusedError,
            ):  # the latter: whom it told something is not there
                return
            self._heard(octets, sender)

    def say(self, octets: bytes, to: Any) -> None:
        with contextlib.suppress(OSError):  # its buffer is full, or the port was closed meanwhile
            self._socket.sendto(octets, to)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()


class _Flow:
    """What one client has to do with the server, which sees a port of it that nobody else has."""

    def __init__(self, relay: "UdpRelay", client: Any) -> None:
        self.spoke = asyncio.get_running_loop().time()
        self.forgotten = False
        self._relay = relay
        self._client = client
        self._server = ("127.0.0.1", relay.target)
        self._port = _Port("127.0.0.1", 0, self._answered)

    def _answered(self, octets: bytes, sender: Any) -> None:
        if not self.forgotten:
            self._relay.answers.take(self.answer, octets)

    def ask(self, octets: bytes) -> None:
        """To the server."""
        if not self.forgotten:
            self._port.say(octets, self._server)

    def answer(self, octets: bytes) -> None:
        """To the client."""
        if not self.forgotten:
            self._relay.say(octets, self._client)

    def forget(self) -> None:
        self.forgotten = True
        self._port.close()


class UdpRelay:
    """From a free port of 127.0.0.1 to `target`, another one. Runs on the loop that entered it.

    `requests` is the way to the server, `answers` the way back. Where a `Relay` has connections, this has
    flows: what comes from one port of a client, as a router that translates addresses sees it. `accepted`
    counts those so far. While `portal` is set, it is the answer to whatever is said, and the server hears
    nothing. `impostor` is an address (host, 0 for any port) that answers come from instead of the relay's.
    """

    def __init__(self, target: int) -> None:
        self.port = free_udp_port()
        self.target = target
        self.requests = DatagramWay()
        self.answers = DatagramWay()
        self.accepted = 0
        self.portal: bytes | None = None
        self._flows: dict[Any, _Flow] = {}
        self._deaf: frozenset[Any] = frozenset()
        self._front: _Port | None = None
        self._impostor: socket.socket | None = None

    @property
    def connections(self) -> int:
        """How many clients have spoken just now."""
        since = asyncio.get_running_loop().time() - _SILENT_AFTER
        return sum(flow.spoke > since for flow in self._flows.values())

    @property
    def impostor(self) -> tuple[str, int] | None:
        return None if self._impostor is None else self._impostor.getsockname()

    @impostor.setter
    def impostor(self, address: tuple[str, int] | None) -> None:
        if self._impostor is not None:
            self._impostor.close()
        self._impostor = None if address is None else bound(*address)

    async def __aenter__(self) -> Self:
        await self.admit()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        self.impostor = None

    @contextlib.contextmanager
    def cut_off(self) -> Iterator[None]:
        """Within it what the clients of now send and are sent is lost; others pass."""
        self._deaf = frozenset(self._flows)
        try:
            yield
        finally:
            self._deaf = frozenset()

    def inject(self, octets: bytes) -> None:
        """Send them to every client, as if the server had."""
        for client in self._flows:
            self.say(octets, client)

    async def cut(self) -> None:
        """Forget all flows, with what was under way: the server sees the next datagram of a client come from
        another port, and reaches none at those that it knew."""
        for way in (self.requests, self.answers):
            way.forget()
        for flow in self._flows.values():
            flow.forget()
        self._flows.clear()

    async def refuse(self) -> None:
        """Cut, and close the port, which clients are told by ICMP; does nothing when it is so already."""
        if self._front is not None:
            self._front.close()
            self._front = None
            await self.cut()

    async def admit(self) -> None:
        """Open the port again."""
        self._front = _Port("127.0.0.1", self.port, self._said)

    def _said(self, octets: bytes, client: Any) -> None:
        """By a client."""
        if client in self._deaf:
            return
        flow = self._flows.get(client) or self._accept(client)
        flow.spoke = asyncio.get_running_loop().time()
        if self.portal is not None:
            flow.answer(self.portal)
        else:
            self.requests.take(flow.ask, octets)

    def say(self, octets: bytes, client: Any) -> None:
        """To a client."""
        if client in self._deaf or self._front is None:
            return
        if self._impostor is not None:
            self._impostor.sendto(octets, client)
        else:
            self._front.say(octets, client)

    def _accept(self, client: Any) -> _Flow:
        """A client that is new; those that have said nothing for long do not keep their ports."""
        since = asyncio.get_running_loop().time() - 2 * _SILENT_AFTER
        for silent in [client for client, flow in self._flows.items() if flow.spoke <= since]:
            self._flows.pop(silent).forget()
        self.accepted += 1
        flow = self._flows[client] = _Flow(self, client)
        return flow


def bound(host: str, port: int) -> socket.socket:
    """A UDP socket with room for a burst."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    try:
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made


def free_udp_port() -> int:
    """A UDP port of 127.0.0.1 that nobody has."""
    with bound("127.0.0.1", 0) as probe:
        port: int = probe.getsockname()[1]
        return port
