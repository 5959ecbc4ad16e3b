"""Runs a search for OPC UA servers: who is there is asked what it offers, and whom else it knows; who may be
read is read then."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from msgspec.structs import replace

from actors.connections.connection import NoConnection
from actors.endpoints.discovering import At, Found, Probing
from actors.system.failure import Refusal
from conf.hosts import is_address

from . import announced, faults, offers, sighting, survey, told
from .connection import read_connection
from .discovery import Place, Search, place_of
from .sighting import Sighting

log = logging.getLogger(__name__)

MOST_TOLD: Final = 256
"""Places that servers tell which are followed."""
_NAMES: Final = 64
"""Of hosts that servers tell which are looked up."""
_LOOKED_UP: Final = 16
"""Names at the same time."""
_READ: Final = 8
"""Servers at the same time."""


async def scan(search: Search, probing: Probing) -> None:
    """See `actors.endpoints.discovering.Scan`."""
    await _Scan(search, probing).run()


class _Scan:
    def __init__(self, search: Search, probing: Probing) -> None:
        self._search = search
        self._probing = probing
        self._tasks = asyncio.TaskGroup()
        self._scope: set[str] = {one.host for one in search.places}
        """Hosts that may be asked, and their addresses."""
        self._asked: set[tuple[str, int]] = set()
        self._told = 0
        self._looked_up: dict[str, str | None] = {}
        self._sightings: list[Sighting] = []
        self._order = {place: number for number, place in enumerate(search.places)}

    async def run(self) -> None:
        try:
            await self._look_up()
            async with self._tasks:
                if self._search.mdns:
                    self._tasks.create_task(self._guarded("multicast DNS", None, self._listen))
                for place in self._search.places:
                    self._asked.add((place.host, place.port))
                    self._start(place)
            await self._look_at_polled()
            await self._compare()
        finally:
            found = self._tell()
        if self._probing.validate:
            await self._read(found)

    def _start(self, place: Place) -> None:
        self._tasks.create_task(self._guarded(place.text, place.at, self._place, place))

    async def _guarded(
        self, where: str, at: At | None, work: Callable[..., Awaitable[None]], *given: Any
    ) -> None:
        """One place costs no other."""
        try:
            await work(*given)
        except NoConnection as error:
            self._probing.trouble(where, str(error), at=at)
        except Exception as error:
            log.exception("the search at %s ended", where)
            self._probing.trouble(where, f"{type(error).__name__}: {error}", at=at)

    def _trouble(self, place: Place, reason: str, *, nobody: bool = False) -> None:
        self._probing.trouble(place.text, reason, at=place.at, nobody=nobody)

    async def _look_up(self) -> None:
        """The addresses of hosts that were named, so that they are known when others tell them."""
        turns = asyncio.Semaphore(_LOOKED_UP)

        async def one(host: str) -> None:
            async with turns:
                try:
                    self._scope.add(await self._probing.address(host))
                except OSError:
                    return  # it is told when its turn comes

        names = [host for host in self._scope if not is_address(host)]
        await asyncio.gather(*(one(host) for host in names))

    # Asking

    async def _place(self, place: Place) -> None:
        async with self._probing.probe(place.host):
            try:
                address = await self._probing.address(place.host)
            except OSError as error:
                self._trouble(place, f"its address is not known: {error}")
                return
            timeout = self._search.base.connection_timeout
            try:
                answer = await offers.ask(address, place.port, place.url, timeout)
            except NoConnection as error:
                nobody = error.code in faults.NOBODY and not isinstance(error, offers.NoServer)
                if place.expected or not nobody:
                    # A name may lead elsewhere today.
                    self._trouble(place, str(error), nobody=nobody and is_address(place.host))
                return
        seen = Sighting(place, address, answer)
        if answer.is_discovery:
            await self._follow(seen)
            return
        if not seen.usable:
            self._trouble(place, "it offers no endpoint that speaks opc.tcp")
            return
        self._sightings.append(seen)
        await self._follow(seen)

    # Others that it knows

    async def _follow(self, seen: Sighting) -> None:
        """Ask whom a server knows. Those of its own machine are where it has answered, whatever it calls that
        host."""
        begun = 0
        for server in seen.answer.servers[:MOST_TOLD]:
            if sighting.text(server.ApplicationUri) != seen.uri or seen.answer.is_discovery:
                for url in (server.DiscoveryUrls or ())[:16]:
                    begun += await self._begin(seen, url, here=True)
        for url in seen.answer.network:
            begun += await self._begin(seen, url, here=False)
        if seen.answer.is_discovery and not begun:
            self._trouble(seen.place, "it is a discovery server, and tells of no server to ask")

    async def _begin(self, seen: Sighting, url: str, here: bool) -> bool:
        """Whether it tells of a server that is asked."""
        place = told.place(url)
        if place is None:
            return False
        host = await self._host(seen, place, here)
        if host is None:
            return False
        place = replace(place, host=host)
        if (host, place.port) in self._asked:
            return (host, place.port) != (seen.place.host, seen.place.port)
        if self._told >= MOST_TOLD:
            self._probing.trouble(seen.place.text, f"more than {MOST_TOLD} servers are told of")
            return False
        self._told += 1
        self._asked.add((host, place.port))
        self._probing.more(1)
        self._start(place)
        return True

    async def _host(self, seen: Sighting, place: Place, here: bool) -> str | None:
        """Where to ask for a server that another one tells of; None where that is beyond what was asked for,
        or unknown."""
        host = place.host
        own = {one for one, _ in seen.places}
        if told.is_itself(host) or (here and host in own) or host == seen.address:
            return seen.place.host
        if host in self._scope:
            return host
        address = await self._address(host)
        if address == seen.address or (address is None and here):
            return seen.place.host
        if address is None:
            self._probing.trouble(seen.place.text, f"tells of {place.text}, whose address is not known here")
        elif address in self._scope:
            return address
        elif told.is_itself(address):
            return seen.place.host
        else:
            self._trouble(seen.place, f"tells of {place.text}, which was not asked for")
        return None

    async def _address(self, host: str) -> str | None:
        """Of a host that nobody asked for: few of them are looked up."""
        if is_address(host):
            return host
        if host not in self._looked_up:
            self._looked_up[host] = None
            if len(self._looked_up) <= _NAMES:
                with contextlib.suppress(OSError, ValueError, Refusal):
                    self._looked_up[host] = await self._probing.address(host)
        return self._looked_up[host]

    async def _listen(self) -> None:
        try:
            places = await announced.listen()
        except OSError as error:
            self._probing.trouble("multicast DNS", f"no answers can be heard: {error}")
            return
        hosts = {one.host for one in self._search.places}
        for place in places:
            if hosts and place.host not in self._scope:
                self._trouble(place, "answers to multicast DNS, and was not asked for")
                continue
            self._scope.add(place.host)
            if (place.host, place.port) not in self._asked and self._told < MOST_TOLD:
                self._told += 1
                self._asked.add((place.host, place.port))
                self._probing.more(1)
                self._start(place)

    # What has been found

    def _servers(self) -> list[list[Sighting]]:
        """In the same order, whoever answers first."""
        last = len(self._order)
        return sighting.servers(
            sorted(
                self._sightings,
                key=lambda one: (self._order.get(one.place, last), one.address, one.place.port),
            )
        )

    async def _compare(self) -> None:
        """Servers that may be one are asked since when they run, where anybody may ask that."""
        groups = self._servers()
        doubtful = [those[0] for those in sighting.alike(groups)]
        await self._abreast(self._ask_start, ((one,) for one in doubtful))

    async def _ask_start(self, one: Sighting) -> None:
        connection = survey.anonymous(one, self._search.base)
        if connection is None:
            return
        self._probing.more(1)
        async with self._probing.probe(one.place.host):
            try:
                one.start = await survey.start_of(connection)
            except NoConnection as error:
                log.debug("%s does not say since when it runs: %s", one.place.text, error)

    async def _look_at_polled(self) -> None:
        """Which servers an endpoint reads already: there is no further session on those."""
        ports = {one.place.port for one in self._sightings}
        for polled in self._search.polled:
            for place in map(place_of, polled.connection.urls):
                if place.port in ports:
                    address = await self._address(place.host)
                    for one in self._sightings:
                        if one.place.port == place.port and (
                            place.host == one.place.host or address == one.address
                        ):
                            one.polled = one.polled or polled

    def _tell(self) -> list[tuple[Sighting, Found]]:
        groups = self._servers()
        uris = [those[0].uri for those in groups]
        said = self._search.given
        found = [
            (those[0], sighting.found(those, bool(uri) and uris.count(uri) > 1, said))
            for those, uri in zip(groups, uris, strict=True)
        ]
        for one, device in found:
            self._probing.found(device)
            wanted = self._search.base
            if wanted.secured and device.metadata["selectedSecurityMode"] is None:
                offer = f"{wanted.security_policy} with {wanted.security_mode}"
                self._trouble(one.place, f"it does not offer {offer}")
        return found

    # Reading

    async def _read(self, found: list[tuple[Sighting, Found]]) -> None:
        unread = [(one, device) for one, device in found if one.polled is None]
        self._probing.more(len(unread))
        await self._abreast(self._survey, unread)

    async def _survey(self, one: Sighting, device: Found) -> None:
        async with self._probing.probe(one.place.host):
            connection = read_connection(
                device.connection | {"connectionTimeout": int(self._search.base.connection_timeout * 1000)}
            )
            found = await survey.survey(
                one, connection, self._probing.lines.folder, self._search.depth, self._search.nodes
            )
        made = dict(device.connection)
        if found.subscribes is False:
            made["useSubscription"] = False
        self._probing.found(
            replace(
                device,
                connection=made,
                data_points=tuple(found.data_points),
                validated=found.reason is None,
                validation_data=found.told(),
                metadata=device.metadata | {"subscriptions": found.subscribes},
            )
        )

    async def _abreast(self, work: Callable[..., Awaitable[None]], items: Iterable[tuple[Any, ...]]) -> None:
        """For each of these, which begin with a sighting; what goes wrong is told."""
        turns = asyncio.Semaphore(_READ)

        async def one(item: tuple[Any, ...]) -> None:
            async with turns:
                place = item[0].place
                await self._guarded(place.text, place.at, work, *item)

        async with asyncio.TaskGroup() as tasks:
            for item in items:
                tasks.create_task(one(item))
