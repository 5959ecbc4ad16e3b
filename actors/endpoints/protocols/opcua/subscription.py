"""Subscriptions of a session, and their monitored items: made within the server's limits, made anew when the
server has forgotten them."""

import asyncio
import logging
from collections.abc import Awaitable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Final, TypeVar

from asyncua import ua

from actors.connections.connection import NoConnection, Transient

from . import quality
from .asking import in_parts
from .channel import Channel
from .connection import Connection
from .decoding import Notification
from .delivery import Delivery, Field
from .limits import Limits

T = TypeVar("T")

log = logging.getLogger(__name__)

ALIVE_EVERY: Final = 2.5
"""Seconds within which a subscription that has nothing to tell is to say so."""
LIFETIME: Final = 60.0
"""Seconds after which the server may forget a subscription that nobody asks for."""
MISSED: Final = 2.0
"""Keep-alives that a subscription may miss before it counts as lost; servers are not punctual."""
SPARE: Final = 1.0
SLOW: Final = 8.0
NO_NODE: Final = frozenset(
    {"BadNodeIdUnknown", "BadNodeIdInvalid", "BadNoMatch", "BadNodeNotInView", "BadAttributeIdInvalid"}
)
"""That a node is not there, which may change."""
_AT_ONCE: Final = 8
"""Calls with the server while subscriptions are made."""
_MOST_NOTIFICATIONS: Final = 10_000
_UNBOUNDED: Final = 1_000_000
_FULL: Final = "BadTooManyMonitoredItems"
_NO_MORE: Final = frozenset({"BadTooManySubscriptions", "BadOutOfMemory", "BadResourceUnavailable"})
"""What a server says that does not want to have another subscription."""
_NO_FILTER: Final = frozenset(
    {
        "BadMonitoredItemFilterInvalid",
        "BadMonitoredItemFilterUnsupported",
        "BadFilterNotAllowed",
        "BadDeadbandFilterInvalid",
    }
)
"""What a server says of a dead band that it does not know, or not of this node."""


class Subscription:
    """One of the server's, of the fields with these handles."""

    def __init__(self, number: int, alive_within: float, room: int) -> None:
        self.number = number
        self.alive_within = alive_within
        """seconds after which its silence means that something is wrong"""
        self.room = room
        """monitored items that it may have"""
        self.heard = monotonic()
        self.items: dict[int, int] = {}
        """Of each handle the server's number of the item."""
        self.closed = False
        """By the server."""

    @property
    def free(self) -> int:
        """Monitored items that it may have more."""
        return self.room - len(self.items)

    @property
    def is_lost(self) -> bool:
        return self.closed or monotonic() - self.heard > self.alive_within


async def create(channel: Channel, interval: float, room: int) -> Subscription:
    """A new subscription, without items. Raises `NoConnection`."""
    alive = max(1, int(1000 * ALIVE_EVERY / interval))
    request = ua.CreateSubscriptionRequest()
    wanted = request.Parameters
    wanted.RequestedPublishingInterval = interval
    wanted.RequestedMaxKeepAliveCount = alive
    wanted.RequestedLifetimeCount = max(3 * alive, int(1000 * LIFETIME / interval))
    wanted.MaxNotificationsPerPublish = _MOST_NOTIFICATIONS
    wanted.PublishingEnabled = True
    wanted.Priority = 0
    found = (await channel.ask(request, ua.CreateSubscriptionResponse)).Parameters
    revised = found.RevisedPublishingInterval or interval
    alive_within = max(1, found.RevisedMaxKeepAliveCount) * revised / 1000
    return Subscription(found.SubscriptionId, MISSED * alive_within + SPARE, room)


