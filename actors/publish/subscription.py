"""A subscription: selects points, formats batches, hands payloads to its destination."""

import msgspec
from thespian.actors import ActorAddress

from actors.publish import formats, selection, topics
from actors.publish.formats import MessageIds
from actors.publish.subscription_route import SubscriptionRoute
from actors.publish.throttle import DeviceThrottle
from actors.publish.topics import Target
from actors.readings.batch import Batch, Source
from actors.readings.by_source import BySource
from actors.readings.doubt import Doubt
from actors.readings.interest import Choice, select
from actors.readings.messages import EventRaised, Secure, Secured, SourceEnded
from actors.system.actor import Actor
from actors.system.supervision import Restart
from storage.timestamps import unix_ms


class RunSubscription(msgspec.Struct, frozen=True):
    """Start, and again whenever it changes. `route.compression` is never None here."""

    id: int
    route: SubscriptionRoute
    target: Target
    agent_uuid: str


class Publish(msgspec.Struct, frozen=True, gc=False):
    """To the destination: payloads in order, of one topic. `qos` and `retain` as in `Outgoing`."""

    topic: str
    payloads: list[bytes]
    qos: int = 1
    retain: bool = False


class AwaitStored(msgspec.Struct, frozen=True):
    """To the destination, behind payloads: tell the router that they are `secured` when they are on disk or
    delivered."""

    endpoint_uuid: str
    asked: int
    secured: Secured


class Again(msgspec.Struct, frozen=True):
    """To its next life: there was one before."""


class Flush(msgspec.Struct, frozen=True):
    """To the subscription: publish what waits for its batch now, and, if it is `leaving`, that no more will
    come; answered by `Flushed`."""

    number: int
    leaving: bool = False


class Flushed(msgspec.Struct, frozen=True):
    """`number` is that of the `Flush`."""

    id: int
    number: int


class BatchDue(msgspec.Struct, frozen=True):
    """To itself: what has waited `bufferTimeMs` goes."""

    device_uuid: str
    number: int


class HeldDue(msgspec.Struct, frozen=True):
    """To itself: something that `minIntervalMs` has held back goes."""

    device_uuid: str
    number: int


class Plan(msgspec.Struct, frozen=True):
    """What becomes of a source's batches."""

    choice: Choice
    topic: str


class Buffer(msgspec.Struct):
    """What waits to be published together; `number` tells it from those before."""

    number: int
    batches: list[Batch]


