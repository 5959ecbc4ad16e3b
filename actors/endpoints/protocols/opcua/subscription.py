"""Subscriptions of a session, and their monitored items: made within the server's limits, kept alive, made
anew when the server has forgotten them."""

import logging
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Final

from asyncua import ua

from actors.connections.connection import Transient

from . import quality
from .asking import in_parts
from .channel import Channel
from .connection import Connection
from .decoding import Notification
from .delivery import Delivery, Field
from .limits import Limits

log = logging.getLogger(__name__)

ALIVE_EVERY: Final = 2.5
"""Seconds within which a subscription that has nothing to tell is to say so."""
LIFETIME: Final = 60.0
"""Seconds after which the server may forget a subscription that nobody asks for."""
MISSED: Final = 2.0
"""Keep-alives that a subscription may miss before it is asked after; servers are not punctual."""
SPARE: Final = 1.0
_MOST_NOTIFICATIONS: Final = 10_000


class Subscription:
    """One of the server's, of the fields with these handles."""

    def __init__(self, number: int, interval: float, alive_within: float) -> None:
        self.number = number
        self.interval = interval
        """milliseconds, as the server has revised it"""
        self.alive_within = alive_within
        """seconds after which its silence means that something is wrong"""
        self.heard = monotonic()
        self.handles: list[int] = []
        self.expected: int | None = None
        """the sequence number of the next notification"""


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
        self._by_number: dict[int, Subscription] = {}
        self._nodes: dict[int, ua.NodeId] = {}
        """by handle, of what is monitored or should be"""

    def __len__(self) -> int:
        return len(self._by_number)

    async def monitor(self, nodes: dict[int, ua.NodeId]) -> dict[int, str]:
        """Monitor the nodes, by handle; returns the quality codes of those that cannot be. Raises
        `NoConnection`."""
        self._nodes.update(nodes)
        refused: dict[int, str] = {}
        handles = list(nodes)
        while handles:
            subscription = await self._with_room()
            room = self._connection.max_items - len(subscription.handles)
            part, handles = handles[:room], handles[room:]
            refused.update(await self._add(subscription, part))
            subscription.handles.extend(part)
        return refused

    async def _with_room(self) -> Subscription:
        for subscription in self._by_number.values():
            if len(subscription.handles) < self._connection.max_items:
                return subscription
        return await self._create()

    async def _create(self) -> Subscription:
        interval = self._connection.publishing_interval
        alive = max(1, int(1000 * ALIVE_EVERY / interval))
        request = ua.CreateSubscriptionRequest()
        request.Parameters.RequestedPublishingInterval = interval
        request.Parameters.RequestedMaxKeepAliveCount = alive
        request.Parameters.RequestedLifetimeCount = max(3 * alive, int(1000 * LIFETIME / interval))
        request.Parameters.MaxNotificationsPerPublish = _MOST_NOTIFICATIONS
        request.Parameters.PublishingEnabled = True
        response = await self._channel.ask(request, ua.CreateSubscriptionResponse)
        found = response.Parameters
        revised = found.RevisedPublishingInterval or interval
        alive_within = max(1, found.RevisedMaxKeepAliveCount) * revised / 1000
        subscription = Subscription(found.SubscriptionId, revised, MISSED * alive_within + SPARE)
        self._by_number[subscription.number] = subscription
        return subscription

    async def _add(self, subscription: Subscription, handles: Sequence[int]) -> dict[int, str]:
        results = await in_parts(
            self._limits.monitored_items, handles, partial(self._create_items, subscription)
        )
        refused = {
            handle: quality.name_of(result.StatusCode.value)
            for handle, result in zip(handles, results, strict=True)
            if quality.is_bad(result.StatusCode.value)
        }
        return refused

    async def _create_items(
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
        if point.deadband is not None:
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
        if notification.handles:
            self._delivery.tell(
                notification.handles, notification.values, notification.statuses, notification.times
            )

    # What does not

    async def look_after(self) -> None:
        """Make subscriptions anew that have been silent for too long. Raises `NoConnection`."""
        now = monotonic()
        for subscription in list(self._by_number.values()):
            if now - subscription.heard > subscription.alive_within:
                await self._ask_after(subscription)

    async def _ask_after(self, subscription: Subscription) -> None:
        log.warning("%s: subscription %d is silent; it is made anew", self._channel.url, subscription.number)
        request = ua.DeleteSubscriptionsRequest()
        request.Parameters.SubscriptionIds = [subscription.number]
        try:
            await self._channel.ask(request, ua.DeleteSubscriptionsResponse)
        except Transient as error:
            if not self._channel.is_open:
                raise
            log.debug("%s: deleting a subscription: %s", self._channel.url, error)
        await self.renew([subscription])

    async def renew(self, forgotten: Sequence[Subscription] | None = None) -> None:
        """Make subscriptions anew (None: all); the server tells of each item's present value. Raises
        `NoConnection`."""
        lost = list(self._by_number.values()) if forgotten is None else list(forgotten)
        for subscription in lost:
            self._by_number.pop(subscription.number, None)
        handles = [handle for subscription in lost for handle in subscription.handles]
        refused = await self.monitor({handle: self._nodes[handle] for handle in handles})
        for handle, code in refused.items():
            self._delivery.tell_code([handle], code)
