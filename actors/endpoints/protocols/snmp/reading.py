"""Many variables in as few requests as the agent allows, and what is learnt when it does not.

An agent that has no room for an answer, or fails all of a request for one variable of it (v1 does so by the
book), is asked for less; a variable that fails its request is asked for by itself from then on, and seldom.
"""

from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Final

from actors.connections.connection import NoConnection, Transient

from . import pdus, quality
from .ber import Malformed
from .client import Client
from .oids import Arcs
from .pdus import Pdu, Request, Value

AGAIN_AFTER: Final = 60.0
"""Seconds until a variable is asked for again that has failed its request."""
GROW_AFTER: Final = 600.0
"""Seconds until as much is asked for again as is configured."""
_MUTE: Final = 2
"""Variables of one poll that are found to be never answered; each costs several time-outs."""
UPTIME: Final[Arcs] = (1, 3, 6, 1, 2, 1, 1, 3, 0)

Answer = Value | str
"""Of one variable: its value, or a quality code."""


class Reader:
    """Reads the variables `names`, each once, in requests of `most` at a time."""

    def __init__(self, names: Sequence[Arcs], most: int) -> None:
        self._names = tuple(names)
        self._configured = self._most = most
        self._shrunk = 0.0
        self._apart: dict[int, tuple[str, float]] = {}
        """What failed its request, by place: the code, and when it is asked for again."""
        self._planned: list[tuple[list[int], Request]] | None = None
        self._mute = 0
        self.times = [0.0] * len(self._names)
        """When each was answered last, in monotonic seconds."""

    def __len__(self) -> int:
        return len(self._names)

    @property
    def requests(self) -> int:
        """How many a poll takes at most, as far as is known."""
        return len(self._names) // self._most + 1 + len(self._apart)

    def begin(self, client: Client) -> None:
        """With a connection that is new."""
        self._client = client

    async def read(self, until: float) -> list[Answer]:
        """In the order of the names. Raises `NoConnection`."""
        now = monotonic()
        if self._most < self._configured and now - self._shrunk > GROW_AFTER:
            self._most, self._planned = self._configured, None
        self._mute = 0
        answers: list[Answer] = [quality.NO_VALUE] * len(self._names)
        for places, request in self._plan():
            await self._fill(places, request, answers, until)
        for place, (code, again) in list(self._apart.items()):
            answers[place] = code
            if now >= again:
                await self._retry(place, answers, until)
        return answers

    def _plan(self) -> list[tuple[list[int], Request]]:
        if self._planned is None:
            together = [place for place in range(len(self._names)) if place not in self._apart]
            self._planned = [(places, self._request(places)) for places in _parts(together, self._most)]
        return self._planned

    def _request(self, places: Sequence[int]) -> Request:
        return pdus.request(pdus.GET, [self._names[place] for place in places])

    async def _retry(self, place: int, answers: list[Answer], until: float) -> None:
        """Ask for what failed its request before."""
        del self._apart[place]
        await self._fill([place], self._request([place]), answers, until)
        if place not in self._apart:
            self._planned = None

    async def _fill(self, places: list[int], request: Request, answers: list[Answer], until: float) -> None:
        try:
            reply = await self._client.ask(request, until)
        except NoConnection as error:
            if error.code != quality.TIMEOUT or not await is_there(self._client):
                raise
            await self._narrow(places, quality.TIMEOUT, answers, until, error)
            return
        if reply.status:
            await self._failed(places, reply, answers, until)
            return
        try:
            found = pdus.values(reply, request.asked)
            if found is None:
                await self._others(places, reply, answers, until)
                return
        except Malformed:  # one of them, which is to cost the others nothing
            await self._narrow(places, quality.READ_ERROR, answers, until)
            return
        for place, value in zip(places, found, strict=True):
            self._answered(place, value, answers)

    async def _failed(self, places: list[int], reply: Pdu, answers: list[Answer], until: float) -> None:
        """By an error-status, which says of which variable it is, or does not."""
        code = quality.status(reply.status)
        if reply.status != quality.TOO_BIG and 1 <= reply.culprit <= len(places):
            culprit = places[reply.culprit - 1]
            self._put_apart(culprit, code, answers)
            rest = [place for place in places if place != culprit]
            if rest:
                await self._fill(rest, self._request(rest), answers, until)
            return
        await self._narrow(places, code, answers, until)

    async def _narrow(
        self,
        places: list[int],
        code: str,
        answers: list[Answer],
        until: float,
        error: NoConnection | None = None,
    ) -> None:
        """Ask for less, down to the one that cannot be asked for. What is never answered costs time: there
        may be few of those. `error` is raised when there are more."""
        if len(places) == 1:
            if error is not None:
                self._mute += 1
                if self._mute > _MUTE:
                    raise error
            self._put_apart(places[0], code, answers)
            return
        half, known = (len(places) + 1) // 2, len(self._apart)
        for part in _parts(places, half):
            await self._fill(part, self._request(part), answers, until)
        if code == quality.status(quality.TOO_BIG) or (error is not None and len(self._apart) == known):
            self._shrink(half)  # each for itself was no trouble

    async def _others(self, places: list[int], reply: Pdu, answers: list[Answer], until: float) -> None:
        """The reply is not about what was asked, in the same order: what it says of it by name counts.
        Some agents leave out what they have no room for."""
        said = {binding.oid: Value(binding.tag, binding.raw) for binding in pdus.bindings(reply)}
        missing = []
        for place in places:
            value = said.get(self._names[place])
            if value is None:
                missing.append(place)
            else:
                self._answered(place, value, answers)
        if len(missing) == len(places) == 1:
            self._put_apart(places[0], quality.WRONG_OID, answers)
        elif missing:
            if len(missing) < len(places):
                self._shrink(len(places) - len(missing))
            for part in _parts(missing, max(1, len(missing) // 2)):
                await self._fill(part, self._request(part), answers, until)

    def _answered(self, place: int, value: Value, answers: list[Answer]) -> None:
        answers[place] = value
        self.times[place] = self._client.answered_at

    def _put_apart(self, place: int, code: str, answers: list[Answer]) -> None:
        self._apart[place] = code, monotonic() + AGAIN_AFTER
        self._planned = None
        answers[place] = code

    def _shrink(self, most: int) -> None:
        if most < self._most:
            self._most, self._planned, self._shrunk = most, None, monotonic()


_PROBE: Final = pdus.request(pdus.GET, [UPTIME])


def _parts(places: list[int], most: int) -> Iterator[list[int]]:
    return (places[at : at + most] for at in range(0, len(places), most))


async def is_there(client: Client) -> bool:
    """Whether the agent answers what every agent does."""
    try:
        await client.ask(_PROBE, attempts=1)
    except NoConnection:
        return False
    return True


async def read_one(client: Client, name: Arcs) -> Answer:
    """One variable, now. Raises `NoConnection`."""
    request = pdus.request(pdus.GET, [name])
    reply = await client.ask(request)
    if reply.status:
        return quality.status(reply.status)
    found = pdus.values(reply, request.asked)
    if found is None:
        return quality.WRONG_OID
    return quality.EXCEPTIONS.get(found[0].tag) or found[0]


def understood(error: ValueError) -> NoConnection:
    return Transient(f"the answer cannot be understood: {error}", code=quality.READ_ERROR)
