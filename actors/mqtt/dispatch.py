"""Who wants messages of which topics: filters as a tree of levels. Finding the users of a topic takes as long
as it has levels, not as there are filters."""

from collections.abc import Iterator
from typing import Generic, TypeVar

U = TypeVar("U")

REMEMBERED = 10_000
"""Topics of which it is remembered who wants them."""


class _Level(Generic[U]):
    __slots__ = ("below", "users")

    def __init__(self) -> None:
        self.below: dict[str, _Level[U]] = {}
        self.users: dict[U, dict[str, None]] = {}
        """With the filters that end here, shared ones and others."""


class Dispatch(Generic[U]):
    """Filters are checked ones (`topics.check_subscription`), without their `$share/<group>/`; `name` tells
    those apart that are the same without it."""

    def __init__(self) -> None:
        self._root: _Level[U] = _Level()
        self._found: dict[str, tuple[tuple[U, tuple[str, ...]], ...]] = {}

    def add(self, topic_filter: str, user: U, name: str) -> None:
        level = self._root
        for part in topic_filter.split("/"):
            level = level.below.setdefault(part, _Level())
        level.users.setdefault(user, {})[name] = None
        self._found.clear()

    def remove(self, topic_filter: str, user: U, name: str) -> None:
        path = [self._root]
        parts = topic_filter.split("/")
        for part in parts:
            path.append(path[-1].below[part])
        names = path[-1].users[user]
        del names[name]
        if not names:
            del path[-1].users[user]
        for above, part in zip(reversed(path[:-1]), reversed(parts), strict=True):
            level = above.below[part]
            if level.below or level.users:
                break
            del above.below[part]
        self._found.clear()

    def users(self, topic: str) -> tuple[tuple[U, tuple[str, ...]], ...]:
        """Each user once, with the names of its filters that select the topic."""
        found = self._found.get(topic)
        if found is None:
            names: dict[U, list[str]] = {}
            parts = topic.split("/")
            for level in self._matching(self._root, parts, 0, topic.startswith("$")):
                for user, filters in level.users.items():
                    names.setdefault(user, []).extend(filters)
            found = tuple((user, tuple(filters)) for user, filters in names.items())
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            self._found[topic] = found
        return found

    def _matching(self, level: _Level[U], parts: list[str], at: int, own: bool) -> Iterator[_Level[U]]:
        """A leading wildcard does not select the broker's own topics (MQTT 3.1.1 section 4.7.2)."""
        below = level.below
        wild = not own or at > 0
        if wild and (rest := below.get("#")) is not None:
            yield rest
        if at == len(parts):
            yield level
            return
        for part in (parts[at], "+") if wild else (parts[at],):
            if (found := below.get(part)) is not None:
                yield from self._matching(found, parts, at + 1, own)
