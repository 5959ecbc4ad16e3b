"""Columns of tables: each row of one is a data point of its own, which comes when it is first seen.

Data points only grow in number: a row that is gone is BAD until it comes again.
"""

import logging
from time import monotonic
from typing import Any, Final

from actors.connections.connection import NoConnection

from . import quality, values
from .client import Client
from .oids import Arcs
from .points import DataPoint
from .rates import Rate
from .reading import AGAIN_AFTER, is_there
from .values import Unfit
from .walking import Walk, Walker

log = logging.getLogger(__name__)

News = tuple[DataPoint, Any, str | None]
"""A row that was not known, its value and its quality code."""


_MUTE: Final = Walk([], [], False, quality.TIMEOUT)


class _Row:
    __slots__ = ("at", "point", "rate", "shape")

    def __init__(self, at: int, point: DataPoint) -> None:
        self.at = at
        self.point = point
        self.shape = values.shape_of(point)
        self.rate = Rate(point) if point.rate else None

    def take(self, tag: int, raw: bytes, now: float, lives: int) -> tuple[Any, str | None]:
        try:
            value = self.shape(tag, raw) if self.rate is None else self.rate.take(tag, raw, now, lives)
        except Unfit as unfit:
            return None, unfit.code
        return value, None


class _Column:
    def __init__(self, at: int, point: DataPoint) -> None:
        self.at = at
        self.point = point
        self.rows: dict[Arcs, _Row] = {}
        self.crowded = False
        self._again = 0.0

    async def walk(self, client: Client, repetitions: int) -> Walk:
        if monotonic() < self._again:
            return _MUTE
        return await Walker(client, repetitions).walk(self.point.oid, self.point.max_rows)

    def mute(self) -> Walk:
        """It is not answered; that takes several time-outs to find out, and is tried again seldom."""
        self._again = monotonic() + AGAIN_AFTER
        return _MUTE


class Tables:
    """Of the columns among `points`, with the rows among them that are known already. A column's own reading
    is how many rows it has."""

    def __init__(self, points: list[DataPoint], address: str) -> None:
        self._address = address
        self._names = {point.name for point in points}
        self._columns = {point.name: _Column(at, point) for at, point in enumerate(points) if point.table}
        self._count = len(points)
        self._news: dict[int, News] = {}
        """By their places."""
        for at, point in enumerate(points):
            column = self._columns.get(point.row_of or "")
            if column is not None:
                column.rows[point.oid[len(column.point.oid) :]] = _Row(at, point)

    def __bool__(self) -> bool:
        return bool(self._columns)

    def requests(self, repetitions: int) -> int:
        return sum(column.point.max_rows // repetitions + 2 for column in self._columns.values())

    def news(self) -> list[News]:
        """What was found since this was last asked; it follows the points that are known, in that order."""
        news, self._news = self._news, {}
        return [news[at] for at in sorted(news)]

    async def read(
        self, client: Client, repetitions: int, lives: int, found: list[Any], codes: list[str | None]
    ) -> None:
        """All rows into the places of their points, so many (`repetitions`) asked for at once. Raises
        `NoConnection`; an agent that answers, but not about one table, costs that one only."""
        for column in self._columns.values():
            try:
                walk = await column.walk(client, repetitions)
            except NoConnection as error:
                if error.code != quality.TIMEOUT or not await is_there(client):
                    raise
                walk = column.mute()
            self._take(column, walk, lives, found, codes)

    def _take(
        self, column: _Column, walk: Walk, lives: int, found: list[Any], codes: list[str | None]
    ) -> None:
        gone = quality.NO_SUCH_INSTANCE if walk.whole else walk.code or quality.TOO_MANY_ROWS
        for row in column.rows.values():
            self._put(row, None, gone, found, codes)
        for binding, now in zip(walk.found, walk.times, strict=True):
            index = binding.oid[len(column.point.oid) :]
            known = column.rows.get(index) or self._add(column, index)
            if known is not None:
                self._put(known, *known.take(binding.tag, binding.raw, now, lives), found, codes)
        if walk.whole:
            found[column.at] = len(walk.found)
        else:  # how many there are is not known
            codes[column.at] = gone
        if not walk.whole:
            self._tell(column, walk.code or f"has more than {column.point.max_rows} rows")

    def _put(
        self, row: _Row, value: Any, code: str | None, found: list[Any], codes: list[str | None]
    ) -> None:
        """Those that nobody was told of yet, because the poll that found them failed later, are news."""
        if row.at < len(found):
            found[row.at], codes[row.at] = value, code
        else:
            self._news[row.at] = row.point, value, code

    def _add(self, column: _Column, index: Arcs) -> _Row | None:
        """A row that was not known; None where there is no room for it."""
        point = column.point.row(index)
        if point.name in self._names:
            return None
        if len(column.rows) >= column.point.max_rows:
            self._tell(column, f"has had more than {column.point.max_rows} rows; no more are added")
            return None
        self._names.add(point.name)
        row = column.rows[index] = _Row(self._count, point)
        self._count += 1
        return row

    def _tell(self, column: _Column, what: str) -> None:
        if not column.crowded:
            column.crowded = True
            log.warning("%s: the table %s: %s", self._address, column.point.column, what)
