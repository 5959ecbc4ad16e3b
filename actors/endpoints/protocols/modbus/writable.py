"""Which data point a write is meant for (spec 03 section 2.4)."""

from collections.abc import Sequence

from actors.system.failure import Refusal

from .encode import part_mask
from .kinds import REGISTERS, kind_of
from .points import DataPoint, Table, parse_register, read_points
from .single import part_of

_DEFAULT_KIND = "uint16"


def point_to_write(points: Sequence[DataPoint], register: str, data_type: str | None = None) -> DataPoint:
    """The point to write: by its name, else by its address, with or without a data point there, which then is
    of that `data_type`; elsewhere that must not contradict the point's.

    Raises `Refusal` on field `register`: `not_found` when it is neither, `read_only` when the table or a
    point that it overlaps cannot be written; on field `type` for a type that is none, or another's.
    """
    kind = _kind(data_type)
    point = next((point for point in points if point.name == register), None)
    if point is None:
        point = _addressed(points, register, kind)
    if kind not in (None, point.kind):
        raise Refusal(f"{register} is of type {point.kind}, not {kind}", "type")
    if point.table in (Table.discrete, Table.input):
        raise _read_only(register, f"{point.table.name} cannot be written")
    if point.extra.scale_register is not None:
        raise _read_only(register, "how it is scaled is the device's to say")
    for other in points:
        if other.writable is False and _overlap(other, point):
            raise _read_only(register, f"{other.name} is not writable")
    return point


def _kind(data_type: str | None) -> str | None:
    if data_type is None:
        return None
    kind = kind_of(data_type)
    if kind not in REGISTERS:
        raise Refusal(f"{data_type!r} is not one of {', '.join(REGISTERS)}", "type")
    return kind


def _addressed(points: Sequence[DataPoint], register: str, data_type: str | None) -> DataPoint:
    try:
        location, kind = parse_register(register)
    except ValueError as error:
        raise Refusal(f"Register not found: {register}", "register", "not_found") from error
    spelled = "type" if kind is None and data_type is not None else "register"
    kind = kind or data_type
    there = [p for p in points if p.address_text == str(location) and kind in (None, p.kind)]
    whole = [p for p in there if location.bit is not None or part_of(p) is None]
    if whole or len(there) == 1:
        return (whole or there)[0]
    if there:
        names = ", ".join(point.name for point in there)
        raise Refusal(f"{register} is several data points: {names}; write one by its name", "register")
    given = {"name": register, "register": register}
    if spelled == "type" and kind is not None:
        given["dataType"] = kind
    elif kind is None and location.bit is None and not location.table.is_bits:
        given["dataType"] = _DEFAULT_KIND
    try:
        [point] = read_points([given])
    except Refusal as refusal:
        raise Refusal(f"{register}: {refusal.message}", spelled) from refusal
    return point


def _read_only(register: str, why: str) -> Refusal:
    return Refusal(f"{register} is read-only: {why}", "register", "read_only")


def _overlap(one: DataPoint, other: DataPoint) -> bool:
    """Whether they have bits in common."""
    if one.table is not other.table or one.end <= other.address or other.end <= one.address:
        return False
    if one.table.is_bits or (part_of(one) is None and part_of(other) is None):
        return True
    first, after = max(one.address, other.address), min(one.end, other.end)
    masks = [part_mask(p)[2 * (first - p.address) : 2 * (after - p.address)] for p in (one, other)]
    return any(mine & theirs for mine, theirs in zip(*masks, strict=True))
