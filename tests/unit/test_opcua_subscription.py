"""Subscriptions against a server that a test plays."""

from collections.abc import Callable
from typing import Any

import pytest
from asyncua import ua

from actors.connections.connection import Transient
from actors.endpoints.listener import Nobody
from actors.endpoints.protocols.opcua import limits, subscription
from actors.endpoints.protocols.opcua.connection import Connection
from actors.endpoints.protocols.opcua.decoding import Notification
from actors.endpoints.protocols.opcua.delivery import Delivery, fields_of
from actors.endpoints.protocols.opcua.nodes import NodeRef
from actors.endpoints.protocols.opcua.points import DataPoint
from actors.endpoints.protocols.opcua.structures import Structures
from actors.endpoints.protocols.opcua.subscription import Subscriptions

FULL = ua.StatusCodes.BadTooManyMonitoredItems
UNKNOWN = 0x8034_0000


class Server:
    """Answers requests; `refuse` says which items it does not take, by handle and what it has in all."""

    is_open = True
    url = "opc.tcp://plc"

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.subscriptions: dict[int, list[int]] = {}
        self.most_subscriptions = 1000
        self.refuse: Callable[[int, list[int]], int] = lambda handle, items: 0
        self.filters: list[Any] = []

    async def ask(self, request: Any, answer: type[Any], within: float | None = None) -> Any:
        self.asked.append(request)
        return getattr(self, type(request).__name__)(request, answer())

    def CreateSubscriptionRequest(self, request: Any, answer: Any) -> Any:
        if len(self.subscriptions) >= self.most_subscriptions:
            raise Transient("no", code="BadTooManySubscriptions")
        number = len(self.subscriptions) + 1
        self.subscriptions[number] = []
        answer.Parameters.SubscriptionId = number
        answer.Parameters.RevisedPublishingInterval = request.Parameters.RequestedPublishingInterval
        answer.Parameters.RevisedMaxKeepAliveCount = request.Parameters.RequestedMaxKeepAliveCount
        return answer

    def CreateMonitoredItemsRequest(self, request: Any, answer: Any) -> Any:
        items = self.subscriptions[request.Parameters.SubscriptionId]
        for wanted in request.Parameters.ItemsToCreate:
            handle = wanted.RequestedParameters.ClientHandle
            self.filters.append(wanted.RequestedParameters.Filter)
            status = self.refuse(handle, items)
            if not status:
                items.append(handle)
            answer.Results.append(ua.MonitoredItemCreateResult(ua.StatusCode(status), len(items)))
        return answer

    def DeleteSubscriptionsRequest(self, request: Any, answer: Any) -> Any:
        for number in request.Parameters.SubscriptionIds:
            self.subscriptions[number] = []
        return answer

    def DeleteMonitoredItemsRequest(self, request: Any, answer: Any) -> Any:
        return answer


@pytest.fixture
def server() -> Server:
    return Server()


def made(server: Server, count: int, **point: Any) -> Subscriptions:
    points = tuple(DataPoint(f"p{n}", NodeRef(2, n), **point) for n in range(count))
    fields = fields_of(points, ())
    connection = Connection(urls=("opc.tcp://plc",), max_items=10)
    delivery = Delivery(fields, Nobody(), Structures())
    return Subscriptions(server, connection, limits.unknown(), fields, delivery)  # type: ignore[arg-type]


def nodes(count: int) -> dict[int, ua.NodeId]:
    return {handle: ua.NodeId(handle, 2) for handle in range(count)}


def told(number: int, handles: list[int], statuses: list[int] | None = None, status: Any = None) -> Any:
    values: list[Any] = [1] * len(handles)
    times: list[int | None] = [None] * len(handles)
    return Notification(number, 1, handles, values, statuses, times, [], status, False, [])


async def test_items_are_spread_by_the_connections_limit(server: Server) -> None:
    found = made(server, 25)
    assert await found.monitor(nodes(25)) == {}
    assert [len(items) for items in server.subscriptions.values()] == [10, 10, 5]
    created = server.asked[0].Parameters
    assert created.RequestedPublishingInterval * created.RequestedMaxKeepAliveCount <= 2500
    assert created.RequestedLifetimeCount >= 3 * created.RequestedMaxKeepAliveCount


async def test_what_a_subscription_does_not_take_goes_into_the_next(server: Server) -> None:
    server.refuse = lambda handle, items: FULL if len(items) >= 4 else 0
    assert await made(server, 10).monitor(nodes(10)) == {}
    assert [len(items) for items in server.subscriptions.values()] == [4, 4, 2]


