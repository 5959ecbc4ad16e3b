"""A device of an endpoint as it is now: where its readings come from, and how it does."""

from collections.abc import Sequence
from time import monotonic

from actors.endpoints.gathering import Change
from actors.endpoints.health import PollRecord
from actors.endpoints.listener import Description
from actors.readings.batch import Batch, Point, Source, changed_points
from actors.readings.source_topics import prefixes

OFFLINE = "DEVICE_OFFLINE"
SILENT = "TIMEOUT"


class Image:
    """`source` is built anew when the device's points become more; `away` is why there are no readings, a
    quality code, or None."""

    def __init__(self, source: Source, description: Description) -> None:
        self.source = source
        self.description = description
        self.record = PollRecord(source.device)
        self.away: str | None = None
        self.arrived = 0
        """Values since the latest tick."""
        self.heard_at = monotonic()
        self._every = tuple(range(len(source.points)))

    def take(self, change: Change, kept: bool = False) -> Batch:
        """The batch that a change makes, which is `kept` or not. It is a sign of life."""
        self.away = None
        self.heard_at = monotonic()
        self.arrived += len(change.values)
        indices: Sequence[int] | None = change.indices
        if len(change.indices) == len(self._every) and tuple(change.indices) == self._every:
            indices = None
        codes = change.codes if change.codes is not None and any(change.codes) else None
        self.record.took(change.at, len(self.source.points), change.indices, change.values, codes)
        own = change.times
        times = None if own is None else [change.at if time is None else time for time in own]
        return Batch(
            self.source, change.at, change.values, codes, {}, indices=indices, times=times, kept=kept
        )

    def hear(self, timestamp: int) -> None:
        """It is alive. One that was only silent is there again; its points are to be told anew."""
        self.heard_at = monotonic()
        self.record.last_seen = timestamp
        if self.away == SILENT:
            self.away = None

    def grow(self, description: Description, name: str | None = None) -> None:
        """It has these points now, and that name, if it is another. Raises ValueError when it is another
        device: one that has lost a point, or one with points in other places."""
        shown = tuple(Point(point.name, point.unit) for point in description.points)
        known = self.source.points
        changed = changed_points(known, shown)
        if changed is None:
            # Further on a value would be taken for another point's.
            raise ValueError(f"the session has taken points away from {self.source.device}, or moved them")
        self.description = description
        if shown == known and name is None:
            return  # nobody who reads from it has to look at it again
        self.record.void(changed)
        self.record.device = name or self.source.device
        self.source = source_of(self.source, self.source.device_uuid, name or self.source.device, shown)
        self._every = tuple(range(len(shown)))

    def bad(self, timestamp: int, code: str) -> Batch | None:
        """A batch that says of all points why there is no value; None if there are no points."""
        count = len(self.source.points)
        return Batch(self.source, timestamp, [None] * count, [code] * count, {}) if count else None


def source_of(endpoint: Source, uuid: str, device: str, points: tuple[Point, ...]) -> Source:
    """A source of the same endpoint as that one's."""
    return Source(
        endpoint_uuid=endpoint.endpoint_uuid,
        endpoint=endpoint.endpoint,
        protocol=endpoint.protocol,
        device_uuid=uuid,
        device=device,
        points=points,
        prefixes=prefixes(endpoint.protocol, endpoint.endpoint, device),
        pushed=endpoint.pushed,
    )
