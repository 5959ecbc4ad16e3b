"""Where a device is: at its host, or where it answers to its instance; and that it is the one meant."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from math import inf
from time import monotonic
from typing import Any, Final, NamedTuple

from bacpypes3.apdu import WhoIsRequest
from bacpypes3.pdu import Address, GlobalBroadcast, RemoteBroadcast

from actors.connections.connection import NoConnection, Permanent, Transient

from . import kinds, quality
from .asking import Asking, Refused
from .binding import resolve
from .codec import Content, Key, Value, key_of
from .connection import Connection
from .points import Ref
from .port import Port
from .station import Station, station_of

log = logging.getLogger(__name__)

NOT_THERE: Final = "NO_SUCH_DEVICE"
_REMEMBERED: Final = 10_000
"""Instances whose stations are known."""
_OTHERS: Final = 0.5
"""Seconds for which a second device may answer to the same instance."""
_SEARCH_APART: Final = 60.0
"""Seconds between two searches for a device that has a host."""
_ALONE: Final = 1.5
"""Seconds that a device has to say who it is which does not let that be read."""
_ATTEMPTS: Final = 3
"""How often Who-Is is sent: datagrams are lost."""


class IAm(NamedTuple):
    """What a device says of itself, and from where."""

    station: Station
    instance: int
    max_apdu: int
    segmentation: int
    """0 both, 1 transmits, 2 receives, 3 none"""
    vendor: int


Heard = Callable[[IAm], None]


class Finder:
    """Hears every I-Am on a port."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._listeners: set[Heard] = set()
        self._sending: set[asyncio.Future[None]] = set()
        self.known: dict[int, Station] = {}
        """Where an instance was last found."""
        self._searched: dict[int, float] = {}
        """When it was last looked for elsewhere; monotonic seconds."""

    def heard(self, apdu: Any) -> None:
        """For the library's application."""
        try:
            found = _i_am(apdu)
        except (AttributeError, TypeError, ValueError):
            return
        for listener in list(self._listeners):
            listener(found)

    @contextmanager
    def listening(self, heard: Heard) -> Iterator[None]:
        self._listeners.add(heard)
        try:
            yield
        finally:
            self._listeners.discard(heard)

    def listen(self, heard: Heard) -> Callable[[], None]:
        """Until what is returned is called."""
        self._listeners.add(heard)
        return lambda: self._listeners.discard(heard)

    def is_due(self, instance: int) -> bool:
        """Whether to look for it elsewhere: hundreds that are switched off do not have everybody asked for
        each of them all the time."""
        now = monotonic()
        if now - self._searched.get(instance, -inf) < _SEARCH_APART:
            return False
        self._searched.pop(instance, None)
        self._searched[instance] = now
        if len(self._searched) > _REMEMBERED:
            del self._searched[next(iter(self._searched))]
        return True

    def remember(self, instance: int, station: Station) -> None:
        self.known.pop(instance, None)
        self.known[instance] = station
        if len(self.known) > _REMEMBERED:
            del self.known[next(iter(self.known))]

    def who_is(self, first: int | None, last: int | None, to: Any = None) -> None:
        """Ask who has such an instance: everybody, or that address of the library's."""
        request = WhoIsRequest(destination=to if to is not None else GlobalBroadcast())
        if first is not None and last is not None:
            request.deviceInstanceRangeLowLimit = first
            request.deviceInstanceRangeHighLimit = last
        task = asyncio.ensure_future(_quietly(self._port.app.request(request)))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def who_is_at(self, station: Station, seconds: float) -> int | None:
        """Who says that it is there, asked alone; None: nobody, or nobody that is heard here."""
        found: list[int] = []
        first = asyncio.Event()

        def heard(one: IAm) -> None:
            if one.station == station:
                found.append(one.instance)
                first.set()

        with self.listening(heard):
            for _ in range(_ATTEMPTS):
                self.who_is(None, None, station.library())
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds / _ATTEMPTS):
                        await first.wait()
                if found:
                    return found[0]
        return None

    async def search(self, instance: int, to: Any, seconds: float) -> list[IAm]:
        """All who say that they are it, some time after the first of them."""
        found: dict[Station, IAm] = {}
        first = asyncio.Event()

        def heard(one: IAm) -> None:
            if one.instance == instance:
                found[one.station] = one
                first.set()

        with self.listening(heard):
            for _ in range(_ATTEMPTS):
                self.who_is(instance, instance, to)
                try:
                    async with asyncio.timeout(seconds / _ATTEMPTS):
                        await first.wait()
                except TimeoutError:
                    continue
                await asyncio.sleep(min(_OTHERS, seconds / _ATTEMPTS))
                break
        return list(found.values())


def finder_of(port: Port) -> Finder:
    if not isinstance(port.finder, Finder):
        port.finder = Finder(port)
        port.heard_i_am = port.finder.heard
    return port.finder


class Found(NamedTuple):
    """A device that has said that it is the one; `instance` None: nobody has asked, and it does not say."""

    station: Station
    instance: int | None


async def find(port: Port, connection: Connection) -> Found:
    """Where the device is. Raises `NoConnection`: nobody answers, or another than is meant, or two."""
    finder = finder_of(port)
    if connection.host is None or (connection.network is not None and connection.mac is None):
        return await _by_instance(port, finder, connection)
    host = await resolve(connection.host)
    station = Station(host, connection.port, connection.network or 0, connection.mac or b"")
    try:
        instance = await instance_at(port, station, connection)
    except NoConnection as error:
        if connection.instance is None or error.code != quality.TIMEOUT:
            raise
        moved = await _elsewhere(port, finder, connection, station)
        if moved is None:
            raise
        return moved
    if instance is None:
        instance = await finder.who_is_at(station, min(connection.timeout, _ALONE))
    if connection.instance in (None, instance):
        return Found(station, instance)
    moved = await _elsewhere(port, finder, connection, station)
    if moved is not None:
        return moved
    raise other_device(station, instance, connection.instance)


