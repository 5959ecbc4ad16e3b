"""The latest reading of each point of a device."""

from typing import Any

from actors.readings.batch import Batch, Insight, Source, changed_points


class Latest:
    """Takes the batches of one device as they come. Of batches of all points only the last is kept, as it
    is."""

    __slots__ = ("_batch", "_image")

    def __init__(self) -> None:
        self._batch: Batch | None = None
        self._image: _Image | None = None

    def take(self, batch: Batch) -> None:
        if batch.indices is None:
            # Without what subscriptions make of it, which takes more memory than all the rest.
            self._batch = Batch(
                batch.source,
                batch.timestamp,
                batch.values,
                batch.qualities,
                {},
                batch.insights,
                None,
                batch.times,
            )
            self._image = None
            return
        if self._image is None:
            self._image = _Image(batch.source)
            if self._batch is not None:
                self._image.put(self._batch)
                self._batch = None
        self._image.put(batch)

    def batch(self) -> Batch | None:
        """The latest reading of every point that has had any, each with its own time; None while there is
        none."""
        return self._batch if self._image is None else self._image.batch()


class _Image:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._values: list[Any] = []
        self._codes: list[str | None] = []
        self._times: list[int | None] = []
        """None of a point that has had no reading."""
        self._insights: list[Insight | None] = []
        self._timestamp = 0
        self._grow()

    def _grow(self) -> None:
        room = len(self._source.points) - len(self._values)
        for column in (self._values, self._codes, self._times, self._insights):
            column.extend([None] * room)

    def put(self, batch: Batch) -> None:
        if batch.source is not self._source:
            self._become(batch.source)
        values, codes, times, insights = self._values, self._codes, self._times, self._insights
        self._timestamp = batch.timestamp
        own, batch_codes, batch_insights = batch.times, batch.qualities, batch.insights
        for position, index in enumerate(batch.indices or range(len(batch.values))):
            values[index] = batch.values[position]
            codes[index] = batch_codes[position] if batch_codes is not None else None
            times[index] = own[position] if own is not None else batch.timestamp
            insights[index] = batch_insights[position] if batch_insights is not None else None

    def _become(self, source: Source) -> None:
        """Points that it had before keep their readings, if they are where and what they were."""
        before, self._source = self._source, source
        changed = changed_points(before.points, source.points)
        if changed is None:
            for column in (self._values, self._codes, self._times, self._insights):
                column.clear()
        for index in changed or ():
            self._times[index] = None
        self._grow()

    def batch(self) -> Batch:
        known = [index for index, time in enumerate(self._times) if time is not None]
        codes = [self._codes[index] for index in known]
        insights = [self._insights[index] for index in known]
        return Batch(
            self._source,
            self._timestamp,
            [self._values[index] for index in known],
            codes if any(codes) else None,
            insights=insights if any(one is not None for one in insights) else None,
            indices=None if len(known) == len(self._source.points) else tuple(known),
            times=[self._times[index] or 0 for index in known],
        )
