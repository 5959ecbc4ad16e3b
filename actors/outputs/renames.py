"""Which new field may be an old one under another name."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

SIMILAR: Final = 0.72


class Renamed(msgspec.Struct, frozen=True):
    """`similarity` is 1 for equal names, 0 for names that have nothing in common."""

    old: str
    new: str
    similarity: float


def find(old: Sequence[str], new: Sequence[str], candidates: int, length: int) -> list[Renamed]:
    """Pairs of similar fields, the most similar first, each field at most once.

    Of either side the first `candidates` are compared, names up to `length` characters; `reading:` fields
    with readings only, `key:` fields with keys.
    """
    pairs = [
        Renamed(before, after, similarity)
        for before in _comparable(old, candidates, length)
        for after in _comparable(new, candidates, length)
        if (similarity := _similarity(before, after)) >= SIMILAR
    ]
    found: list[Renamed] = []
    taken: set[str] = set()
    for pair in sorted(pairs, key=lambda pair: -pair.similarity):
        if not {pair.old, pair.new} & taken:
            taken |= {pair.old, pair.new}
            found.append(pair)
    return found


def _comparable(fields: Sequence[str], candidates: int, length: int) -> Iterable[str]:
    return [field for field in fields if len(field.partition(":")[2]) <= length][:candidates]


def _similarity(before: str, after: str) -> float:
    (kind, _, old), (other_kind, _, new) = before.partition(":"), after.partition(":")
    longest = max(len(old), len(new))
    if kind != other_kind or longest == 0:
        return 0.0
    return 1 - distance(old, new) / longest


def distance(a: str, b: str) -> int:
    """Levenshtein distance, by bit vectors (Hyyrö 2003): linear in `b` for names of usual length."""
    if not a:
        return len(b)
    where: dict[str, int] = {}
    for i, character in enumerate(a):
        where[character] = where.get(character, 0) | 1 << i
    last = 1 << (len(a) - 1)
    mask = (last << 1) - 1
    up, down, score = mask, 0, len(a)  # where a column's values rise and fall; its last value
    for character in b:
        equal = where.get(character, 0)
        diagonal = (((equal & up) + up) ^ up) | equal | down
        rise = down | ~(diagonal | up) & mask
        fall = diagonal & up
        score += bool(rise & last) - bool(fall & last)
        rise, fall = (rise << 1 | 1) & mask, fall << 1 & mask
        up = fall | ~(diagonal | rise) & mask
        down = rise & diagonal
    return score
