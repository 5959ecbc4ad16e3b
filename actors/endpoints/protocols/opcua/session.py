"""An endpoint's session on an OPC UA server: polled, or subscribed."""

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final

from asyncua import ua

from actors.connections.connection import NoConnection, Transient
from actors.endpoints.listener import Listener
from actors.endpoints.protocol import CheckedEndpoint, PolledSession, PollResult, PushedSession, Session
from actors.system.failure import Refusal
from storage.timestamps import unix_ms

from . import faults, limits, quality, writing
from .addressing import Namespaces, read_namespaces, resolve
from .channel import Channel
from .connection import Connection
from .decoding import Found
from .delivery import Delivery, fields_of
from .publishing import Publisher
from .reading import Reader
from .subscription import Subscriptions
from .writable import Writing, read_only

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 0.5
"""Seconds between two looks at how the server does."""
PROBE_AFTER: Final = 0.4
"""Of `keepAliveInterval`: a server that has said nothing for so long is asked."""
PROBE_WITHIN: Final = 0.5
"""Of `keepAliveInterval`: and must answer so soon."""
AGAIN_AFTER: Final = 30.0
"""Seconds until a node that was not there is looked for again."""
OUTSTANDING: Final = (2, 20)
"""Publish requests with the server, at least and at most."""
MOST_KINDS: Final = 10_000
_STATE = ua.NodeId(ua.ObjectIds.Server_ServerStatus_State)


