"""Devices that describe themselves by SunSpec: a marker, then models one behind the other, each with its id
and length, then the end (SunSpec Device Information Model)."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, NamedTuple

from .identification import line_of
from .points import MOST_REGISTERS
from .sunspec_models import COMMON, NAMES, STATES, STORAGE_STATES, Item, Model, model

Read = Callable[[int, int], Awaitable[tuple[int, ...] | None]]
"""So many holding registers from an address on; None when they cannot be read."""

BASES = (40000, 0, 50000)
_MARKER = (0x5375, 0x6E53)
_END = (0xFFFF, 0)
"""The end, and what some devices have in its place."""
_MOST_MODELS = 64
_LONGEST = 2000
"""Registers of a model."""
_NO_LENGTHS = (0, 0xFFFF)
_MOST_REPEATS = 32
MOST_POINTS = 300
_COMMON_TEXTS = {
    "vendor": (0, 16),
    "model": (16, 16),
    "options": (32, 8),
    "revision": (40, 8),
    "serial": (48, 16),
}
_KINDS = {
    "u": "uint16",
    "i": "int16",
    "e": "uint16",
    "b": "uint16",
    "B": "uint32",
    "U": "uint32",
    "A": "uint32",
    "Q": "uint64",
    "f": "float32",
    "S": "string",
}
_NOT_THERE = {
    "u": 0xFFFF,
    "i": 0x8000,
    "e": 0xFFFF,
    "b": 0xFFFF,
    "B": 0xFFFF_FFFF,
    "U": 0xFFFF_FFFF,
    "A": 0xFFFF_FFFF,
}
_NO_POWER, _MOST_POWER = 0x8000, 10
_GENERATORS = ("inverter",)


class Place(NamedTuple):
    """A model of a device; `at` is its first register behind id and length."""

    number: int
    at: int
    length: int


class Chain(NamedTuple):
    base: int
    places: tuple[Place, ...]
    broken: str = ""
    """Why it was not followed to its end."""


async def walk(read: Read) -> Chain | None:
    """The models of a device; None where there is no marker."""
    for base in BASES:
        if await read(base, 2) == _MARKER:
            return await _follow(read, base)
    return None


async def _follow(read: Read, base: int) -> Chain:
    """Each step goes on by a register at least, and there are only so many."""
    places: list[Place] = []
    at = base + 2
    while len(places) < _MOST_MODELS:
        head = await _head(read, at)
        if head is None or head[0] in _END:
            return Chain(base, tuple(places))
        if places and head[0] not in NAMES:
            # The length before may have counted the id and itself.
            nearer = await _head(read, at - 2)
            if nearer is not None and _is_known(nearer):
                at, head = at - 2, nearer
        number, length = head
        if not _is_likely(head) or at + 2 + length > 0x10000:
            return Chain(base, tuple(places), f"at {at} there is no model: id {number}, length {length}")
        places.append(Place(number, at + 2, length))
        at += 2 + length
    return Chain(base, tuple(places), f"there are more than {_MOST_MODELS} models")


async def _head(read: Read, at: int) -> tuple[int, int] | None:
    """Id and length; None behind the end. Some devices have nothing behind the last id, or the last model."""
    if at + 2 > 0x10000:
        return None
    found = await read(at, 2)
    if found is not None and len(found) == 2:
        return found[0], found[1]
    found = await read(at, 1)
    return None if found is None or found[0] not in _END else (found[0], 0)


def _is_likely(head: tuple[int, int]) -> bool:
    number, length = head
    return 0 < number < 0xFFFF and length not in _NO_LENGTHS and length <= _LONGEST


def _is_known(head: tuple[int, int]) -> bool:
    """Whether a model of that id has that length."""
    known = model(head[0])
    if known is None:
        return False
    repeated = head[1] - known.size
    return repeated % known.each == 0 if known.each and repeated > 0 else repeated == 0


class Described(NamedTuple):
    """What is read of a device, and what it is."""

    data_points: tuple[dict[str, Any], ...]
    about: dict[str, str]
    """vendor, model, revision, serial: as far as the first common model says."""
    models: tuple[dict[str, Any], ...]
    """For people: id, name, address and length."""


def describe(chain: Chain, registers: Mapping[int, int]) -> Described:
    """What is proposed, of all registers of the chain that could be read."""
    about: dict[str, str] = {}
    points: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    for place in chain.places:
        if place.number == COMMON and not about:
            about = _about(place, registers)
        known = model(place.number)
        if known is None:
            continue
        counts[known.group] = counts.get(known.group, 0) + 1
        number = counts[known.group]
        prefix = known.group if number == 1 else f"{known.group}{number}"
        points.extend(_points(known, place, registers, prefix))
    models = tuple(
        {"id": p.number, "name": NAMES.get(p.number, "unknown"), "address": p.at - 2, "length": p.length}
        for p in chain.places
    )
    return Described(tuple(points[:MOST_POINTS]), about, models)


def _about(place: Place, registers: Mapping[int, int]) -> dict[str, str]:
    texts = {
        name: _text(
            [registers.get(place.at + at + index, 0) for index in range(size) if at + index < place.length]
        )
        for name, (at, size) in _COMMON_TEXTS.items()
    }
    return {name: text for name, text in texts.items() if text}


def _text(words: list[int]) -> str:
    data = b"".join(word.to_bytes(2, "big") for word in words)
    return line_of(data.partition(b"\0")[0].decode("ascii", "replace"))


def _points(
    known: Model, place: Place, registers: Mapping[int, int], prefix: str
) -> Iterator[dict[str, Any]]:
    fixed = [item for item in known.items if item.at + item.size <= place.length]
    powers = {item.name: place.at + item.at for item in fixed if item.kind == "s"}
    yield from _block(fixed, place.at, powers, registers, (place.number, prefix))
    if known.each:
        repeats = min((place.length - known.size) // known.each, _MOST_REPEATS)
        for index in range(max(repeats, 0)):
            at = place.at + known.size + index * known.each
            yield from _block(known.repeated, at, powers, registers, (place.number, f"{prefix}_{index + 1}"))


def _block(
    items: Any, at: int, powers: dict[str, int], registers: Mapping[int, int], names: tuple[int, str]
) -> Iterator[dict[str, Any]]:
    there = {item.name for item in items if item.kind != "s" and _is_there(item, at + item.at, registers)}
    groups = {item.power for item in items if item.name in there and item.power}
    for item in items:
        power = None if item.power is None else powers.get(item.power)
        if item.kind == "s" or (item.power is not None and not _is_power(power, registers)):
            continue
        # By night an inverter has no direct current: a point whose power of ten is there for it alone comes.
        comes = item.power is not None and item.power not in groups and at + item.at in registers
        if item.name in there or comes:
            yield _scaled(_data_point(item, at + item.at, names), item, power, registers)


def _is_there(item: Item, address: int, registers: Mapping[int, int]) -> bool:
    words = [registers.get(address + index) for index in range(item.size)]
    if None in words:
        return False
    number = int.from_bytes(b"".join((word or 0).to_bytes(2, "big") for word in words), "big")
    if item.kind == "S":
        return number != 0
    if item.kind == "f":
        return number & 0x7F80_0000 != 0x7F80_0000
    if item.kind == "Q":
        return number not in (0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF)
    return number != _NOT_THERE[item.kind] and not (
        item.kind == "i" and item.unit is None and number == 0xFFFF
    )


def _is_power(address: int | None, registers: Mapping[int, int]) -> bool:
    word = registers.get(-1 if address is None else address)
    if word is None or word == _NO_POWER:
        return False
    return abs(word - 0x10000 if word > 0x7FFF else word) <= _MOST_POWER


def _scaled(
    point: dict[str, Any], item: Item, power: int | None, registers: Mapping[int, int]
) -> dict[str, Any]:
    """With its power of ten: that of the moment where one request does not reach both."""
    if power is None:
        return point
    address = int(point["register"].split(":")[1])
    if max(address + item.size, power + 1) - min(address, power) <= MOST_REGISTERS:
        return {**point, "scaleRegister": power}
    exponent = registers[power] - (0x10000 if registers[power] > 0x7FFF else 0)
    said = f"{point['description']}; its power of ten was {exponent} when it was found"
    return {**point, "scale": 10**exponent if exponent >= 0 else float(f"1e{exponent}"), "description": said}


def _data_point(item: Item, address: int, names: tuple[int, str]) -> dict[str, Any]:
    number, prefix = names
    kind = _KINDS[item.kind]
    point: dict[str, Any] = {
        "name": f"{prefix}_{item.name}",
        "register": f"holding:{address}:{kind}",
        "noValue": "sunspec",
        "writable": False,
        "description": f"SunSpec model {number} ({NAMES[number]}), {item.name}",
    }
    if item.kind == "i" and item.unit is None:
        point["noValue"] = ["0x8000", "0xFFFF"]  # in some versions of the model it is unsigned
    if item.kind == "S":
        point["count"] = item.size
    if item.unit is not None:
        point["unit"] = item.unit
    if item.name == "St" and prefix.startswith(_GENERATORS):
        point["values"] = STATES
    if item.name == "ChaSt":
        point["values"] = STORAGE_STATES
    return point
