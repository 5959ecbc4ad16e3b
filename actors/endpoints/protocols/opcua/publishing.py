"""Publish requests, and what comes back for them (part 4, 5.14.5)."""

import asyncio
import logging
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from asyncua import ua
from asyncua.ua.uaerrors import UaError

from actors.connections.connection import NoConnection, Transient

from . import decoding, faults
from .channel import Channel
from .decoding import Notification
from .posting import Service

log = logging.getLogger(__name__)

_PUBLISH = Service("Publish")
_MOD = 1 << 32
_MOST_MISSED: Final = 1000
"""Notifications that are asked for again; a larger step is none of a server that counts."""
_MOST_GIVEN_UP: Final = 1000
"""Requests that were not answered in time, before the session is of no use."""
_PAUSE: Final = 1.0
"""Seconds before the next request after one that the server could not serve."""
_MOST_FAULTS: Final = 10
"""In a row."""
_PASSING = frozenset(
    {
        "BadTimeout",
        "BadRequestTimeout",
        "BadTcpServerTooBusy",
        "BadServerTooBusy",
        "BadOutOfMemory",
        "BadResourceUnavailable",
        "BadInternalError",
    }
)
"""What a server says of a request, and not of the session."""


class Publisher:
    """Keeps so many Publish requests with the server, acknowledges what came, and hands it over, each
    subscription's in order. What has been lost on the way is asked for again.

    `notified` is called for each answer, `failed` when publishing cannot go on: never again, or with
    `BadNoSubscription` until the next `keep`.
    """

    def __init__(
        self,
        channel: Channel,
        notified: Callable[[Notification], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._channel = channel
        self._notified = notified
        self._failed = failed
        self._wanted = 0
        self._most = 1 << 30
        """As the server was found to take."""
        self._outstanding: set[asyncio.Future[Any]] = set()
        self._given_up: set[asyncio.Future[Any]] = set()
        """Those that others were made instead of; an answer counts all the same."""
        self._acknowledged: list[int] = []
        """Subscription, sequence number, and so on."""
        self._expected: dict[int, int] = {}
        """Of each subscription the sequence number of its next notification."""
        self._held: dict[int, list[Notification]] = {}
        """Those of a subscription that wait for what was lost before them."""
        self._overtaken: dict[int, set[int]] = {}
        """Sequence numbers of each subscription that were had again or given up: what comes of them after all
        is older than what was told."""
        self._missed: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._faults = 0
        self._pause: asyncio.TimerHandle | None = None

    def keep(self, outstanding: int) -> None:
        """From now on so many requests, if the server takes them."""
        self._wanted = outstanding
        self._top_up()

    def renew(self) -> None:
        """Other requests instead of those with the server: it says nothing, and may have lost them."""
        self._given_up |= self._outstanding
        self._outstanding = set()
        if len(self._given_up) > _MOST_GIVEN_UP:
            self._fail(Transient("the server answers no Publish requests", code=faults.TIMEOUT))
        self._top_up()

    def forget(self, numbers: Iterable[int]) -> None:
        """The subscriptions of these numbers are no more; the server may give them to others."""
        for number in numbers:
            self._expected.pop(number, None)
            self._overtaken.pop(number, None)

    def stop(self) -> None:
        self._wanted = 0
        if self._pause is not None:
            self._pause.cancel()
        for waiting in (*self._outstanding, *self._given_up, *self._tasks):
            waiting.cancel()

    def resume(self, channel: Channel) -> None:
        """Go on with the same session on another channel; what was lost with the one before is found by its
        numbers."""
        self._channel = channel
        self._held.clear()
        self._acknowledged.clear()
        self._faults = 0

    def take_missed(self) -> set[int]:
        """The subscriptions of which something is lost for good, since it was last asked."""
        missed, self._missed = self._missed, set()
        return missed

    # Requests

    def _top_up(self) -> None:
        self._pause = None
        while len(self._outstanding) < min(self._wanted, self._most):
            acknowledged, self._acknowledged = self._acknowledged, []
            count = len(acknowledged)
            parameters = struct.pack(f"<i{count}I", count // 2, *acknowledged)
            try:
                answer = self._channel.post(_PUBLISH, parameters, 0)
            except (NoConnection, OSError) as error:
                self._fail(error)
                return
            self._outstanding.add(answer)
            answer.add_done_callback(self._answered)

    def _answered(self, answer: "asyncio.Future[Any]") -> None:
        self._outstanding.discard(answer)
        self._given_up.discard(answer)
        if answer.cancelled():
            return
        error = answer.exception()
        if error is None:
            try:
                notification = decoding.published(bytes(answer.result()))
            except UaError as refused:
                error = refused
        if error is not None:
            self._refused(error)
            return
        self._faults = 0
        if not notification.keep_alive:
            self._acknowledged += (notification.subscription, notification.sequence)
        self._top_up()
        self._in_order(notification)

    def _refused(self, error: BaseException) -> None:
        name = faults.status_of(error)
        if name == "BadTooManyPublishRequests" and self._outstanding:
            self._most = len(self._outstanding)
            return
        self._faults += 1
        if name not in _PASSING or self._faults > _MOST_FAULTS:
            self._fail(error)
        elif self._pause is None:
            self._pause = asyncio.get_running_loop().call_later(_PAUSE, self._top_up)

    def _fail(self, error: BaseException) -> None:
        if self._wanted:
            self._wanted = 0
            self._failed(error)

    # Sequence numbers

    def _in_order(self, notification: Notification) -> None:
        number = notification.subscription
        if number in self._held:
            self._held[number].append(notification)
            return
        overtaken = self._overtaken.get(number, ())
        if not notification.keep_alive and notification.sequence in overtaken:
            return
        expected, most = self._expected.get(number), _MOST_MISSED
        if expected is None:  # the first ones may overtake each other as well
            expected, most = 1, self._wanted
        ahead = (notification.sequence - expected) % _MOD
        if 0 < ahead <= most:
            self._ask_again(notification, [(expected + step) % _MOD or 1 for step in range(ahead)])
            return
        self._hand_over(notification)

    def _hand_over(self, notification: Notification) -> None:
        sequence = notification.sequence
        # A keep-alive has the number of the notification to come. After the last number comes 1.
        self._expected[notification.subscription] = (
            sequence if notification.keep_alive else (sequence + 1) % _MOD or 1
        )
        self._notified(notification)

    def _ask_again(self, notification: Notification, missing: Sequence[int]) -> None:
        number = notification.subscription
        log.warning(
            "%s: %d notifications of subscription %d are missing", self._channel.url, len(missing), number
        )
        self._held[number] = [notification]
        task = asyncio.create_task(self._republish(number, missing))
        self._tasks.add(task)
        task.add_done_callback(self._republished)

    def _republished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)  # what is held would be held for ever

    async def _republish(self, number: int, missing: Sequence[int]) -> None:
        overtaken = self._overtaken.setdefault(number, set())
        if len(overtaken) > _MOST_MISSED:
            overtaken.clear()
        asking = True
        for sequence in missing:
            again = None
            if asking and not self._has_come(number, sequence):
                again = await self._had_again(number, sequence)
                asking = again is not None
            late = self._take_late(number, sequence)
            if late is None:
                overtaken.add(sequence)
            found = late or again
            if found is None:
                self._missed.add(number)
            else:
                self._notified(found)
        held = self._held.pop(number)
        self._hand_over(held[0])
        for notification in held[1:]:
            self._in_order(notification)

    async def _had_again(self, number: int, sequence: int) -> Notification | None:
        request = ua.RepublishRequest()
        request.Parameters.SubscriptionId = number
        request.Parameters.RetransmitSequenceNumber = sequence
        try:
            response = await self._channel.ask(request, ua.RepublishResponse)
        except NoConnection as error:
            log.warning(
                "%s: subscription %d: what is missing has not come: %s", self._channel.url, number, error
            )
            return None
        self._acknowledged += (number, sequence)
        return decoding.notification(number, response.NotificationMessage)

    def _has_come(self, number: int, sequence: int) -> bool:
        return any(one.sequence == sequence and not one.keep_alive for one in self._held[number])

    def _take_late(self, number: int, sequence: int) -> Notification | None:
        """What was not lost, but has been overtaken."""
        held = self._held[number]
        for at, one in enumerate(held):
            if one.sequence == sequence and not one.keep_alive:
                return held.pop(at)
        return None
