"""A session that subscribes, and tells what comes."""

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from functools import partial
from time import monotonic
from typing import Final

from actors.connections.connection import NoConnection, Transient
from actors.endpoints.protocol import PushedSession

from . import faults, quality, server, session
from .addressing import resolve
from .alarms import KIND, Alarms, Conditions
from .channel import Channel
from .decoding import Found, Notification
from .publishing import Publisher
from .reading import Reader
from .session import OpcUaSession
from .subscription import NO_NODE, Subscriptions

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 0.5
"""Seconds between two looks at how the server does."""
PROBE_AFTER: Final = 0.4
"""Of `keepAliveInterval`: a server that has said nothing for so long is asked."""
PROBE_WITHIN: Final = 0.5
"""Of `keepAliveInterval`: and must answer so soon."""
OUTSTANDING: Final = (3, 100)
"""Publish requests with the server, at least and at most: with fewer than subscriptions some wait for a round
trip of the others."""
STOOD_STILL: Final = 2.0
"""Seconds between two looks after which it was this process, or its loop, that did not answer."""
ALIVE_EVERY: Final = 5.0
"""Seconds between two words that devices are alive."""
LEVEL_EVERY: Final = 10.0
"""Seconds between two looks at how well a redundant server does."""
CHECKED: Final = 200
"""Monitored nodes that are looked for at a time."""
FIRST_WITHIN: Final = 3.0
"""Seconds and publishing intervals that a first value may take."""


