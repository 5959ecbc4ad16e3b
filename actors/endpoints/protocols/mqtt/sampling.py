"""What a broker hands out, topic by topic: counted, and a few payloads of each kept. A flood costs no more
memory than a trickle, and ends early."""

import asyncio
from typing import Final

import msgspec

from actors.connections.connection import NoConnection
from actors.mqtt.packets import Received

MOST_MESSAGES: Final = 200_000
MOST_BYTES: Final = 67_108_864
"""Of payloads; who sends so much in a search has been heard enough."""
KEPT: Final = 3
"""Payloads of a topic: the first ones, and the latest."""
LARGEST_KEPT: Final = 65_536
KEPT_BYTES: Final = 8_388_608
"""Of all topics together."""


class Topic(msgspec.Struct):
    """A topic, and what has come of it."""

    name: str
    count: int = 0
    live: int = 0
    """Of those the messages that the broker had not kept."""
    large: bool = False
    """Some were too large to be looked at."""
    samples: list[bytes] = []


class Sampler:
    """A user of a client that takes whatever comes."""

    holds = False

    def __init__(self, most: int) -> None:
        self.topics: dict[str, Topic] = {}
        self.messages = 0
        self.bytes = 0
        self.beyond = 0
        """Messages of topics that were too many."""
        self.over = asyncio.Event()
        """There is nothing more to come, or too much has."""
        self.failure: NoConnection | None = None
        self._most = most
        self._kept = 0

    @property
    def is_flooded(self) -> bool:
        return self.messages >= MOST_MESSAGES or self.bytes >= MOST_BYTES

    def received(self, messages: list[Received]) -> None:
        for message in messages:
            topic = self.topics.get(message.topic) or self._new(message.topic)
            self.messages += 1
            self.bytes += len(message.payload) + message.left_out
            if topic is None:
                continue
            topic.count += 1
            topic.live += not message.retain
            self._keep(topic, message)
        if self.is_flooded:
            self.over.set()

    def ended(self, error: NoConnection) -> None:
        self.failure = error
        self.over.set()

    def _new(self, name: str) -> Topic | None:
        """None for what is of the broker itself, and for more topics than wanted."""
        if not name or name[0] == "$":
            return None
        if len(self.topics) >= self._most:
            self.beyond += 1
            return None
        topic = self.topics[name] = Topic(name)
        return topic

    def _keep(self, topic: Topic, message: Received) -> None:
        size = len(message.payload)
        if message.left_out or size > LARGEST_KEPT:
            topic.large = True
            return
        gone = len(topic.samples[-1]) if len(topic.samples) >= KEPT else 0
        if self._kept + size - gone > KEPT_BYTES:
            return
        self._kept += size - gone
        if gone or len(topic.samples) >= KEPT:
            topic.samples[-1] = message.payload
        else:
            topic.samples.append(message.payload)
