"""A subscription: selects points, formats batches, hands payloads to its destination."""

import msgspec
from thespian.actors import ActorAddress

from actors.batch import Batch, Source
from actors.publish import formats, topics
from actors.publish.formats import MessageIds
from actors.publish.signals import (
    Flush,
    Flushed,
    Publish,
    RunSubscription,
)
from actors.system.actor import Actor


class BatchDue(msgspec.Struct, frozen=True):
    """To itself: what has waited `bufferTimeMs` goes."""

    endpoint_uuid: str
    number: int


class Buffer(msgspec.Struct):
    """What waits to be published together; `number` tells it from those before."""

    number: int
    batches: list[Batch]


class Subscription(Actor):
    """Publishes every batch at once, unless the route asks for `buffer_size` of an endpoint together."""

    def __init__(self) -> None:
        self.buffers: dict[str, Buffer] = {}
        self.number = 0

    def receiveMsg_RunSubscription(self, message: RunSubscription, sender: ActorAddress) -> None:
        self._publish_all()
        self.destination = sender
        self.id = message.id
        self.route = message.route
        self.topic = message.route.topic or ""
        self.ids = MessageIds(message.agent_uuid)
        self.selections: dict[str, tuple[Source, tuple[int, ...] | None]] = {}
        self.health = f"{message.route.payload_format} to {self.topic}"

    def receiveMsg_Batch(self, message: Batch, sender: ActorAddress) -> None:
        if self.route.buffer_size == 1:
            self._publish([message])
        else:
            self._buffer(message)

    def _publish(self, batches: list[Batch]) -> None:
        source = batches[0].source
        known, points = self.selections.get(source.endpoint_uuid, (None, None))
        if known is not source:
            points = topics.select(self.route.topics, source)
            self.selections[source.endpoint_uuid] = (source, points)
        payloads = formats.encode(self.route.payload_format, batches, points, self.ids)
        if payloads:
            self.send(self.destination, Publish(self.topic, payloads))

    def _buffer(self, batch: Batch) -> None:
        key = batch.source.endpoint_uuid
        buffer = self.buffers.get(key)
        if buffer is not None and buffer.batches[0].source is not batch.source:
            self._publish_buffer(key)
            buffer = None
        if buffer is None:
            self.number += 1
            buffer = self.buffers[key] = Buffer(self.number, [])
            if self.route.buffer_time_ms:
                self.wakeupAfter(self.route.buffer_time_ms / 1000, BatchDue(key, self.number))
        buffer.batches.append(batch)
        if len(buffer.batches) >= self.route.buffer_size:
            self._publish_buffer(key)

    def receiveMsg_BatchDue(self, message: BatchDue, sender: ActorAddress) -> None:
        buffer = self.buffers.get(message.endpoint_uuid)
        if buffer is not None and buffer.number == message.number:
            self._publish_buffer(message.endpoint_uuid)

    def receiveMsg_Flush(self, message: Flush, sender: ActorAddress) -> None:
        self._publish_all()
        self.send(sender, Flushed(self.id, message.number))

    def _publish_all(self) -> None:
        for key in list(self.buffers):
            self._publish_buffer(key)

    def _publish_buffer(self, key: str) -> None:
        self._publish(self.buffers.pop(key).batches)
