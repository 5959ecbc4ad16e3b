"""The router: who wants which endpoint's batches."""

import logging
from collections import defaultdict

import msgspec
from thespian.actors import ActorAddress

from actors.readings.batch import Batch, Source
from actors.readings.interest import select
from actors.readings.latest import Latest
from actors.readings.messages import (
    AwaitPersisted,
    EventRaised,
    ForgetSource,
    LatestReported,
    Observe,
    ReportLatest,
    ReportRouting,
    RoutingReported,
    Secure,
    Secured,
    SourceEnded,
    Unobserve,
)
from actors.readings.securing import Questions
from actors.subsystems.descriptor import SubsystemActor
from actors.subsystems.messages import SubsystemStarted
from actors.system.supervision import Restart
from conf.topic_filters import matches

log = logging.getLogger(__name__)

LOOK_INTERVAL = 1.0  # seconds until an observer that is no more is forgotten, and what nobody wants is told


class RunRouter(msgspec.Struct, frozen=True):
    """Start."""


class Observers(msgspec.Struct, frozen=True):
    """To its next life: who observes, and the latest readings."""

    observers: tuple[Observe, ...]
    latest: tuple[Batch, ...] = ()


class LookDue(msgspec.Struct, frozen=True):
    """To itself."""


class Plan(msgspec.Struct):
    """Where the batches of a source go; `delivered` tells whether any of them delivers. Whether they go to
    those who are `due` is found out when the next one comes."""

    source: Source
    due: dict[str, None]
    observers: dict[str, ActorAddress]
    delivered: int


