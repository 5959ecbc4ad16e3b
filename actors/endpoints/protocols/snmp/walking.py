"""What there is below an object identifier, asked for in order.

An agent that does not go on (it answers with the same names again, or earlier ones) would be asked for
ever: that ends the walk.
"""

from typing import Final, NamedTuple

from actors.connections.connection import NoConnection

from . import oids, pdus, quality
from .client import Client
from .oids import Arcs
from .pdus import Binding

NOT_INCREASING: Final = "OID_NOT_INCREASING"
_LEAST: Final = 5
"""Rows that are worth asking for at once; an agent that answers no more than so many is asked for one."""


class Walk(NamedTuple):
    """`times` is when each was answered, in monotonic seconds. `whole`: there is no more than that. `code`
    says why the agent could not be asked for more."""

    found: list[Binding]
    times: list[float]
    whole: bool
    code: str | None = None


class Walker:
    """Asks an agent for `repetitions` rows at a time; 0: one by one, as v1 must."""

    def __init__(self, client: Client, repetitions: int) -> None:
        self._client = client
        self._repetitions = repetitions

    async def walk(self, root: Arcs, most: int) -> Walk:
        """At most so many. Raises `NoConnection` when the agent does not answer."""
        found: list[Binding] = []
        times: list[float] = []
        last = root
        while True:
            try:
                bindings, code = await self._next(last, most + 1 - len(found))
            except NoConnection as error:
                if error.code != quality.TIMEOUT or self._repetitions <= 1:
                    raise
                self._repetitions = 1 if self._repetitions <= _LEAST else self._repetitions // 4
                continue
            if code is not None:
                return Walk(found, times, code in (quality.NO_SUCH_NAME, quality.END_OF_MIB), code)
            for binding in bindings:
                if binding.tag == pdus.END_OF_MIB or not oids.is_below(binding.oid, root):
                    return Walk(found, times, True)
                if binding.oid <= last:
                    return Walk(found, times, False, NOT_INCREASING)
                if len(found) == most:
                    return Walk(found, times, False)
                found.append(binding)
                times.append(self._client.answered_at)
                last = binding.oid
            if not bindings:  # an end is said, or seen by what follows; this is neither
                return Walk(found, times, False, quality.NO_VALUE)

    async def _next(self, after: Arcs, most: int) -> tuple[list[Binding], str | None]:
        """What follows, or an error's name."""
        while True:
            if self._repetitions > 1:
                count = min(self._repetitions, most)
                request = pdus.request(pdus.GET_BULK, [after], repeat=(0, count))
            else:
                request = pdus.request(pdus.GET_NEXT, [after])
            reply = await self._client.ask(request)
            if not reply.status:
                return pdus.bindings(reply), None
            if self._repetitions <= 1:
                return [], quality.status(reply.status)
            # No room for so much, or no such request: it may know the simpler one.
            self._repetitions = self._repetitions // 2 if reply.status == quality.TOO_BIG else 0
