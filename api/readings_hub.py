"""Who follows the readings: what each of them gets of a batch."""

from collections.abc import Callable

from actors.readings.batch import Batch, Source
from api.readings import Reading, ReadingFilter, choose, event_of, readings_of, wanted_points
from api.streams import Client, Hub, event

MAX_PLANS = 10_000


class _Audience:
    """All clients of an equal filter: what they get is chosen and encoded once."""

    def __init__(self, chosen: ReadingFilter) -> None:
        self.clients: list[Client[ReadingFilter]] = []
        self._filter = chosen
        self._plans: dict[str, tuple[Source, tuple[int, ...]]] = {}

    def wants(self, source: Source) -> tuple[int, ...]:
        """Indices of the points whose names the filter matches."""
        known, points = self._plans.get(source.endpoint_uuid, (None, ()))
        return points if known is source else self._plan(source)

    def publish(self, batch: Batch, points: tuple[int, ...], readings: list[Reading]) -> None:
        if wanted := choose(self._filter, points, readings):
            told = event("readings", event_of(batch, wanted))
            for client in self.clients:
                client.put(told)

    def _plan(self, source: Source) -> tuple[int, ...]:
        points = wanted_points(self._filter, source)
        if len(self._plans) >= MAX_PLANS:  # nobody tells of endpoints that are no more
            self._plans.clear()
        self._plans[source.endpoint_uuid] = source, points
        return points


class ReadingsHub(Hub[Client[ReadingFilter]]):
    """Hands each batch to the clients that want any of it."""

    def __init__(self, changed: Callable[[], None] | None = None) -> None:
        super().__init__("the readings", changed)
        self._audiences: dict[ReadingFilter, _Audience] = {}

    def admit(self, client: Client[ReadingFilter]) -> None:
        self._audiences.setdefault(client.filter, _Audience(client.filter)).clients.append(client)

    def dismiss(self, client: Client[ReadingFilter]) -> None:
        audience = self._audiences[client.filter]
        audience.clients.remove(client)
        if not audience.clients:
            del self._audiences[client.filter]

    def publish(self, batch: Batch) -> None:
        readings: list[Reading] = []
        for audience in self._audiences.values():
            if points := audience.wants(batch.source):
                readings = readings or readings_of(batch)
                audience.publish(batch, points, readings)