class Router(SubsystemActor):
    """Sends each batch to those who want any of its points.

    Interests are matched once per device and change of either side, not per batch: a change of an
    observer costs one look at each source, when that next says something, a new source one at each observer.
    """

    RESTART = Restart(max_restarts=None, backoff_max=1.0)
    """It never gives up, and is soon back: nobody else knows who observes, and what is read waits in its
    mailbox."""

    def __init__(self) -> None:
        self.observers: dict[str, Observe] = {}
        self.plans: dict[str, Plan] = {}
        """By device."""
        self.latest: dict[str, Latest] = {}
        """By device."""
        self.devices: defaultdict[str, dict[str, None]] = defaultdict(dict)
        """Those with either, by endpoint."""
        self.questions = Questions()
        self.unrouted = 0
        self.looked_at = 0
        self.warned = False

    def receiveMsg_RunRouter(self, message: RunRouter, sender: ActorAddress) -> None:
        self.wakeupAfter(LOOK_INTERVAL, LookDue())
        self.send(sender, SubsystemStarted())

    def receiveMsg_Observers(self, message: Observers, sender: ActorAddress) -> None:
        self.questions.doubt.reborn = True
        self.observers = {one.observer.addressDetails: one for one in message.observers}
        for batch in message.latest:
            self._keep(batch)
        self._say()

    # Readings

    def receiveMsg_Batch(self, message: Batch, sender: ActorAddress) -> None:
        source = message.source
        device = source.device_uuid
        plan = self.plans.get(device)
        if plan is None or plan.source is not source:
            plan = self.plans[device] = Plan(source, dict.fromkeys(self.observers), {}, 0)
        if plan.due:
            self._look(plan)
        latest = self.latest.get(device)
        if message.past:
            pass
        elif latest is None:
            self._keep(message)
        else:
            latest.take(message)
        if not plan.delivered and not source.incidental:
            self.unrouted += 1
        if message.kept:
            self._send_kept(message, plan)
            return
        for observer in plan.observers.values():
            self.send(observer, message)

    def _send_kept(self, batch: Batch, plan: Plan) -> None:
        """Only who delivers it must not drop it: he is waited for, and others may fall behind."""
        loose = msgspec.structs.replace(batch, kept=False)
        for key, observer in plan.observers.items():
            self.send(observer, batch if self.observers[key].delivers else loose)

    def _keep(self, batch: Batch) -> None:
        source = batch.source
        latest = self.latest.get(source.device_uuid)
        if latest is None:
            latest = self.latest[source.device_uuid] = Latest()
            self.devices[source.endpoint_uuid][source.device_uuid] = None
        latest.take(batch)

    def _latest(self) -> list[Batch]:
        return [batch for one in self.latest.values() if (batch := one.batch()) is not None]

    def _look(self, plan: Plan) -> None:
        for key in plan.due:
            observe = self.observers.get(key)
            if observe is not None and select(observe.interest, plan.source) != ():
                plan.observers[key] = observe.observer
                plan.delivered += observe.delivers
        plan.due = {}

    # Safety

    def receiveMsg_AwaitPersisted(self, message: AwaitPersisted, sender: ActorAddress) -> None:
        """Asked of all who want anything of the endpoint now, and deliver it."""
        asked: dict[str, ActorAddress] = {}
        for device in self.devices.get(message.endpoint_uuid, ()):
            plan = self.plans.get(device)
            if plan is not None:
                if plan.due:
                    self._look(plan)
                asked |= plan.observers
        wanting = {key: address for key, address in asked.items() if self.observers[key].delivers}
        number = self.questions.ask(message, sender, wanting.values())
        for address in wanting.values():
            self.send(address, Secure(number, message.endpoint_uuid, message.number, address))
        self._answer()

    def receiveMsg_Secured(self, message: Secured, sender: ActorAddress) -> None:
        self.questions.secured(message)
        self._answer()

    def _answer(self) -> None:
        for asker, answer in self.questions.answers():
            self.send(asker, answer)

    def receiveMsg_EventRaised(self, message: EventRaised, sender: ActorAddress) -> None:
        for observe in self.observers.values():
            if any(matches(wanted, message.topic) for wanted in observe.events):
                self.send(observe.observer, message)

    # Observers

    def receiveMsg_Observe(self, message: Observe, sender: ActorAddress) -> None:
        key = message.observer.addressDetails
        self._forget(key)
        self.observers[key] = message
        self.warned = False
        for plan in self.plans.values():
            plan.due[key] = None
        self._remember()

    def receiveMsg_Unobserve(self, message: Unobserve, sender: ActorAddress) -> None:
        self._forget(message.observer.addressDetails)
        self._remember()

    def _forget(self, key: str) -> None:
        observe = self.observers.pop(key, None)
        if observe is not None:
            for plan in self.plans.values():
                if plan.observers.pop(key, None) is not None:
                    plan.delivered -= observe.delivers

    def _remember(self) -> None:
        self.remember(Observers(tuple(self.observers.values())))
        self._say()

    def _say(self) -> None:
        self.health = f"{sum(one.delivers for one in self.observers.values())} subscriptions"

    def receiveMsg_LookDue(self, message: LookDue, sender: ActorAddress) -> None:
        gone = [key for key, one in self.observers.items() if not self.exists(one.observer)]
        for key in gone:
            self._forget(key)
        if gone:
            self._remember()
        self._give_up()
        if self.unrouted > self.looked_at and not self.warned:
            self.warned = True
            log.warning("readings that no enabled subscription wants are dropped")
        self.looked_at = self.unrouted
        self.wakeupAfter(LOOK_INTERVAL, LookDue())

    def _give_up(self) -> None:
        """Nobody waits for who is no more. One that leaves is waited for: its readings are on the way."""
        for observer in self.questions.awaited():
            if not self.exists(observer):
                self.questions.gone(observer)
        self._answer()

    # Answering

    def receiveMsg_ReportLatest(self, message: ReportLatest, sender: ActorAddress) -> None:
        self.send(sender, LatestReported(self._latest()))

    def receiveMsg_ReportRouting(self, message: ReportRouting, sender: ActorAddress) -> None:
        self.send(sender, RoutingReported(self.unrouted, message.number))

    def receiveMsg_ForgetSource(self, message: ForgetSource, sender: ActorAddress) -> None:
        devices = self.devices.get(message.endpoint_uuid, {})
        for device in list(devices) if message.device_uuid is None else [message.device_uuid]:
            devices.pop(device, None)
            self._end(device)
        if not devices:
            self.devices.pop(message.endpoint_uuid, None)
            self.questions.forget(message.endpoint_uuid)

    def _end(self, device: str) -> None:
        self.latest.pop(device, None)
        plan = self.plans.pop(device, None)
        if plan is not None:
            for key, observer in plan.observers.items():
                if self.observers[key].endings:
                    self.send(observer, SourceEnded(plan.source))

    def stopped(self) -> None:
        """A device may be read once a day. Without observers it may not have read its own note yet."""
        if self.observers:
            self.remember(Observers(tuple(self.observers.values()), tuple(self._latest())))