def other_device(station: Station, instance: int | None, meant: int | None) -> Transient:
    who = "another device" if instance is None else f"device {instance}"
    return Transient(f"{who} answers at {station}, not device {meant}", code=NOT_THERE)


async def instance_at(port: Port, station: Station, connection: Connection) -> int | None:
    """Who answers there: the instance that is meant if it is that, else another, if it can be found out.
    Raises `NoConnection`."""
    asking = Asking(port, station, connection)
    asked = kinds.ANY_INSTANCE if connection.instance is None else connection.instance
    for instance in dict.fromkeys((asked, kinds.ANY_INSTANCE)):
        try:
            found = await asking.read(kinds.DEVICE, instance, 75)
        except Refused as refused:
            if refused.kind != "error":  # it has no time, and does not say that it is another
                raise Transient(
                    f"{station} refuses to say who it is: {refused}", code=quality.READ_ERROR
                ) from None
            continue
        if isinstance(found, tuple) and found[0] == kinds.DEVICE:
            return int(found[1])
    return None


async def _by_instance(port: Port, finder: Finder, connection: Connection) -> Found:
    """Where it was the last time, else where it says that it is."""
    assert connection.instance is not None
    known = finder.known.get(connection.instance)
    if known is not None:
        try:
            if await instance_at(port, known, connection) == connection.instance:
                return Found(known, connection.instance)
        except NoConnection as error:
            if error.code != quality.TIMEOUT:
                raise
        finder.known.pop(connection.instance, None)
    found = await _search(port, finder, connection)
    if found is None:
        trouble = await _bbmd_trouble(port)
        text = f"device {connection.instance} does not answer" + (f"; {trouble}" if trouble else "")
        raise Transient(text, code=quality.TIMEOUT)
    return found


async def _elsewhere(port: Port, finder: Finder, connection: Connection, station: Station) -> Found | None:
    """Its address may have changed."""
    if connection.instance is None or not finder.is_due(connection.instance):
        return None
    found = await _search(port, finder, connection)
    if found is None or found.station == station:
        return None
    log.warning("device %s answers at %s, not at %s any more", connection.instance, found.station, station)
    return found


async def _search(port: Port, finder: Finder, connection: Connection) -> Found | None:
    """Who answers to its instance, of whom there is to be one. Raises `Permanent` for two."""
    assert connection.instance is not None
    await _bbmd_trouble(port)
    found: list[IAm] = []
    for to in await _addresses(connection):
        found = await finder.search(connection.instance, to, min(connection.timeout, 3.0))
        if found:
            break
    if len(found) > 1:
        where = " and ".join(sorted(str(one.station) for one in found))
        text = f"several devices have the instance {connection.instance}: {where}"
        raise Permanent(text, code="DEVICE_NOT_CONFIGURED")
    if not found:
        return None
    finder.remember(connection.instance, found[0].station)
    return Found(found[0].station, connection.instance)


async def _addresses(connection: Connection) -> list[Any]:
    """Whom to ask: its network, by way of its router where that is known, else everybody."""
    if connection.network is not None:
        everybody: Any = RemoteBroadcast(connection.network)
        if connection.host is not None:
            host = await resolve(connection.host)
            everybody = Address(f"{connection.network}:*@{host}:{connection.port}")
    else:
        everybody = GlobalBroadcast()
    return [everybody]


async def _bbmd_trouble(port: Port) -> str | None:
    foreign = port.foreign
    if foreign is None:
        return None
    await foreign.settled()
    return str(foreign.trouble) if foreign.trouble else None


def _i_am(apdu: Any) -> IAm:
    kind, instance = apdu.iAmDeviceIdentifier
    if int(kind) != kinds.DEVICE or int(instance) >= kinds.ANY_INSTANCE:
        raise ValueError
    return IAm(
        station_of(apdu.pduSource),
        int(instance),
        int(apdu.maxAPDULengthAccepted),
        int(apdu.segmentationSupported),
        int(apdu.vendorID),
    )


async def _quietly(sending: Any) -> None:
    """Nothing answers it; what cannot be sent is seen by that."""
    try:
        await sending
    except Exception as error:  # noqa: BLE001 - of a library's layers
        log.debug("Who-Is: %r", error)


def identity(found: Found) -> Ref | None:
    """What to read along with everything else: only the device that is meant has it."""
    return None if found.instance is None else Ref(kinds.DEVICE, found.instance, 75)


def check_identity(spoken: Mapping[Key, Content], found: Found, station: Station) -> None:
    """Whether what was read is from the device that is meant. Raises `Transient`."""
    who = identity(found)
    if who is None:
        return
    said = spoken.get(key_of(who))
    if said is None:
        raise Transient(f"{station} does not say which device it is", code=quality.TIMEOUT)
    if not isinstance(said, Value) or said.value != (kinds.DEVICE << 22 | who.instance):
        other = (
            said.value & kinds.ANY_INSTANCE
            if isinstance(said, Value) and isinstance(said.value, int)
            else None
        )
        raise other_device(station, other, found.instance)
