"""What a device says of its objects once: units, and texts of states."""

import logging
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from actors.connections.connection import NoConnection

from . import kinds, tags, units
from .asking import Asking, Refused
from .codec import Content, Value, key_of
from .points import DataPoint, Ref
from .reader import LONGEST, Reader

log = logging.getLogger(__name__)

_LIKE_PRESENT_VALUE: Final = frozenset({kinds.PRESENT_VALUE, 104, 45, 59, 65, 69, 22, 25, 106, 40})
"""Properties that are in the object's units."""
ACTIVE_TEXT, INACTIVE_TEXT = 4, 46
MOST_STATES: Final = 1000


class Descriptions:
    """Kept as long as the session, so that a device that comes back is not asked again."""

    def __init__(self, points: Sequence[DataPoint]) -> None:
        self.points = tuple(points)
        self.states: dict[int, list[str]] = {}
        """Texts of states by the point's place: of binary objects inactive and active, of the others from 1
        on."""
        self._units: dict[tuple[int, int], str | None] = {}

    async def learn(self, asking: Asking, reader: Reader) -> bool:
        """Ask what is not known yet; whether any point has a unit now that it did not have. Trouble costs
        what it is about. Raises `NoConnection` when nobody answers."""
        await self._learn_states(asking)
        wanted = {(point.type, point.instance): None for point in self.points if _wants_unit(point)}
        asked = [Ref(*place, kinds.UNITS) for place in wanted if place not in self._units]
        found = await reader.read([(ref,) for ref in asked], LONGEST)
        for ref in asked:
            content = found.get(key_of(ref))
            if content is not None:
                self._units[ref.type, ref.instance] = _symbol(content)
        before, self.points = self.points, tuple(map(self._with_unit, self.points))
        return before != self.points

    def _with_unit(self, point: DataPoint) -> DataPoint:
        unit = self._units.get((point.type, point.instance)) if _wants_unit(point) else None
        return point if unit is None else msgspec.structs.replace(point, unit=unit)

    async def _learn_states(self, asking: Asking) -> None:
        known: dict[tuple[int, int], list[str]] = {}
        for index, point in enumerate(self.points):
            if not point.state_text or index in self.states:
                continue
            place = point.type, point.instance
            if place not in known:
                known[place] = await state_texts(asking, *place)
            if known[place]:
                self.states[index] = known[place]


def _symbol(content: Content) -> str | None:
    if isinstance(content, Value) and content.tag == tags.ENUMERATED:
        return units.symbol(content.value)
    return None


def _wants_unit(point: DataPoint) -> bool:
    return point.unit is None and point.type in kinds.WITH_UNITS and point.property_id in _LIKE_PRESENT_VALUE


async def state_texts(asking: Asking, kind: int, instance: int) -> list[str]:
    """As in `Descriptions.states`; none where the device has none. Raises `NoConnection`."""
    if kind in kinds.BINARY:
        return await _texts_of(asking, [Ref(kind, instance, INACTIVE_TEXT), Ref(kind, instance, ACTIVE_TEXT)])
    try:
        found = await asking.read(kind, instance, kinds.STATE_TEXT)
    except Refused as refused:
        if refused.kind != "abort":
            return []
        return await _one_by_one(asking, kind, instance)
    return [str(text) for text in found[:MOST_STATES]] if isinstance(found, list) else []


async def _one_by_one(asking: Asking, kind: int, instance: int) -> list[str]:
    """Of a device that has more texts than it can say at a time."""
    try:
        count = await asking.read(kind, instance, kinds.STATE_TEXT, 0)
    except Refused:
        return []
    numbers = range(1, min(count, MOST_STATES) + 1) if isinstance(count, int) else range(0)
    return await _texts_of(asking, [Ref(kind, instance, kinds.STATE_TEXT, number) for number in numbers])


async def _texts_of(asking: Asking, refs: Iterable[Ref]) -> list[str]:
    found: list[str] = []
    for ref in refs:
        try:
            found.append(str(await asking.read(ref.type, ref.instance, ref.property_id, ref.index)))
        except Refused:
            found.append("")
        except NoConnection:
            raise
    return found if any(found) else []
