"""An endpoint's session with one device: what polled and subscribed ones have in common."""

import logging
from typing import Any, Final

from actors.connections.connection import Transient
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Description, Listener
from actors.endpoints.protocol import (
    BackfillRequest,
    Browsed,
    BrowseRequest,
    CheckedEndpoint,
    Recorded,
    Session,
)
from actors.system.failure import Refusal

from . import browse, kinds, quality, writing
from .asking import Asking
from .codec import Value, key_of
from .connection import Connection
from .describing import Descriptions
from .finding import Found, find
from .points import DataPoint, Ref
from .port import Port, open_port, release_port
from .reader import Reader
from .trend import TrendLogs
from .writable import Writing

log = logging.getLogger(__name__)

_NAMED: Final = {"vendor": 121, "model": 70, "firmware": 44, "name": 77, "description": 28}


class BacnetSession(Session):
    _port: Port | None = None
    _asking: Asking | None = None
    """None while it is not connected."""
    _found: Found | None = None
    _reader: Reader | None = None

    def __init__(self, endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> None:
        self._connection: Connection = endpoint.connection
        self._points: tuple[DataPoint, ...] = endpoint.points
        self._listener = listener
        self._lines = lines
        self._descriptions = Descriptions(self._points)
        self._logs = TrendLogs()

    @property
    def patience(self) -> float:
        """Each request ends within its time-out; there are as many as the points need."""
        connection = self._connection
        each = (1 + connection.retries) * (connection.timeout + connection.retry_delay)
        return max(super().patience, (20 + 2 * len(self._points)) * each)

    async def _open(self) -> Asking:
        """The port, and on it the device that is meant. Raises `NoConnection`."""
        self._asking = None
        if self._port is None:
            self._port = await open_port(self._lines, self._connection.local)
        else:
            await self._port.open()
        self._found = await find(self._port, self._connection)
        station = self._found.station
        asking = Asking(self._port, station, self._connection)
        self._reader = Reader(self._port, station, self._port.capability(station), self._connection)
        await self._describe(asking, self._reader)
        self._asking = asking
        return asking

    async def _describe(self, asking: Asking, reader: Reader) -> None:
        await _learn_size(reader, self._found)
        if self.identification is None:
            self.identification = await _identification(reader, self._found)
        if await self._descriptions.learn(asking, reader):
            self._points = self._descriptions.points
            self._listener.described(Description("", "", self._points))
        foreign = asking.port.foreign
        if foreign is not None:
            await foreign.settled()
            trouble = foreign.trouble
            self.identification = {**self.identification, "bbmd": trouble or "registered"}
            if trouble is not None:
                log.warning("%s: %s", asking.station, trouble)

    def _asked(self) -> Reader:
        self._connected()
        assert self._reader is not None
        return self._reader

    def _connected(self) -> Asking:
        if self._asking is None or not self._asking.port.is_open:
            raise Transient("not connected", code=quality.DEVICE_OFFLINE)
        return self._asking

    # Writing

    async def write(self, prepared: Writing) -> Any:
        return await writing.write(self._connected(), prepared)

    async def read_back(self, prepared: Writing) -> tuple[Any, bool]:
        found = await writing.read_back(self._connected(), prepared)
        self.overruled = found.note
        return found.value, found.same

    # What it has to read, and has recorded

    async def browse(self, request: BrowseRequest) -> Browsed:
        """See `Protocol.browse`."""
        return await browse.browse(self._connected(), self._instance, request)

    async def backfill(self, request: BackfillRequest) -> list[Recorded]:
        wanted = [(at, point) for at, point in enumerate(self._points) if point.name in request.points]
        states = {point.name: self._descriptions.states.get(at) for at, point in wanted}
        points = [point for _, point in wanted]
        return await self._logs.backfill(self._connected(), self._instance, points, request, states)

    @property
    def _instance(self) -> int:
        """Raises `Refusal` where the device does not say which it is."""
        if self._found is None or self._found.instance is None:
            raise Refusal(
                "the device does not say its instance: give deviceInstance", "connection.deviceInstance"
            )
        return self._found.instance

    # Ending

    async def _leave(self) -> None:
        """Nothing is asked of the device any more."""
        self._asking = None

    async def close(self) -> None:
        await self._leave()
        port, self._port = self._port, None
        if port is not None:
            release_port(self._lines, port)


async def _learn_size(reader: Reader, found: Found | None) -> None:
    """How much fits what the device is asked and answers."""
    if found is not None and found.instance is not None:
        size = Ref(kinds.DEVICE, found.instance, kinds.MAX_APDU)
        said = (await reader.read([(size,)], reader.one_answer)).get(key_of(size))
        if isinstance(said, Value) and isinstance(said.value, int):
            reader.capability.accepts(said.value)


async def _identification(reader: Reader, found: Found | None) -> dict[str, str]:
    """What the device says of itself, all of it at once."""
    instance = None if found is None else found.instance
    if instance is None:
        return {}
    refs = {name: Ref(kinds.DEVICE, instance, prop) for name, prop in _NAMED.items()}
    spoken = await reader.read([tuple(refs.values())], reader.one_answer)
    said = {"instance": str(instance)}
    for name, ref in refs.items():
        content = spoken.get(key_of(ref))
        if isinstance(content, Value) and isinstance(content.value, str) and content.value.strip():
            said[name] = content.value.strip()[:200]
    return said
