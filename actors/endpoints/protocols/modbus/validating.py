"""Reading a device that was found (spec 03 section 8.3): the data points that are configured for it, or what
SunSpec says that it has, or what its registers may hold. Nothing is ever written."""

import asyncio
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from actors.system.failure import Refusal

from . import quality, sunspec
from .decode import Decoder
from .guessing import Guess, guess
from .link import Link
from .plan import plan
from .points import DataPoint, Table, read_points
from .presence import Present
from .survey import Spent, Survey

_FEW = 5
"""Data points that are read of those that are configured."""
_MATCH, _MISMATCH = 0.7, 0.2
"""Shares of data points that can be read."""
_REQUESTS, _SECONDS = 300, 25.0
_SAMPLES, _BETWEEN = 6, 0.5
"""How often registers are read to see how they change, seconds apart."""
_MOST_REGISTERS = 250
"""Of a table."""
_MOST_POINTS = 100
_STEP, _LONGEST_STEP = 10, 50
_HOPS = (1, 2, 3, 5, 8, 12, 16, 20)
"""Where registers may go on behind a gap."""
_BARREN = 60
"""So many registers in a row that hold nothing are the end of what is looked for."""
_NOTHING = (0, 0xFFFF, 0x8000, 0x7FFF)
_BITS = 16
_STARTS = (0, 1, 10, 100, 200, 256, 300, 400, 500, 512, 768, 800, 1000, 1024, 2000, 2048, 2999, 3000, 3200)
_FAR_STARTS = (4000, 4096, 4989, 5000, 8192, 10000, 13000, 16384, 19000, 20480, 23296, 28672, 30000, 30051)
_FURTHEST_STARTS = (30201, 30513, 30529, 30775, 32000, 32016, 32066, 32080, 35100, 37100, 40000, 40072, 50514)
"""Where public register maps begin."""


class Validated(NamedTuple):
    validation: dict[str, Any]
    data_points: tuple[dict[str, Any], ...] = ()
    metadata: dict[str, Any] = {}
    about: dict[str, str] = {}
    """What SunSpec says of who made it."""

    @property
    def answered(self) -> bool:
        return bool(self.validation["readableCount"])


async def validate(
    link: Link, present: Present, seconds: float, configured: Sequence[dict[str, Any]] = ()
) -> Validated:
    """Read a unit that is there; a reply is waited for so many `seconds`."""
    survey = Survey(link, present.unit, seconds, requests=_REQUESTS, seconds=_SECONDS)
    if configured:
        return await _configured(survey, present, configured)
    try:
        chain = await sunspec.walk(survey.holding)
        if chain is not None and chain.places:
            return await _sunspec(survey, present, chain)
    except Spent:
        return Validated(_told(present, 0, 0, 0, "it does not answer what is not there"))
    return await _unknown(survey, present)


# What is configured


async def _configured(survey: Survey, present: Present, configured: Sequence[dict[str, Any]]) -> Validated:
    points = _spread(_readable(configured))
    values: list[Any] = []
    codes: list[str] = []
    for point in points:
        value, code = await _read(survey, point)
        if code is None or value is not None:
            values.append(value)
        else:
            codes.append(code)
    told = _told(
        present, len(values), len(codes), sum(not value for value in values), ", ".join(sorted(set(codes)))
    )
    share = len(values) / len(points) if points else 0.0
    if points:
        told["result"] = (
            "config_match" if share > _MATCH else "config_mismatch" if share < _MISMATCH else "degraded"
        )
    told["guidance"] = _GUIDANCE[told["result"]]
    return Validated(told, tuple(configured))


def _readable(configured: Sequence[dict[str, Any]]) -> list[DataPoint]:
    """As far as they can be understood: one that is not right is not read by its endpoint either."""
    found: list[DataPoint] = []
    for given in configured:
        try:
            found.extend(read_points([given]))
        except Refusal:
            continue
    holding = [point for point in found if point.table is Table.holding]
    return holding or found


