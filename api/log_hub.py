"""Who follows the log: what each of them gets of new entries."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from actors.logs.entries import LogEntry, LogFilter, shown
from actors.logs.messages import LogsAdded
from api.streams import Client, Hub

HELD = 1000
"""Events that wait until a client has had those from before it joined."""

_encode = msgspec.json.Encoder().encode


def log_event(entry: LogEntry) -> bytes:
    """Without a name, so that it is a message to who follows with a browser's `EventSource`."""
    return b"id: log-%d\ndata: %s\n\n" % (entry.number, _encode(shown(entry)))


class LogClient(Client[LogFilter]):
    """It gets what was logged before it joined first (`begin`), and nothing twice."""

    def __init__(
        self,
        chosen: LogFilter,
        write: Callable[[bytes], Awaitable[None]],
        gone: Callable[[], bool],
        cut: Callable[[], None],
    ) -> None:
        super().__init__(chosen, write, gone, cut)
        self._held: deque[tuple[int, bytes]] | None = deque(maxlen=HELD)
        self._newest = 0

    def put_entry(self, number: int, event: bytes) -> None:
        if self._held is not None:
            self._held.append((number, event))
        elif number > self._newest:
            self.put(event)

    def begin(self, entries: Sequence[LogEntry], newest: int) -> None:
        """These were logged before; what is up to `newest` is among them if it is wanted."""
        for entry in entries:
            self.put(log_event(entry))
        held, self._held, self._newest = self._held or (), None, newest
        for number, event in held:
            self.put_entry(number, event)


class LogHub(Hub[LogClient]):
    """Hands each entry to the clients that want it, encoded once."""

    def __init__(self, changed: Callable[[], None] | None = None) -> None:
        super().__init__("the log", changed)

    def publish(self, added: LogsAdded) -> None:
        if added.lost:
            for client in self._clients:
                client.miss(added.lost)
        for entry in added.entries:
            wanting = [client for client in self._clients if client.filter.matches(entry)]
            event = log_event(entry) if wanting else b""
            for client in wanting:
                client.put_entry(entry.number, event)
