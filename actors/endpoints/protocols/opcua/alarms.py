"""Alarms and conditions of a server (part 9): a subscription to events, and what is told of them."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

import msgspec
from asyncua import ua

from actors.connections.connection import NoConnection
from storage.timestamps import iso, unix_ms

from . import quality
from .channel import Channel
from .connection import Connection
from .decoding import Notification
from .subscription import Subscription, create

log = logging.getLogger(__name__)

KIND: Final = "alarms"
MOST_CONDITIONS: Final = 10_000
"""That are remembered, so as not to be told twice."""
QUEUE: Final = 10_000
"""Events that the server keeps between two notifications."""
REFRESH_AFTER: Final = 10.0
"""Seconds between two refreshes because events were lost."""
AGAIN_AFTER: Final = 60.0
"""Seconds until a server that would not tell of alarms is asked again."""
LONGEST: Final = 4096
"""Characters of a text that are told."""

_NO_TIME = datetime(1601, 1, 1, tzinfo=UTC)
"""What a server says that does not know when."""
_BASE = ua.NodeId(ua.ObjectIds.BaseEventType)
_CONDITION = ua.NodeId(ua.ObjectIds.ConditionType)
_ACKNOWLEDGEABLE = ua.NodeId(ua.ObjectIds.AcknowledgeableConditionType)
_ALARM = ua.NodeId(ua.ObjectIds.AlarmConditionType)
_REFRESH = ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh)
_REFRESH_START = ua.NodeId(ua.ObjectIds.RefreshStartEventType)
_REFRESH_END = ua.NodeId(ua.ObjectIds.RefreshEndEventType)
_REFRESH_REQUIRED = ua.NodeId(ua.ObjectIds.RefreshRequiredEventType)
_OVERFLOW = ua.NodeId(ua.ObjectIds.EventQueueOverflowEventType)

_SELECTED: Final[tuple[tuple[str, ua.NodeId, tuple[str, ...]], ...]] = (
    ("event_id", _BASE, ("EventId",)),
    ("event_type", _BASE, ("EventType",)),
    ("source_node", _BASE, ("SourceNode",)),
    ("source", _BASE, ("SourceName",)),
    ("time", _BASE, ("Time",)),
    ("message", _BASE, ("Message",)),
    ("severity", _BASE, ("Severity",)),
    ("condition_id", _CONDITION, ()),
    ("branch", _CONDITION, ("BranchId",)),
    ("condition", _CONDITION, ("ConditionName",)),
    ("retain", _CONDITION, ("Retain",)),
    ("enabled", _CONDITION, ("EnabledState", "Id")),
    ("acked", _ACKNOWLEDGEABLE, ("AckedState", "Id")),
    ("confirmed", _ACKNOWLEDGEABLE, ("ConfirmedState", "Id")),
    ("active", _ALARM, ("ActiveState", "Id")),
)
"""What is asked for of each event, by the name that it is told by. Without a path it is the node itself."""


class Known(msgspec.Struct):
    """The latest that was told of a condition; `refreshed` in which refresh it was seen last."""

    event_id: Any
    body: dict[str, Any]
    refreshed: int


class Conditions:
    """What is known of the conditions of a server. It outlives connections: what a refresh repeats is not
    told again, and of what has ended meanwhile that is told."""

    def __init__(self, tell: Callable[[dict[str, Any]], None], least: int = 0) -> None:
        """`least` is the severity from which on conditions are told."""
        self._tell = tell
        self._least = least
        self._known: OrderedDict[tuple[Any, Any], Known] = OrderedDict()
        self._refresh = 0
        self.wanted = False
        """Whether the server says that there is more to know."""
        self.asked = False
        """Whether a refresh is under way that is for us: some servers tell of everybody's."""

    def __len__(self) -> int:
        return len(self._known)

    def take(self, fields: Sequence[Any]) -> None:
        """One event, as it was selected."""
        found = dict(zip((name for name, _, _ in _SELECTED), fields, strict=False))
        kind = found.get("event_type")
        if kind == _REFRESH_START:
            self._refresh += 1
        elif kind == _REFRESH_END:
            if self.asked:
                self._end_of_refresh()
            self.asked = False
        elif kind in (_REFRESH_REQUIRED, _OVERFLOW):
            self.wanted = True
        elif found.get("condition_id") is not None:
            self._condition(found)

    def _condition(self, found: dict[str, Any]) -> None:
        body = _body(found)
        key = body["condition_id"], body.get("branch")
        known = self._known.get(key)
        if known is not None and (known.event_id == found["event_id"] or _same(known.body, body)):
            known.refreshed = self._refresh
            known.event_id = found["event_id"]
            return
        self._known[key] = Known(found["event_id"], body, self._refresh)
        self._known.move_to_end(key)
        if len(self._known) > MOST_CONDITIONS:
            self._known.popitem(last=False)
        self._say(body)

    def _end_of_refresh(self) -> None:
        """Of what the server keeps it has told now; what it does not keep any more has ended."""
        for key, known in list(self._known.items()):
            if known.body.get("retain") and known.refreshed != self._refresh:
                gone = {"active": False, "retain": False, "time": iso(unix_ms()), "ended_unseen": True}
                self._known[key] = Known(None, known.body | gone, self._refresh)
                self._say(known.body | gone)

    def _say(self, body: dict[str, Any]) -> None:
        if (body.get("severity") or 0) >= self._least:
            self._tell({"type": "alarm", "time": iso(unix_ms()), **body})


