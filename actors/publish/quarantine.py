"""Topics whose payloads a destination does not take. Plain; times are monotonic seconds."""

import msgspec

CONVICTIONS = 3
"""Payloads of a topic given up in a row before it is the topic's fault."""
FIRST = 60.0
"""Seconds of the first quarantine; each that follows is twice as long."""
LONGEST = 6 * 3600.0
TOPICS = 1000
"""How many are remembered; the oldest give way."""


class _Topic(msgspec.Struct):
    convictions: int = 0
    until: float = 0.0
    length: float = FIRST


class Quarantine:
    """A topic of which payload after payload is given up has what follows given up at once, for a while; then
    one payload is tried again, for what was wrong may have been put right. A delivery ends it."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}

    def __bool__(self) -> bool:
        """Whether any topic is remembered."""
        return bool(self._topics)

    def holds(self, topic: str, now: float) -> bool:
        found = self._topics.get(topic)
        return found is not None and now < found.until

    def convicted(self, topic: str, now: float) -> float:
        """A payload of it was given up; returns for how many seconds the topic is now in quarantine."""
        found = self._topics.setdefault(topic, _Topic())
        found.convictions += 1
        if len(self._topics) > TOPICS:
            del self._topics[next(iter(self._topics))]
        if found.convictions < CONVICTIONS:
            return 0.0
        length = found.length
        found.until = now + length
        found.length = min(2 * length, LONGEST)
        return length

    def delivered(self, topic: str) -> None:
        self._topics.pop(topic, None)
