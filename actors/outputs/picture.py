"""The fields of a device that tells only what has changed: what it has not told anew is as it was."""

from array import array
from collections.abc import Mapping
from sys import intern
from typing import Final

from actors.outputs.baseline import Field
from actors.outputs.fields import ARRAY, OBJECT, keys_of, kind_of, normalised
from actors.readings.batch import Batch, Point, Source, changed_points

ABSENT: Final = -1
UNHEARD: Final = -2

STEP_MS: Final = 60_000
"""A device that says nothing for longer lets that much time pass for its fields: it may have been off."""
REGULAR: Final = 20
"""So often a field must have been heard for its silence to mean anything."""
LONGER: Final = 10
"""So many times its longest silence so far a field must be silent, as well as `silent_ms`."""


class Picture:
    """Takes the batches of one device, whole ones and those of some points. A reading costs the same whatever
    else the device has; `fields` costs as much as it has points, when any has changed, else nothing.

    A field is absent when its latest reading is BAD, or when it has been heard regularly and is silent while
    the others are not. One that has not been heard in this run is as the baseline says.
    """

    def __init__(self, limit: int, depth: int, silent_ms: int) -> None:
        self.quiet: set[str] = set()
        """Fields that are heard for the first time and were to be expected: of points that the device had
        when its first batch came."""
        self._source: Source | None = None
        self._points: tuple[Point, ...] = ()
        self._configured = 0
        self._names: list[str] = []
        self._kinds: list[int] = []
        self._keys: dict[int, dict[str, int]] = {}
        self._heard = array("q")
        self._gaps = array("q")
        self._counts = array("q")
        self._passed = 0
        """Ms in which the device has spoken."""
        self._now: int | None = None
        self._looked_at = 0
        self._fields: dict[str, int] = {}
        self.adopt(limit, depth, silent_ms)

    def adopt(self, limit: int, depth: int, silent_ms: int) -> None:
        """As `FieldReader` has them; `silent_ms` 0: silence says nothing."""
        self._limit, self._depth, self._silent_ms = limit, depth, silent_ms
        self._changed = True

    def take(self, batch: Batch, now: int) -> bool:
        """Whether the batch says anything: one of all points that has no good reading does not. `now` is ms
        of a clock that nobody sets."""
        if batch.source is not self._source:
            self._become(batch.source)
        values, codes, numbers = batch.values, batch.qualities, batch.indices
        if numbers is None and codes is not None and not _any_good(batch):
            return False
        if self._now is not None:
            self._passed += min(max(0, now - self._now), STEP_MS)
        self._now = now
        passed, kinds, heard, gaps, counts = self._passed, self._kinds, self._heard, self._gaps, self._counts
        for position, value in enumerate(values):
            index = position if numbers is None else numbers[position]
            kind = kind_of(value)
            if value is None and codes is not None and codes[position] is not None:
                kind = ABSENT
            if kind != kinds[index] or kind in (OBJECT, ARRAY):
                self._put(index, kind, value)
            silent = passed - heard[index]
            if silent > gaps[index] and counts[index]:
                gaps[index] = silent
            heard[index] = passed
            counts[index] += 1
        return True

    def _put(self, index: int, kind: int, value: object) -> None:
        before, self._kinds[index] = self._kinds[index], kind
        found: dict[str, int] = {}
        if kind in (OBJECT, ARRAY):
            for name, inner in keys_of(value, self._names[index].partition(":")[2], self._depth):
                found.setdefault(name, inner)
        if kind != before or found != self._keys.get(index, {}):
            self._keys.pop(index, None)
            if found:
                self._keys[index] = found
            self._changed = True
        if before == UNHEARD and index < self._configured:
            self.quiet |= {self._names[index], *found}

    def _become(self, source: Source) -> None:
        """Points that are where they were are as they were."""
        points, before = source.points, self._points
        if self._source is None:
            self._configured = len(points)
        elif changed_points(before, points) is None:
            self._names, self._kinds, self._keys = [], [], {}
            self._heard, self._gaps, self._counts = array("q"), array("q"), array("q")
        self._source, self._points = source, points
        for point in points[len(self._names) :]:
            self._names.append(intern(f"reading:{normalised(point.name)}"))
        more = len(points) - len(self._kinds)
        self._kinds += [UNHEARD] * more
        for numbers in (self._heard, self._gaps, self._counts):
            numbers.extend([0] * more)
        self._changed = True

    def fields(self, baseline: Mapping[str, Field]) -> dict[str, int]:
        """Name to index in `TYPES`; the very dictionary of the time before if nothing has changed."""
        if self._silent_ms and self._passed - self._looked_at >= STEP_MS:
            self._looked_at = self._passed
            self._find_silent()
        if self._changed:
            self._changed = False
            self._fields = self._read(baseline)
        return self._fields

    def _find_silent(self) -> None:
        for index, kind in enumerate(self._kinds):
            if kind >= 0 and self._counts[index] >= REGULAR:
                allowed = max(self._silent_ms, LONGER * self._gaps[index])
                if self._passed - self._heard[index] > allowed:
                    self._put(index, ABSENT, None)

    def _read(self, baseline: Mapping[str, Field]) -> dict[str, int]:
        fields: dict[str, int] = {}
        heard = {name for name, kind in zip(self._names, self._kinds, strict=True) if kind != UNHEARD}
        for name, kind in zip(self._names, self._kinds, strict=True):
            if kind >= 0:
                fields[name] = kind
        for index in sorted(self._keys):
            for name, kind in self._keys[index].items():
                fields.setdefault(name, kind)
        for name, field in baseline.items():
            if field.absent_since is None and not field.retired and _point_of(name) not in heard:
                fields.setdefault(name, field.kind)
        if len(fields) > self._limit:
            return dict(list(fields.items())[: self._limit])
        return fields


def _point_of(name: str) -> str:
    """The field of the point in whose value a key is; a reading's is itself."""
    kind, _, path = name.partition(":")
    return name if kind == "reading" else f"reading:{path.partition('.')[0]}"


def _any_good(batch: Batch) -> bool:
    codes = batch.qualities or []
    return any(code is None or value is not None for code, value in zip(codes, batch.values, strict=True))
