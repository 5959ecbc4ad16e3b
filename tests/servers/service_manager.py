"""systemd's side of sd_notify: a datagram socket, and what was sent to it."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 10.0


class Notified:
    """`messages` are the datagrams so far, each as its lines."""

    def __init__(self, receiver: socket.socket) -> None:
        self._receiver = receiver
        self.messages: list[list[str]] = []
        self.arrived: list[float] = []
        """When each of them did, in monotonic seconds."""

    def look(self) -> None:
        """Take what has arrived."""
        while True:
            try:
                data = self._receiver.recv(65536)
            except BlockingIOError:
                return
            self.messages.append(data.decode().split("\n"))
            self.arrived.append(time.monotonic())

    def until(self, happened: Callable[[list[str]], bool], seconds: float = SECONDS) -> list[str]:
        """The first message that has not been passed over yet and is so; those before it are."""
        deadline = time.monotonic() + seconds
        seen = getattr(self, "_seen", 0)
        while True:
            self.look()
            for position in range(seen, len(self.messages)):
                if happened(self.messages[position]):
                    self._seen = position + 1
                    return self.messages[position]
            seen = len(self.messages)
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited in vain, there were {self.messages}")
            time.sleep(0.01)

    @property
    def lines(self) -> list[str]:
        self.look()
        return [line for message in self.messages for line in message]


@contextmanager
def listening(address: str) -> Iterator[Notified]:
    """At a path, or with an @ before it at an abstract name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + address[1:] if address.startswith("@") else address)
        receiver.setblocking(False)
        try:
            yield Notified(receiver)
        finally:
            if not address.startswith("@"):
                Path(address).unlink(missing_ok=True)
