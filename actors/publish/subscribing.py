"""The subscriptions of a destination: run, flushed, let go."""

from collections.abc import Collection, Iterable

import msgspec
from thespian.actors import ActorAddress, ChildActorExited

from actors.connections.connecting import numbers
from actors.publish.subscription import Flush, Flushed, RunSubscription, Subscription
from actors.readings.messages import Observe, ReportRouting, RoutingReported, Unobserve
from actors.system.actor import Actor
from actors.system.addresses import child_address

LEAVE_SECONDS = 30.0  # that a subscription which is no longer wanted has to publish what it holds


class LeaveOver(msgspec.Struct, frozen=True):
    """To itself: subscriptions that leave were waited for long enough; `number` is that of their `Flush`."""

    number: int


class Subscribing(Actor):
    """Parent of subscriptions, which it makes known to the router. One that is no longer wanted goes when it
    has published what it holds."""

    router: ActorAddress

    def __init__(self) -> None:
        super().__init__()
        self.subscriptions: dict[int, RunSubscription] = {}
        self.flush = 0
        self.flushing: set[int] = set()
        self.leaving: dict[int, int] = {}
        self.withdrawn = False

    def flushed(self) -> None:
        """Called when a subscription has published what it held."""

    def subscribe(self, wanted: Iterable[RunSubscription], router: ActorAddress) -> None:
        """Run these and no others."""
        self.router = router
        known, self.withdrawn = not self.withdrawn, False
        self.flushing.clear()
        before, self.subscriptions = self.subscriptions, {start.id: start for start in wanted}
        self._let_leave(before.keys() - self.subscriptions.keys())
        self.keep_only(self._subscription(id) for id in [*self.subscriptions, *self.leaving])
        for id, start in self.subscriptions.items():
            returned = self.leaving.pop(id, None) is not None
            address, old = self._subscription(id), before.get(id)
            if not self.running(address):
                self.spawn(Subscription, f"subscription-{id}", start)
            elif returned or (start is not old and start != old):
                self.restate(address, start)
            elif known:
                continue
            interest, events = start.route.interest, start.route.events
            self.send(router, Observe(address, interest, events, delivers=True, endings=True))

    def _let_leave(self, ids: Collection[int]) -> None:
        """They take no more readings, and go when they have published those on their way to them."""
        if not ids:
            return
        number = next(numbers)
        for id in ids:
            self.leaving[id] = number
            self.send(self.router, Unobserve(self._subscription(id)))
        self.send(self.router, ReportRouting(number))
        self.wakeupAfter(LEAVE_SECONDS, LeaveOver(number))

    def withdraw(self) -> None:
        """Take no more readings, and have all of them publish what they hold, once the router has sent on
        what it had; `flushing` are those that have not yet."""
        self.withdrawn = True
        for id in self.subscriptions:
            self.send(self.router, Unobserve(self._subscription(id)))
        self.flush = next(numbers)
        self.flushing = self.subscriptions.keys() | self.leaving.keys()
        if self.flushing:
            self.send(self.router, ReportRouting(self.flush))

    def receiveMsg_RoutingReported(self, message: RoutingReported, sender: ActorAddress) -> None:
        """What was on its way to subscriptions is with them: they may publish the last of it."""
        last = {id for id, number in self.leaving.items() if number == message.number}
        if self.withdrawn and message.number == self.flush:
            last |= self.flushing
        for id in last:
            self.send(self._subscription(id), Flush(message.number, leaving=id in self.leaving))

    def receiveMsg_Flushed(self, message: Flushed, sender: ActorAddress) -> None:
        if self.leaving.get(message.id) == message.number:
            self._leave(message.id)
        elif message.number == self.flush:
            self._flushed(message.id)

    def receiveMsg_LeaveOver(self, message: LeaveOver, sender: ActorAddress) -> None:
        for id, number in list(self.leaving.items()):
            if number == message.number:
                self._leave(id)

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, sender: ActorAddress) -> None:
        """One that gave up is not waited for; the next change starts it anew."""
        for id in [*self.subscriptions, *self.leaving]:
            if message.childAddress == self._subscription(id):
                self.leaving.pop(id, None)
                self._flushed(id)

    def _leave(self, id: int) -> None:
        del self.leaving[id]
        self.stop_child(self._subscription(id))
        self._flushed(id)

    def _flushed(self, id: int) -> None:
        self.flushing.discard(id)
        self.flushed()

    def _subscription(self, id: int) -> ActorAddress:
        return child_address(self.myAddress, f"subscription-{id}")
