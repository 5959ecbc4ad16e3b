"""Reads and writes one agent (spec 03 section 6)."""

from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from actors.connections.connection import NoConnection, Permanent, Transient
from actors.connections.dialing import Found
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Description, Listener
from actors.endpoints.protocol import Browsed, BrowseRequest, CheckedEndpoint, PolledSession, PollResult
from actors.system.failure import Refusal

from . import browse, keys, port, quality, sharing, traps, values, writing
from .client import Client, CommunityClient
from .connection import Connection, Secret
from .oids import Arcs
from .points import DataPoint
from .rates import Rate, Uptime
from .reading import UPTIME, Answer, Reader, read_one, understood
from .secured import SecuredClient
from .tables import Tables
from .usm import User
from .values import Unfit
from .writable import Writing

_SYSTEM: Final[Arcs] = (1, 3, 6, 1, 2, 1, 1)
_IDENTIFICATION: Final = {"description": 1, "objectId": 2, "name": 5, "location": 6}
"""What the device says of itself, by its place in the group `system`."""
_REFUSED: Final = frozenset({"AUTHORIZATION_ERROR", "NO_ACCESS"})
_SPARE: Final = 12
"""Requests of a poll beyond those planned, in an estimate of how long it may take."""


class SnmpSession(PolledSession):
    """Asks one request at a time, over a socket of its own."""

    def __init__(self, endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> None:
        self._connection: Connection = endpoint.connection
        self._listener = listener
        self._lines = lines
        self._address = endpoint.address
        self._user = user_of(self._connection.user)
        self._points: list[DataPoint] = list(endpoint.points)
        self._tables = Tables(self._points, endpoint.address)
        self._uptime = Uptime()
        self._client: Client | None = None
        self._turn = 0
        self._addresses: tuple[str, ...] = ()
        self._end_listening: Callable[[], None] | None = None
        self._plan()

    def _plan(self) -> None:
        """What is asked for, and who gets it."""
        single = [point for point in self._points if not point.table and point.row_of is None]
        self._singles = [
            at for at, point in enumerate(self._points) if not point.table and point.row_of is None
        ]
        names = dict.fromkeys(point.oid for point in single)
        names |= dict.fromkeys(point.discontinuity for point in single if point.discontinuity is not None)
        self._rated = any(point.rate for point in self._points)
        if self._rated:
            names.setdefault(UPTIME)
        self._place = {name: at for at, name in enumerate(names)}
        self._reader = Reader(list(names), self._connection.max_oids)
        self._takers = [self._taker(at, self._points[at]) for at in self._singles]

    def _taker(self, at: int, point: DataPoint) -> "Taker":
        gone = point.discontinuity
        return Taker(
            at,
            self._place[point.oid],
            values.shape_of(point),
            Rate(point) if point.rate else None,
            None if gone is None else self._place[gone],
        )

    @property
    def patience(self) -> float:
        requests = self._reader.requests + self._tables.requests(self._connection.max_repetitions) + _SPARE
        return max(super().patience, requests * self._connection.attempts * self._connection.timeout)

    # Connecting

    async def connect(self) -> None:
        self._leave()
        found = await port.resolve(self._connection.host, self._connection.port)
        self._share(tuple(dict.fromkeys(traps.plain_address(each[4][0]) for each in found)))
        self._listen()
        failure: NoConnection | None = None
        for number in range(len(found)):
            turn = (self._turn + number) % len(found)
            try:
                await self._try(found[turn])
            except NoConnection as error:
                failure = failure or error
                if isinstance(error, Permanent):
                    break
                continue
            self._turn = turn
            return
        self._leave()
        raise failure or Transient("the host has no address", code=quality.UNREACHABLE)

    async def _try(self, found: Found) -> None:
        """One address of the host: it is there when it answers, whatever it says."""
        self._leave()
        try:
            client = self._client = client_of(self._connection, self._user, found)
        except OSError as error:
            raise port.trouble(error) from error
        self._reader.begin(client)
        uptime = await self._asked(UPTIME)
        if uptime in _REFUSED:
            raise Permanent("the device lets this user see nothing", code=str(uptime))
        await self._identify()

    async def _identify(self) -> None:
        """Once: what it says of itself is for people."""
        if self.identification is not None:
            return
        found = {}
        for key, number in _IDENTIFICATION.items():
            answer = await self._asked((*_SYSTEM, number, 0))
            if not isinstance(answer, str):
                try:
                    found[key] = str(values.plain(*answer))
                except Unfit:
                    continue
        self.identification = found

    async def _asked(self, name: Arcs) -> Answer:
        try:
            return await read_one(self._connected(), name)
        except ValueError as error:
            raise understood(error) from error

    def _connected(self) -> Client:
        if self._client is None:
            raise Transient("not connected", code=quality.RESET)
        return self._client

    def _leave(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def close(self) -> None:
        self._leave()
        self._deafen()
        self._share(())

    def _share(self, addresses: tuple[str, ...]) -> None:
        if addresses != self._addresses:
            sharing.leave(self._lines, self._addresses, self._connection.port, self)
            self._addresses = addresses
            sharing.enter(self._lines, addresses, self._connection.port, self)

    @property
    def connection(self) -> Connection:
        return self._connection

    @property
    def client(self) -> Client | None:
        """For a scan, which asks over it."""
        return self._client

    # Traps

    def _listen(self) -> None:
        """To what comes from an address of the device, whether it answers or not."""
        self._deafen()
        connection = self._connection
        if connection.trap_port:
            communities = (connection.community, connection.write_community or connection.community)
            receiver = traps.Receiver(self._addresses, communities, self._user, self._listener.raised)
            self._end_listening = traps.listen(self._lines, connection.trap_port, receiver)

    def _deafen(self) -> None:
        end, self._end_listening = self._end_listening, None
        if end is not None:
            end()

    # Reading

    async def read(self, within: float) -> PollResult:
        client = self._connected()
        until = monotonic() + within
        count = len(self._points)
        found: list[Any] = [None] * count
        codes: list[str | None] = [None] * count
        try:
            if self._takers or self._rated:
                answers = await self._reader.read(until)
                self._fill(answers, found, codes)
            if self._tables:
                repetitions = 0 if self._connection.version == "v1" else self._connection.max_repetitions
                await self._tables.read(client, repetitions, self._uptime.lives, found, codes)
        except ValueError as error:
            raise understood(error) from error
        self._tell_rows(count)
        return PollResult(found[:count], codes[:count] if any(codes) else None)

    def _fill(self, answers: list[Answer], found: list[Any], codes: list[str | None]) -> None:
        times = self._reader.times
        if self._rated:
            place = self._place[UPTIME]
            self._uptime.take(_ticks(answers[place]), times[place])
        for taker in self._takers:
            answer = answers[taker.place]
            if isinstance(answer, str):
                codes[taker.at] = answer
                continue
            tag, raw = answer
            try:
                if taker.rate is None:
                    found[taker.at] = taker.shape(tag, raw)
                else:
                    since = None if taker.since is None else answers[taker.since]
                    found[taker.at] = taker.rate.take(tag, raw, times[taker.place], self._uptime.lives, since)
            except Unfit as unfit:
                codes[taker.at] = unfit.code

    def _tell_rows(self, known: int) -> None:
        """Of rows that were found just now: the endpoint does not know them yet."""
        news = self._tables.news()
        if not news:
            return
        self._points += [point for point, _, _ in news]
        self._listener.described(Description("", "", tuple(self._points)))
        indices = list(range(known, len(self._points)))
        self._listener.changed("", indices, [value for _, value, _ in news], [code for _, _, code in news])

    # Writing

    async def write(self, prepared: Writing) -> Any:
        return await writing.write(self._connected(), self._connection, prepared)

    async def read_back(self, prepared: Writing) -> tuple[Any, bool]:
        answer = await self._asked(prepared.oid)
        if isinstance(answer, str):
            raise Refusal(f"the device does not let it be read: {answer}", "verify", "conflict")
        return writing.compare(prepared, answer)

    async def browse(self, request: BrowseRequest) -> Browsed:
        """See `Protocol.browse`."""
        try:
            return await browse.browse(self._connected(), self._connection, request)
        except ValueError as error:
            raise understood(error) from error


class Taker:
    """One data point: where it stands among them, where its variable does among those that are read, and what
    makes its value."""

    __slots__ = ("at", "place", "rate", "shape", "since")

    def __init__(
        self, at: int, place: int, shape: values.Shape, rate: Rate | None, since: int | None
    ) -> None:
        self.at = at
        self.place = place
        self.shape = shape
        self.rate = rate
        self.since = since


def _ticks(answer: Answer) -> int | None:
    if isinstance(answer, str):
        return None
    try:
        return values.whole(*answer)
    except Unfit:
        return None


def user_of(secret: Secret | None) -> User | None:
    """With keys instead of passwords, which takes some milliseconds."""
    if secret is None:
        return None
    auth = b"" if secret.auth is None else keys.master(secret.auth, secret.auth_key)
    priv = b"" if secret.auth is None or secret.priv is None else keys.master(secret.auth, secret.priv_key)
    return User(secret.name, secret.auth, auth, secret.priv, priv)


def client_of(connection: Connection, user: User | None, found: Found) -> Client:
    """Raises `OSError`."""
    timeout, attempts = connection.timeout, connection.attempts
    if user is not None:
        return SecuredClient(found, timeout, attempts, user, connection.context, connection.engine)
    version = 0 if connection.version == "v1" else 1
    return CommunityClient(found, timeout, attempts, version, connection.community)
