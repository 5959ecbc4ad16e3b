"""Runs a search for Modbus devices: places side by side, the units of a place one after the other, over one
connection, which is that of the endpoint that polls there, if any."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Final

from msgspec.structs import replace

from actors.connections.connection import NoConnection
from actors.endpoints.discovering import Found, Probing
from conf.hosts import is_address

from . import quality
from .connection import Connection
from .discovery import Place, PolledUnit, Search, units_of
from .line import forget_line
from .link import Link
from .naming import bus_of, spelled, title_of
from .presence import GaveUp, Present, RollCall
from .sharing import acquire, release
from .validating import validate

log = logging.getLogger(__name__)

_NOBODY: Final = frozenset({"CONNECTION_REFUSED", "HOST_UNREACHABLE", quality.TIMEOUT})
"""Why there is no connection where nobody is."""

_SHARED_TIMEOUT = 1.0
"""Seconds that a unit is waited for at most where an endpoint waits for its turn meanwhile."""


async def scan(search: Search, probing: Probing) -> None:
    """See `actors.endpoints.discovering.Scan`."""
    await _Scan(search, probing).run()


class _Scan:
    def __init__(self, search: Search, probing: Probing) -> None:
        self._search = search
        self._probing = probing
        self._polled: dict[str, list[PolledUnit]] = {}
        """The endpoints that are enabled, by the line that they are on, names resolved."""
        self._known: dict[str, list[int]] = {}
        """The units of all endpoints, enabled or not."""

    async def run(self) -> None:
        await self._look_at_polled()
        lines: dict[str, list[Place]] = {}
        for place in self._search.places:
            lines.setdefault(place.line, []).append(place)
        async with asyncio.TaskGroup() as tasks:
            for places in lines.values():
                tasks.create_task(self._line(places))

    async def _look_at_polled(self) -> None:
        ports = {place.connection.port for place in self._search.places if not place.connection.is_serial}
        for polled in self._search.polled:
            connection = polled.connection
            if connection.slave_range is not None:
                continue
            line = connection.line
            if not connection.is_serial and connection.port in ports:
                line = await self._resolved(connection) or line
            self._known.setdefault(line, []).append(connection.unit)
            if polled.enabled:
                self._polled.setdefault(line, []).append(polled)

    async def _resolved(self, connection: Connection) -> str | None:
        """The line as an address spells it; None where the name is unknown."""
        if is_address(connection.host):
            return connection.line
        try:
            return replace(connection, host=await self._probing.address(connection.host)).line
        except OSError:
            return None

    async def _line(self, places: list[Place]) -> None:
        """The places of a line, until there is somebody: of a serial line they are its settings. One that is
        in use has settings."""
        for place in places[:1] if self._polled.get(places[0].connection.line) else places:
            try:
                if await self._place(place):
                    break
            except NoConnection as failure:
                nobody = failure.code in _NOBODY and not isinstance(failure, GaveUp)
                if place.expected or not nobody:
                    # A name may lead elsewhere today.
                    known = is_address(place.connection.host)
                    self._trouble(place.connection, str(failure), nobody=nobody and known)
            except Exception as error:  # one place costs no other
                log.exception("the search at %s ended", place.connection.place)
                self._trouble(place.connection, f"{type(error).__name__}: {error}")

    def _trouble(self, connection: Connection, reason: str, *, nobody: bool = False) -> None:
        self._probing.trouble(str(connection.at), reason, at=connection.at, nobody=nobody)

    async def _place(self, place: Place) -> bool:
        """Whether anybody is there."""
        if place.connection.is_serial:
            return await self._ask(place, place.line, lambda: self._probing.probe(place.line))
        address = place.connection.host
        if not is_address(address):
            # Before it is its turn: a host that was named by its address, too, is asked over one connection.
            try:
                address = await self._probing.address(address)
            except OSError as error:
                self._trouble(place.connection, f"its address is not known: {error}")
                return False
        async with self._probing.probe(place.connection.host):
            return await self._ask(place, address, nullcontext)

    async def _ask(self, place: Place, address: str, turn: Any) -> bool:
        place, polled = self._shared(place, address)
        connection = place.connection
        present: list[Present] = []
        async with self._link(connection, keep=lambda: bool(present or polled)) as link:
            call = RollCall(link, connection.timeout, turn)
            present = await call.run(place.units, {one.connection.unit for one in polled})
            if not present and call.reason:
                raise GaveUp(f"what answers there is not Modbus: {call.reason}")
            if not present and not connection.is_serial:
                self._trouble(connection, "it takes the connection, and no unit answers")
            if call.gave_up:
                self._trouble(connection, call.gave_up)
            if call.doubtful:
                units = ", ".join(map(str, call.doubtful))
                self._trouble(connection, f"units {units} cannot answer now, or are not there")
            for one in present:
                found = self._found(one, place, address, polled)
                self._probing.found(found)
                if self._probing.validate:
                    async with turn():
                        found = await self._validated(link, one, found, polled)
                    self._probing.found(found)
        return bool(present)

    def _shared(self, place: Place, address: str) -> tuple[Place, list[PolledUnit]]:
        """The place as it is to be asked: as the endpoints do that poll there. Unless somebody wants others
        too, only units that are configured are. These come first anyway: a device that answers as any unit is
        to be found as the one that it is known by."""
        own = place.connection
        line = own.line if own.is_serial else replace(own, host=address).line
        polled, known = self._polled.get(line, []), self._known.get(line, [])
        if not polled:
            first = [unit for unit in known if unit in place.units]
            return replace(place, units=tuple(dict.fromkeys([*first, *place.units]))), []
        used = polled[0].connection
        units = [*(one.connection.unit for one in polled), *known]
        order = tuple(dict.fromkeys([*units, *(units_of(place.units, used) if place.asked else ())]))
        others = len(order) > len({one.connection.unit for one in polled})
        timeout = min(own.timeout, _SHARED_TIMEOUT) if others else own.timeout
        return replace(place, connection=replace(used, timeout=timeout), units=order), polled

    @asynccontextmanager
    async def _link(self, connection: Connection, keep: Callable[[], bool]) -> AsyncIterator[Link]:
        """Unless there is something to `keep`, the next search is to find the line as this one did: what is
        no device makes a line learn pauses that nobody needs."""
        link = acquire(self._probing.lines, connection)
        try:
            await link.open(connection.timeout)
            yield link
        finally:
            if connection.close_after_poll:
                link.rest()
            release(self._probing.lines, link, connection)
            if not connection.is_serial and not keep():
                forget_line(connection.line)

    async def _validated(self, link: Link, present: Present, found: Found, polled: list[PolledUnit]) -> Found:
        """The same device once more, with what was read of it."""
        known = [*polled, *(one for one in self._search.polled if one not in polled)]
        there = next((one for one in known if self._is_of(one, found)), None)
        points = () if there is None else there.data_points
        read = await validate(link, present, link.connection.timeout, points)
        metadata = {**found.metadata, **read.metadata}
        for key in ("vendor", "model", "revision", "serial"):
            if key in read.about:
                metadata[key] = read.about[key]
        name = found.name
        if "model" in read.about and not present.identity:
            maker = {"vendor": read.about.get("vendor", ""), "modelName": read.about["model"]}
            where = found.metadata["deviceId"].removeprefix("modbus:").rpartition(":")[0]
            name = title_of(link.connection, present.unit, maker, "", self._host_of(where))
        return replace(
            found,
            name=name,
            data_points=read.data_points,
            metadata=metadata,
            validated=read.answered,
            confidence="high" if read.answered else found.confidence,
            validation_data={"dataPointValidation": read.validation},
        )

    def _is_of(self, polled: PolledUnit, found: Found) -> bool:
        """Whether an endpoint, enabled or not, is of that device."""
        given, connection = found.connection, polled.connection
        if connection.slave_range is not None or connection.unit != given["unitId"]:
            return False
        if connection.is_serial:
            return connection.serial_port == given.get("serialPort")
        return (connection.host, connection.port) == (given.get("host"), given.get("port"))

    def _host_of(self, bus: str) -> str:
        return bus.rpartition(":")[0].strip("[]") if not bus.startswith("/") else bus

    def _found(self, present: Present, place: Place, address: str, polled: list[PolledUnit]) -> Found:
        there = next((one for one in polled if one.connection.unit == present.unit), None)
        connection = place.connection if there is None else there.connection
        bus = bus_of(connection, address)
        identity = present.identity
        model = identity.get("modelName") or identity.get("productName") or identity.get("productCode")
        metadata = {
            "slaveId": present.unit,
            "deviceId": f"modbus:{bus}:{present.unit}",
            "discoveryMethod": "device_identification" if identity else "register_read",
            "connectionName": (there.name if there else "") or place.name or bus,
            "vendor": identity.get("vendor"),
            "model": model,
            "revision": identity.get("revision"),
        }
        return Found(
            identity=f"modbus:{bus}:{present.unit}",
            name=title_of(connection, present.unit, identity, place.name, address),
            connection=spelled(connection, present.unit),
            metadata={key: value for key, value in metadata.items() if value is not None},
        )