class Subscription(Actor):
    """Publishes every batch at once, unless the route asks for `buffer_size` of a device together."""

    RESTART = Restart(max_restarts=None)

    def __init__(self) -> None:
        self.buffers: dict[str, Buffer] = {}
        """By device, as are `throttles`."""
        self.throttles: dict[str, DeviceThrottle] = {}
        self.told: dict[str, Source] = {}
        """The latest source of each device, if its end is to be told."""
        self.number = 0
        self.plans: BySource[Plan] = BySource(self._plan)
        self.doubt = Doubt()

    def receiveMsg_RunSubscription(self, message: RunSubscription, sender: ActorAddress) -> None:
        self._publish_all()
        self._end_all()
        self.remember(Again())
        self.destination = sender
        self.id = message.id
        self.route = message.route
        self.target = message.target
        self.format = formats.find(message.route.payload_format)
        self.compression = message.route.compression or "json"
        self.ids = MessageIds(message.agent_uuid)
        self.plans = BySource(self._plan)
        self.throttles, self.told = {}, {}
        compressed = "" if self.compression == "json" else f" {self.compression}"
        self.health = f"{self.format.name}{compressed} to {self.target.topic}"

    def _plan(self, source: Source) -> Plan:
        if self.format.ended is not None:
            self._tell_renamed(source)
        return Plan(
            Choice(select(self.route.interest, source)),
            topics.fill(self.target, source.protocol, source.endpoint, self.format.device(source)),
        )

    def receiveMsg_Batch(self, message: Batch, sender: ActorAddress) -> None:
        plan = self.plans.get(message.source)
        admitted = self._throttled(message, plan) if self.route.min_interval_ms else message
        if admitted is not None:
            self._take(admitted, plan)

    def _take(self, batch: Batch, plan: Plan) -> None:
        if self.route.buffer_size == 1:
            self._publish([batch], plan)
        else:
            self._buffer(batch)

    def _publish(self, batches: list[Batch], plan: Plan) -> None:
        payloads = []
        per_poll, per_time = self.format.per_poll, self.format.per_time
        for pieces in selection.messages(self.route, plan.choice, batches, per_poll, per_time):
            payload = formats.encode(self.format.name, self.compression, pieces, self.ids)
            if payload is not None:
                payloads.append(payload)
        if payloads:
            self._hand_on(plan.topic, payloads)

    def _hand_on(self, topic: str, payloads: list[bytes]) -> None:
        self.send(self.destination, Publish(topic, payloads, self.route.qos, self.route.retain))

    def receiveMsg_SourceEnded(self, message: SourceEnded, sender: ActorAddress) -> None:
        self._publish_device(message.source.device_uuid)
        self.throttles.pop(message.source.device_uuid, None)
        self._end(message.source)
        self.told.pop(message.source.device_uuid, None)

    def _tell_renamed(self, source: Source) -> None:
        """A device that has another name is, under the one before, no more."""
        before = self.told.get(source.device_uuid)
        self.told[source.device_uuid] = source
        if before is not None and self.format.device(before) != self.format.device(source):
            self._publish_device(source.device_uuid)
            self._end(before)

    def _end_all(self) -> None:
        """As if all sources were no more: they are no more as they were."""
        for source in self.plans.sources():
            self._end(source)

    def _end(self, source: Source) -> None:
        plan = self.plans.get(source)
        if self.format.ended is not None and plan.choice.points != ():
            self.send(self.destination, Publish(plan.topic, [self.format.ended(source)]))

    # Safety

    def receiveMsg_Again(self, message: Again, sender: ActorAddress) -> None:
        self.doubt.reborn = True

    def receiveMsg_Secure(self, message: Secure, sender: ActorAddress) -> None:
        endpoint = message.endpoint_uuid
        for device in self._devices:
            if endpoint in self._endpoints(device):
                self._publish_device(device)
        certain = self.doubt.certain(endpoint, message.asked)
        secured = Secured(message.number, message.observer, certain)
        self.send(self.destination, AwaitStored(endpoint, message.asked, secured))

    def _endpoints(self, device: str) -> set[str]:
        """Of what waits of the device."""
        buffer, throttle = self.buffers.get(device), self.throttles.get(device)
        waiting = [] if buffer is None else [buffer.batches[0].source]
        if throttle is not None and throttle.source is not None:
            waiting.append(throttle.source)
        return {source.endpoint_uuid for source in waiting}

    # Events

    def receiveMsg_EventRaised(self, message: EventRaised, sender: ActorAddress) -> None:
        if self.format.json:
            payload = formats.encode_event(self.compression, message.body, self.ids)
            self._hand_on(self._event_topic(message.topic), [payload])

    def _event_topic(self, topic: str) -> str:
        return topic if self.target.events_by_name else topics.fill(self.target, topic.rpartition("/")[2])

    # Holding back

    def _throttled(self, batch: Batch, plan: Plan) -> Batch | None:
        device = batch.source.device_uuid
        throttle = self.throttles.get(device)
        if throttle is None:
            throttle = self.throttles[device] = DeviceThrottle(self.route.min_interval_ms)
        now = self.clock.steady(batch.timestamp)
        admitted = throttle.admit(batch, plan.choice, now)
        if throttle.awaited is None:
            self._await_held(device, throttle)
        return admitted

    def _await_held(self, device: str, throttle: DeviceThrottle) -> None:
        at, throttle.awaited = throttle.release_at, None
        if at is not None:
            self.number += 1
            throttle.awaited = self.number
            # No longer than the interval, whatever clocks have said.
            wait = min(max(at - self.clock.steady(unix_ms()), 0), self.route.min_interval_ms)
            self.wakeupAfter(wait / 1000, HeldDue(device, self.number))

    def receiveMsg_HeldDue(self, message: HeldDue, sender: ActorAddress) -> None:
        throttle = self.throttles.get(message.device_uuid)
        if throttle is not None and throttle.awaited == message.number:
            now = unix_ms()
            self._release(throttle.release(self.clock.steady(now), now))
            self._await_held(message.device_uuid, throttle)

    def _release(self, batch: Batch | None) -> None:
        if batch is not None:
            self._take(batch, self.plans.get(batch.source))

    # Buffering

    def _buffer(self, batch: Batch) -> None:
        key = batch.source.device_uuid
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
        buffer = self.buffers.get(message.device_uuid)
        if buffer is not None and buffer.number == message.number:
            self._publish_buffer(message.device_uuid)

    def receiveMsg_Flush(self, message: Flush, sender: ActorAddress) -> None:
        self._publish_all()
        if message.leaving:
            self._end_all()
        self.send(sender, Flushed(self.id, message.number))

    def _publish_all(self) -> None:
        for device in self._devices:
            self._publish_device(device)

    @property
    def _devices(self) -> list[str]:
        """Those of which something may wait."""
        return list(dict.fromkeys([*self.buffers, *self.throttles]))

    def _publish_device(self, device: str) -> None:
        """What waits of it, for whatever reason."""
        throttle = self.throttles.get(device)
        if throttle is not None:
            self._release(throttle.release_all(unix_ms()))
        if device in self.buffers:
            self._publish_buffer(device)

    def _publish_buffer(self, key: str) -> None:
        batches = self.buffers.pop(key).batches
        self._publish(batches, self.plans.get(batches[0].source))
