"""The endpoint actor: owns a connection to the field, and the health and last values of who is at its end."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any, cast

import msgspec
from msgspec import Raw
from thespian.actors import ActorAddress

from actors.connections.connecting import Trouble
from actors.connections.retry import Doubling
from actors.endpoints import protocols
from actors.endpoints.answering import Answering
from actors.endpoints.backfilling import BackfillEnded, Backfilling
from actors.endpoints.gathering import Awaited, Change, ChangesDue, Gathering, Heard, Presence, Raised, layers
from actors.endpoints.image import OFFLINE, Image
from actors.endpoints.keeping import ASK_AGAIN, AskAgain, Keeping
from actors.endpoints.lines import Lines, lines_of
from actors.endpoints.listener import Description
from actors.endpoints.messages import (
    BackfillDevice,
    DevicesSettled,
    ForgetDevice,
    WriteRegister,
)
from actors.endpoints.outlet import Outlet, SendOn
from actors.endpoints.polling import PollDone, PollFailed, Polling, PollLate
from actors.endpoints.protocol import CheckedEndpoint, Session
from actors.endpoints.pushing import Pushing
from actors.endpoints.roster import OWN, Roster
from actors.endpoints.schedule import Schedule, origin
from actors.endpoints.shared import check
from actors.endpoints.telling import TellAgain, Telling
from actors.endpoints.writing import WriteEnded, Writing
from actors.readings.batch import Point, Source
from actors.readings.messages import EventRaised, ForgetSource, Persisted
from actors.readings.source_topics import level, prefixes
from actors.system.failure import Refusal
from storage.timestamps import unix_ms

log = logging.getLogger(__name__)

NOT_CONFIGURED = "DEVICE_NOT_CONFIGURED"
BEGUN_ANEW = "what has come may have gone with a part of the agent that began anew: it is to be sent again"
FIRST_POLL_WITHIN = 5.0  # seconds: an endpoint of a long interval does not wait for its place in it


class RunEndpoint(msgspec.Struct, frozen=True):
    """Start, and again whenever the configuration changes. `connection` is JSON of an object, `data_points`
    of an array of objects or null. Intervals in ms; `phase` is where in the interval to poll, 0..1; `router`
    gets the batches, `keeper` is told of devices that are found."""

    uuid: str
    name: str
    protocol: str
    device_uuid: str
    device: str
    connection: Raw
    data_points: Raw
    poll_interval: int
    phase: float
    reconnect_min_ms: int
    reconnect_max_ms: int
    router: ActorAddress
    keeper: ActorAddress | None = None


class TickDue(msgspec.Struct, frozen=True):
    """To itself: the schedule's; `series` tells the ticks of an outdated schedule apart."""

    series: int


class FinishPoll(msgspec.Struct, frozen=True):
    """To the endpoint, which is to end: begin no more polls. Answered by `PollFinished` when what the device
    was asked is answered and on its way; a new start takes it back."""


class PollFinished(msgspec.Struct, frozen=True):
    pass


