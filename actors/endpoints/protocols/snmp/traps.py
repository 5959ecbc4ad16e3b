"""The port that traps come to, which all endpoints share: each is told of those from its device's address.

A flood costs little: what comes from an address that no endpoint has is not read, and one that has said too
much is not heard for a while. What was not told is counted, and the next event says how many.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from actors.endpoints.lines import Lines

from . import notifications, usm
from .ber import Malformed
from .notifications import Notification

log = logging.getLogger(__name__)

KIND: Final = "traps"
A_SECOND: Final = 20.0
"""Traps of one endpoint that are told, in the long run."""
AT_ONCE: Final = 100
_STRANGERS: Final = 5.0
"""Engines in a second that have proven nothing yet and are looked at: to make the keys of one takes a
millisecond, and whoever forges traps may name as many as it likes."""
_ENGINES: Final = 8
"""Of one host, that are remembered."""
_BUFFER: Final = 1 << 20
_TURN: Final = 64
"""Datagrams that are read before others have their turn."""
_LONGEST: Final = 65_535

Tell = Callable[[str, dict[str, Any]], None]


class Room:
    """For `at_once` at most."""

    def __init__(self, at_once: float) -> None:
        self._at_once = self._left = at_once
        self._at = monotonic()

    def is_left(self, a_second: float) -> bool:
        """Whether there is any, when so much of it comes back."""
        now = monotonic()
        self._left = min(self._at_once, self._left + (now - self._at) * a_second)
        self._at = now
        return self._left >= 1

    def take(self) -> None:
        self._left -= 1


class Receiver:
    """An endpoint: what addresses its device has, whom it believes, and how to tell it. Traps of v1 and v2c
    say a community, those of v3 are signed by `user`."""

    def __init__(
        self, addresses: tuple[str, ...], communities: tuple[str, ...], user: usm.User | None, tell: Tell
    ) -> None:
        self.addresses = addresses
        self.dropped = 0
        self._communities = tuple(one.encode() for one in communities)
        self._user = user
        self._tell = tell
        self._room = Room(AT_ONCE)
        self._strangers = Room(_STRANGERS)
        self._clocks: dict[bytes, tuple[int, int]] = {}

    def has_room(self) -> bool:
        """Whether it may be told one more now."""
        if not self._room.is_left(A_SECOND):
            self.dropped += 1
            return False
        return True

    def read(self, data: bytes) -> Notification:
        """Raises `Malformed` for what this endpoint does not believe."""
        if notifications.version_of(data) == usm.VERSION:
            if self._user is None:
                raise Malformed("a trap of v3")
            if self._user.auth:
                self._check_engine(usm.engine_of(data))
            heard, found = notifications.of_user(data, self._user)
            self._check_age(heard)
            return found
        community, found = notifications.of_community(data)
        if self._user is not None or community not in self._communities:
            raise Malformed("a trap with another community")
        return found

    def _check_engine(self, engine: bytes) -> None:
        if engine not in self._clocks:
            if not self._strangers.is_left(_STRANGERS):
                raise Malformed("a trap of one of too many engines")
            self._strangers.take()

    def _check_age(self, heard: usm.Heard) -> None:
        """A signed trap that somebody sends once more is not news."""
        before = self._clocks.get(heard.engine)
        told = heard.boots, heard.time
        if before is not None and (told[0], told[1] + usm.WINDOW) < before:
            raise Malformed("a trap of long ago")
        if before is not None or len(self._clocks) < _ENGINES:
            self._clocks[heard.engine] = max(told, before or told)

    def tell(self, found: Notification, source: str) -> None:
        self._room.take()
        body = {"source": source, **found.body()}
        if self.dropped:
            body["dropped"], self.dropped = self.dropped, 0
        self._tell(KIND, body)


class TrapPort:
    """Listens while it has receivers. `unknown` counts what came from nobody's address, `refused` what one of
    them did not believe or could not read."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.unknown = 0
        self.refused = 0
        self._receivers: dict[str, list[Receiver]] = {}
        self._socket: socket.socket | None = None
        self._said = False

    def add(self, receiver: Receiver) -> None:
        for address in receiver.addresses:
            self._receivers.setdefault(address, []).append(receiver)
        if self._socket is None:
            self._open()

    def remove(self, receiver: Receiver) -> None:
        for address in receiver.addresses:
            there = self._receivers[address]
            there.remove(receiver)
            if not there:
                del self._receivers[address]

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _open(self) -> None:
        """One that is taken, or not for us to have, costs the traps and not the polls."""
        try:
            self._socket = _bound(self.port)
        except OSError as error:
            if not self._said:
                self._said = True
                log.error("traps are not received: UDP port %d: %s", self.port, error.strerror or error)
            return
        self._said = False
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)

    def _read(self) -> None:
        for _ in range(_TURN):
            if self._socket is None:
                return
            try:
                data, sender = self._socket.recvfrom(_LONGEST)
            except OSError:  # there is no more, or a sender of informs is gone
                return
            self._take(data, sender)

    def _take(self, data: bytes, sender: Any) -> None:
        address = plain_address(sender[0])
        receivers = self._receivers.get(address)
        if receivers is None:
            self.unknown += 1
            return
        believed: Notification | None = None
        for receiver in receivers:
            if not receiver.has_room():
                continue
            try:
                found = receiver.read(data)
            except ValueError:  # what cannot be read, or is not for it
                self.refused += 1
                continue
            receiver.tell(found, address)
            believed = found
        if believed is not None:
            self._answer(believed, sender)

    def _answer(self, found: Notification, sender: Any) -> None:
        if found.answer is not None and self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(found.answer, sender)


def _bound(port: int) -> socket.socket:
    """For IPv4 and IPv6, where there is the latter. Raises `OSError`."""
    try:
        made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        where: tuple[str, int] = ("::", port)
    except OSError:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        where = ("0.0.0.0", port)
    try:
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        made.setblocking(False)
        made.bind(where)
    except BaseException:
        made.close()
        raise
    return made


def plain_address(address: str) -> str:
    """An address of IPv4 as such; of IPv6 without its zone."""
    return address.removeprefix("::ffff:").partition("%")[0]


def listen(lines: Lines, port: int, receiver: Receiver) -> Callable[[], None]:
    """Tell that receiver from now on; returns what ends it."""
    key = ("traps", port)
    shared = lines.acquire(key, lambda: TrapPort(port))
    shared.add(receiver)

    def end() -> None:
        shared.remove(receiver)
        if lines.release(key):
            shared.close()

    return end
