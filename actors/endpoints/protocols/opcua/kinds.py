"""Types of values, as data points and writes name them (spec 03 section 3)."""

from typing import Final, Literal

Shown = Literal["number", "string", "boolean", "object"]
"""What a data point says its values are."""

WriteType = Literal[
    "Boolean",
    "SByte",
    "Byte",
    "Int16",
    "UInt16",
    "Int32",
    "UInt32",
    "Int64",
    "UInt64",
    "Float",
    "Double",
    "String",
    "DateTime",
    "Guid",
    "ByteString",
    "LocalizedText",
]

BUILT_IN: Final[dict[str, int]] = {
    "Boolean": 1,
    "SByte": 2,
    "Byte": 3,
    "Int16": 4,
    "UInt16": 5,
    "Int32": 6,
    "UInt32": 7,
    "Int64": 8,
    "UInt64": 9,
    "Float": 10,
    "Double": 11,
    "String": 12,
    "DateTime": 13,
    "Guid": 14,
    "ByteString": 15,
    "LocalizedText": 21,
}
"""The number of each type on the wire (part 6, 5.1.2)."""

NAMES: Final = {number: name for name, number in BUILT_IN.items()}

INTEGERS: Final[dict[str, tuple[int, int]]] = {
    "SByte": (-(2**7), 2**7 - 1),
    "Byte": (0, 2**8 - 1),
    "Int16": (-(2**15), 2**15 - 1),
    "UInt16": (0, 2**16 - 1),
    "Int32": (-(2**31), 2**31 - 1),
    "UInt32": (0, 2**32 - 1),
    "Int64": (-(2**63), 2**63 - 1),
    "UInt64": (0, 2**64 - 1),
}
"""The least and the greatest of each."""

FLOATS: Final = frozenset({"Float", "Double"})


def write_type(name: str) -> str | None:
    """A type as clients spell it, in any case; None when it is not known."""
    return _BY_LOWER.get(name.strip().lower())


_BY_LOWER = {name.lower(): name for name in BUILT_IN}
