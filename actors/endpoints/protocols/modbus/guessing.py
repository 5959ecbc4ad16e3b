"""What the registers of an unknown device may hold, by what makes plausible values over some samples.

Each way to cut a run of registers into values has a score, which is the sum of what speaks for its values;
the best one is found by dynamic programming, once for each order of bytes, for a device has one. What speaks
for nothing is a register by itself.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from math import isfinite
from typing import Literal, NamedTuple

Confidence = Literal["low", "medium", "high"]
Sample = Mapping[int, int]
"""Registers by address, as they were read at about one time."""

_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
_SWAPPED_IS_RARE = 3.0
"""By so much registers with their bytes swapped must be better than others, to be believed."""
_SWITCH = 0.7
"""What it costs to begin a value of several registers after one of another kind, and to end a row of them."""
_ALIKE = 0.7
"""What it is worth to go on with values of the same kind."""
_USUAL = (1e-3, 1e7)
"""Magnitudes of measured values."""
_POSSIBLE = (1e-6, 1e12)
_LEAST_TEXT, _MOST_TEXT = 6, 32
"""Characters, and registers, of a text."""
_FEW_DIGITS = 5
_PLAUSIBLE = 0.8
"""What it is worth that a float is one that is measured: of registers by themselves few look so."""
_COUNTED = (0x2000, 0xE000)
"""Lower halves that a register by itself seldom holds."""
_UNUSED = (0, 0xFFFF, 0x8000, 0x7FFF)
_BARREN = 8
"""So many registers in a row that only ever hold what stands for nothing are nobody's."""


class Guess(NamedTuple):
    """A value: its first register, type, registers and order of bytes."""

    address: int
    kind: str
    size: int
    order: str
    confidence: Confidence
    alternatives: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return self.kind if self.size == 1 or self.kind == "string" else f"{self.kind} {self.order}"


class _Cell(NamedTuple):
    """A value somewhere in a run, and what speaks for it."""

    kind: str
    size: int
    score: float


def guess(samples: Sequence[Sample]) -> list[Guess]:
    """The values in registers of one table, which all samples have."""
    runs = list(_runs(samples[0])) if samples else []
    best: tuple[float, list[tuple[int, list[_Cell]]], str] | None = None
    for order in _ORDERS:
        cut = [(start, *_cut(_columns(samples, start, count), order)) for start, count in runs]
        total = sum(score for _, score, _ in cut)
        if order in ("BADC", "DCBA"):
            total -= _SWAPPED_IS_RARE
        if best is None or total > best[0]:
            best = total, [(start, cells) for start, _, cells in cut], order
    if best is None:
        return []
    return [found for start, cells in best[1] for found in _named(start, cells, samples, best[2])]


def _runs(sample: Sample) -> Iterator[tuple[int, int]]:
    addresses = sorted(sample)
    first = 0
    for index, address in enumerate(addresses):
        if index + 1 == len(addresses) or addresses[index + 1] != address + 1:
            yield addresses[first], index + 1 - first
            first = index + 1


def _columns(samples: Sequence[Sample], start: int, count: int) -> list[tuple[int, ...]]:
    """The words of each register of a run, over the samples."""
    return [tuple(sample.get(address, 0) for sample in samples) for address in range(start, start + count)]


def _cut(columns: list[tuple[int, ...]], order: str) -> tuple[float, list[_Cell]]:
    """The best way to cut a run into values, and its score."""
    size = len(columns)
    worth: list[dict[str, tuple[float, _Cell | None, str]]] = [{} for _ in range(size + 1)]
    worth[0]["uint16"] = (0.0, None, "")
    for at in range(size):
        for cell in _cells(columns, at, order):
            for before, (score, _, _) in worth[at].items():
                total = score + cell.score + _transition(before, cell)
                there = worth[at + cell.size].get(cell.kind)
                if there is None or total > there[0]:
                    worth[at + cell.size][cell.kind] = (total, cell, before)
    return _best(worth)


def _transition(before: str, cell: _Cell) -> float:
    if cell.size == 1:
        return -_SWITCH if before not in ("uint16", "string") else 0.0
    if cell.kind == "string":
        return 0.0
    if before == cell.kind:
        return _ALIKE if cell.score >= 0.8 else 0.1
    return -1.0 if before == "uint16" else -_SWITCH


def _best(worth: list[dict[str, tuple[float, _Cell | None, str]]]) -> tuple[float, list[_Cell]]:
    at = len(worth) - 1
    kind = max(worth[at], key=lambda one: worth[at][one][0])
    total = worth[at][kind][0]
    cells: list[_Cell] = []
    while at:
        _, cell, before = worth[at][kind]
        assert cell is not None
        cells.append(cell)
        at, kind = at - cell.size, before
    return total, cells[::-1]


# What may begin at a register


def _cells(columns: list[tuple[int, ...]], at: int, order: str) -> Iterator[_Cell]:
    yield _Cell("uint16", 1, 0.0)
    if at + 2 <= len(columns):
        pair = tuple(zip(columns[at], columns[at + 1], strict=True))
        for kind, score in (("float32", _float32(pair, order)), ("int32", _int32(pair, order))):
            if score is not None:
                yield _Cell(kind, 2, score)
    if at + 4 <= len(columns):
        score = _float64(tuple(zip(*columns[at : at + 4], strict=True)), order)
        if score is not None:
            yield _Cell("float64", 4, score)
    yield from _strings(columns, at, order)


