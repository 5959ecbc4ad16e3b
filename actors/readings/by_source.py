"""What is worked out once per source and forgotten with it."""

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from actors.readings.batch import Source

T = TypeVar("T")


class BySource(Generic[T]):
    """`build(source)`, remembered for as long as the source lives.

    Keyed by the source's identity: comparing sources costs as much as their number of points.
    """

    def __init__(self, build: Callable[[Source], T]) -> None:
        self._build = build
        self._kept: dict[int, tuple[weakref.ref[Source], T]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def sources(self) -> list[Source]:
        """Those of which something is remembered."""
        return [source for gone, _ in self._kept.values() if (source := gone()) is not None]

    def get(self, source: Source) -> T:
        key = id(source)
        kept = self._kept.get(key)
        if kept is None:
            gone = weakref.ref(source, lambda _: self._kept.pop(key, None))
            kept = self._kept[key] = (gone, self._build(source))
        return kept[1]
