"""Who follows the readings: what each of them gets of a batch."""

from collections.abc import Callable

from actors.readings.batch import Batch, Source
from actors.readings.interest import Choice, Positions
from api.readings import Reading, ReadingFilter, choose, event_of, readings_of, wanted_points
from api.streams import Client, Hub, event

MAX_PLANS = 10_000


class _Audience:
    """All clients of an equal filter: what they get is chosen and encoded once."""

    def __init__(self, chosen: ReadingFilter) -> None:
        self.clients: list[Client[ReadingFilter]] = []
        self._filter = chosen
        self._plans: dict[str, tuple[Source, Choice]] = {}
        """By device."""

    def wants(self, batch: Batch) -> Positions:
        """The positions of points whose names the filter matches."""
        known = self._plans.get(batch.source.device_uuid)
        choice = known[1] if known is not None and known[0] is batch.source else self._plan(batch.source)
        return choice.positions(batch)

    def publish(self, batch: Batch, positions: Positions, readings: list[Reading]) -> None:
        if wanted := choose(self._filter, positions, readings):
            told = event("readings", event_of(batch, wanted))
            for client in self.clients:
                client.put(told)

    def _plan(self, source: Source) -> Choice:
        choice = wanted_points(self._filter, source)
        if len(self._plans) >= MAX_PLANS:  # nobody tells of devices that are no more
            self._plans.clear()
        self._plans[source.device_uuid] = source, choice
        return choice


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
            positions = audience.wants(batch)
            if positions != ():
                readings = readings or readings_of(batch)
                audience.publish(batch, positions, readings)