@lru_cache(maxsize=4096)
def _float32(pairs: tuple[tuple[int, int], ...], order: str) -> float | None:
    """What speaks for a float; None where it cannot be one."""
    values = [struct.unpack(">f", _arranged(pair, order))[0] for pair in pairs]
    if not any(any(pair) for pair in pairs):
        return 0.0
    if all(_is_nan_filler(pair, order) for pair in pairs):
        return 0.0
    high, low = zip(*(pair if order in ("ABCD", "BADC") else pair[::-1] for pair in pairs), strict=True)
    return _float(values, high, low, 7)


def _float64(quads: tuple[tuple[int, ...], ...], order: str) -> float | None:
    values = [struct.unpack(">d", _arranged(quad, order))[0] for quad in quads]
    if not any(any(quad) for quad in quads):
        return 0.0
    rows = [quad if order in ("ABCD", "BADC") else quad[::-1] for quad in quads]
    high, low = [row[0] for row in rows], [row[3] for row in rows]
    if any(row[2] or row[3] for row in rows) != all(row[2] or row[3] for row in rows if any(row)):
        return None
    inner = [row[2] for row in rows]
    if len(set(values)) > 1 and (not any(low) or max(inner) - min(inner) < 0x1000):
        return None  # the exponent of another float
    score = _float(values, high, low, 15)
    return None if score is None else score * (2.0 if any(low) else 0.5)


def _float(values: list[float], high: Sequence[int], low: Sequence[int], digits: int) -> float | None:
    """`high` are the registers of the exponent, `low` those of the last digits."""
    if not all(isfinite(value) for value in values):
        return None
    there = [abs(value) for value in values if value]
    if not there or min(there) < _POSSIBLE[0] or max(there) > _POSSIBLE[1]:
        return None
    score = _PLAUSIBLE if _USUAL[0] <= min(there) and max(there) < _USUAL[1] else 0.0
    round_ones = all(_significant(value, digits) <= _FEW_DIGITS for value in there)
    if len(set(values)) > 1:
        score += _steadiness(values, high, low)
    elif not round_ones:
        score -= 0.4  # what is measured changes, and what is set is round
    if round_ones:
        score += 2.5 if any(low) else 0.1
    return score


def _steadiness(values: list[float], high: Sequence[int], low: Sequence[int]) -> float:
    """Measured values change by little, and their last digits by much."""
    most = max(abs(value) for value in values)
    if max(values) - min(values) > 0.5 * most and most > 10:
        return -1.0 if max(values) - min(values) <= most else -3.0
    change = max(low) - min(low)
    if change > 0x1000:
        return 2.0
    return -2.0 if len(set(high)) > 1 else -0.3


def _int32(pairs: tuple[tuple[int, int], ...], order: str) -> float | None:
    """What speaks for an integer of two registers, signed or not."""
    if order in ("BADC", "DCBA"):
        return None
    high, low = zip(*(pair if order == "ABCD" else pair[::-1] for pair in pairs), strict=True)
    if not any(high) or not any(any(pair) for pair in pairs):
        return 0.0 if any(low) else None
    numbers = [top << 16 | rest for top, rest in zip(high, low, strict=True)]
    signed = [number - (1 << 32) if number >> 31 else number for number in numbers]
    if all(number in (0xFFFF_FFFF, 0x8000_0000, 0x7FFF_FFFF) for number in numbers):
        return 0.0
    if set(high) <= {0, 0xFFFF} and all(
        (top == 0xFFFF) == (rest >= 0x8000) for top, rest in zip(high, low, strict=True)
    ):
        return 4.0 if len(set(high)) > 1 else 2.0
    change = max(signed) - min(signed)
    if len(set(high)) > 1:  # the lower half has begun anew
        if max(low) - min(low) < 0x4000:
            return None
        if change < 0x8000:
            return 3.0
        by_itself = all(rest < 0x1000 or rest >= 0xF000 for rest in low)
        return None if by_itself or change > 0.05 * max(map(abs, signed)) else 2.0
    if high[0] > 0x0FFF:
        return None
    grows = len(set(low)) > 1 and list(low) == sorted(low)
    counts = _COUNTED[0] < min(low) and max(low) < _COUNTED[1]
    return None if not grows and not counts else -0.3 + (1.4 if grows else 0.0) + (0.9 if counts else 0.0)


