"""A device of a Sparkplug node: its metrics, what is known of them, and what the connection was told."""

from collections.abc import Iterable
from functools import lru_cache
from itertools import repeat
from typing import Any

from actors.mqtt.sparkplug_schema import DOUBLE, INT32, STRING, property_set_class
from actors.publish.formats.sparkplug import Stored
from actors.publish.sparkplug.values import BAD, GOOD, STALE, datatype_of, fits, put, quality_of

QUALITY = "Quality"
CODE = "qualityCode"
UNIT = "engUnit"

OFFLINE = "DEVICE_OFFLINE"
"""The quality code of readings while a device cannot be reached (spec 03)."""

_CODES = {GOOD: "GOOD", STALE: "STALE", BAD: "BAD"}


class Metric:
    """`value` and `code` are the latest, of `timestamp`. `assumed`: nothing but null was seen yet, which has
    no datatype. `marked`: the last that was told of its quality is not GOOD."""

    __slots__ = ("alias", "assumed", "code", "datatype", "marked", "name", "timestamp", "unit", "value")

    def __init__(self, name: str, unit: str | None, alias: int) -> None:
        self.name = name
        self.unit = unit
        self.alias = alias
        self.datatype = DOUBLE
        self.assumed = True
        self.marked = False
        self.value: Any = None
        self.code: str | None = None
        self.timestamp = 0

    def becomes(self, datatype: int) -> bool:
        """Have that datatype from now on; whether it is another one."""
        changed = datatype != self.datatype
        self.datatype, self.assumed = datatype, False
        return changed


class Device:
    """`born`: hosts know its metrics, all of them and as they are. `behind`: they were told that it exists,
    and of its past, but not of how it is now. `heard_of`: they take it for alive. `dead`: they were told that
    it cannot be reached, or had not heard of it."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.metrics: dict[str, Metric] = {}
        self.born = False
        self.behind = False
        self.heard_of = False
        self.dead = False
        self.seq = 0

    def begin(self, next_alias: int) -> int:
        """A connection: nothing of it has been told. Metrics get aliases from `next_alias` on; returns the
        next."""
        self.born = self.behind = self.heard_of = self.dead = False
        self.seq = 0
        for metric in self.metrics.values():
            metric.alias = next_alias
            metric.marked = False
            next_alias += 1
        return next_alias

    @property
    def offline(self) -> bool:
        """Whether it could not be reached when it was last read."""
        return all(metric.code == OFFLINE for metric in self.metrics.values())

    def take(self, seq: int, stored: Stored, next_alias: int) -> int:
        """Make the readings the latest, unless they are sent again behind newer ones, and find out whether
        the metrics are still what hosts were told. New ones get aliases from `next_alias` on; returns the
        next."""
        newest = seq >= self.seq and not stored.past
        self.seq = max(seq, self.seq)
        metrics = self.metrics
        for name, unit, value, code, timestamp in zip(
            stored.names, stored.units, stored.values, _codes(stored), _times(stored), strict=False
        ):
            metric = metrics.get(name)
            if metric is None:
                metric = metrics[name] = Metric(name, unit, next_alias)
                next_alias += 1
                self.born = False
            if value is not None and (metric.assumed or not fits(value, metric.datatype)):
                self.born &= not metric.becomes(datatype_of(value))
            if unit != metric.unit:
                metric.unit, self.born = unit, False
            if newest:
                metric.value, metric.code, metric.timestamp = value, code, timestamp
        return next_alias

    def write_birth(self, payload: Any, texts: bool = True) -> None:
        """All metrics with their latest values, which are STALE when newer ones are yet to come; without
        `texts` those are left out, and STALE."""
        add = payload.metrics.add
        for metric in self.metrics.values():
            told = add(
                name=metric.name, alias=metric.alias, timestamp=metric.timestamp, datatype=metric.datatype
            )
            sayable = metric.value is None or (
                fits(metric.value, metric.datatype) and (texts or metric.datatype != STRING)
            )
            put(told, metric.value if sayable else None, metric.datatype)
            quality = quality_of(metric.value, metric.code)
            if quality == GOOD and (self.behind or not sayable):
                quality = STALE
            told.properties.CopyFrom(_properties(quality, metric.code, metric.unit))
            metric.marked = quality != GOOD

    def write_data(self, payload: Any, stored: Stored, historical: bool) -> None:
        """The readings, by aliases. Who was told that a metric is not GOOD is told that it is again. Hosts
        should know datatypes from births, but some do not, and take -1 for a large number, or nothing for a
        value."""
        add = payload.metrics.add
        for name, value, code, timestamp in zip(
            stored.names, stored.values, _codes(stored), _times(stored), strict=False
        ):
            metric = self.metrics[name]
            told = add()
            told.alias = metric.alias
            told.timestamp = timestamp
            told.datatype = metric.datatype
            put(told, value, metric.datatype)
            if historical or stored.past:
                told.is_historical = True
            if code is not None or metric.marked:
                quality = quality_of(value, code)
                told.properties.CopyFrom(_properties(quality, code, None))
                if not stored.past:
                    metric.marked = quality != GOOD


def _codes(stored: Stored) -> list[str | None]:
    return stored.codes or [None] * len(stored.names)


def _times(stored: Stored) -> Iterable[int]:
    """There may be more than names."""
    return stored.times or repeat(stored.timestamp)


@lru_cache(maxsize=1024)
def _properties(quality: int, code: str | None, unit: str | None) -> Any:
    """The properties of a metric, to be copied."""
    made = property_set_class()()
    made.keys.extend((QUALITY, CODE))
    made.values.add(type=INT32, int_value=quality)
    made.values.add(type=STRING, string_value=code or _CODES[quality])
    if unit is not None:
        made.keys.append(UNIT)
        made.values.add(type=STRING, string_value=unit)
    return made
