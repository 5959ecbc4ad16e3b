"""The data types of registers, and the order of their bytes on the wire."""

from functools import cache
from itertools import permutations
from typing import Literal

Kind = Literal[
    "int8",
    "uint8",
    "int16",
    "uint16",
    "boolean",
    "int32",
    "uint32",
    "int48",
    "uint48",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
    "bcd",
    "mod10k",
    "string",
    "unix_time",
    "sunspec_time",
    "s7_dt",
    "s7_dtl",
]

REGISTERS: dict[str, tuple[int, int]] = {
    "int8": (1, 1),
    "uint8": (1, 1),
    "int16": (1, 1),
    "uint16": (1, 1),
    "boolean": (1, 1),
    "int32": (2, 2),
    "uint32": (2, 2),
    "int48": (3, 3),
    "uint48": (3, 3),
    "int64": (4, 4),
    "uint64": (4, 4),
    "float16": (1, 1),
    "float32": (2, 2),
    "float64": (4, 4),
    "bcd": (1, 4),
    "mod10k": (2, 4),
    "string": (1, 125),
    "unix_time": (2, 2),
    "sunspec_time": (2, 2),
    "s7_dt": (4, 4),
    "s7_dtl": (6, 6),
}
"""The least and the most registers that a value of each data type takes; its `count` says how many."""

BYTES = frozenset({"int8", "uint8"})
SIGNED = frozenset({"int8", "int16", "int32", "int48", "int64"})
INTEGERS = SIGNED | {"uint8", "uint16", "uint32", "uint48", "uint64"}
DECIMALS = frozenset({"bcd", "mod10k"})
"""Unsigned numbers of decimal digits: four a register."""
FLOATS = {"float16": ">e", "float32": ">f", "float64": ">d"}
"""With their `struct` formats."""
TIMES = frozenset({"unix_time", "sunspec_time", "s7_dt", "s7_dtl"})
NUMBERS = INTEGERS | DECIMALS | FLOATS.keys()

_ALIASES = {"bool": "boolean"}


def kind_of(name: str) -> str:
    """The data type that clients call so, in any case; any other text as it is, in lower case."""
    name = name.lower()
    return _ALIASES.get(name, name)


def registers_of(kind: str, count: int | None) -> int:
    """How many registers a value takes. Raises `ValueError` when `count` does not fit its type."""
    least, most = REGISTERS[kind]
    if count is None:
        if kind == "string":
            raise ValueError("a string needs a count of registers")
        return least
    if not least <= count <= most:
        needed = f"{least} register{'s' if least > 1 else ''}" if least == most else f"{least} to {most}"
        raise ValueError(f"{kind} takes {needed}, not {count}")
    return count


def bits_of(kind: str, registers: int) -> int:
    return 8 if kind in BYTES else 16 * registers


def limits_of(kind: str, registers: int) -> tuple[int, int]:
    """The least and the greatest raw number of a type that holds integers."""
    if kind == "boolean":
        return 0, 1
    if kind in DECIMALS:
        return 0, 10_000**registers - 1
    bits = bits_of(kind, registers)
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if kind in SIGNED else (0, (1 << bits) - 1)


def _spelled(size: int) -> list[str]:
    """Every order of the registers of a value, with and without their bytes swapped."""
    registers = ["ABCDEFGH"[at : at + 2] for at in range(0, size, 2)]
    orders = [list(order) for order in permutations(registers)]
    return ["".join(order) for order in orders] + ["".join(pair[::-1] for pair in order) for order in orders]


NAMED_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
"""For values of any size; the last reverses all bytes, CDAB the registers, BADC the bytes of each."""
ORDERS = frozenset({*NAMED_ORDERS, *_spelled(6), *_spelled(8)})


@cache
def arrangement(order: str, size: int) -> tuple[int, ...]:
    """Where on the wire each byte of a value of `size` bytes is, the most significant first."""
    if order not in NAMED_ORDERS:
        return tuple(order.index(letter) for letter in "ABCDEFGH"[:size])
    reverse = order in ("DCBA", "CDAB")
    swap = order in ("BADC", "CDAB")
    return tuple((size - 1 - at if reverse else at) ^ swap for at in range(size))


def order_of(spelled: str, size: int) -> str:
    """The name of an order, if it has one. Raises `ValueError` when it is one of values of another size."""
    if spelled in NAMED_ORDERS:
        return spelled
    if len(spelled) != size:
        raise ValueError(f"{spelled} is an order of {len(spelled)} bytes, the value has {size}")
    places = arrangement(spelled, size)
    return next((name for name in NAMED_ORDERS if arrangement(name, size) == places), spelled)