class OpcUaPushed(OpcUaSession, PushedSession):
    _subscriptions: Subscriptions | None = None
    _publisher: Publisher | None = None
    _alarms: Alarms | None = None
    _conditions: Conditions | None = None
    _watching: tuple[asyncio.Task[None], ...] = ()
    _forgotten = False
    """Whether the server knows no subscription any more."""
    _checked_up_to = 0

    async def connect(self) -> None:
        """With the session before, if the server still has it: then its subscriptions go on, too."""
        self._stop()
        channel = await self._open()
        subscriptions, publisher = self._subscriptions, self._publisher
        try:
            if channel.resumed and subscriptions is not None and publisher is not None:
                await self._resume(channel, subscriptions, publisher)
            else:
                subscriptions, publisher = await self._subscribe(channel)
        except NoConnection:
            self._stop()
            await channel.close()
            raise
        self._tell_missing(channel)
        self._delivery.tell_codes(self._missing)
        self._watching = (
            asyncio.create_task(self._probe(channel)),
            asyncio.create_task(self._watch(channel, subscriptions, publisher)),
        )

    async def _subscribe(self, channel: Channel) -> tuple[Subscriptions, Publisher]:
        await self._find(channel)
        subscriptions = Subscriptions(channel, self._connection, self._limits, self._fields, self._delivery)
        self._alarms = await self._alarms_on(channel)
        take = subscriptions.take if self._alarms is None else partial(_take, self._alarms, subscriptions)
        publisher = Publisher(channel, take, self._publishing_failed)
        self._subscriptions, self._publisher = subscriptions, publisher
        self._missing.update(await subscriptions.monitor(self._nodes))
        if self._alarms is not None:
            await self._alarms.begin()
        self._keep_publishing()
        return subscriptions, publisher

    async def _alarms_on(self, channel: Channel) -> Alarms | None:
        if not self._connection.alarm_sources:
            return None
        found = await resolve(channel, self._limits, self._namespaces, self._connection.alarm_sources)
        for place, node in zip(self._connection.alarm_sources, found, strict=True):
            if isinstance(node, str):
                log.warning("%s: no alarms come from %s: %s", channel.url, place, node)
        if self._conditions is None:
            self._conditions = Conditions(
                partial(self._listener.raised, KIND), self._connection.alarm_severity
            )
        nodes = [node for node in found if not isinstance(node, str)]
        return Alarms(channel, self._connection, nodes, self._conditions) if nodes else None

    async def _resume(self, channel: Channel, subscriptions: Subscriptions, publisher: Publisher) -> None:
        """What the server has kept for us comes after what there is now."""
        subscriptions.resume(channel)
        publisher.resume(channel)
        forgotten = await subscriptions.missing()
        if forgotten:
            self._missing.update(await subscriptions.renew(forgotten))
        await self._read_again(channel, subscriptions.handles, subscriptions)
        if self._alarms is not None:
            await self._alarms.resume(channel)
        self._keep_publishing()

    def _keep_publishing(self) -> None:
        assert self._publisher is not None
        least, most = OUTSTANDING
        self._publisher.keep(
            min(max(least, len(self._subscriptions or ()) + (2 if self._alarms else 1)), most)
        )

    def _publishing_failed(self, error: BaseException) -> None:
        channel = self._channel
        if channel is None or not channel.is_open:
            return
        if faults.status_of(error) == "BadNoSubscription":
            self._forgotten = True
        else:
            channel.fail(faults.trouble(error, "publishing"))

    # Watching

    async def _watch(self, channel: Channel, subscriptions: Subscriptions, publisher: Publisher) -> None:
        alive = level = now = monotonic()
        try:
            while True:
                before = now
                await asyncio.sleep(LOOK_EVERY)
                if monotonic() - before > STOOD_STILL:
                    subscriptions.excuse()  # what they have said meanwhile has not been read yet
                await self._see_to_subscriptions(channel, subscriptions, publisher)
                await _if_it_can(channel, self._see_to_structures(channel, subscriptions))
                now = monotonic()
                if now - self._looked > session.AGAIN_AFTER:
                    self._looked = now
                    await _if_it_can(channel, self._look_for_nodes(channel, subscriptions))
                if now - alive > ALIVE_EVERY:
                    alive = now
                    self._forgotten = self._forgotten or subscriptions.are_slow
                    for device in self._devices:
                        self._listener.heard(device)
                if now - level > LEVEL_EVERY and len(self._connection.urls) > 1:
                    level = now
                    await self._see_to_level(channel)
        except NoConnection as error:
            channel.fail(error)
        except Exception as error:  # whatever parsing an answer raises, a session is not watched any more
            log.exception("%s: watching the session", channel.url)
            channel.fail(faults.trouble(error, "watching the session"))

    async def _probe(self, channel: Channel) -> None:
        """Ask a server that has said nothing for a while, whatever else it may be asked at that time."""
        interval = self._connection.keep_alive_interval
        while True:
            heard = channel.heard
            silence = monotonic() - heard
            if silence < PROBE_AFTER * interval:
                await asyncio.sleep(PROBE_AFTER * interval - silence)
                continue
            try:
                await server.probe(channel, PROBE_WITHIN * interval)
            except NoConnection as error:
                if error.code != faults.TIMEOUT or channel.heard == heard:
                    channel.fail(error)
                    return

    async def _see_to_subscriptions(
        self, channel: Channel, subscriptions: Subscriptions, publisher: Publisher
    ) -> None:
        lost, forgotten = subscriptions.lost(), self._forgotten
        if self._alarms is not None and await self._alarms.look_after(forgotten):
            self._keep_publishing()
        if forgotten:
            self._forgotten = False
            lost = list({*lost, *await subscriptions.missing()})
        if lost:
            log.warning("%s: %d subscriptions are made anew", channel.url, len(lost))
            publisher.forget([one.number for one in lost])
            refused = await subscriptions.renew(lost)
            self._missing.update(refused)
            self._delivery.tell_codes(refused)
            if not forgotten and not all(one.closed for one in lost):
                publisher.renew()
            self._keep_publishing()
        for number in publisher.take_missed():
            if self._alarms is not None:
                self._alarms.missed(number)
            await self._read_again(channel, subscriptions.handles_of(number), subscriptions)
        waiting = subscriptions.overdue(FIRST_WITHIN * max(1.0, self._connection.publishing_interval / 1000))
        if waiting:
            await self._read_again(channel, waiting, subscriptions)

    async def _see_to_structures(self, channel: Channel, subscriptions: Subscriptions) -> None:
        """Values that could not be read are asked for again once it is known how to."""
        if self._delivery.undecoded:
            await self._structures.load(channel)
            handles, self._delivery.undecoded = self._delivery.undecoded, set()
            await self._read_again(channel, sorted(handles.intersection(self._nodes)), subscriptions)

    async def _see_to_level(self, channel: Channel) -> None:
        """A server that is not healthy any more gives way to another."""
        before, self.level = self.level, await server.level_of(channel)
        if self.level < server.HEALTHY <= before:
            raise Transient(f"the server's service level is {self.level}", code="BadServerTooBusy")

    # Nodes

    async def _look_for_nodes(self, channel: Channel, subscriptions: Subscriptions) -> None:
        """Those that were not there may have come, and others may have gone: not every server says so."""
        await self._look_for_gone(channel, subscriptions)
        gone = list(self._missing)
        if not gone:
            return
        self._namespaces.learn(await server.namespaces_of(channel))
        await self._resolve(channel, gone)
        there = [handle for handle in gone if handle in self._nodes]
        codes = await self._read(channel, there)
        found = {handle: self._nodes[handle] for handle in there if codes[handle] not in NO_NODE}
        refused = await subscriptions.monitor(found)
        self._missing.update({handle: str(codes[handle]) for handle in there if handle not in found})
        self._missing.update(refused)
        self._keep_publishing()

    async def _look_for_gone(self, channel: Channel, subscriptions: Subscriptions) -> None:
        monitored = subscriptions.handles
        start = self._checked_up_to if self._checked_up_to < len(monitored) else 0
        self._checked_up_to = start + CHECKED
        codes = await self._read(channel, monitored[start : start + CHECKED])
        gone = {handle: code for handle, code in codes.items() if code is not None and code in NO_NODE}
        gone.update(subscriptions.take_gone())
        if gone:
            await subscriptions.forget(gone)
            self._delivery.tell_codes(gone)  # after values that were under way
            self._missing.update(gone)

    async def _read(self, channel: Channel, handles: Iterable[int]) -> dict[int, str | None]:
        """The quality code of each node's value now; None when it is GOOD."""
        handles = list(handles)
        found = await self._found(channel, handles)
        statuses = found.statuses or [0] * len(handles)
        return {handle: quality.code_of(status) for handle, status in zip(handles, statuses, strict=True)}

    async def _found(self, channel: Channel, handles: list[int]) -> Found:
        nodes = [
            server.value_of(self._nodes[handle], self._fields[handle].point.index_range) for handle in handles
        ]
        return await Reader(channel, self._limits.read, nodes).read() if nodes else Found([], None, [])

    async def _read_again(
        self, channel: Channel, handles: Iterable[int], subscriptions: Subscriptions
    ) -> None:
        """Tell what these fields are now, but for those of which the server has told meanwhile."""
        handles = list(handles)
        with subscriptions.noting() as newer:
            found = await self._found(channel, handles)
        kept = [at for at, handle in enumerate(handles) if handle not in newer]
        self._delivery.tell(
            [handles[at] for at in kept],
            [found.values[at] for at in kept],
            None if found.statuses is None else [found.statuses[at] for at in kept],
            [found.times[at] for at in kept],
        )

    # Ending

    def _lost(self, error: NoConnection) -> None:
        super()._lost(error)
        self._stop()
        self._listener.lost(error)

    def _stop(self) -> None:
        if self._publisher is not None:
            self._publisher.stop()
        for task in self._watching:
            if task is not asyncio.current_task():
                task.cancel()
        self._watching = ()
        self._forgotten = False

    async def _leave(self) -> None:
        self._stop()
        await super()._leave()


async def _if_it_can(channel: Channel, step: Awaitable[None]) -> None:
    """What the server may have no time for, or not know; whether it is there is for others to find out."""
    try:
        await step
    except NoConnection as error:
        if not channel.is_open or error.code in faults.ENDED:
            raise
        log.debug("%s: %s", channel.url, error)


def _take(alarms: Alarms, subscriptions: Subscriptions, notification: Notification) -> None:
    if not alarms.take(notification):
        subscriptions.take(notification)
