"""An endpoint's session on an OPC UA server: polled, or subscribed."""

import asyncio
import logging
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from asyncua import ua

from actors.connections.connection import NoConnection, Transient
from actors.endpoints.listener import Listener
from actors.endpoints.protocol import CheckedEndpoint, PolledSession, PollResult, PushedSession, Session

from . import faults, limits, reading
from .addressing import Namespaces, read_namespaces, resolve
from .asking import in_parts
from .channel import Channel
from .connection import Connection
from .delivery import Delivery, fields_of
from .publishing import Publisher
from .subscription import Subscriptions

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
_STATE = ua.NodeId(ua.ObjectIds.Server_ServerStatus_State)


class _OpcUaSession(Session):
    def __init__(self, endpoint: CheckedEndpoint, listener: Listener) -> None:
        self._connection: Connection = endpoint.connection
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
        self._first = 0
        """The URL that is tried first."""

    @property
    def patience(self) -> float:
        """Each of its requests ends within the connection's timeout; there are as many as the points need."""
        requests = 20 + 4 * len(self._fields) // min(self._connection.max_items, limits.MOST)
        return max(super().patience, requests * self._connection.connection_timeout)

    # Connecting

    async def _open(self) -> Channel:
        """The first server of those configured that lets us in."""
        await self._leave()
        urls = self._connection.urls
        failure: NoConnection | None = None
        for number in range(len(urls)):
            position = (self._first + number) % len(urls)
            channel = Channel(self._connection, urls[position], self._lost)
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

    async def connect(self) -> None:
        channel = await self._open()
        await self._find(channel)

    async def read(self, within: float) -> PollResult:
        channel = self._connected()
        handles = list(self._nodes)
        found: list[tuple[Any, int, int | None]] = await in_parts(
            self._limits.read, handles, lambda part: self._read(channel, part)
        )
        values: list[Any] = [None] * self._own
        codes: list[str | None] = [None] * self._own
        own = [(handle, one) for handle, one in zip(handles, found, strict=True)]
        for handle, (value, status, _) in own:
            value, code = self._delivery.reading(handle, value, status)
            if handle < self._own:
                values[handle], codes[handle] = value, code
        for handle, reason in self._missing.items():
            if handle < self._own:
                codes[handle] = reason
        further = [(handle, one) for handle, one in own if handle >= self._own]
        if further:
            self._delivery.tell(
                [handle for handle, _ in further],
                [one[0] for _, one in further],
                [one[1] for _, one in further],
                [one[2] for _, one in further],
            )
        return PollResult(values, codes if any(codes) else None)

    async def _read(self, channel: Channel, handles: Sequence[int]) -> list[tuple[Any, int, int | None]]:
        nodes = [
            ua.ReadValueId(
                NodeId=self._nodes[handle],
                AttributeId=ua.AttributeIds.Value,
                IndexRange=self._fields[handle].point.index_range,
            )
            for handle in handles
        ]
        found = await reading.read(channel, nodes)
        return list(zip(*found, strict=True))


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

    def _publishing_failed(self, error: Exception) -> None:
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
