"""What sessions tell between two turns of their endpoint, and the batches that it makes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from actors.connections.connecting import Lost, trouble_of
from actors.connections.connection import NoConnection
from actors.endpoints.listener import Description, Listener
from storage.timestamps import unix_ms


class ChangesDue(msgspec.Struct, frozen=True):
    """To the endpoint itself: its session has told something; `number` is that of the connection."""

    number: int


class Change(msgspec.Struct, frozen=True, gc=False):
    """As `Listener.changed` has it; `at` is when it was told, Unix ms."""

    device: str
    indices: Sequence[int]
    values: list[Any]
    codes: list[str | None] | None
    times: list[int | None] | None
    at: int


class Presence(NamedTuple):
    device: str
    code: str | None


class Heard(NamedTuple):
    device: str


class Raised(NamedTuple):
    """As `Listener.raised` has it."""

    kind: str
    body: dict[str, Any]


class Awaited(NamedTuple):
    """As `Listener.persisted` has it, of all events before it."""

    then: Callable[[], None]


Event = Change | Presence | Heard | Raised | Awaited | Description


class Gathering(Listener):
    """Keeps what the session of the connection `number` tells, and says by `tell` that there is something:
    what comes in one turn of the loop costs one message. Of a session that is lost nothing is kept until it
    connects anew (`begin`): it is told again then."""

    def __init__(self, number: int, tell: Callable[[Any], None]) -> None:
        self._number = number
        self._tell = tell
        self._events: list[Event] = []
        self._lost = False

    def begin(self) -> None:
        self._lost = False

    def take(self) -> list[Event]:
        """What was told since it was last asked, in order."""
        events, self._events = self._events, []
        return events

    def _keep(self, event: Event) -> None:
        if self._lost:
            return
        if not self._events:
            self._tell(ChangesDue(self._number))
        self._events.append(event)

    def changed(
        self,
        device: str,
        indices: Sequence[int],
        values: list[Any],
        codes: list[str | None] | None = None,
        times: list[int | None] | None = None,
    ) -> None:
        if values and not self._lost:
            if not self._events:
                self._tell(ChangesDue(self._number))
            self._events.append(Change(device, indices, values, codes, times, unix_ms()))

    def described(self, description: Description) -> None:
        self._keep(description)

    def presence(self, device: str, code: str | None) -> None:
        self._keep(Presence(device, code))

    def heard(self, device: str) -> None:
        self._keep(Heard(device))

    def persisted(self, then: Callable[[], None]) -> None:
        self._keep(Awaited(then))

    def raised(self, kind: str, body: dict[str, Any]) -> None:
        self._keep(Raised(kind, body))

    def lost(self, error: NoConnection) -> None:
        if not self._lost:
            self._lost = True
            self._tell(Lost(self._number, trouble_of(error)))


def layers(changes: Sequence[Change]) -> list[Change]:
    """The same changes of one device in as few as can be, each point at most once in each, and in order."""
    if len(changes) == 1:
        return list(changes)
    found: list[_Layer] = []
    times: dict[int, int] = {}
    for change in changes:
        codes, own = change.codes, change.times
        for position, index in enumerate(change.indices):
            number = times.get(index, 0)
            times[index] = number + 1
            if number == len(found):
                found.append(_Layer(change.device))
            found[number].add(
                index,
                change.values[position],
                None if codes is None else codes[position],
                change.at if own is None or (time := own[position]) is None else time,
                change.at,
            )
    return [layer.change() for layer in found]


class _Layer:
    def __init__(self, device: str) -> None:
        self._device = device
        self._indices: list[int] = []
        self._values: list[Any] = []
        self._codes: list[str | None] = []
        self._times: list[int | None] = []
        self._at = 0
        self._bad = False

    def add(self, index: int, value: Any, code: str | None, time: int, at: int) -> None:
        self._indices.append(index)
        self._values.append(value)
        self._codes.append(code)
        self._times.append(time)
        self._at = at
        self._bad = self._bad or code is not None

    def change(self) -> Change:
        codes = self._codes if self._bad else None
        return Change(self._device, self._indices, self._values, codes, self._times, self._at)