async def test_what_no_subscription_takes_is_told(server: Server) -> None:
    server.refuse = lambda handle, items: FULL
    refused = await made(server, 25).monitor(nodes(25))
    assert refused == dict.fromkeys(range(25), "BadTooManyMonitoredItems")
    assert len(server.subscriptions) == 3


async def test_what_neither_fits_nor_gets_another_subscription_is_told(server: Server) -> None:
    server.most_subscriptions = 2
    server.refuse = lambda handle, items: FULL if len(items) >= 4 else 0
    refused = await made(server, 20).monitor(nodes(20))
    assert [len(items) for items in server.subscriptions.values()] == [4, 4]
    assert len(refused) == 12
    assert set(refused.values()) <= {"BadTooManySubscriptions", "BadTooManyMonitoredItems"}


async def test_where_there_are_no_more_subscriptions_those_that_are_take_more(server: Server) -> None:
    server.most_subscriptions = 2
    assert await made(server, 45).monitor(nodes(45)) == {}
    assert sorted(len(items) for items in server.subscriptions.values()) == [10, 35]


async def test_a_server_that_takes_no_subscription_is_an_error(server: Server) -> None:
    server.most_subscriptions = 0
    with pytest.raises(Transient):
        await made(server, 5).monitor(nodes(5))


async def test_a_dead_band_that_is_refused_is_left_out(server: Server) -> None:
    server.refuse = lambda handle, items: (
        ua.StatusCodes.BadFilterNotAllowed if isinstance(server.filters[-1], ua.DataChangeFilter) else 0
    )
    found = made(server, 3, deadband=5.0, percent=True)
    assert await found.monitor(nodes(3)) == {}
    assert sorted(server.subscriptions[1]) == [0, 1, 2]


async def test_items_that_have_no_first_value_are_told_once(server: Server) -> None:
    found = made(server, 3)
    await found.monitor(nodes(3))
    assert found.overdue(60) == []
    found.take(told(1, [1]))
    assert found.overdue(0) == [0, 2]
    assert found.overdue(0) == []


async def test_a_node_that_is_gone_is_remembered_until_it_is_good(server: Server) -> None:
    found = made(server, 3)
    await found.monitor(nodes(3))
    found.take(told(1, [0, 1], [UNKNOWN, UNKNOWN]))
    found.take(told(1, [1, 2], [0, 0x4000_0000]))
    assert found.take_gone() == {0: "BadNodeIdUnknown"}
    assert found.take_gone() == {}
    await found.forget([0])
    assert found.handles == [1, 2]


async def test_a_subscription_that_the_server_closes_or_forgets_is_lost(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made(server, 15)
    await found.monitor(nodes(15))
    assert found.lost() == []
    found.take(told(1, [], status=ua.StatusCodes.BadTimeout))
    [lost] = found.lost()
    assert await found.renew([lost]) == {}
    assert sorted(found.handles) == list(range(15))
    assert found.lost() == []
    later = subscription.monotonic() + 10
    monkeypatch.setattr(subscription, "monotonic", lambda: later)
    assert len(found.lost()) == len(found)
    found.excuse()
    assert found.lost() == []


async def test_what_is_told_of_an_unknown_subscription_is_nobodys(server: Server) -> None:
    found = made(server, 1)
    await found.monitor(nodes(1))
    found.take(told(99, [0], [UNKNOWN]))
    assert found.take_gone() == {}


async def test_report_a_server_full_of_items_does_not_get_a_subscription_for_each_that_is_left(
    server: Server,
) -> None:
    """eclipse-milo/milo 822 and 743: servers have a limit of all items, not only of each subscription's."""
    most = 11
    server.refuse = lambda handle, items: (
        FULL if sum(len(each) for each in server.subscriptions.values()) >= most else 0
    )
    found = made(server, 200)
    refused = await found.monitor(nodes(200))
    assert set(refused.values()) == {"BadTooManyMonitoredItems"}
    assert len(found.handles) == most
    assert sorted([*refused, *found.handles]) == list(range(200))
    assert len(server.subscriptions) <= 10
    before = len(server.subscriptions)
    assert len(await found.monitor({handle: ua.NodeId(handle, 2) for handle in refused})) == 189
    assert len(server.subscriptions) == before
    most = 1000
    assert await found.monitor({handle: ua.NodeId(handle, 2) for handle in refused}) == {}
    assert sorted(found.handles) == list(range(200))
    assert len(server.subscriptions) <= 21


async def test_what_is_told_while_something_is_read_is_newer(server: Server) -> None:
    found = made(server, 3)
    await found.monitor(nodes(3))
    found.take(told(1, [0]))
    with found.noting() as newer:
        found.take(told(1, [1, 2]))
        found.take(told(99, [0]))
    found.take(told(1, [0]))
    assert newer == {1, 2}