def _spread(points: list[DataPoint]) -> list[DataPoint]:
    """A few, from the first to the last."""
    ordered = sorted(points, key=lambda point: (point.table, point.address))
    if len(ordered) <= _FEW:
        return ordered
    return [ordered[index * (len(ordered) - 1) // (_FEW - 1)] for index in range(_FEW)]


async def _read(survey: Survey, point: DataPoint) -> tuple[Any, str | None]:
    [span] = plan([(0, point)])
    try:
        if point.table.is_bits:
            bits = await survey.bits(point.table, span.address, span.count)
            reply = None if bits is None else _packed(bits)
        else:
            words = await survey.registers(point.table, span.address, span.count)
            reply = None if words is None else b"".join(word.to_bytes(2, "big") for word in words)
    except Spent:
        return None, quality.TIMEOUT
    if reply is None:
        return None, quality.code_of_exception(survey.exception) if survey.exception else quality.TIMEOUT
    values: list[Any] = [None]
    codes = Decoder(span.points, span.address, span.count).fill(values, reply)
    return values[0], None if codes is None else codes[0]


def _packed(bits: Sequence[bool]) -> bytes:
    return sum(bit << place for place, bit in enumerate(bits)).to_bytes((len(bits) + 7) // 8, "little")


_GUIDANCE = {
    "config_match": "the device has what is configured",
    "config_mismatch": "hardly any data point can be read: is this the device, the unit and the table?",
    "degraded": "some data points cannot be read: look at their addresses and types",
    "unknown": "no data points are configured: look at those that are proposed before they are used",
}


def _told(present: Present, readable: int, errors: int, zeros: int, details: str) -> dict[str, Any]:
    total = readable + errors
    share = readable / total if total else 0.0
    told = {
        "result": "unknown",
        "state": "unknown" if not readable else "idle" if zeros == readable else "active",
        "responseConfidence": "high" if share > _MATCH else "medium" if share >= _MISMATCH else "low",
        "dataConfidence": "low" if zeros == readable else "medium",
        "readableCount": readable,
        "errorCount": errors,
        "zeroCount": zeros,
        "totalPoints": total,
        "details": details or "all could be read",
        "guidance": _GUIDANCE["unknown"],
        "meiVendor": present.identity.get("vendor"),
        "meiModel": present.identity.get("productCode"),
    }
    return told


# SunSpec


async def _sunspec(survey: Survey, present: Present, chain: sunspec.Chain) -> Validated:
    registers: dict[int, int] = {}
    details = chain.broken
    try:
        for place in chain.places:
            registers |= await survey.block(Table.holding, place.at, place.length)
    except Spent:
        details = details or "not everything could be read in time"
    described = sunspec.describe(chain, registers)
    values = _values(described.data_points, {Table.holding: registers})
    zeros = sum(not value for value in values.values())
    told = _told(
        present, len(registers), 0, sum(word == 0 for word in registers.values()), details or "SunSpec"
    )
    told["state"] = "unknown" if not values else "idle" if zeros == len(values) else "active"
    told["dataConfidence"] = "high" if described.data_points else "low"
    told["guidance"] = "the device describes itself by SunSpec"
    metadata: dict[str, Any] = {
        "sunspec": {"base": chain.base, "models": list(described.models)},
        "dataPoints": {
            point["name"]: {"confidence": "high", "value": values.get(point["name"])}
            for point in described.data_points
        },
    }
    if chain.broken:
        metadata["sunspec"]["broken"] = chain.broken
    return Validated(told, described.data_points, metadata, described.about)


def _values(points: Sequence[dict[str, Any]], memory: Mapping[Table, Mapping[int, int]]) -> dict[str, Any]:
    """What data points are, of registers that were read; those that are GOOD or UNCERTAIN."""
    found: dict[str, Any] = {}
    for point in read_points(points):
        [span] = plan([(0, point)])
        registers = memory.get(point.table, {})
        words = [registers.get(address) for address in range(span.address, span.end)]
        if None in words:
            continue
        values: list[Any] = [None]
        reply = b"".join((word or 0).to_bytes(2, "big") for word in words)
        Decoder(span.points, span.address, span.count).fill(values, reply)
        if values[0] is not None:
            found[point.name] = values[0]
    return found


# What nobody knows


async def _unknown(survey: Survey, present: Present) -> Validated:
    memory: dict[Table, dict[int, int]] = {Table.holding: {}, Table.input: {}}
    bits: dict[Table, list[bool]] = {}
    samples: dict[Table, list[dict[int, int]]] = {}
    try:
        for table, found in memory.items():
            await _explore(survey, table, found)
        await _explore_bits(survey, bits)
        if all(memory.values()) and _alike(memory):
            memory[Table.input].clear()
        for table in memory:
            samples[table] = [dict(memory[table])]
        await _sample(survey, memory, samples)
    except Spent:
        for table in memory:
            samples.setdefault(table, [dict(memory[table])])
    guessed = {table: await asyncio.to_thread(guess, found) for table, found in samples.items() if found[0]}
    points, metadata = _proposed(guessed, bits, samples)
    words = [word for found in memory.values() for word in found.values()]
    told = _told(present, len(words), 0, words.count(0), _ranges(memory, bits))
    return Validated(told, points, metadata)


def _alike(memory: Mapping[Table, Mapping[int, int]]) -> bool:
    """Whether both tables are the same registers, as in devices that do not tell them apart."""
    holding, others = memory[Table.holding], memory[Table.input]
    if holding.keys() != others.keys():
        return False
    same = sum(holding[address] == others[address] for address in holding)
    return same >= 0.8 * len(holding) and any(holding.values())


async def _explore(survey: Survey, table: Table, found: dict[int, int]) -> None:
    """Registers that can be read, from where maps begin on. An exception ends a range."""
    for start in (*_STARTS, *_FAR_STARTS, *_FURTHEST_STARTS):
        if start in found or len(found) >= _MOST_REGISTERS:
            continue
        words = await survey.registers(table, start, 1)
        if words is None:
            if survey.exception == quality.ILLEGAL_FUNCTION:
                return
            continue
        found[start] = words[0]
        end: int | None = start + 1
        while end is not None:
            end = await _extend(survey, table, found, end)
            end = None if end is None else await _hop(survey, table, found, end)


async def _extend(survey: Survey, table: Table, found: dict[int, int], at: int) -> int | None:
    """The first register behind a range; None where it is enough."""
    step, barren = _STEP, 0
    while len(found) < _MOST_REGISTERS and at + step <= 0x10000 and at not in found:
        words = await survey.registers(table, at, step)
        if words is None:
            if step == 1:
                return at
            step //= 2
            continue
        found.update(enumerate(words, at))
        at += step
        barren = barren + step if all(word in _NOTHING for word in words) else 0
        if barren >= _BARREN:
            return None
        step = min(2 * step, _LONGEST_STEP)
    return None


async def _hop(survey: Survey, table: Table, found: dict[int, int], end: int) -> int | None:
    """Where registers go on behind a gap, with those before that are there too; None where they do not."""
    before = end
    for hop in _HOPS:
        at = end + hop
        if at > 0xFFFF or at in found:
            return None
        words = await survey.registers(table, at, 1)
        if words is not None:
            found[at] = words[0]
            for back in range(at - 1, before, -1):
                words = await survey.registers(table, back, 1)
                if words is None:
                    break
                found[back] = words[0]
            return at + 1
        before = at
    return None


async def _explore_bits(survey: Survey, found: dict[Table, list[bool]]) -> None:
    for table in (Table.coil, Table.discrete):
        bits = await survey.bits(table, 0, _BITS) or await survey.bits(table, 0, 8)
        if bits is not None:
            found[table] = list(bits)


async def _sample(
    survey: Survey, memory: Mapping[Table, Mapping[int, int]], samples: dict[Table, list[dict[int, int]]]
) -> None:
    """Read all of it again some times; a round that is not whole does not count."""
    for _ in range(_SAMPLES - 1):
        await asyncio.sleep(_BETWEEN)
        for table, known in memory.items():
            again: dict[int, int] = {}
            for first, count in _runs(known):
                again |= await survey.block(table, first, count)
            if again.keys() == known.keys():
                samples[table].append(again)


def _runs(known: Mapping[int, int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for address in sorted(known):
        if runs and sum(runs[-1]) == address:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((address, 1))
    return runs


def _ranges(memory: Mapping[Table, Mapping[int, int]], bits: Mapping[Table, list[bool]]) -> str:
    """What can be read, for people: `holding 0-49, input 0-9`."""
    texts = [
        f"{table.name} {first}-{first + count - 1}"
        for table, known in memory.items()
        for first, count in _runs(known)
    ]
    texts += [f"{table.name} 0-{len(found) - 1}" for table, found in bits.items()]
    return ", ".join(texts) or "no register was found that can be read"


def _proposed(
    guessed: Mapping[Table, list[Guess]],
    bits: Mapping[Table, list[bool]],
    samples: Mapping[Table, list[dict[int, int]]],
) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """Data points, and what is said of each."""
    points = [_point(table, one) for table, guesses in guessed.items() for one in guesses]
    about: dict[str, dict[str, Any]] = {
        point["name"]: {
            "confidence": one.confidence,
            "type": one.text,
            "alternatives": list(one.alternatives),
        }
        for point, one in zip(points, [one for guesses in guessed.values() for one in guesses], strict=True)
    }
    for table, found in bits.items():
        if any(found):
            for address, value in enumerate(found):
                point: dict[str, Any] = {
                    "name": f"{table.name}_{address}",
                    "register": f"{table.name}:{address}",
                }
                points.append(point if table is Table.discrete else {**point, "writable": False})
                about[point["name"]] = {"confidence": "high", "type": "boolean", "value": value}
    points = points[:_MOST_POINTS]
    for name, value in _values(
        [point for point in points if not point["register"].startswith(("coil", "discrete"))],
        {table: found[-1] for table, found in samples.items()},
    ).items():
        if not isinstance(value, float) or isfinite(value):
            about[name]["value"] = value
    return tuple(points), {"dataPoints": {point["name"]: about[point["name"]] for point in points}}


def _point(table: Table, one: Guess) -> dict[str, Any]:
    said = f"guessed: {one.text}, {one.confidence} confidence"
    point: dict[str, Any] = {
        "name": f"{table.name}_{one.address}",
        "register": f"{table.name}:{one.address}:{one.kind}",
        "description": said + (f"; or {', or '.join(one.alternatives)}" if one.alternatives else ""),
    }
    if table is Table.holding:
        point["writable"] = False
    if one.kind == "string":
        point["count"] = one.size
    if one.order != "ABCD" and one.size > 1:
        point["byteOrder"] = one.order
    return point
