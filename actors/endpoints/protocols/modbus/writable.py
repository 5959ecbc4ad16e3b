"""Which data point a write is meant for (spec 03 section 2.4)."""

from collections.abc import Sequence

from actors.system.failure import Refusal

from .points import DataPoint, Table, parse_register, registers_of

_DEFAULT_KIND = "uint16"


def point_to_write(points: Sequence[DataPoint], register: str) -> DataPoint:
    """The point to write: by its name, else by its address, with or without a data point there.

    Raises `Refusal` on field `register`: `not_found` when it is neither, `read_only` when the table or a
    point that it overlaps cannot be written.
    """
    point = next((point for point in points if point.name == register), None)
    if point is None:
        point = _addressed(points, register)
    if point.table in (Table.discrete, Table.input):
        raise _read_only(register, f"{point.table.name} cannot be written")
    for other in points:
        if other.writable is False and _overlap(other, point):
            raise _read_only(register, f"{other.name} is not writable")
    return point


def _addressed(points: Sequence[DataPoint], register: str) -> DataPoint:
    try:
        location, kind = parse_register(register)
    except ValueError as error:
        raise Refusal(f"Register not found: {register}", "register", "not_found") from error
    for point in points:
        if point.address_text == str(location) and kind in (None, point.kind):
            return point
    kind = kind or ("boolean" if location.table.is_bits else _DEFAULT_KIND)
    try:
        count = registers_of(kind, None)
    except ValueError as error:
        raise Refusal(f"{register}: {error}", "register") from error
    if location.address + count > 0x10000:
        raise Refusal(f"{register}: {count} registers go past 65535", "register")
    return DataPoint(register, location.table, location.address, kind, count)


def _read_only(register: str, why: str) -> Refusal:
    return Refusal(f"{register} is read-only: {why}", "register", "read_only")


def _overlap(one: DataPoint, other: DataPoint) -> bool:
    return one.table is other.table and one.address < other.end and other.address < one.end
