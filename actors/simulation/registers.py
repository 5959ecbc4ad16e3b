"""A simulated device's register map: what each tag looks like on the wire, and which writes are taken."""

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

Table = Literal["coil", "discrete", "input", "holding"]

FORMATS = {"boolean": "?", "uint16": ">H", "int16": ">h", "uint32": ">I", "float32": ">f"}


class NotWritable(Exception):
    """The write touches an address that takes none, or only half of a value."""


class OutOfRange(Exception):
    """The value is outside what the device accepts."""


class Tag(msgspec.Struct, frozen=True):
    """One value of a device. `address` is zero-based; `read` and `write` deal in engineering values
    (the register holds value / scale); a tag without `write` is read-only."""

    name: str
    table: Table
    address: int
    type: str
    read: Callable[[], float]
    unit: str | None = None
    scale: float = 1.0
    write: Callable[[float], None] | None = None
    limits: tuple[float, float] = (-math.inf, math.inf)

    @property
    def width(self) -> int:
        """Registers or bits that the tag occupies."""
        return 2 if self.type in ("uint32", "float32") else 1

    def encode(self) -> list[int]:
        """The tag's registers, most significant first, or its one bit."""
        value = self.read()
        if self.type == "boolean":
            return [int(value)]
        raw = value / self.scale
        packed = struct.pack(FORMATS[self.type], raw if self.type == "float32" else round(raw))
        return list(struct.unpack(f">{self.width}H", packed))

    def decode(self, words: Sequence[int]) -> float:
        """Reverse of `encode`. Raises `OutOfRange` beyond `limits`."""
        if self.type == "boolean":
            return bool(words[0])
        (raw,) = struct.unpack(FORMATS[self.type], struct.pack(f">{self.width}H", *words))
        value = float(raw * self.scale)
        if not self.limits[0] <= value <= self.limits[1]:
            raise OutOfRange(f"{self.name} takes {self.limits[0]} to {self.limits[1]}")
        return value

    def data_point(self) -> dict[str, Any]:
        """The tag in the grammar of the API's `data_points`."""
        point: dict[str, Any] = {
            "name": self.name,
            "register": f"{self.table}:{self.address}",
            "type": self.type,
        }
        if self.scale != 1.0:
            point["scale"] = self.scale
        if self.unit is not None:
            point["unit"] = self.unit
        if self.write is not None:
            point["writable"] = True
        return point


class RegisterMap:
    """The tags of one device by table, each table in address order."""

    def __init__(self, tags: Sequence[Tag]) -> None:
        self.tags = tuple(tags)
        self._tables: dict[Table, list[Tag]] = {}
        for tag in sorted(tags, key=lambda tag: tag.address):
            self._tables.setdefault(tag.table, []).append(tag)

    def table(self, table: Table) -> list[Tag]:
        return self._tables.get(table, [])

    def write(self, table: Table, address: int, words: Sequence[int]) -> None:
        """Apply a write of one or more whole tags, all or none.

        Raises `NotWritable` or `OutOfRange`.
        """
        changes: list[tuple[Callable[[float], None], float]] = []
        end = address + len(words)
        position = address
        for tag in self.table(table):
            if tag.address != position or position == end:
                continue
            if tag.write is None or tag.address + tag.width > end:
                raise NotWritable(f"{table}:{tag.address} takes no write")
            offset = position - address
            changes.append((tag.write, tag.decode(words[offset : offset + tag.width])))
            position += tag.width
        if position != end:
            raise NotWritable(f"{table}:{position} takes no write")
        for write, value in changes:
            write(value)