class Endpoint(Answering):
    """Keeps the configuration, and an image of each of its devices; how they are read is the `strategy`'s to
    say, how they are written `writing`'s."""

    config: RunEndpoint
    strategy: Polling | Pushing
    outlet: Outlet
    keeping: Keeping

    def __init__(self) -> None:
        super().__init__()
        self.series = 0
        self.scheduled = False
        self.begun = False
        self.lines: Lines | None = None
        self.gathering: Gathering | None = None
        self.telling = Telling(self)
        self.writing = Writing(self)
        self.backfilling = Backfilling(self)
        self.finishing: ActorAddress | None = None
        self.misconfigured: str | None = None

    def receiveMsg_RunEndpoint(self, message: RunEndpoint, sender: ActorAddress) -> None:
        """Begin, or begin anew with a changed configuration; another interval alone keeps the connection."""
        self.finishing = None
        if self.scheduled and _same_device(message, self.config):
            self.config = message
            self._schedule()
            return
        self._forget()
        self.config = message
        self.outlet = Outlet(partial(self.send, message.router), self._send_on, self._myRef.count_dropped)
        self.keeping = Keeping(message.uuid, self.outlet.put)
        self.peer = message.name
        self.misconfigured = None
        self.health = "connecting"
        self._describe_own(())
        try:
            self.protocol = protocols.find(message.protocol)
            self.endpoint, points = check(
                message.name, self.protocol, message.connection, message.data_points
            )
        except Refusal as refusal:
            self._misconfigured(refusal.message)
            return
        self._describe_own(self.endpoint.points, points.shown, self.endpoint.mode == "pushed")
        for description in self.endpoint.devices:
            self.roster.describe(description)
        if self.endpoint.mode == "idle":
            self.health = "not polled: serves discovery only"
            return
        self.strategy = Polling(self) if self.endpoint.mode == "polled" else Pushing(self)
        self.lines = lines_of(self.protocol.name)
        self.scheduled = True
        self.telling.tell()
        self._schedule()

    def _describe_own(
        self, points: tuple[Any, ...], shown: tuple[Point, ...] = (), pushed: bool = False
    ) -> None:
        config = self.config
        source = Source(
            endpoint_uuid=config.uuid,
            endpoint=config.name,
            protocol=config.protocol,
            device_uuid=config.device_uuid,
            device=config.device,
            points=shown,
            prefixes=prefixes(config.protocol, config.name, config.device),
            pushed=pushed,
        )
        self.roster = Roster(Image(source, Description(OWN, config.device, points)))
        self.own, self.images = self.roster.own, self.roster.images

    def _forget(self) -> None:
        """Let go of the device, and of what was known of it; what it has told goes out before."""
        self.disconnect()
        if self.scheduled:
            self.outlet.flush()
            self.send(self.config.router, ForgetSource(self.config.uuid))
        self.series += 1
        self.scheduled = self.begun = False
        self.gathering = None

    # The schedule

    def _schedule(self) -> None:
        self.retry = _retry(self.config, self.endpoint)
        self.series += 1
        interval, phase, now = self.config.poll_interval / 1000, self.config.phase, monotonic()
        self.schedule = Schedule(interval, origin(now, interval, phase))
        if interval > FIRST_POLL_WITHIN:
            self.wakeupAfter(origin(now, FIRST_POLL_WITHIN, phase) - now, TickDue(self.series))
        else:
            self.wakeupAfter(self.schedule.next_delay(now), TickDue(self.series))

    def receiveMsg_TickDue(self, message: TickDue, sender: ActorAddress) -> None:
        if message.series != self.series:
            return
        now = monotonic()
        self.wakeupAfter(self.schedule.next_delay(now), message)
        self.strategy.tick(now)

    def begin(self) -> bool:
        """Connect, if it has not yet begun to; whether it begins now. Not before the first tick: endpoints
        that start together do not connect together."""
        if self.begun:
            return False
        self.begun = True
        self.connect()
        return True

    def receiveMsg_PollDone(self, message: PollDone, sender: ActorAddress) -> None:
        if message.number == self.number:
            cast(Polling, self.strategy).polled(message)
            if self.finishing is not None:
                self._finish()

    def receiveMsg_PollFailed(self, message: PollFailed, sender: ActorAddress) -> None:
        if message.number == self.number:
            cast(Polling, self.strategy).failed(message)
            self._finish()

    def receiveMsg_PollLate(self, message: PollLate, sender: ActorAddress) -> None:
        if isinstance(self.strategy, Polling):
            self.strategy.late(message)

    def receiveMsg_FinishPoll(self, message: FinishPoll, sender: ActorAddress) -> None:
        self.finishing = sender
        self.series += 1  # no tick counts any more
        self._take_changes()
        self.outlet.flush()
        self._finish()

    def _finish(self) -> None:
        if self.finishing is None or self.writing.busy:
            return
        if not (self.scheduled and self.strategy.busy):
            self.send(self.finishing, PollFinished())

    # What the session tells

    def receiveMsg_ChangesDue(self, message: ChangesDue, sender: ActorAddress) -> None:
        if message.number == self.number:
            self._take_changes()

    def _take_changes(self) -> None:
        if self.gathering is None:
            return
        self.outlet.begin()
        changes: dict[str, list[Change]] = {}
        events = self.gathering.take()
        awaited = [event.then for event in events if isinstance(event, Awaited)]
        kept = bool(awaited)
        for event in events:
            if type(event) is Change:
                known = changes.get(event.device)
                if known is None:
                    changes[event.device] = [event]
                else:
                    known.append(event)
                continue
            if isinstance(event, Raised):
                self._raise(event)
                continue
            if isinstance(event, Awaited):
                continue
            if isinstance(event, Description):
                self._changed(changes.pop(event.identifier, ()), kept)
                self.roster.describe(event)
                continue
            self._changed(changes.pop(event.device, ()), kept)
            leaves = isinstance(event, Presence) and event.code is not None
            image = self.images.get(event.device) if leaves else self.roster.image(event.device)
            if image is not None and isinstance(event, Heard):
                image.hear(unix_ms())
            elif image is not None and isinstance(event, Presence):
                self._present(image, event.code)
        for told in changes.values():
            self._changed(told, kept)
        if awaited and self.keeping.wait(awaited):
            self.wakeupAfter(ASK_AGAIN, self.keeping.question)
        if self.roster.bare:
            self.own.hear(unix_ms())
        self.telling.tell()

    def _raise(self, event: Raised) -> None:
        config = self.config
        topic = f"events/{event.kind}/{level(config.protocol)}/{level(config.name)}"
        where = {"protocol": config.protocol, "endpoint": config.name, "endpoint_uuid": config.uuid}
        self.outlet.put(EventRaised(topic, where | event.body))

    def _send_on(self) -> None:
        # Not a message: it would be handled in the same turn.
        self.wakeupAfter(0, SendOn())

    def receiveMsg_SendOn(self, message: SendOn, sender: ActorAddress) -> None:
        self.outlet.turn()

    def receiveMsg_Persisted(self, message: Persisted, sender: ActorAddress) -> None:
        if not message.certain:
            # Who is not told that it is safe sends it again, on the next connection.
            if self.connected and self.keeping.doubts(message.number):
                self.lose(Trouble(BEGUN_ANEW, permanent=False), hung=True)
        elif self.keeping.answered(message.number):
            self.wakeupAfter(ASK_AGAIN, self.keeping.question)

    def receiveMsg_AskAgain(self, message: AskAgain, sender: ActorAddress) -> None:
        if self.keeping.again(message):
            self.wakeupAfter(ASK_AGAIN, message)

    def _changed(self, changes: Sequence[Change], kept: bool) -> None:
        """What one device has told; `kept` as in `Batch`."""
        image = self.roster.image(changes[0].device) if changes else None
        if image is not None:
            for change in layers(changes):
                self.outlet.put(image.take(change, kept))

    def _present(self, image: Image, code: str | None) -> None:
        known, image.away = image.away, code
        image.heard_at = monotonic()
        if code is None:
            image.record.connected = True
        elif code != known:
            self.missing(image, unix_ms(), None, code, code)

    # Its devices

    def receiveMsg_TellAgain(self, message: TellAgain, sender: ActorAddress) -> None:
        self.telling.tell_again()

    def receiveMsg_DevicesSettled(self, message: DevicesSettled, sender: ActorAddress) -> None:
        self.telling.settled(message)

    def receiveMsg_ForgetDevice(self, message: ForgetDevice, sender: ActorAddress) -> None:
        if self.roster.remove(message.uuid) is not None:
            self.outlet.put(ForgetSource(self.config.uuid, message.uuid))

    # For the strategies

    def arrived(self) -> None:
        """The connection has been of use for the first time."""
        self.proved()
        log.info("%s: connected to %s", self.config.name, self.endpoint.address)
        self.health = "connected"

    def missed(self, timestamp: int, duration: float | None, code: str, reason: str | None) -> None:
        """No device of the endpoint has readings now, for that reason."""
        self.outlet.begin()
        for image in self.images.values():
            self.missing(image, timestamp, duration, code, reason)

    def missing(
        self, image: Image, timestamp: int, duration: float | None, code: str, reason: str | None
    ) -> None:
        """The device has no readings now; `reason` None: what was said before, if anything."""
        record = image.record
        record.failure(timestamp, duration, code, reason or record.last_error or code)
        batch = image.bad(timestamp, code)
        if batch is not None:
            self.outlet.put(batch)

    @staticmethod
    def code_of(trouble: Trouble) -> str:
        """The quality of readings that there are none of for that reason."""
        return trouble.code or (NOT_CONFIGURED if trouble.permanent else OFFLINE)

    # The connection

    def connect(self) -> None:
        if self.gathering is not None:
            self.gathering.begin()
        self.strategy.connecting()
        super().connect()

    def builder(self, number: int) -> tuple[str, Callable[[], Session]]:
        protocol, endpoint, lines = self.protocol, self.endpoint, self.lines
        assert lines is not None
        if endpoint.mode == "polled":  # with the points that the session before has found
            endpoint = msgspec.structs.replace(endpoint, points=self.own.description.points)
        self.keeping.forget()
        gathering = self.gathering = Gathering(number, partial(self.send, self.myAddress))
        return protocol.name, lambda: protocol.session(endpoint, gathering, lines)

    def connection_made(self) -> None:
        self.strategy.connection_made()

    def attempt_failed(self, trouble: Trouble, news: bool) -> None:
        self.strategy.attempt_failed(trouble, 1000 * (monotonic() - self.attempt_began))
        self._say(trouble, "cannot reach" if news else None)

    def connection_ended(self, trouble: Trouble, news: bool) -> None:
        self.keeping.forget()
        self.strategy.connection_ended(trouble)
        self._say(trouble, "lost" if self.proven else "cannot reach" if news else None)

    def _say(self, trouble: Trouble, what: str | None) -> None:
        self.health = f"disconnected: {trouble.reason}"
        if what is not None:
            log.warning("%s: %s %s: %s", self.config.name, what, self.endpoint.address, trouble.reason)

    def _misconfigured(self, message: str) -> None:
        log.error("%s: %s", self.config.name, message)
        self.misconfigured = message
        self.health = f"misconfigured: {message}"
        self.own.record.last_error = message

    # Writing

    def receiveMsg_WriteRegister(self, message: WriteRegister, sender: ActorAddress) -> None:
        self.writing.asked(message, sender)

    def receiveMsg_WriteEnded(self, message: WriteEnded, sender: ActorAddress) -> None:
        self.writing.ended(message)
        self._finish()

    def receiveMsg_BackfillDevice(self, message: BackfillDevice, sender: ActorAddress) -> None:
        self.backfilling.asked(message, sender)

    def receiveMsg_BackfillEnded(self, message: BackfillEnded, sender: ActorAddress) -> None:
        self.backfilling.ended(message)

    def connection_dropped(self) -> None:
        self.writing.interrupted()
        self.backfilling.interrupted()

    def stopped(self) -> None:
        self._forget()


def _retry(config: RunEndpoint, endpoint: CheckedEndpoint) -> Doubling:
    longest = config.reconnect_max_ms / 1000
    return Doubling(min((endpoint.retry_ms or config.reconnect_min_ms) / 1000, longest), longest)


def _same_device(one: RunEndpoint, other: RunEndpoint) -> bool:
    """Whether they differ in nothing but when to poll and to reconnect."""
    return one == msgspec.structs.replace(
        other,
        poll_interval=one.poll_interval,
        phase=one.phase,
        reconnect_min_ms=one.reconnect_min_ms,
        reconnect_max_ms=one.reconnect_max_ms,
    )
