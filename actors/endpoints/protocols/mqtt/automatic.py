"""All that a payload holds, as metrics (spec 03 section 5): each primitive, but for what is about the
others."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from conf.texts import without_controls

from . import quality, units
from .connection import DEVICE_KEYS, TIME_KEYS
from .values import Shape, of_any, read

ABOUT = frozenset({*TIME_KEYS, *DEVICE_KEYS, "name", "unit", "topic", "units"})
"""Keys that are no metrics, and neither is any that ends in `_unit`."""
NAMES, VALUES, UNITS = ("name", "metric", "n"), ("value", "v"), ("unit", "u")
"""Of an object that is one value, in an array of such."""
DEPTH = 8
"""Levels of objects and arrays that are gone into."""
NAME_LENGTH = 256
MAX_KEYS = 512
"""Sets of keys that plans are kept for."""


Plan = tuple[tuple[str, str, str | None], ...]


class Metric(NamedTuple):
    """A value under its name; `unit` is what the payload calls its unit, or its default."""

    name: str
    unit: str | None
    value: Any
    code: str | None


class Automatic(msgspec.Struct):
    """How the metrics of a topic are named: `scalar` where the payload is one value, else `prefix` before
    each key. `taken` are the keys that data points have."""

    scalar: str
    prefix: str = ""
    arrays: bool = False
    units: dict[str, str] = {}
    precisions: dict[str, int] = {}
    taken: frozenset[str] = frozenset()
    plans: dict[tuple[str, ...], Plan | None] = {}
    """By the keys of an object, of each that is a metric key, name and default unit; None where units are in
    the payload."""

    def metrics(self, document: Any) -> list[Metric]:
        """Those of one payload."""
        if type(document) is dict:
            keys = tuple(document)
            plan = self.plans.get(keys, ())
            if plan == ():
                plan = self._plan(keys)
            if plan is None:
                return list(self._with_units(document))
            return self._planned(document, plan)
        if type(document) is list:
            return list(self._of_array(self.scalar, document, 1)) if self.arrays else []
        return [self._metric(self.scalar, document, self.units.get(self.scalar))]

    def _plan(self, keys: tuple[str, ...]) -> Plan | None:
        if len(self.plans) >= MAX_KEYS:
            self.plans.clear()
        plan = None
        if not any(key in ("value", "unit", "units") or key.endswith("_unit") for key in keys):
            plan = tuple(
                (key, self.prefix + key, self.units.get(self.prefix + key) or self.units.get(key))
                for key in keys
                if key not in ABOUT and key not in self.taken
            )
        self.plans[keys] = plan
        return plan

    def _planned(self, document: dict[str, Any], plan: Plan) -> list[Metric]:
        """What most payloads are: some numbers."""
        found: list[Metric] = []
        plain = not self.precisions
        for key, name, unit in plan:
            value = document[key]
            kind = type(value)
            if kind is dict or kind is list:
                found += self._nested(name, value, {}, 1)
            elif plain:
                found.append(Metric(name, unit, *of_any(value)))
            else:
                found.append(self._metric(name, value, unit))
        return found

    def _with_units(self, document: dict[str, Any]) -> Iterator[Metric]:
        value = document.get("value")
        if "value" in document and type(value) is not dict and type(value) is not list:
            name = self.scalar
            for key in NAMES[:2]:
                said = document.get(key)
                if isinstance(said, str) and said.strip():
                    name = f"{self.prefix}{said.strip()}"
                    break
            yield self._metric(name, value, unit_of(document, "value") or self.units.get(name))
            return
        yield from self._of_object(self.prefix, document, 1, self.taken)

    def _of_object(
        self, prefix: str, document: dict[str, Any], depth: int, taken: frozenset[str] = frozenset()
    ) -> Iterator[Metric]:
        for key, value in document.items():
            if key not in ABOUT and key not in taken and not key.endswith("_unit"):
                yield from self._nested(prefix + key, value, document, depth, key)

    def _nested(
        self, name: str, value: Any, parent: dict[str, Any], depth: int, key: str = ""
    ) -> Iterator[Metric]:
        if depth > DEPTH:
            return
        if isinstance(value, dict):
            yield from self._of_object(f"{name}.", value, depth + 1)
        elif isinstance(value, list):
            if self.arrays:
                yield from self._of_array(name, value, depth + 1)
        else:
            unit = unit_of(parent, key) if parent else None
            yield self._metric(name, value, unit or self.units.get(name) or self.units.get(key))

    def _of_array(self, name: str, items: list[Any], depth: int) -> Iterator[Metric]:
        for index, item in enumerate(items):
            if isinstance(item, dict):
                said, value = first(item, NAMES), first(item, VALUES)
                if isinstance(said, str) and value is not None and not isinstance(value, dict | list):
                    unit = first(item, UNITS)
                    unit = units.canonical(unit) if isinstance(unit, str) and unit.strip() else None
                    yield self._metric(f"{self.prefix}{said.strip()}", value, unit or self.units.get(said))
                    continue
            yield from self._nested(f"{name}[{index}]", item, {}, depth)

    def _metric(self, name: str, raw: Any, unit: str | None) -> Metric:
        precision = self.precisions.get(name)
        if isinstance(raw, str) and raw.strip().lower().lstrip("+-") in ("nan", "inf", "infinity"):
            return Metric(name, unit, None, quality.NOT_A_NUMBER)
        value, code = of_any(raw) if precision is None else read(raw, Shape(precision=precision))
        return Metric(name, unit, value, code)


def first(item: dict[str, Any], keys: tuple[str, ...]) -> Any:
    """The value of the first of these keys that has one."""
    return next((item[key] for key in keys if item.get(key) is not None), None)


def unit_of(document: dict[str, Any], key: str) -> str | None:
    """What an object calls the unit of one of its values, as it is shown: `<key>_unit`, `units.<key>`, or
    `unit` of a `value`."""
    said = document.get(f"{key}_unit")
    if not isinstance(said, str):
        table = document.get("units")
        said = table.get(key) if isinstance(table, dict) else None
    if not isinstance(said, str) and key in VALUES:
        said = document.get("unit")
    return units.canonical(without_controls(said)) if isinstance(said, str) and said.strip() else None


def good_name(name: str) -> bool:
    """Whether a name from outside can be a metric's or a device's."""
    return bool(name) and len(name) <= NAME_LENGTH and name.isprintable()
