"""Publish requests in flight, their acknowledgements, and what was lost on the way."""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_to_binary
from asyncua.ua.uaerrors import BadMessageNotAvailable

from actors.connections.connection import Transient
from actors.endpoints.protocols.opcua import faults, publishing
from actors.endpoints.protocols.opcua.decoding import Notification
from actors.endpoints.protocols.opcua.publishing import Publisher

Acknowledged = list[tuple[int, int]]


class FakeChannel:
    """A server that answers when the test says so."""

    url = "opc.tcp://fake"

    def __init__(self) -> None:
        self.requests: list[tuple[Acknowledged, asyncio.Future[Any]]] = []
        """Not answered yet, and what each acknowledges."""
        self.asked: list[int] = []
        """Sequence numbers of Republish requests."""
        self.kept: dict[int, Any] = {}
        """Messages that can be had again."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.gone = False

    def post(self, service: Any, parameters: bytes, within: float) -> "asyncio.Future[Any]":
        if self.gone:
            raise Transient("not connected")
        (count,) = struct.unpack_from("<i", parameters)
        words = struct.unpack_from(f"<{2 * count}I", parameters, 4)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.requests.append((list(zip(words[::2], words[1::2], strict=True)), answer))
        return answer

    async def ask(self, request: Any, answer: type[Any]) -> Any:
        await self.gate.wait()
        number = request.Parameters.RetransmitSequenceNumber
        self.asked.append(number)
        if number not in self.kept:
            raise faults.trouble(BadMessageNotAvailable(), "Republish")
        return ua.RepublishResponse(NotificationMessage=self.kept[number])

    async def answer(self, sequence: int, *values: int, subscription: int = 7) -> Acknowledged:
        """With these values, or a keep-alive; returns what the request acknowledged."""
        response = ua.PublishResponse()
        response.Parameters.SubscriptionId = subscription
        response.Parameters.NotificationMessage = message(sequence, values)
        return await self._answer(response)

    async def fault(self, status: int) -> Acknowledged:
        fault = ua.ServiceFault()
        fault.ResponseHeader.ServiceResult = ua.StatusCode(status)
        return await self._answer(fault)

    async def _answer(self, response: Any) -> Acknowledged:
        acknowledged, waiting = self.requests.pop(0)
        waiting.set_result(Buffer(struct_to_binary(response)))
        for _ in range(4):
            await asyncio.sleep(0)
        return acknowledged


def message(sequence: int, values: Sequence[int]) -> Any:
    found = ua.NotificationMessage(SequenceNumber=sequence)
    if values:
        items = [
            ua.MonitoredItemNotification(0, ua.DataValue(ua.Variant(value, ua.VariantType.Int32)))
            for value in values
        ]
        found.NotificationData = [ua.DataChangeNotification(MonitoredItems=items)]
    return found


class Rig:
    def __init__(self) -> None:
        self.channel = FakeChannel()
        self.told: list[Notification] = []
        self.failures: list[BaseException] = []
        channel: Any = self.channel
        self.publisher = Publisher(channel, self.told.append, self.failures.append)

    @property
    def values(self) -> list[Any]:
        return [value for notification in self.told for value in notification.values]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    rig.publisher.stop()
    await asyncio.sleep(0)


async def test_so_many_requests_are_with_the_server_and_each_answer_is_followed_by_one(rig: Rig):
    rig.publisher.keep(3)
    assert len(rig.channel.requests) == 3
    await rig.channel.answer(1, 10)
    assert len(rig.channel.requests) == 3
    assert rig.values == [10]
    rig.publisher.keep(5)
    assert len(rig.channel.requests) == 5


async def test_what_came_is_acknowledged_by_the_next_request_once(rig: Rig):
    rig.publisher.keep(1)
    assert await rig.channel.answer(1, 10) == []
    assert await rig.channel.answer(2, 11) == [(7, 1)]
    assert await rig.channel.answer(3) == [(7, 2)]
    assert await rig.channel.answer(3) == []


async def test_a_keep_alive_is_told_and_counts_for_nothing(rig: Rig):
    rig.publisher.keep(2)
    await rig.channel.answer(1)
    await rig.channel.answer(1, 10)
    await rig.channel.answer(2)
    await rig.channel.answer(2, 11)
    assert rig.values == [10, 11]
    assert [one.keep_alive for one in rig.told] == [True, False, True, False]
    assert rig.channel.asked == []


async def test_what_is_missing_is_asked_for_again_and_comes_first(rig: Rig):
    rig.publisher.keep(2)
    rig.channel.kept = {2: message(2, [11]), 3: message(3, [12])}
    rig.channel.gate.clear()
    await rig.channel.answer(1, 10)
    await rig.channel.answer(4, 13)
    await rig.channel.answer(5, 14)
    await rig.channel.answer(1, 99, subscription=8)
    assert rig.values == [10, 99]
    rig.channel.gate.set()
    await asyncio.sleep(0.01)
    assert rig.values == [10, 99, 11, 12, 13, 14]
    assert rig.channel.asked == [2, 3]
    assert rig.publisher.take_missed() == set()
    await rig.channel.answer(6)
    await rig.channel.answer(6)
    assert {(7, 2), (7, 3)} <= set(await rig.channel.answer(6))


async def test_a_keep_alive_tells_of_something_missing_too(rig: Rig):
    rig.publisher.keep(1)
    rig.channel.kept = {2: message(2, [11])}
    await rig.channel.answer(1, 10)
    await rig.channel.answer(3)
    await asyncio.sleep(0.01)
    assert rig.values == [10, 11]


async def test_what_is_lost_for_good_is_said_and_the_rest_goes_on(rig: Rig):
    rig.publisher.keep(1)
    await rig.channel.answer(1, 10)
    await rig.channel.answer(3, 12)
    await asyncio.sleep(0.01)
    await rig.channel.answer(4, 13)
    assert rig.values == [10, 12, 13]
    assert rig.publisher.take_missed() == {7}
    assert rig.publisher.take_missed() == set()


async def test_sequence_numbers_go_round_from_the_last_to_one(rig: Rig):
    rig.publisher.keep(1)
    await rig.channel.answer(2**32 - 1, 10)
    await rig.channel.answer(1, 11)
    await rig.channel.answer(2, 12)
    assert rig.values == [10, 11, 12]
    assert rig.channel.asked == []


async def test_a_server_that_counts_oddly_loses_nothing(rig: Rig):
    rig.publisher.keep(1)
    for sequence in (5, 5, 3, 900_000, 900_001):
        await rig.channel.answer(sequence, sequence)
    assert rig.values == [5, 5, 3, 900_000, 900_001]
    assert rig.channel.asked == []


async def test_too_many_requests_are_fewer_from_then_on(rig: Rig):
    rig.publisher.keep(4)
    await rig.channel.fault(ua.StatusCodes.BadTooManyPublishRequests)
    assert len(rig.channel.requests) == 3
    await rig.channel.answer(1, 10)
    assert len(rig.channel.requests) == 3
    assert rig.failures == []


async def test_no_subscription_is_said_once_and_publishing_rests_until_it_is_told_to_go_on(rig: Rig):
    rig.publisher.keep(3)
    for _ in range(3):
        await rig.channel.fault(ua.StatusCodes.BadNoSubscription)
    assert [faults.status_of(error) for error in rig.failures] == ["BadNoSubscription"]
    assert rig.channel.requests == []
    rig.publisher.keep(2)
    assert len(rig.channel.requests) == 2


async def test_a_session_that_has_ended_is_a_failure(rig: Rig):
    rig.publisher.keep(2)
    await rig.channel.fault(ua.StatusCodes.BadSessionIdInvalid)
    await rig.channel.fault(ua.StatusCodes.BadSessionIdInvalid)
    assert len(rig.failures) == 1


async def test_an_overloaded_server_is_asked_again_after_a_pause_and_not_for_ever(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(publishing, "_PAUSE", 0.001)
    rig.publisher.keep(1)
    await rig.channel.fault(ua.StatusCodes.BadTcpServerTooBusy)
    assert rig.channel.requests == []
    await asyncio.sleep(0.05)
    await rig.channel.answer(1, 10)
    assert rig.values == [10]
    for _ in range(publishing._MOST_FAULTS):
        await rig.channel.fault(ua.StatusCodes.BadTcpServerTooBusy)
        await asyncio.sleep(0.01)
    assert rig.failures == []
    await rig.channel.fault(ua.StatusCodes.BadTcpServerTooBusy)
    assert len(rig.failures) == 1


async def test_garbage_is_a_failure(rig: Rig):
    rig.publisher.keep(1)
    rig.channel.requests.pop()[1].set_result(Buffer(b"\x01\x00\x3d\x03garbage"))
    await asyncio.sleep(0)
    assert len(rig.failures) == 1


async def test_a_connection_that_ends_is_a_failure_once(rig: Rig):
    rig.publisher.keep(2)
    rig.channel.gone = True
    for _, waiting in rig.channel.requests:
        waiting.set_exception(ConnectionError("lost"))
    await asyncio.sleep(0)
    assert len(rig.failures) == 1


async def test_a_stopped_publisher_asks_and_tells_nothing_more(rig: Rig):
    rig.publisher.keep(3)
    rig.publisher.stop()
    await asyncio.sleep(0)
    assert all(waiting.cancelled() for _, waiting in rig.channel.requests)
    assert (rig.told, rig.failures, len(rig.channel.requests)) == ([], [], 3)


async def test_report_answers_that_overtake_each_other_do_not_bring_an_old_value_last(rig: Rig):
    """convertersystems/opc-ua-client 276, OPCF-Members/UA-.NET-Legacy 137."""
    rig.publisher.keep(3)
    rig.channel.gate.clear()
    rig.channel.kept = {2: message(2, [11])}
    await rig.channel.answer(1, 10)
    await rig.channel.answer(3, 12)
    await rig.channel.answer(2, 11)
    await rig.channel.answer(4, 13)
    rig.channel.gate.set()
    await asyncio.sleep(0.01)
    assert rig.values == [10, 11, 12, 13]


async def test_what_has_overtaken_is_told_in_order_though_it_is_not_had_again(rig: Rig):
    rig.publisher.keep(3)
    rig.channel.gate.clear()
    await rig.channel.answer(1, 10)
    await rig.channel.answer(4, 13)
    await rig.channel.answer(3, 12)
    await rig.channel.answer(2, 11)
    rig.channel.gate.set()
    await asyncio.sleep(0.01)
    assert rig.values == [10, 11, 12, 13]
    assert rig.publisher.take_missed() == set()


async def test_the_first_notifications_may_overtake_each_other_too(rig: Rig):
    rig.publisher.keep(3)
    rig.channel.gate.clear()
    await rig.channel.answer(2, 11)
    await rig.channel.answer(1, 10)
    rig.channel.gate.set()
    await asyncio.sleep(0.01)
    assert rig.values == [10, 11]


async def test_report_requests_that_the_server_has_lost_are_made_anew(rig: Rig):
    """open62541/open62541 4502 and 4878: the number of outstanding requests says that there are enough."""
    rig.publisher.keep(3)
    lost = [rig.channel.requests.pop(0) for _ in range(3)]
    rig.publisher.renew()
    assert len(rig.channel.requests) == 3
    await rig.channel.answer(1, 10)
    assert len(rig.channel.requests) == 3
    rig.channel.requests.insert(0, lost[0])
    await rig.channel.answer(2, 11)  # late, and not lost after all
    assert rig.values == [10, 11]
    assert len(rig.channel.requests) == 3


async def test_requests_are_not_made_anew_for_ever(rig: Rig):
    rig.publisher.keep(100)
    for _ in range(50):
        rig.publisher.renew()
    assert len(rig.failures) == 1
    assert len(rig.channel.requests) <= 1200