def _strings(columns: list[tuple[int, ...]], at: int, order: str) -> Iterator[_Cell]:
    """A text: letters, digits and blanks that stay the same, with NUL or blanks up to its end."""
    data = b""
    for count, words in enumerate(columns[at : at + _MOST_TEXT], 1):
        if len(set(words)) > 1:
            break
        data += _arranged((words[0],), order)
        text = data.rstrip(b"\0 ")
        if not text or not all(0x20 <= sign < 0x7F for sign in text):
            break
        padded = len(data) - len(text) > 1
        word = sum(chr(sign).isalnum() for sign in text)
        if len(text) >= _LEAST_TEXT and word >= 0.7 * len(text) and any(chr(sign).isalpha() for sign in text):
            # Padding belongs to the text, but speaks for it no further.
            score = 0.9 * len(text) / 2 - 1.5 - _jumbled(text.decode("ascii"))
            yield _Cell("string", count, score + (0.05 * (count - len(text) / 2) if padded else 0.0))


def _jumbled(text: str) -> float:
    """How little a text looks like one: swapped bytes put capitals behind small letters, and digits between
    letters."""
    kinds = ["A" if c.isupper() else "a" if c.islower() else "0" if c.isdigit() else " " for c in text]
    pairs = list(pairwise(kinds))
    return 0.5 * sum(pair in (("a", "A"), ("0", "a")) for pair in pairs) + 0.1 * sum(a != b for a, b in pairs)


def _arranged(words: tuple[int, ...], order: str) -> bytes:
    data = [word.to_bytes(2, "big") for word in words]
    if order in ("CDAB", "DCBA"):
        data.reverse()
    if order in ("BADC", "DCBA"):
        data = [word[::-1] for word in data]
    return b"".join(data)


def _is_nan_filler(pair: tuple[int, int], order: str) -> bool:
    return _arranged(pair, order) in (
        b"\x7f\xc0\0\0",
        b"\xff\xc0\0\0",
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\xff",
    )


def _significant(value: float, most: int) -> int:
    """The decimal digits that it takes to write a float of so many."""
    digits = f"{value:.{most - 1}e}".partition("e")[0].replace(".", "")
    return len(digits.rstrip("0"))


# What is said of them


def _named(start: int, cells: list[_Cell], samples: Sequence[Sample], order: str) -> Iterator[Guess]:
    barren = _barren(start, cells, samples)
    at = start
    for index, cell in enumerate(cells):
        columns = _columns(samples, at, cell.size)
        if not all(address in barren for address in range(at, at + cell.size)):
            yield _guess(at, cell, columns, order, _row(cells, index))
        at += cell.size


def _barren(start: int, cells: list[_Cell], samples: Sequence[Sample]) -> set[int]:
    """Registers that hold what stands for nothing: by themselves, or many in a row."""
    end = start + sum(cell.size for cell in cells)
    found: set[int] = set()
    row: list[int] = []
    for address in range(start, end + 1):
        words = {sample.get(address, 0) for sample in samples} if address < end else {1, 2}
        if len(words) == 1 and words <= set(_UNUSED):
            row.append(address)
            if next(iter(words)) != 0:
                found.add(address)
            continue
        if len(row) >= _BARREN:
            found.update(row)
        row = []
    return found | (set(row) if len(row) >= _BARREN else set())


def _row(cells: list[_Cell], index: int) -> float:
    """What speaks for the row of values of one kind that a value is in."""
    kind, total = cells[index].kind, 0.0
    for step in (-1, 1):
        at = index + (step if step > 0 else 0)
        while 0 <= at < len(cells) and cells[at].kind == kind:
            total += max(cells[at].score, 0.0)
            at += step
    return total


def _guess(at: int, cell: _Cell, columns: list[tuple[int, ...]], order: str, row: float) -> Guess:
    flat = [word for column in columns for word in column]
    if cell.kind == "string":
        shown = order if order in ("BADC", "DCBA") else "ABCD"
        return Guess(at, "string", cell.size, shown, "high" if cell.score > 1.5 else "medium")
    if cell.size == 1:
        return _single(at, columns[0])
    if not any(flat):
        return Guess(at, cell.kind, cell.size, order, "low", ("uint16, uint16",))
    confidence: Confidence = "low"
    changes = any(len(set(column)) > 1 for column in columns)
    # Of two registers that stay as they are by themselves, many make a plausible float.
    if (cell.score >= 3.0 and changes) or row >= 9.0:
        confidence = "high"
    elif cell.score >= 1.0 or row >= 3.0:
        confidence = "medium"
    kind, others = cell.kind, ["uint16, uint16"] if confidence != "high" else []
    if kind == "int32":
        high = columns[0] if order == "ABCD" else columns[1]
        kind = "int32" if max(high) > 0x7FFF else "uint32"
        others += ["int32"] if kind == "uint32" else []
    return Guess(at, kind, cell.size, order, confidence, tuple(others))


def _single(at: int, words: tuple[int, ...]) -> Guess:
    signed = [word - 0x10000 if word > 0x7FFF else word for word in words]
    small = max(abs(number) for number in signed) < 0x2000
    crosses = min(signed) < 0 <= max(signed)
    if crosses and small:
        return Guess(at, "int16", 1, "ABCD", "medium", ("uint16",))
    if min(signed) < 0 and small:
        return Guess(at, "int16", 1, "ABCD", "low", ("uint16",))
    changes = len(set(words)) > 1 and max(words) - min(words) < 0.2 * max(words)
    return Guess(at, "uint16", 1, "ABCD", "medium" if changes else "low", ("int16",))
