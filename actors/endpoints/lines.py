"""Transports that endpoints of one protocol share: a serial line, a UDP port, a client of a broker."""

import asyncio
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")


class Lines:
    """What is shared, by key; each use that was acquired is to be released once. For the loop's thread.

    `folder` is where the protocol may keep files of its own; it need not be there yet. None: nowhere.
    """

    folder: Path | None = None

    def __init__(self) -> None:
        self._shared: dict[Hashable, list[Any]] = {}

    def __len__(self) -> int:
        return len(self._shared)

    def __iter__(self) -> Iterator[tuple[Hashable, Any]]:
        """Keys, with what is shared by them."""
        return ((key, shared) for key, (shared, _) in self._shared.items())

    def acquire(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is shared by that key, made for its first user."""
        entry = self._shared.get(key)
        if entry is None:
            entry = self._shared[key] = [make(), 0]
        entry[1] += 1
        shared: T = entry[0]
        return shared

    def release(self, key: Hashable) -> bool:
        """Give one use up; whether it was the last, and what was shared is to be closed."""
        entry = self._shared[key]
        entry[1] -= 1
        if entry[1]:
            return False
        del self._shared[key]
        return True


def lines_of(protocol: str) -> Lines:
    """Those of a protocol on the running loop. The adapter holds them, in each of its lives, and so do the
    sessions that use them: one that begins anew finds what its endpoints share."""
    key = asyncio.get_running_loop(), protocol
    found = _lines.get(key)
    if found is None:
        found = _lines[key] = Lines()
    return found


_lines: WeakValueDictionary[tuple[asyncio.AbstractEventLoop, str], Lines] = WeakValueDictionary()
