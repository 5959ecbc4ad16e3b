"""The `data_points` of an SNMP endpoint (spec 03 section 6)."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from actors.endpoints import data_points
from actors.system.failure import Refusal
from conf.annotations import allowed, reads, says
from conf.fields import Encoding, Number, Unused, filled, trimmed

from . import oids
from .kinds import INTEGERS, NUMERIC, Kind, kind_of
from .oids import Arcs

MOST_ROWS = 10_000
_RATED = frozenset({"integer", "unsigned", "counter32", "counter64", "gauge", "timeticks", "number"})
_LABELS = 1000


def _kind(value: Any) -> Any:
    word = trimmed(value)
    return kind_of(word) if isinstance(word, str) else word


def _oid(value: Any) -> Any:
    text = trimmed(value)
    return oids.shown(oids.parse(text)) if isinstance(text, str) else text


def _labels(value: Any) -> Any:
    """Texts by numbers; JSON's keys are texts."""
    if not isinstance(value, dict):
        return value
    if not 0 < len(value) <= _LABELS:
        raise ValueError(f"must have 1 to {_LABELS} texts")
    found: dict[str, str] = {}
    for key, label in value.items():
        try:
            number = int(key)
        except (TypeError, ValueError):
            raise ValueError('must have texts by numbers such as {"1": "up"}') from None
        if not isinstance(label, str) or not label:
            raise ValueError('must have texts by numbers such as {"1": "up"}')
        if not -(2**63) <= number < 2**64 or str(number) in found:
            raise ValueError(f"has {number} twice, or too large")
        found[str(number)] = label
    return found


Oid = Annotated[str, reads(_oid), allowed("numbers between dots such as 1.3.6.1.2.1.1.3.0")]


class DataPoint(msgspec.Struct, frozen=True, gc=False):
    """A checked data point. Value = raw x `scale` + `offset`, of a `rate` that of a second."""

    name: str
    oid: Arcs
    unit: str | None = None
    kind: Kind | None = None
    """None: whatever the agent answers"""
    scale: int | float = 1
    offset: int | float = 0
    labels: dict[int, str] | None = None
    rate: bool = False
    discontinuity: Arcs | None = None
    """Of what changes when the counter begins anew."""
    table: bool = False
    """`oid` is a column: each of its rows is read, as a data point of its own. Its own value is how many it
    has: its name says so, and it has no unit."""
    column: str = ""
    row_unit: str | None = None
    """What the rows of a column are called, before their index, and their unit."""
    max_rows: int = 0
    row_of: str | None = None
    """The name of the column that it is a row of; those are found, and not configured."""
    writable: bool = False
    encoding: str = "utf-8"

    @property
    def address_text(self) -> str:
        return oids.shown(self.oid)

    @property
    def scaled(self) -> bool:
        return self.scale != 1 or self.offset != 0

    def row(self, index: Arcs) -> "DataPoint":
        return msgspec.structs.replace(
            self,
            name=f"{self.column}.{oids.shown(index)}",
            oid=self.oid + index,
            unit=self.row_unit,
            table=False,
            row_of=self.name,
        )


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send."""

    name: Annotated[str, reads(filled), says("a data point needs a name")]
    oid: Oid | None = None
    data_type: Annotated[Kind, reads(_kind)] | None = None
    unit: str | None = None
    scaling_factor: Number = 1
    offset: Number = 0
    enum: Annotated[dict[str, str], reads(_labels)] | None = None
    rate: bool = False
    discontinuity_oid: Oid | None = None
    table: bool = False
    max_rows: Annotated[int, Meta(ge=1, le=MOST_ROWS)] | None = None
    writable: bool = False
    encoding: Encoding = "utf-8"
    description: Unused = None  # for people
    # What a client may call a point by that has no name here (spec 01 section 12).
    key: Unused = None
    tag: Unused = None
    label: Unused = None
    """Accepted, without effect."""


def read_points(given: Sequence[dict[str, Any]]) -> tuple[DataPoint, ...]:
    """Check data points as the client sent them. Raises `Refusal` naming `data_points[i].<key>`."""
    return data_points.read_points(given, Given, _read_point)


DEFAULT_ROWS = 500


def _read_point(given: Given, where: str) -> DataPoint:
    if given.oid is None:
        raise Refusal("a data point needs an oid such as 1.3.6.1.2.1.1.3.0", f"{where}.oid")
    _check(given, where)
    return DataPoint(
        name=f"{given.name}.rows" if given.table else given.name,
        oid=oids.parse(given.oid),
        unit=None if given.table else given.unit,
        kind=given.data_type,
        scale=given.scaling_factor,
        offset=given.offset,
        labels=None if given.enum is None else {int(key): label for key, label in given.enum.items()},
        rate=given.rate,
        discontinuity=None if given.discontinuity_oid is None else oids.parse(given.discontinuity_oid),
        table=given.table,
        column=given.name if given.table else "",
        row_unit=given.unit if given.table else None,
        max_rows=given.max_rows or DEFAULT_ROWS if given.table else 0,
        writable=given.writable,
        encoding=given.encoding,
    )


def _check(given: Given, where: str) -> None:
    """Raises `Refusal` for what does not go together."""
    kind, scaled = given.data_type, given.scaling_factor != 1 or given.offset != 0
    if given.scaling_factor == 0:
        raise Refusal("scalingFactor must not be 0", f"{where}.scalingFactor")
    if scaled and (given.enum is not None or (kind is not None and kind not in NUMERIC)):
        key = "scalingFactor" if given.scaling_factor != 1 else "offset"
        what = "an enum" if given.enum is not None else str(kind)
        raise Refusal(f"scalingFactor and offset do not go with {what}", f"{where}.{key}")
    if given.enum is not None and kind is not None and kind not in INTEGERS:
        raise Refusal(f"enum does not go with {kind}", f"{where}.enum")
    if given.rate and (given.enum is not None or given.writable or (kind is not None and kind not in _RATED)):
        what = "an enum" if given.enum is not None else "a writable point" if given.writable else str(kind)
        raise Refusal(f"rate does not go with {what}", f"{where}.rate")
    if given.discontinuity_oid is not None and not given.rate:
        raise Refusal("discontinuityOid needs rate", f"{where}.discontinuityOid")
    if given.discontinuity_oid is not None and given.table:
        raise Refusal("discontinuityOid does not go with table", f"{where}.discontinuityOid")
    if given.max_rows is not None and not given.table:
        raise Refusal("maxRows needs table", f"{where}.maxRows")
