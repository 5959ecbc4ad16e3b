"""What devices show after something was written to them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from actors.connections.connection import NoConnection
from actors.endpoints.listener import Description, Listener

from .writing import Prepared, same

MOST = 100
"""Writes that are looked after at a time."""


class Watch:
    """Of one write: what its point has shown since, the latest; `seen` is set when that is what was
    written."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.shown: Any = None
        self.seen = asyncio.Event()

    def look(self, value: Any) -> None:
        if value is not None:
            self.shown = value
            if same(self.prepared.value, value, self.prepared.point.shape):
                self.seen.set()


class Watching(Listener):
    """Passes everything on. While there are watches it looks at changes on their way, and at nothing else:
    most of the time they go straight to the listener. `place` finds a device's point by its name."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._watches: list[Watch] = []
        self.place: Callable[[str, str], int | None] = lambda device, name: None
        self._straight()

    def begin(self, prepared: Prepared) -> None:
        """It is about to be written."""
        self._watches = [*self._watches[-MOST + 1 :], Watch(prepared)]
        self.changed = self._looking  # type: ignore[method-assign]

    async def shown(self, prepared: Prepared, seconds: float) -> Any:
        """What the device shows: what was written, as soon as it does, or else what it has shown last when
        the seconds are over; None: nothing."""
        watch = next((one for one in self._watches if one.prepared is prepared), None)
        if watch is None:
            return None
        try:
            async with asyncio.timeout(seconds):
                await watch.seen.wait()
        except TimeoutError:
            pass
        finally:
            self.end(prepared)
        return watch.shown

    def end(self, prepared: Prepared) -> None:
        self._watches = [one for one in self._watches if one.prepared is not prepared]
        if not self._watches:
            self._straight()

    def _straight(self) -> None:
        self.changed = self._listener.changed  # type: ignore[method-assign]

    def _looking(
        self,
        device: str,
        indices: Sequence[int],
        values: list[Any],
        codes: list[str | None] | None = None,
        times: list[int | None] | None = None,
    ) -> None:
        for watch in self._watches:
            prepared = watch.prepared
            if prepared.device == device and (place := self.place(device, prepared.point.name)) in indices:
                assert place is not None
                watch.look(values[list(indices).index(place)])
        self._listener.changed(device, indices, values, codes, times)

    def changed(
        self,
        device: str,
        indices: Sequence[int],
        values: list[Any],
        codes: list[str | None] | None = None,
        times: list[int | None] | None = None,
    ) -> None:
        self._listener.changed(device, indices, values, codes, times)

    def described(self, description: Description) -> None:
        self._listener.described(description)

    def presence(self, device: str, code: str | None) -> None:
        self._listener.presence(device, code)

    def heard(self, device: str) -> None:
        self._listener.heard(device)

    def persisted(self, then: Callable[[], None]) -> None:
        self._listener.persisted(then)

    def raised(self, kind: str, body: dict[str, Any]) -> None:
        self._listener.raised(kind, body)

    def lost(self, error: NoConnection) -> None:
        self._listener.lost(error)
