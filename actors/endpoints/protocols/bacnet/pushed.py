"""A session that subscribes to changes of value, and polls what it cannot subscribe to, and all of it now and
then: what a notification has lost is seen by that."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Final

from actors.connections.connection import NoConnection, Transient
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Listener
from actors.endpoints.protocol import CheckedEndpoint, PushedSession

from . import kinds, quality
from .asking import Asking
from .codec import Content, notification
from .finding import NOT_THERE, IAm, check_identity, finder_of, identity
from .latest import Contents, Latest
from .points import Ref
from .reader import Reader
from .session import BacnetSession
from .subscribing import Subscription, Subscriptions
from .tags import Malformed
from .writable import Writing

log = logging.getLogger(__name__)

FALLBACK: Final = 5.0
"""Seconds between two polls of what cannot be subscribed to, unless its data point says otherwise."""
PROBE: Final = 10.0
"""Seconds without a sign of life after which a device is asked for one."""
AT_MOST_EVERY: Final = 30.0
"""Seconds between two renewals of everything because the device has said who it is, which it does when it
begins anew, and whenever somebody asks."""
_DRIFTS: Final = 2
"""Polls in a row that find another value of an analog object, of which it has told nothing: it may be less
than the increment by which it tells."""

_RETRIED: Final = 30.0
"""Seconds for which a device may send a notification again that was not acknowledged."""
IN_A_ROW: Final = 0.25
"""Seconds between two notifications of one object, of which one may have overtaken the other: fewer than
`SETTLED`, so that what changes once a second is not polled as often."""
SETTLED: Final = 0.5
"""Seconds after which none is under way any more."""


class BacnetPushed(BacnetSession, PushedSession):
    _reader: Reader | None = None
    _watching: asyncio.Task[None] | None = None
    _stop_listening: Callable[[], None] | None = None

    def __init__(self, endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> None:
        super().__init__(endpoint, listener, lines)
        self._subscriptions = Subscriptions(self._connection, self._points)
        self._subscription_of: dict[int, Subscription] = {}
        self._latest = Latest()
        self._polled_at: list[float] = []
        self._newer: set[int] = set()
        """Points of which the device has told since the poll under way was sent."""
        self._spoke: dict[int, float] = {}
        """When points were last told of or polled; monotonic seconds."""
        self._numbered: dict[int, tuple[int, float]] = {}
        """The invoke id of the latest confirmed notification, by process, and when that came."""
        self._doubted: set[int] = set()
        """Points that are polled soon, because what was told of them may have come in another order."""
        self._kept: dict[int, Contents] | None = None
        """What has come while it connects: it is told when that is done."""
        self._drifts: dict[int, int] = {}
        self._heard_at = 0.0
        self._renewed_at = -inf
        self._wake = asyncio.Event()

    async def connect(self) -> None:
        await self._leave()
        asking = await self._open()
        self._kept = {}
        try:
            await self._subscribe(asking)
            await self._poll(asking, range(len(self._points)))
        except NoConnection:
            await self._leave()
            raise
        kept, self._kept = self._kept, None
        self._take(kept)
        self._subscriptions.tell_refused(str(asking.station), [point.name for point in self._points])
        self._watching = asyncio.create_task(self._watch(asking))

    async def _subscribe(self, asking: Asking) -> None:
        port, station = asking.port, asking.station
        self._drifts, self._spoke, self._numbered = {}, {}, {}
        self._latest.begin()
        self._doubted.clear()
        self._polled_at = [0.0] * len(self._points)
        self._heard_at = monotonic()
        self._subscriptions.begin(asking)
        self._subscription_of = {}
        for one in self._subscriptions.every:
            self._subscription_of |= dict.fromkeys(one.indices, one)
            port.notify(station, one.process, partial(self._notified, one))
        self._stop_listening = finder_of(port).listen(self._i_am)
        if self._subscriptions.every:
            await self._subscriptions.see_to(asking)

    # What the device tells

    def _notified(self, one: Subscription, _: Any, body: bytes, invoke_id: int | None = None) -> bool:
        """Whether the notification is one that was subscribed to: of that object, of that device."""
        try:
            note = notification(body)
        except Malformed:
            return False
        if (note.object_type, note.instance) != (one.type, one.instance) or self._asking is None:
            return False
        if self._found is None or self._found.instance not in (None, note.device):
            return False
        self._heard_at = monotonic()
        if invoke_id is not None and self._is_late(one.process, invoke_id):
            self._look_at(one.indices)
            return True
        self._newer.update(one.indices)
        flags: Content | None = note.values.get((kinds.STATUS_FLAGS, None))
        for index in one.indices:
            self._drifts.pop(index, None)
            self._see_to_order(index)
        first = one.indices[0]
        content = note.values.get((kinds.PRESENT_VALUE, None)) or self._latest.value(first)
        if content is None or (flags is None and not self._latest.knows_flags(first)):
            self._look_at(one.indices)
        if content is not None:
            flags = self._latest.flags(first) if flags is None else flags
            self._take({index: (content, flags) for index in one.indices})
        return True

    def _is_late(self, process: int, invoke_id: int) -> bool:
        """Whether a confirmed notification is one again that was there, or has been sent before the latest:
        devices repeat for a long time what is not acknowledged, with the value of then."""
        before = self._numbered.get(process)
        recent = before is not None and self._heard_at - before[1] <= _RETRIED
        if before is not None and recent and (before[0] - invoke_id) % 256 < _HALF:
            return True  # and the latest stays what it was: the next one again is late as well
        self._numbered[process] = invoke_id, self._heard_at
        return False

    def _see_to_order(self, index: int) -> None:
        """Notifications say nothing by which one is seen to have overtaken another: after several in a short
        time, the last word has a poll."""
        now = self._heard_at
        before, self._spoke[index] = self._spoke.get(index, -inf), now
        if now - before < IN_A_ROW:
            self._doubt(index)

    def _doubt(self, index: int) -> None:
        """Poll it when nothing is under way any more."""
        if index not in self._doubted:
            self._doubted.add(index)
            self._polled_at[index] = monotonic() + SETTLED - self._interval(index)
            self._wake.set()

    def _take(self, contents: dict[int, Contents]) -> None:
        """Tell what is another than was told."""
        if self._kept is not None:
            self._kept |= contents
            return
        changed = self._latest.take(contents, self._points, self._descriptions.states)
        self._look_at(index for index in contents if self._latest.needs_reason(index))
        if not changed:
            self._listener.heard("")
            return
        codes = [code for _, (_, code) in changed]
        indices, values = [index for index, _ in changed], [value for _, (value, _) in changed]
        self._listener.changed("", indices, values, codes if any(codes) else None)

    def _i_am(self, said: IAm) -> None:
        """Somebody on the network says who it is."""
        asking, found = self._asking, self._found
        if asking is None or found is None or found.instance is None:
            return
        here = said.station == asking.station
        if here and said.instance != found.instance:
            text = f"device {said.instance} answers at {said.station}, not device {found.instance}"
            self._end(Transient(text, code=NOT_THERE))
        elif here and monotonic() - self._renewed_at > AT_MOST_EVERY:
            self._renewed_at = monotonic()
            self._subscriptions.renew_all()
            self._wake.set()
        elif not here and said.instance == found.instance:
            text = f"device {said.instance} answers at {said.station}, and was at {asking.station}"
            if self._connection.host is None:
                finder_of(asking.port).known.pop(found.instance, None)
                self._end(Transient(text, code=quality.DEVICE_OFFLINE))
            else:
                log.warning("%s", text)

    # Watching

    async def _watch(self, asking: Asking) -> None:
        try:
            while True:
                pause = self._next() - monotonic()
                if pause > 0:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._wake.wait()
                self._wake.clear()
                await self._subscriptions.see_to(asking)
                now = monotonic()
                due = [index for index in range(len(self._points)) if self._due(index) <= now]
                if due or now - self._heard_at >= self._probe:
                    await self._poll(asking, due)
        except NoConnection as error:
            self._end(error)
        except Exception as error:  # whatever an answer makes of it, a device is not watched any more
            log.exception("%s: watching the device", asking.station)
            self._end(Transient(f"watching the device: {error!r:.100}", code=quality.READ_ERROR))

    @property
    def _probe(self) -> float:
        return min(PROBE, self._connection.poll_interval / 2)

    def _next(self) -> float:
        """When something is to be done; monotonic seconds."""
        dues = [one.due for one in self._subscriptions.every]
        dues += [self._due(index) for index in range(len(self._points))]
        return min([*dues, self._heard_at + self._probe])

    def _due(self, index: int) -> float:
        return self._polled_at[index] + self._interval(index)

    def _interval(self, index: int) -> float:
        point, one = self._points[index], self._subscription_of.get(index)
        longest = self._connection.poll_interval
        if one is not None and one.holds(monotonic()):
            if index in self._latest.unread:
                longest = min(FALLBACK, longest)
            return min(point.interval or longest, longest)
        return point.interval or min(FALLBACK, longest)

    def _look_at(self, indices: Iterable[int]) -> None:
        """Poll these as soon as can be."""
        for index in indices:
            self._polled_at[index] = -inf
            self._wake.set()

    # Polling

    async def _poll(self, asking: Asking, due: Iterable[int]) -> None:
        """Read these points, and who answers: of another device nothing is believed. Raises
        `NoConnection`."""
        due = list(due)
        assert self._reader is not None
        assert self._found is not None
        started, self._newer = monotonic(), set()
        for index in due:  # whatever is to be polled once more is so from now on
            self._polled_at[index] = started
        self._doubted.difference_update(due)
        latest, absent, states = self._latest, set(self._reader.capability.absent), self._descriptions.states
        who = identity(self._found)
        groups: list[tuple[Ref, ...]] = [] if who is None else [(who,)]
        groups += [latest.refs(self._points[index], index, absent) for index in due]
        found = await self._reader.read(groups or [(_ANYBODY,)], self._connection.timeout)
        check_identity(found, self._found, asking.station)
        self._heard_at = monotonic()
        contents: dict[int, Contents] = {}
        for index in due:
            point, told = self._points[index], index in self._newer
            self._spoke[index] = self._heard_at
            one = latest.found(found, point, index, absent)
            if not told:
                contents[index] = one
            elif latest.differs(point, index, one, states.get(index)):
                self._doubt(index)
        self._contradicted(contents)
        if contents:
            self._take(contents)
        else:
            self._listener.heard("")

    def _contradicted(self, contents: dict[int, Contents]) -> None:
        """A device that has other values than it has told may have forgotten who wants to know."""
        for index, (content, _) in contents.items():
            one, known = self._subscription_of.get(index), self._latest.values.get(index)
            if (
                one is None
                or known is None
                or content is None
                or content == known
                or not one.holds(monotonic())
            ):
                continue
            self._drifts[index] = self._drifts.get(index, 0) + 1
            if one.type not in kinds.ANALOG or self._drifts[index] >= _DRIFTS:
                self._drifts.pop(index)
                one.due = 0.0
                self._wake.set()

    # Writing

    async def write(self, prepared: Writing) -> Any:
        """Not every device tells of changes that it was told to make."""
        try:
            return await super().write(prepared)
        finally:
            place = prepared.ref.type, prepared.ref.instance
            if self._polled_at:
                self._look_at(
                    index for index, point in enumerate(self._points) if (point.type, point.instance) == place
                )

    # Ending

    def _end(self, error: NoConnection) -> None:
        if self._asking is None:
            return
        self._stop()
        self._listener.lost(error)

    def _stop(self) -> None:
        """Nothing is asked and nothing told any more."""
        asking, self._asking = self._asking, None
        watching, self._watching = self._watching, None
        if watching is not None and watching is not asyncio.current_task():
            watching.cancel()
        if self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None
        port = self._port if asking is None else asking.port
        if port is not None and self._found is not None:
            for one in self._subscriptions.every:
                port.forget(self._found.station, one.process)

    async def _leave(self) -> None:
        asking = self._asking
        self._stop()
        if asking is not None and asking.port.is_open:
            await self._subscriptions.cancel(asking)


_ANYBODY: Final = Ref(kinds.DEVICE, kinds.ANY_INSTANCE, 75)
_HALF: Final = 128
"""Of the invoke ids."""
