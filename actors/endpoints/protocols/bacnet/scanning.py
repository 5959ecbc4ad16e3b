"""Looks for BACnet devices: asks everybody, or hosts one by one, who they are, and what they have."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from actors.connections.connection import NoConnection, Transient
from actors.endpoints.discovering import At, Found, Probing
from actors.endpoints.targets import read_targets
from actors.system.failure import Refusal
from conf.texts import without_controls

from . import kinds, quality
from .asking import Asking, Refused
from .binding import broadcast_of, resolve
from .browse import data_point, name_of, object_list, value_or_none
from .connection import PORT, Connection, Local
from .discovery import Search
from .finding import Finder, IAm, finder_of
from .port import Port, open_port, release_port
from .station import Station

log = logging.getLogger(__name__)

_DESCRIBED_WITHIN: Final = 10.0
_VALIDATED_WITHIN: Final = 20.0
"""Seconds in which a device says who it is; lists its objects, and is read: however slowly it answers, it is
over before the search is."""
PROPOSED: Final = 50
"""Objects of a device that become data points."""
_ROUNDS: Final = 2
"""How often everybody is asked: datagrams are lost."""
_AT_ONCE: Final = 16
"""Devices that are described at the same time."""
_SAID: Final = {"vendor": 121, "model": 70, "description": 28, "firmware": 44}


async def scan(search: Search, probing: Probing) -> None:
    """See `discovering.Scan`."""
    async with _port_of(search.local, probing) as port:
        one = _Scan(search, probing, port)
        if search.hosts:
            await _all(one.host(host) for host in search.hosts)
        else:
            await one.everybody()


class _Scan:
    def __init__(self, search: Search, probing: Probing, port: Port) -> None:
        self._search = search
        self._probing = probing
        self._port = port
        self._seen: dict[tuple[Station, int], None] = {}
        self._stations: dict[int, Station] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def _trouble(self, station: Station, reason: str) -> None:
        self._probing.trouble(str(station), reason, at=At(station.host, station.port))

    # Hosts one by one

    async def host(self, name: str) -> None:
        """Nothing is sent to anybody else."""
        try:
            address = await self._probing.address(name)
        except OSError as error:
            self._probing.trouble(name, f"is no name that is known here: {error}")
            return
        if ":" in address:
            text = f"has the IPv6 address {address}: BACnet/IP knows IPv4 only"
            self._probing.trouble(name, text, at=At(name))
            return
        station = Station(address, self._search.port)
        async with self._probing.probe(name):
            said = await self._who_is_at(station)
        for one in said:
            await self._take(one, "who-is")

    async def _who_is_at(self, station: Station) -> list[IAm]:
        """By Who-Is, and by reading: devices may say it to everybody, on a port that is not ours."""
        seconds = self._search.silent_within
        heard: dict[tuple[Station, int], IAm] = {}
        first = asyncio.Event()

        def hear(one: IAm) -> None:
            if (one.station.host, one.station.port) == (station.host, station.port):
                heard[one.station, one.instance] = one
                first.set()

        finder = finder_of(self._port)
        with finder.listening(hear):
            finder.who_is(None, None, station.library())
            reading = asyncio.ensure_future(self._instance_at(station, seconds))
            waiting = asyncio.ensure_future(first.wait())
            try:
                await asyncio.wait({reading, waiting}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                if reading.done() and reading.result() is None and not first.is_set():
                    await asyncio.wait({waiting}, timeout=seconds)
            finally:
                for task in (reading, waiting):
                    task.cancel()
                await asyncio.gather(reading, waiting, return_exceptions=True)
        if heard:
            return list(heard.values())
        done = not reading.cancelled() and reading.exception() is None
        instance = reading.result() if done else None
        return [] if instance is None else [IAm(station, instance, 0, 3, 0)]

    async def _instance_at(self, station: Station, seconds: float) -> int | None:
        asking = Asking(self._port, station, self._connection(station, None, seconds))
        try:
            found = await asking.read(kinds.DEVICE, kinds.ANY_INSTANCE, 75, retries=0)
        except Refused:
            return None
        except NoConnection:
            return None
        return found[1] if isinstance(found, tuple) and found[0] == kinds.DEVICE else None

    # Everybody

    async def everybody(self) -> None:
        tasks: set[asyncio.Task[None]] = set()

        def hear(one: IAm) -> None:
            task = asyncio.create_task(self._take(one, "who-is"))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        search = self._search
        span = (search.first, search.last) if (search.first, search.last) != _ALL else (None, None)
        try:
            async with self._ears() as finders:
                self._probing.more(0)
                unlisten = [finder.listen(hear) for finder in finders]
                try:
                    for _ in range(_ROUNDS):
                        finders[0].who_is(*span)
                        await asyncio.sleep(search.timeout / _ROUNDS)
                finally:
                    for each in unlisten:
                        each()
                while tasks:
                    await asyncio.wait(set(tasks))
        finally:
            for task in tasks:
                task.cancel()

    @asynccontextmanager
    async def _ears(self) -> AsyncIterator[list[Finder]]:
        """Whom devices are heard by, the first of them asks: many answer to everybody, which only who has the
        standard's port hears."""
        own = finder_of(self._port)
        foreign = self._port.foreign
        if foreign is not None:
            await foreign.settled()
            if foreign.trouble is not None:
                self._probing.trouble("", foreign.trouble)
            yield [own]
            return
        if self._port.local.port == PORT:
            yield [own]
            return
        standard = msgspec.structs.replace(self._search.local, port=PORT)
        try:
            port = await open_port(self._probing.lines, standard)
        except NoConnection:
            text = f"UDP port {PORT} is in use: devices that answer to everybody are not heard"
            self._probing.trouble("", text)
            yield [own]
            return
        try:
            yield [finder_of(port), own]
        finally:
            release_port(self._probing.lines, port)

    # What was found

    async def _take(self, said: IAm, method: str) -> None:
        search, key = self._search, (said.station, said.instance)
        if not search.first <= said.instance <= search.last or key in self._seen:
            return
        if not self._is_host(said.station):
            text = f"device {said.instance} is said to be there, which is the address of no host"
            self._trouble(said.station, text)
            return
        if len(self._seen) >= search.most:
            self._probing.trouble("", f"there are more than {search.most} devices; the others are left out")
            return
        self._seen[key] = None
        other = self._stations.setdefault(said.instance, said.station)
        if other != said.station:
            text = f"device {said.instance} is at {other} too: instances are to be unlike"
            self._trouble(said.station, text)
        self._probing.more(1)
        async with self._turns, self._probing.probe(said.station.host):
            connection = self._connection(said.station, said.instance, None)
            asking = Asking(self._port, said.station, connection)
            try:
                async with asyncio.timeout(_DESCRIBED_WITHIN):
                    found = await self._described(asking, said, method)
                    self._probing.found(found)
                if self._probing.validate:
                    await self._validate(asking, said, found)
            except TimeoutError:
                self._trouble(said.station, f"it does not say who it is within {_DESCRIBED_WITHIN:g} s")
            except (NoConnection, Refusal) as error:
                self._trouble(said.station, str(error))
            except Exception as error:  # one device costs no other
                log.exception("the search at %s ended", said.station)
                self._trouble(said.station, f"{type(error).__name__}: {error}")

    def _is_host(self, station: Station) -> bool:
        """Whoever forwards an I-Am says whose it is: that may be anything, and everybody."""
        try:
            read_targets(station.host, "")
        except Refusal:
            return False
        return station.port != 0 and station.host != broadcast_of(self._port.local)[0]

    async def _described(self, asking: Asking, said: IAm, method: str) -> Found:
        name = await name_of(asking, kinds.DEVICE, said.instance)
        metadata: dict[str, Any] = {"deviceInstance": said.instance, "discoveryMethod": method}
        for key, prop in _SAID.items():
            value = await value_or_none(asking, kinds.DEVICE, said.instance, prop)
            if isinstance(value, str) and value.strip():
                metadata[key] = without_controls(value.strip()[:200])
        if said.vendor:
            metadata["vendorId"] = said.vendor
        return Found(
            identity=f"bacnet:{said.station.host}:{said.instance}",
            name=name or f"bacnet_{said.instance}",
            connection=self._told(said),
            confidence="high" if name else "medium",
            metadata=metadata,
        )

    def _told(self, said: IAm) -> dict[str, Any]:
        """A connection as an endpoint has it."""
        station, local = said.station, self._search.local
        connection: dict[str, Any] = {
            "host": station.host,
            "port": station.port,
            "deviceInstance": said.instance,
        }
        if station.network:
            connection |= {"network": station.network, "mac": station.mac.hex()}
            if len(station.mac) == 1:
                connection["mac"] = station.mac[0]
        if said.max_apdu:
            connection["maxApdu"] = min(max(50, said.max_apdu), 1476)
        if local.bbmd is not None:
            connection["bbmd"] = f"{local.bbmd[0]}:{local.bbmd[1]}"
        return connection

    async def _validate(self, asking: Asking, said: IAm, found: Found) -> None:
        """Tell it once more, with data points, and how many of them can be read. One that falls silent
        meanwhile, or takes long for each answer, is told with those that there are by then."""
        places = await self._objects(asking, said)
        points: list[dict[str, Any]] = []
        readable = 0
        try:
            async with asyncio.timeout(_VALIDATED_WITHIN):
                async for point, is_readable in _proposed(asking, places[:PROPOSED]):
                    points.append(point)
                    readable += is_readable
        except TimeoutError:
            text = f"it has more to read than it tells within {_VALIDATED_WITHIN:g} s"
            self._trouble(said.station, text)
        except NoConnection as error:
            self._trouble(said.station, str(error))
        validation = {
            "totalPoints": len(places),
            "proposedPoints": len(points),
            "readableCount": readable,
            "errorCount": len(points) - readable,
        }
        read = readable > 0 or not places
        self._probing.found(
            msgspec.structs.replace(
                found, data_points=tuple(points), validated=read, validation_data=validation
            )
        )

    async def _objects(self, asking: Asking, said: IAm) -> list[tuple[int, int]]:
        """Raises `NoConnection`, `Refusal`."""
        try:
            async with asyncio.timeout(_VALIDATED_WITHIN):
                places = await object_list(asking, said.instance)
        except TimeoutError:
            text = f"{said.station} does not list its objects within {_VALIDATED_WITHIN:g} s"
            raise Transient(text, code=quality.TIMEOUT) from None
        return list(dict.fromkeys(place for place in places if place[0] in kinds.READABLE))

    def _connection(self, station: Station, instance: int | None, seconds: float | None) -> Connection:
        timeout = min(self._search.timeout, 3.0) if seconds is None else seconds
        return Connection(station.host, station.port, instance, timeout=timeout)


