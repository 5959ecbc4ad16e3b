"""An endpoint's session on an OPC UA server: what polled and subscribed ones have in common."""

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from typing import Any, Final

from asyncua import ua

from actors.connections.connection import NoConnection, Transient
from actors.endpoints.listener import Listener
from actors.endpoints.protocol import Browsed, BrowseRequest, CheckedEndpoint, Session
from actors.system.failure import Refusal

from . import browse, faults, limits, quality, server, writing
from .addressing import Namespaces, resolve
from .channel import Channel
from .connection import Connection
from .delivery import Delivery, fields_of
from .reading import Reader
from .structures import Structures
from .writable import Writing, read_only

log = logging.getLogger(__name__)

MOST_KINDS: Final = 10_000
"""Nodes whose type is remembered."""
_NAMED: Final = 5
"""Data points that the log names."""
AGAIN_AFTER: Final = 15.0
"""Seconds until a node that was not there is looked for again."""


class OpcUaSession(Session):
    """Handles are positions among `_fields`, all data points of all devices."""

    def __init__(self, endpoint: CheckedEndpoint, listener: Listener, folder: Path | None = None) -> None:
        self._connection: Connection = endpoint.connection
        self._folder = folder
        self._listener = listener
        self._fields = fields_of(endpoint.points, endpoint.devices)
        self._devices = ["", *(device.identifier for device in endpoint.devices)]
        self._own = len(endpoint.points)
        self._structures = Structures()
        self._delivery = Delivery(
            self._fields, listener, self._structures, self._connection.timestamps == "source"
        )
        self._namespaces = Namespaces(endpoint.address)
        self._limits = limits.unknown()
        self._channel: Channel | None = None
        self._before: Channel | None = None
        """The one that has ended, whose session may be taken up."""
        self._nodes: dict[int, ua.NodeId] = {}
        """by handle"""
        self._missing: dict[int, str] = {}
        """Quality codes of fields that there is no node for, by handle."""
        self._looked = 0.0
        """When those were last looked for; monotonic seconds."""
        self._kinds: dict[ua.NodeId, writing.Kind] = {}
        """Of nodes that were written."""
        self._first = 0
        """The URL that is tried first."""
        self.level = server.BEST

    @property
    def patience(self) -> float:
        """Each of its requests ends within the connection's timeout; there are as many as the points need."""
        requests = 20 + 4 * len(self._fields) // min(self._connection.max_items, limits.MOST)
        return max(super().patience, requests * self._connection.connection_timeout)

    async def browse(self, request: BrowseRequest) -> Browsed:
        """See `Protocol.browse`."""
        return await browse.browse(self._connected(), request)

    # Writing

    async def write(self, prepared: Writing) -> Any:
        node = await self._node_of(prepared)
        known = self._kinds.get(node)
        try:
            return await self._write(node, prepared)
        except Refusal as refusal:
            if known is None or refusal.field != "value":
                raise
            # The node may have come again, with another type.
            self._kinds.pop(node, None)
            if await self._kind_of(node) == known:
                raise
        return await self._write(node, prepared)

    async def _write(self, node: ua.NodeId, prepared: Writing) -> Any:
        written = writing.encode(node, prepared, await self._kind_of(node))
        await writing.write(self._connected(), written)
        return written.value

    async def read_back(self, prepared: Writing) -> tuple[Any, bool]:
        node = await self._node_of(prepared)
        written = writing.encode(node, prepared, await self._kind_of(node))
        what = server.value_of(written.node, prepared.index_range)
        found = await Reader(self._connected(), self._limits.read, [what]).read()
        if found.statuses is not None and quality.is_bad(found.statuses[0]):
            raise faults.refused(found.statuses[0], "reading the value back")
        return written.compare(found.values[0])

    async def _node_of(self, prepared: Writing) -> ua.NodeId:
        channel = self._connected()
        [node] = await resolve(channel, self._limits, self._namespaces, [prepared.place])
        if isinstance(node, str):
            raise Refusal(f"Register not found: {prepared.place} ({node})", "register", "not_found")
        if prepared.by_address and self._is_guarded(node):
            raise read_only(str(prepared.place))
        return node

    async def _kind_of(self, node: ua.NodeId) -> writing.Kind:
        kind = self._kinds.get(node)
        if kind is None:
            kind = await writing.kind_of(self._connected(), node)
            if len(self._kinds) < MOST_KINDS:
                self._kinds[node] = kind
        return kind

    def _is_guarded(self, node: ua.NodeId) -> bool:
        """Whether it is that of data points, none of which is writable."""
        there = [self._fields[handle].point.writable for handle, one in self._nodes.items() if one == node]
        return bool(there) and not any(there)

    # Connecting

    async def _open(self) -> Channel:
        """A channel to the best server of those configured that lets us in: the first one that is healthy,
        else the healthiest. Raises `NoConnection`."""
        await self._leave()
        urls = self._connection.urls
        best: tuple[Channel, server.Facts] | None = None
        failures: list[NoConnection] = []
        for number in range(len(urls)):
            position = (self._first + number) % len(urls)
            try:
                found = await self._try(urls[position])
            except NoConnection as error:
                failures.append(error)
                continue
            best, worse = (found, best) if best is None or found[1].level > best[1].level else (best, found)
            if worse is not None:
                await worse[0].close()
            if found[1].level >= server.HEALTHY:
                break
        if best is None:
            raise failures[0]
        channel, facts = best
        self._channel, self._limits, self.level = channel, facts.limits, facts.level
        self._first = urls.index(channel.url)
        self._namespaces.learn(facts.namespaces)
        self.identification = facts.build or None
        if len(urls) > 1:
            log.info("%s: used, service level %d", channel.url, facts.level)
        return channel

    async def _try(self, url: str) -> tuple[Channel, server.Facts]:
        before = self._before if self._before is not None and self._before.url == url else None
        channel = Channel(self._connection, url, self._lost, self._folder)
        try:
            await channel.open(before)
            facts = await server.facts_of(channel)
        except NoConnection:
            if before is not None:
                self._before = channel
                channel.drop()
            else:
                await channel.close()  # a session that is only dropped keeps its place on the server
            raise
        except asyncio.CancelledError:
            await channel.close()
            raise
        if before is not None:
            self._before = None
        return channel, facts

    async def _find(self, channel: Channel) -> None:
        """The nodes of all points."""
        self._kinds.clear()
        self._structures.forget()
        self._nodes.clear()
        self._missing.clear()
        self._looked = monotonic()
        await self._resolve(channel, range(len(self._fields)))

    async def _resolve(self, channel: Channel, handles: Iterable[int]) -> None:
        handles = list(handles)
        places = [self._fields[handle].point.place for handle in handles]
        found = await resolve(channel, self._limits, self._namespaces, places)
        for handle, node in zip(handles, found, strict=True):
            if isinstance(node, str):
                self._missing[handle] = node
                self._nodes.pop(handle, None)
            else:
                self._missing.pop(handle, None)
                self._nodes[handle] = node
        await self._look_at_ranges(channel, [handle for handle in handles if handle in self._nodes])

    async def _look_at_ranges(self, channel: Channel, handles: list[int]) -> None:
        ranges = {handle: self._fields[handle].point.index_range for handle in handles}
        asked = [(handle, text) for handle, text in ranges.items() if text is not None]
        if asked:
            whole = await server.without_ranges(
                channel, self._limits.read, [(self._nodes[handle], text) for handle, text in asked]
            )
            self._delivery.whole.difference_update(handles)
            self._delivery.whole.update(
                handle for (handle, _), each in zip(asked, whole, strict=True) if each
            )

    def _tell_missing(self, channel: Channel) -> None:
        if self._missing:
            named = [f"{self._fields[handle].point.name} ({code})" for handle, code in self._missing.items()]
            log.warning(
                "%s: %d of %d data points cannot be read: %s%s",
                channel.url,
                len(named),
                len(self._fields),
                ", ".join(named[:_NAMED]),
                " and more" if len(named) > _NAMED else "",
            )

    def _lost(self, error: NoConnection) -> None:
        """The channel has ended by itself. With several servers the next one has its turn first."""
        self._before, self._channel = self._channel, None
        self._first = (self._first + 1) % len(self._connection.urls)

    async def _leave(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def close(self) -> None:
        self._before = None
        await self._leave()

    def _connected(self) -> Channel:
        if self._channel is None or not self._channel.is_open:
            raise Transient("not connected", code=faults.RESET)
        return self._channel