def _same(known: dict[str, Any], body: dict[str, Any]) -> bool:
    """Some servers give what they repeat another id, and nothing else."""
    return {key: value for key, value in known.items() if key != "event_id"} == {
        key: value for key, value in body.items() if key != "event_id"
    }


def _body(found: dict[str, Any]) -> dict[str, Any]:
    """JSON of what the server has said; what it has not is left out."""
    told = {name: _plain(value) for name, value in found.items()}
    return {name: value for name, value in told.items() if value is not None}


def _plain(value: Any) -> Any:
    match value:
        case bool() | int() | None:
            return value
        case str():
            return value[:LONGEST]
        case bytes():
            return value[:256].hex()
        case datetime():
            moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
            return None if moment <= _NO_TIME else iso(round(moment.timestamp() * 1000))
        case ua.LocalizedText():
            return None if value.Text is None else value.Text[:LONGEST]
        case ua.NodeId():
            return None if value.is_null() else value.to_string()
    return None


class Alarms:
    """The subscription to events of one session. A server that has none of that is told of once, and asked
    again now and then; it is no reason to do without readings."""

    def __init__(
        self, channel: Channel, connection: Connection, sources: Sequence[ua.NodeId], conditions: Conditions
    ) -> None:
        self._channel = channel
        self._interval = connection.publishing_interval
        self._sources = sources
        self._conditions = conditions
        self._subscription: Subscription | None = None
        self._tried = 0.0
        self._told = False
        self._refreshed = 0.0

    async def begin(self) -> None:
        """Subscribe, and ask for the conditions as they are. Raises `NoConnection` when the connection has
        ended."""
        self._tried = monotonic()
        try:
            self._subscription = await create(self._channel, self._interval, len(self._sources))
            await self._monitor(self._subscription)
        except NoConnection as error:
            self._put_off(error)
            return
        await self._refresh(self._subscription)

    def _put_off(self, error: NoConnection) -> None:
        if not self._channel.is_open:
            raise error
        self._subscription = None
        if not self._told:
            self._told = True
            log.warning("%s: no alarms: %s", self._channel.url, error)

    async def _monitor(self, subscription: Subscription) -> None:
        request = ua.CreateMonitoredItemsRequest()
        request.Parameters.SubscriptionId = subscription.number
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Neither
        items = [_item(handle, source) for handle, source in enumerate(self._sources)]
        request.Parameters.ItemsToCreate = items
        response = await self._channel.ask(request, ua.CreateMonitoredItemsResponse)
        for source, result in zip(self._sources, response.Results, strict=False):
            if quality.is_bad(result.StatusCode.value):
                code = quality.name_of(result.StatusCode.value)
                log.warning("%s: no alarms come from %s: %s", self._channel.url, source.to_string(), code)

    async def _refresh(self, subscription: Subscription) -> str | None:
        """Have the server tell of all conditions that it keeps; the status code if it cannot."""
        self._refreshed = monotonic()
        self._conditions.wanted = False
        self._conditions.asked = True
        number = ua.Variant(subscription.number, ua.VariantType.UInt32)
        request = ua.CallRequest()
        request.Parameters.MethodsToCall = [
            ua.CallMethodRequest(ObjectId=_CONDITION, MethodId=_REFRESH, InputArguments=[number])
        ]
        try:
            response = await self._channel.ask(request, ua.CallResponse)
        except NoConnection as error:
            if not self._channel.is_open:
                raise
            log.info("%s: conditions cannot be refreshed: %s", self._channel.url, error)
            return error.code
        for result in response.Results or ():
            if quality.is_bad(result.StatusCode.value):
                name = quality.name_of(result.StatusCode.value)
                log.info("%s: conditions cannot be refreshed: %s", self._channel.url, name)
                return name
        return None

    def take(self, notification: Notification) -> bool:
        """Whether it is of this subscription."""
        subscription = self._subscription
        if subscription is None or notification.subscription != subscription.number:
            return False
        subscription.heard = monotonic()
        if notification.status is not None and quality.is_bad(notification.status):
            subscription.closed = True
        for event in notification.events:
            self._conditions.take([one.Value for one in event.EventFields or ()])
        return True

    async def resume(self, channel: Channel) -> None:
        """Go on with the same session on another channel. Raises `NoConnection`."""
        self._channel = channel
        if self._subscription is not None:
            self._subscription.heard = monotonic()
            if await self._refresh(self._subscription) == "BadSubscriptionIdInvalid":
                await self.begin()

    def missed(self, number: int) -> None:
        """Something that the server has said in that subscription is lost."""
        if self._subscription is not None and self._subscription.number == number:
            self._conditions.wanted = True

    async def look_after(self, forgotten: bool) -> bool:
        """Subscribe anew when the server knows nothing of it any more, or seems so; ask again when events
        were lost. Whether there is a new subscription. Raises `NoConnection`."""
        subscription, now = self._subscription, monotonic()
        if subscription is None:
            if now - self._tried < AGAIN_AFTER:
                return False
        elif forgotten or subscription.is_lost:
            log.warning("%s: the subscription to alarms is made anew", self._channel.url)
            await self._delete(subscription)
        else:
            if self._conditions.wanted and now - self._refreshed > REFRESH_AFTER:
                await self._refresh(subscription)
            return False
        await self.begin()
        return self._subscription is not None

    async def _delete(self, subscription: Subscription) -> None:
        """The server may have it, after all."""
        request = ua.DeleteSubscriptionsRequest()
        request.Parameters.SubscriptionIds = [subscription.number]
        try:
            await self._channel.ask(request, ua.DeleteSubscriptionsResponse)
        except NoConnection as error:
            if not self._channel.is_open:
                raise
            log.debug("%s: %s", self._channel.url, error)


def _item(handle: int, source: ua.NodeId) -> ua.MonitoredItemCreateRequest:
    item = ua.MonitoredItemCreateRequest()
    item.ItemToMonitor.NodeId = source
    item.ItemToMonitor.AttributeId = ua.AttributeIds.EventNotifier
    item.MonitoringMode = ua.MonitoringMode.Reporting
    wanted = item.RequestedParameters
    wanted.ClientHandle = handle
    wanted.SamplingInterval = 0
    wanted.QueueSize = QUEUE
    wanted.DiscardOldest = True
    wanted.Filter = _filter()
    return item


def _filter() -> ua.EventFilter:
    """Of every event: servers differ much in what else they understand."""
    found = ua.EventFilter()
    found.SelectClauses = [
        ua.SimpleAttributeOperand(
            TypeDefinitionId=kind,
            BrowsePath=[ua.QualifiedName(name, 0) for name in path],
            AttributeId=ua.AttributeIds.Value if path else ua.AttributeIds.NodeId,
        )
        for _, kind, path in _SELECTED
    ]
    return found
