"""Publish requests, and what comes back for them."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary

from . import faults, values
from .channel import Channel

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Notification(msgspec.Struct, gc=False):
    """What one answer to a Publish request holds. The lists belong together: a value of the monitored item of
    that client handle, its status code, and its time in Unix ms (the source's, else the server's, else
    None). One item may be there several times, in order."""

    subscription: int
    sequence: int
    handles: list[int]
    values: list[Any]
    statuses: list[int]
    times: list[int | None]
    events: list[Any]
    """`EventFieldList`s of the library"""
    status: int | None
    """A status change of the subscription."""
    keep_alive: bool
    available: list[int]
    """Sequence numbers that the server can send again."""


class Publisher:
    """Keeps so many Publish requests with the server, acknowledges what came, and hands it over in order.

    `notified` is called for each answer, `failed` once when publishing cannot go on.
    """

    def __init__(
        self,
        channel: Channel,
        notified: Callable[[Notification], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._channel = channel
        self._notified = notified
        self._failed = failed
        self._acknowledgements: list[ua.SubscriptionAcknowledgement] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, outstanding: int) -> None:
        """From now on so many requests at least."""
        while len(self._tasks) < outstanding:
            task = asyncio.create_task(self._publish())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _publish(self) -> None:
        while True:
            request = ua.PublishRequest()
            request.Parameters.SubscriptionAcknowledgements = self._acknowledgements
            self._acknowledgements = []
            try:
                body = await self._channel.send(request, 0)
                result = struct_from_binary(ua.PublishResponse, body)
                result.ResponseHeader.ServiceResult.check()
                notification = read(result.Parameters)
            except Exception as error:  # noqa: BLE001 - whatever parsing an answer raises
                if faults.status_of(error) == "BadTooManyPublishRequests" and len(self._tasks) > 1:
                    return
                self._failed(error)
                return
            if not notification.keep_alive:
                self._acknowledgements.append(
                    ua.SubscriptionAcknowledgement(notification.subscription, notification.sequence)
                )
            self._notified(notification)


def read(result: ua.PublishResult) -> Notification:
    message = result.NotificationMessage
    found = Notification(
        result.SubscriptionId,
        message.SequenceNumber,
        [],
        [],
        [],
        [],
        [],
        None,
        not message.NotificationData,
        list(result.AvailableSequenceNumbers or ()),
    )
    for data in message.NotificationData or ():
        if isinstance(data, ua.DataChangeNotification):
            for item in data.MonitoredItems:
                value = item.Value
                found.handles.append(item.ClientHandle)
                found.values.append(values.to_json(value.Value))
                found.statuses.append(0 if value.StatusCode is None else value.StatusCode.value)
                found.times.append(unix_ms_of(value.SourceTimestamp or value.ServerTimestamp))
        elif isinstance(data, ua.EventNotificationList):
            found.events.extend(data.Events)
        elif isinstance(data, ua.StatusChangeNotification):
            found.status = data.Status.value
    return found


def unix_ms_of(time: datetime | None) -> int | None:
    if time is None:
        return None
    time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return round((time - _EPOCH).total_seconds() * 1000)