class _OpcUaSession(Session):
    def __init__(self, endpoint: CheckedEndpoint, listener: Listener, folder: Path | None = None) -> None:
        self._connection: Connection = endpoint.connection
        self._folder = folder
        self._listener = listener
        self._fields = fields_of(endpoint.points, endpoint.devices)
        self._own = len(endpoint.points)
        self._delivery = Delivery(self._fields, listener)
        self._namespaces = Namespaces(endpoint.address)
        self._limits = limits.unknown()
        self._channel: Channel | None = None
        self._nodes: dict[int, ua.NodeId] = {}
        """by handle"""
        self._missing: dict[int, str] = {}
        """Quality codes of fields that there is no node for, by handle."""
        self._kinds: dict[ua.NodeId, writing.Kind] = {}
        """Of nodes that were written."""
        self._first = 0
        """The URL that is tried first."""

    @property
    def patience(self) -> float:
        """Each of its requests ends within the connection's timeout; there are as many as the points need."""
        requests = 20 + 4 * len(self._fields) // min(self._connection.max_items, limits.MOST)
        return max(super().patience, requests * self._connection.connection_timeout)

    # Writing

    async def write(self, prepared: Writing) -> Any:
        written = await self._encode(prepared)
        await writing.write(self._connected(), written)
        return written.value

    async def read_back(self, prepared: Writing) -> tuple[Any, bool]:
        written = await self._encode(prepared)
        what = ua.ReadValueId(
            NodeId=written.node, AttributeId=ua.AttributeIds.Value, IndexRange=prepared.index_range
        )
        found = await Reader(self._connected(), self._limits.read, [what]).read()
        if found.statuses is not None and quality.is_bad(found.statuses[0]):
            raise faults.refused(found.statuses[0], "reading the value back")
        return written.compare(found.values[0])

    async def _encode(self, prepared: Writing) -> writing.Written:
        channel = self._connected()
        asked = [prepared.place, *prepared.guarded]
        node, *guarded = await resolve(channel, self._limits, self._namespaces, asked)
        if isinstance(node, str):
            raise Refusal(f"Register not found: {prepared.place} ({node})", "register", "not_found")
        if node in guarded:
            raise read_only(str(prepared.place))
        kind = self._kinds.get(node)
        if kind is None:
            kind = await writing.kind_of(channel, node)
            if len(self._kinds) < MOST_KINDS:
                self._kinds[node] = kind
        return writing.encode(node, prepared, kind)

    # Connecting

    async def _open(self) -> Channel:
        """The first server of those configured that lets us in."""
        await self._leave()
        urls = self._connection.urls
        failure: NoConnection | None = None
        for number in range(len(urls)):
            position = (self._first + number) % len(urls)
            channel = Channel(self._connection, urls[position], self._lost, self._folder)
            try:
                await channel.open()
            except NoConnection as error:
                failure = failure or error
                continue
            self._first = position
            self._channel = channel
            return channel
        assert failure is not None
        raise failure

    async def _find(self, channel: Channel) -> None:
        """Everything about the server that points need."""
        self._namespaces.learn(await read_namespaces(channel))
        self._nodes.clear()
        self._kinds.clear()
        self._missing.clear()
        await self._resolve(channel, range(len(self._fields)))

    async def _resolve(self, channel: Channel, handles: Sequence[int]) -> None:
        places = [self._fields[handle].point.place for handle in handles]
        found = await resolve(channel, self._limits, self._namespaces, places)
        for handle, node in zip(handles, found, strict=True):
            if isinstance(node, str):
                self._missing[handle] = node
            else:
                self._missing.pop(handle, None)
                self._nodes[handle] = node

    def _lost(self, error: NoConnection) -> None:
        """The channel has ended by itself."""

    async def _leave(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def close(self) -> None:
        await self._leave()

    def _connected(self) -> Channel:
        if self._channel is None or not self._channel.is_open:
            raise Transient("not connected", code=faults.RESET)
        return self._channel


class OpcUaPolled(_OpcUaSession, PolledSession):
    """Reads all nodes whenever it is asked."""

    _reader: Reader | None = None
    _handles: list[int]
    """What it reads."""

    async def connect(self) -> None:
        channel = await self._open()
        await self._find(channel)
        self._reader = None

    async def read(self, within: float) -> PollResult:
        channel = self._connected()
        if self._reader is None:
            self._handles = sorted(self._nodes)
            self._reader = Reader(channel, self._limits.read, [self._to_read(each) for each in self._handles])
        found = await self._reader.read()
        if len(found.values) == self._own and self._delivery.as_they_are(found.values, found.statuses):
            return PollResult(found.values, times=_known(found.times))
        return self._polled(found)

    def _polled(self, found: Found) -> PollResult:
        """What of it is of the endpoint's own device; the rest goes to the listener."""
        values: list[Any] = [None] * self._own
        codes: list[str | None] = [self._missing.get(handle) for handle in range(self._own)]
        times: list[int | None] = [None] * self._own
        statuses = found.statuses or [0] * len(found.values)
        further = bisect_left(self._handles, self._own)
        for at, handle in enumerate(self._handles[:further]):
            values[handle], codes[handle] = self._delivery.reading(handle, found.values[at], statuses[at])
            times[handle] = found.times[at]
        if further < len(self._handles):
            self._delivery.tell(
                self._handles[further:], found.values[further:], statuses[further:], found.times[further:]
            )
        return PollResult(values, codes if any(codes) else None, _known(times))

    def _to_read(self, handle: int) -> ua.ReadValueId:
        return ua.ReadValueId(
            NodeId=self._nodes[handle],
            AttributeId=ua.AttributeIds.Value,
            IndexRange=self._fields[handle].point.index_range,
        )


def _known(times: list[int | None]) -> list[int]:
    """Where nobody said when, it is now."""
    now = unix_ms()
    return [now if time is None else time for time in times]


class OpcUaPushed(_OpcUaSession, PushedSession):
    """Subscribes, and tells what comes."""

    _subscriptions: Subscriptions | None = None
    _publisher: Publisher | None = None
    _watching: asyncio.Task[None] | None = None
    _renewing: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        channel = await self._open()
        await self._find(channel)
        self._subscriptions = Subscriptions(
            channel, self._connection, self._limits, self._fields, self._delivery
        )
        self._missing.update(await self._subscriptions.monitor(self._nodes))
        self._publisher = Publisher(channel, self._subscriptions.take, self._publishing_failed)
        self._keep_publishing()
        for handle, code in self._missing.items():
            self._delivery.tell_code([handle], code)
        self._watching = asyncio.create_task(self._watch(channel, self._subscriptions))

    def _keep_publishing(self) -> None:
        assert self._publisher is not None
        least, most = OUTSTANDING
        self._publisher.keep(min(max(least, len(self._subscriptions or ()) + 1), most))

    def _publishing_failed(self, error: BaseException) -> None:
        channel = self._channel
        if channel is None or not channel.is_open:
            return
        if faults.status_of(error) == "BadNoSubscription":
            if self._renewing is None:
                self._renewing = asyncio.create_task(self._renew(channel))
            return
        channel.fail(faults.trouble(error, "publishing"))

    async def _renew(self, channel: Channel) -> None:
        log.warning("%s: the server has forgotten all subscriptions; they are made anew", channel.url)
        assert self._subscriptions is not None
        try:
            await self._subscriptions.renew()
        except NoConnection as error:
            channel.fail(error)
            return
        self._renewing = None
        self._keep_publishing()

    async def _watch(self, channel: Channel, subscriptions: Subscriptions) -> None:
        try:
            looked = monotonic()
            while True:
                await asyncio.sleep(LOOK_EVERY)
                await self._probe(channel)
                if self._renewing is None:
                    await subscriptions.look_after()
                if self._missing and monotonic() - looked > AGAIN_AFTER:
                    looked = monotonic()
                    await self._look_again(channel, subscriptions)
        except NoConnection as error:
            channel.fail(error)

    async def _probe(self, channel: Channel) -> None:
        interval = self._connection.keep_alive_interval
        if monotonic() - channel.heard < PROBE_AFTER * interval:
            return
        request = ua.ReadRequest()
        request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=_STATE, AttributeId=ua.AttributeIds.Value)]
        await channel.ask(request, ua.ReadResponse, PROBE_WITHIN * interval)

    async def _look_again(self, channel: Channel, subscriptions: Subscriptions) -> None:
        """Nodes that were not there may have come."""
        handles = list(self._missing)
        await self._resolve(channel, handles)
        there = {handle: self._nodes[handle] for handle in handles if handle in self._nodes}
        refused = await subscriptions.monitor(there)
        for handle in there:
            if handle not in refused:
                self._missing.pop(handle, None)
        self._missing.update(refused)

    def _lost(self, error: NoConnection) -> None:
        self._stop()
        self._listener.lost(error)

    def _stop(self) -> None:
        if self._publisher is not None:
            self._publisher.stop()
        for task in (self._watching, self._renewing):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        self._watching = self._renewing = None

    async def _leave(self) -> None:
        self._stop()
        await super()._leave()