class Subscriptions:
    """Those of one session."""

    def __init__(
        self,
        channel: Channel,
        connection: Connection,
        limits: Limits,
        fields: Sequence[Field],
        delivery: Delivery,
    ) -> None:
        self._channel = channel
        self._connection = connection
        self._limits = limits
        self._fields = fields
        self._delivery = delivery
        self._room = connection.max_items
        self._by_number: dict[int, Subscription] = {}
        self._nodes: dict[int, ua.NodeId] = {}
        """by handle, of what is monitored or should be"""
        self._waiting: set[int] = set()
        """Handles of items that have had no value yet."""
        self._waiting_since = 0.0
        self._gone: dict[int, str] = {}
        self._newer: set[int] | None = None
        """Handles of what was told while something is read; None: nothing is."""
        self._is_full = False
        """Whether the server takes no more items, whichever subscription they are for."""
        self._unfiltered: set[int] = set()
        """Handles of fields whose dead band the server does not take."""

    def __len__(self) -> int:
        return len(self._by_number)

    @property
    def handles(self) -> list[int]:
        """Of all that is monitored."""
        return [handle for one in self._by_number.values() for handle in one.items]

    def handles_of(self, number: int) -> list[int]:
        found = self._by_number.get(number)
        return [] if found is None else list(found.items)

    def resume(self, channel: Channel) -> None:
        """Go on with the same session on another channel."""
        self._channel = channel
        self.excuse()

    def excuse(self) -> None:
        """Their silence was none of theirs."""
        for subscription in self._by_number.values():
            subscription.heard = monotonic()

    @property
    def are_slow(self) -> bool:
        """Whether the server wants to be silent for so long that one is better asked after."""
        return any(one.alive_within > SLOW for one in self._by_number.values())

    # Making

    async def monitor(self, nodes: dict[int, ua.NodeId]) -> dict[int, str]:
        """Monitor the nodes, by handle; returns the quality codes of those that cannot be. Raises
        `NoConnection`."""
        self._nodes.update(nodes)
        refused: dict[int, str] = {}
        handles = list(nodes)
        while handles:
            try:
                await self._make_room(len(handles))
            except Transient as error:
                if error.code not in _NO_MORE or not self._by_number:
                    raise
                refused.update(dict.fromkeys(handles, error.code))
                break
            shares, handles = self._shared(handles)
            rooms = self._room, [subscription.room for subscription, _ in shares]
            results = await _several([self._add(subscription, part) for subscription, part in shares])
            self._is_full = False
            for (subscription, part), failed in zip(shares, results, strict=True):
                over = [handle for handle, code in failed.items() if code == _FULL]
                if over and subscription.items:
                    # The server's own limit; a subscription that has none of them is told when it refuses.
                    subscription.room = len(subscription.items)
                    self._room = min(self._room, subscription.room)
                    handles = over + handles
                    failed = {handle: code for handle, code in failed.items() if code != _FULL}
                elif len(over) == len(part):
                    self._is_full = True
                refused.update(failed)
            if self._is_full:
                # A limit of all items tells nothing of how many a subscription takes.
                self._room = rooms[0]
                for (subscription, _), room in zip(shares, rooms[1], strict=True):
                    subscription.room = room
                refused.update(dict.fromkeys(handles, _FULL))
                break
        for handle in refused:
            self._waiting.discard(handle)
        return refused

    async def _make_room(self, items: int) -> None:
        """For one at least, and for all of them unless the server wants no more subscriptions."""
        await self._with_room()
        if self._is_full:
            return
        free = sum(one.free for one in self._by_number.values())
        more = min(-(-(items - free) // self._room), _AT_ONCE)
        if more > 0:
            outcomes = await asyncio.gather(*(self._create() for _ in range(more)), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException) and not isinstance(outcome, Transient):
                    raise outcome

    def _shared(self, handles: list[int]) -> tuple[list[tuple[Subscription, list[int]]], list[int]]:
        """What each subscription with room is to take, of not too many at a time; and what is left."""
        shares: list[tuple[Subscription, list[int]]] = []
        for subscription in self._by_number.values():
            if subscription.free > 0 and handles and len(shares) < _AT_ONCE:
                shares.append((subscription, handles[: subscription.free]))
                handles = handles[subscription.free :]
        return shares, handles

    async def _with_room(self) -> Subscription:
        for subscription in self._by_number.values():
            if subscription.free > 0:
                return subscription
        try:
            return await self._create()
        except Transient as error:
            open_to_more = [one for one in self._by_number.values() if one.room == self._room]
            if error.code not in _NO_MORE or not open_to_more or self._room < self._connection.max_items:
                raise
            log.info("%s: takes no more than %d subscriptions", self._channel.url, len(self._by_number))
            self._room = _UNBOUNDED
            for subscription in open_to_more:
                subscription.room = _UNBOUNDED
            return open_to_more[0]

    async def _create(self) -> Subscription:
        subscription = await create(self._channel, self._connection.publishing_interval, self._room)
        self._by_number[subscription.number] = subscription
        return subscription

    async def _add(self, subscription: Subscription, handles: Sequence[int]) -> dict[int, str]:
        self._waiting.update(handles)
        self._waiting_since = monotonic()
        refused = await self._create_items(subscription, handles)
        unfiltered = [handle for handle, code in refused.items() if code in _NO_FILTER]
        if unfiltered:
            names = ", ".join(self._fields[handle].point.name for handle in unfiltered[:5])
            log.warning("%s: takes no dead band of %d points (%s)", self._channel.url, len(unfiltered), names)
            self._unfiltered.update(unfiltered)
            for handle in unfiltered:
                del refused[handle]
            refused.update(await self._create_items(subscription, unfiltered))
        return refused

    async def _create_items(self, subscription: Subscription, handles: Sequence[int]) -> dict[int, str]:
        results = await in_parts(self._limits.items, handles, partial(self._ask_for, subscription))
        refused: dict[int, str] = {}
        for handle, result in zip(handles, results, strict=True):
            if quality.is_bad(result.StatusCode.value):
                refused[handle] = quality.name_of(result.StatusCode.value)
            else:
                subscription.items[handle] = result.MonitoredItemId
        return refused

    async def _ask_for(
        self, subscription: Subscription, handles: Sequence[int]
    ) -> list[ua.MonitoredItemCreateResult]:
        request = ua.CreateMonitoredItemsRequest()
        request.Parameters.SubscriptionId = subscription.number
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        request.Parameters.ItemsToCreate = [self._item(handle) for handle in handles]
        response = await self._channel.ask(request, ua.CreateMonitoredItemsResponse)
        return list(response.Results)

    def _item(self, handle: int) -> ua.MonitoredItemCreateRequest:
        point = self._fields[handle].point
        item = ua.MonitoredItemCreateRequest()
        item.ItemToMonitor.NodeId = self._nodes[handle]
        item.ItemToMonitor.AttributeId = ua.AttributeIds.Value
        item.ItemToMonitor.IndexRange = point.index_range
        item.MonitoringMode = ua.MonitoringMode.Reporting
        wanted = item.RequestedParameters
        wanted.ClientHandle = handle
        sampling = point.sampling_interval
        wanted.SamplingInterval = self._connection.sampling_interval if sampling is None else sampling
        wanted.QueueSize = point.queue_size or self._connection.queue_size
        wanted.DiscardOldest = True
        if point.deadband is not None and handle not in self._unfiltered:
            wanted.Filter = ua.DataChangeFilter(
                Trigger=ua.DataChangeTrigger.StatusValue,
                DeadbandType=ua.DeadbandType.Percent if point.percent else ua.DeadbandType.Absolute,
                DeadbandValue=point.deadband,
            )
        return item

    # What comes

    def take(self, notification: Notification) -> None:
        subscription = self._by_number.get(notification.subscription)
        if subscription is None:
            return
        subscription.heard = monotonic()
        if notification.status is not None and quality.is_bad(notification.status):
            subscription.closed = True
        if notification.handles:
            if notification.statuses is not None:
                self._note_gone(notification.handles, notification.statuses)
            if self._waiting:
                self._waiting.difference_update(notification.handles)
            if self._newer is not None:
                self._newer.update(notification.handles)
            self._delivery.tell(
                notification.handles, notification.values, notification.statuses, notification.times
            )

    @contextmanager
    def noting(self) -> Iterator[set[int]]:
        """The handles of what the server tells of meanwhile: an answer that was under way may be older."""
        newer: set[int] = set()
        self._newer = newer
        try:
            yield newer
        finally:
            self._newer = None

    def _note_gone(self, handles: Sequence[int], statuses: Sequence[int]) -> None:
        for handle, status in zip(handles, statuses, strict=True):
            if status and (code := quality.name_of(status)) in NO_NODE:
                self._gone[handle] = code
            elif handle in self._gone:
                del self._gone[handle]

    def take_gone(self) -> dict[int, str]:
        """Quality codes of fields whose node the server says is gone, since it was last asked. Many servers
        do not monitor one that comes again."""
        gone, self._gone = self._gone, {}
        return gone

    # What does not

    def lost(self) -> list[Subscription]:
        """Those that the server seems to have forgotten."""
        return [one for one in self._by_number.values() if one.is_lost]

    def overdue(self, patience: float) -> list[int]:
        """Handles of items that have had no value within so many seconds; once."""
        if not self._waiting or monotonic() - self._waiting_since < patience:
            return []
        waiting, self._waiting = self._waiting, set()
        return sorted(waiting.intersection(self.handles))

    async def missing(self) -> list[Subscription]:
        """Those that the server does not know any more. Raises `NoConnection`."""
        asked = list(self._by_number.values())
        if not asked:
            return []
        request = ua.SetPublishingModeRequest()
        request.Parameters.PublishingEnabled = True
        request.Parameters.SubscriptionIds = [one.number for one in asked]
        try:
            response = await self._channel.ask(request, ua.SetPublishingModeResponse)
        except Transient:
            if not self._channel.is_open:
                raise
            return asked
        results = response.Parameters.Results
        if len(results) != len(asked):
            return asked
        return [one for one, status in zip(asked, results, strict=True) if quality.is_bad(status.value)]

    async def renew(self, lost: Collection[Subscription]) -> dict[int, str]:
        """Make subscriptions anew; the server tells of each item's present value. Returns the quality codes
        of those that cannot be monitored any more. Raises `NoConnection`."""
        for subscription in lost:
            self._by_number.pop(subscription.number, None)
        await self._delete([subscription.number for subscription in lost])
        handles = [handle for subscription in lost for handle in subscription.items]
        return await self.monitor({handle: self._nodes[handle] for handle in handles})

    async def _delete(self, numbers: list[int]) -> None:
        """The server may have them, after all."""
        request = ua.DeleteSubscriptionsRequest()
        request.Parameters.SubscriptionIds = numbers
        await self._ask_in_vain(request, ua.DeleteSubscriptionsResponse)

    async def forget(self, handles: Iterable[int]) -> None:
        """Stop monitoring. Raises `NoConnection`."""
        gone = set(handles)
        for subscription in self._by_number.values():
            items = [subscription.items.pop(handle) for handle in gone.intersection(subscription.items)]
            if items:
                request = ua.DeleteMonitoredItemsRequest()
                request.Parameters.SubscriptionId = subscription.number
                request.Parameters.MonitoredItemIds = items
                await self._ask_in_vain(request, ua.DeleteMonitoredItemsResponse)

    async def _ask_in_vain(self, request: object, answer: type[object]) -> None:
        """Whatever the server says."""
        try:
            await self._channel.ask(request, answer)
        except NoConnection as error:
            if not self._channel.is_open:
                raise
            log.debug("%s: %s", self._channel.url, error)


async def _several(calls: Sequence[Awaitable[T]]) -> list[T]:
    """What they return; when one fails, after all have ended."""
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    found: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        found.append(outcome)
    return found
