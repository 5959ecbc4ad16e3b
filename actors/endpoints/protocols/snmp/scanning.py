"""Searching agents: each host is asked for its group `system`, one way after the other until it answers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from actors.connections.connection import NoConnection, Permanent
from actors.endpoints.discovering import Found, Probing
from conf.texts import without_controls

from . import port, quality, sharing, values
from .client import Client
from .connection import Connection, spelled_out
from .discovery import ABREAST, Place, Search, connection_of
from .oids import Arcs
from .reading import read_one
from .secured import SecuredClient
from .session import client_of, user_of
from .values import Unfit
from .walking import Walker

log = logging.getLogger(__name__)

_SYSTEM: Final[Arcs] = (1, 3, 6, 1, 2, 1, 1)
_SAID: Final = {"sysDescr": 1, "sysObjectID": 2, "sysName": 5, "sysLocation": 6}
_ENGINE: Final[Arcs] = (1, 3, 6, 1, 6, 3, 10, 2, 1, 1, 0)
"""snmpEngineID: agents that speak v3 tell it in v2c as well."""
_INTERFACES: Final[Arcs] = (1, 3, 6, 1, 2, 1, 2, 2, 1)
_HIGH: Final[Arcs] = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1)
_MOST_INTERFACES: Final = 500
_LONGEST: Final = 1000
"""Characters of what a device says of itself."""
_VALIDATED_WITHIN: Final = 20.0
"""Seconds in which a device is read: however slowly it answers, it is over before the search is."""
_STATUS: Final = {
    "1": "up",
    "2": "down",
    "3": "testing",
    "4": "unknown",
    "5": "dormant",
    "6": "notPresent",
    "7": "lowerLayerDown",
}
_UPTIME: Final = {
    "name": "sysUpTime",
    "oid": "1.3.6.1.2.1.1.3.0",
    "dataType": "timeticks",
    "scalingFactor": 0.01,
    "unit": "s",
}


class Agent(msgspec.Struct, frozen=True):
    """One that has answered."""

    order: int
    host: str
    engine: str
    said: dict[str, str]
    found: Found


class Scanner:
    def __init__(self, plan: Search, probing: Probing) -> None:
        self._plan = plan
        self._probing = probing
        self._abreast = asyncio.Semaphore(ABREAST)
        self._by_engine: dict[str, Agent] = {}

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for order, place in enumerate(self._plan.places):
                    tasks.create_task(self._place(order, place))
        except BaseExceptionGroup as group:  # of whoever runs the scan: trouble with hosts is told
            raise group.exceptions[0] from group

    async def _place(self, order: int, place: Place) -> None:
        async with self._abreast, self._probing.probe(place.host):
            try:
                await self._ask(order, place)
            except (OSError, NoConnection, ValueError) as error:
                if getattr(error, "code", None) not in _NOBODY:
                    self._probing.trouble(place.host, str(error) or type(error).__name__, at=place.at)
            except Exception as error:  # one host costs no other
                log.exception("the search at %s ended", place.host)
                self._probing.trouble(place.host, f"{type(error).__name__}: {error}", at=place.at)

    async def _ask(self, order: int, place: Place) -> None:
        address = await self._probing.address(place.host)
        told: NoConnection | None = None
        for session in sharing.sessions_at(self._probing.lines, address, place.port):
            if session.client is not None:
                way = spelled_out(session.connection)
                said = await self._system(session.client)
                await self._found(order, place, address, way, session.client, said)
                return
        for way in place.ways:
            connection = connection_of(place, way, place.host)
            try:
                async with self._client(connection, address) as client:
                    said = await self._system(client)
                    await self._found(order, place, address, way, client, said)
                    return
            except Permanent as error:  # somebody is there
                told = error
            except NoConnection as error:
                told = told or error
                if error.code in (quality.REFUSED, quality.UNREACHABLE):
                    break
        if told is not None:
            raise told

    @asynccontextmanager
    async def _client(self, connection: Connection, address: str) -> AsyncIterator[Client]:
        [found, *_] = await port.resolve(address, connection.port)
        user = None
        if connection.user is not None:
            user = await asyncio.to_thread(user_of, connection.user)
        client = client_of(connection, user, found)
        try:
            yield client
        finally:
            client.close()

    async def _system(self, client: Client) -> dict[str, str]:
        """What the device says of itself. Raises `NoConnection` when it says nothing at all."""
        said = {}
        for name, number in _SAID.items():
            text = await _text(client, (*_SYSTEM, number, 0))
            if text:
                said[name] = text
        return said

    async def _found(
        self,
        order: int,
        place: Place,
        address: str,
        way: dict[str, Any],
        client: Client,
        said: dict[str, str],
    ) -> None:
        engine = ""
        if isinstance(client, SecuredClient) and client.engine is not None:
            engine = client.engine.hex()
        elif (answer := await _raw(client, _ENGINE)) is not None and 5 <= len(answer) <= 32:
            engine = answer.hex()
        metadata = {**said, "version": way.get("version", "v2c"), "discoveryMethod": "system_group"}
        if engine:
            metadata["engineId"] = engine
        at = address if place.port == _PORT else f"{address}:{place.port}"
        found = Found(
            identity=f"snmp:{engine}" if engine else f"snmp:{said.get('sysObjectID', '')}:{at}",
            name=said.get("sysName") or f"snmp_{place.host}",
            connection={"host": place.host, "port": place.port, **_lasting(way)},
            data_points=(_UPTIME,),
            confidence="medium" if said else "low",
            metadata=metadata,
        )
        self._tell(Agent(order, at, engine, said, found))
        if self._probing.validate:
            found = await self._validated(client, way, place, found)
            self._tell(Agent(order, at, engine, said, found))

    def _tell(self, agent: Agent) -> None:
        """Copies of a device have its engine id, too: of several that say something else of themselves, the
        one that was named first is known by it, and the others by their hosts as well."""
        known = self._by_engine.get(agent.engine) if agent.engine else None
        if known is None or known.order == agent.order:
            self._by_engine[agent.engine] = agent
            self._probing.found(agent.found)
            return
        first, other = sorted((known, agent), key=lambda one: one.order)
        self._by_engine[agent.engine] = first
        if first is agent:
            self._probing.found(agent.found)
        if first.said != other.said:
            identity = f"{other.found.identity}:{other.host}"
            self._probing.found(msgspec.structs.replace(other.found, identity=identity))

    async def _validated(self, client: Client, way: dict[str, Any], place: Place, found: Found) -> Found:
        """The same, with what can be read. One that falls silent meanwhile, or takes long for each answer, is
        what it was by then."""
        points: list[dict[str, Any]] = []
        interfaces = 0
        walker = Walker(client, 0 if way.get("version") == "v1" else 20)
        try:
            async with asyncio.timeout(_VALIDATED_WITHIN):
                if await _raw(client, (*_SYSTEM, 3, 0)) is not None:
                    points.append(_UPTIME)
                interfaces = await _rows(walker, (*_INTERFACES, 8))
                if interfaces:
                    points += _of_interfaces(
                        way.get("version") != "v1" and await _rows(walker, (*_HIGH, 6)) > 0
                    )
        except TimeoutError:
            text = f"it has more to read than it tells within {_VALIDATED_WITHIN:g} s"
            self._probing.trouble(place.host, text, at=place.at)
        except NoConnection as error:
            self._probing.trouble(place.host, str(error), at=place.at)
        return msgspec.structs.replace(
            found,
            data_points=tuple(points),
            confidence="high" if points else found.confidence,
            validated=bool(points),
            validation_data={"interfaces": interfaces, "readable": len(points)},
        )


async def _rows(walker: Walker, column: Arcs) -> int:
    return len((await walker.walk(column, _MOST_INTERFACES)).found)


def _of_interfaces(wide: bool) -> Iterator[dict[str, Any]]:
    """What they are and count, by the wide counters where there are such."""
    yield _column("ifOperStatus", (*_INTERFACES, 8), dataType="integer", enum=_STATUS)
    for name, narrow, high in (("ifInOctets", 10, 6), ("ifOutOctets", 16, 10)):
        oid = (*_HIGH, high) if wide else (*_INTERFACES, narrow)
        yield _column(name, oid, dataType="counter64" if wide else "counter32", rate=True, unit="B/s")
    for name, number in (("ifInErrors", 14), ("ifOutErrors", 20)):
        yield _column(name, (*_INTERFACES, number), dataType="counter32", rate=True, unit="1/s")


_PORT: Final = 161
"""Which goes without saying."""
_NOBODY: Final = frozenset({quality.TIMEOUT, quality.REFUSED, quality.UNREACHABLE})
"""Nobody is there who speaks SNMP, or nobody who knows us: the same silence."""


def _lasting(way: dict[str, Any]) -> dict[str, Any]:
    """Without how patient the search was, and without the community that an endpoint asks with anyway: it is
    no secret, and masked nobody could make an endpoint of what was found."""
    kept = {key: value for key, value in way.items() if key not in ("timeout", "retries")}
    return kept if kept.get("community") != "public" else {k: v for k, v in kept.items() if k != "community"}


def _column(name: str, oid: Arcs, **more: Any) -> dict[str, Any]:
    return {"name": name, "oid": ".".join(map(str, oid)), "table": True, **more}


async def _raw(client: Client, name: Arcs) -> bytes | None:
    answer = await read_one(client, name)
    return None if isinstance(answer, str) else answer.raw


async def _text(client: Client, name: Arcs) -> str | None:
    answer = await read_one(client, name)
    if isinstance(answer, str):
        return None
    try:
        return without_controls(str(values.plain(*answer))[:_LONGEST])
    except Unfit:
        return None


async def scan(plan: Any, probing: Probing) -> None:
    """See `Scan`."""
    await Scanner(plan, probing).run()