async def _proposed(
    asking: Asking, places: list[tuple[int, int]]
) -> AsyncIterator[tuple[dict[str, Any], bool]]:
    """Data points, and whether they can be read."""
    names: set[str] = set()
    for kind, instance in places:
        address = f"{kinds.type_name(kind)}:{instance}"
        name = await name_of(asking, kind, instance) or address
        name = name if name not in names else f"{name} ({address})"
        names.add(name)
        point = await data_point(asking, (kind, instance), name)
        yield point, await value_or_none(asking, kind, instance, kinds.PRESENT_VALUE) is not None


_ALL: Final = (0, kinds.ANY_INSTANCE - 1)


@asynccontextmanager
async def _port_of(local: Local, probing: Probing) -> AsyncIterator[Port]:
    """The one that endpoints use; where those use it otherwise, or another program does, any."""
    if local.bbmd is not None:
        await resolve(local.bbmd[0])
    try:
        port = await open_port(probing.lines, local)
    except NoConnection as error:
        if error.code != quality.PORT_NOT_OPEN:
            raise
        port = await open_port(probing.lines, msgspec.structs.replace(local, port=0))
    try:
        yield port
    finally:
        release_port(probing.lines, port)


async def _all(hosts: Any) -> None:
    """The first that fails ends the others."""
    tasks = [asyncio.ensure_future(one) for one in hosts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
