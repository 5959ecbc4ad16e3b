"""What has failed for people with BACnet in other products, rebuilt."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from bacnet_rig import Device, free_udp_port
from bacnet_sessions import POINTS, session_with, until
from bacpypes3.apdu import Error, ReadRangeACK, ReadRangeRequest, RejectPDU, SubscribeCOVRequest
from bacpypes3.basetypes import DateTime, LogRecord, LogRecordLogDatum, ResultFlags
from bacpypes3.constructeddata import ListOf
from bacpypes3.object import TrendLogObject
from bacpypes3.pdu import IPv4Address
from bacpypes3.primitivedata import Date, Real, Time

from actors.connections.connection import Transient
from actors.endpoints.lines import Lines
from actors.endpoints.protocol import BackfillRequest, WriteRequest
from actors.endpoints.protocols.bacnet import PROTOCOL, foreign, subscribing
from actors.endpoints.protocols.bacnet.connection import read_connection
from actors.endpoints.protocols.bacnet.port import open_port, release_port


@pytest.fixture
async def device() -> AsyncIterator[Device]:
    async with Device(7) as running:
        yield running


def connection(device: Device, **more: Any) -> dict[str, Any]:
    return {
        "host": device.host,
        "port": device.port,
        "deviceInstance": device.instance,
        "localPort": free_udp_port(),
        "localAddress": "127.0.0.1",
        "timeout": 500,
        "retryAttempts": 0,
        **more,
    }


COV = {"useCov": True, "pollInterval": 300}


async def test_a_subscription_that_is_active_and_never_tells_again_is_polled(device: Device) -> None:
    """JoelBender/bacpypes 536 and 192: the device lists the subscription, and says nothing."""
    async with session_with(connection(device, **COV), POINTS[:1]) as (session, told):
        await session.connect()
        for detection in device.app._cov_detections.values():
            detection.send_cov_notifications = lambda subscription=None: None
        for value in (30.0, 31.0, 32.0):
            device.temperature.presentValue = value
            await until(lambda value=value: told.latest["temperature"] == (value, None))  # type: ignore[misc]


async def test_a_device_that_has_begun_anew_is_subscribed_to_again(device: Device) -> None:
    """bacnet-stack/bacnet-stack 477, Bepacom-Raalte/bepacom-HA-Addons 52: it told nothing any more."""
    async with session_with(connection(device, **COV), POINTS[:1]) as (session, told):
        await session.connect()
        await device.stop()
        await until(lambda: told.losses)
        device.app.asked.clear()
        await device.start()
        await session.connect()
        assert device.services("SubscribeCOVRequest")
        device.temperature.presentValue = 30.0
        await until(lambda: told.latest["temperature"] == (30.0, None))


async def test_one_object_that_is_not_there_costs_the_others_nothing(device: Device) -> None:
    """ChristianTremblay/BAC0 235: after one object that was refused nothing was subscribed to any more."""
    points = [{"name": "gone", "object": "analog-value:0"}, *POINTS[:1]]
    async with session_with(connection(device, **COV), points) as (session, told):
        await session.connect()
        assert told.latest["gone"] == (None, "UNKNOWN_OBJECT")
        device.temperature.presentValue = 30.0
        await until(lambda: told.latest["temperature"] == (30.0, None))
        assert not told.losses


async def test_the_lifetime_that_is_configured_is_asked_for(device: Device) -> None:
    """VOLTTRON/volttron 1852: the configured lifetime was ignored; bacnet-stack 477: none is for ever."""
    async with session_with(connection(device, **COV, covLifetime=77), POINTS[:1]) as (session, _):
        await session.connect()
        assert [apdu.lifetime for apdu in device.services("SubscribeCOVRequest")] == [77]


async def test_a_renewal_that_is_refused_leaves_no_point_without_values(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """jscott3201/rusty-bacnet 81: who renews has to know what to do when that is refused."""
    monkeypatch.setattr(subscribing, "_RENEW_AFTER", 0.02)
    asked = 0

    def answer(apdu: Any) -> Any:
        nonlocal asked
        if not isinstance(apdu, SubscribeCOVRequest):
            return NotImplemented
        asked += 1
        return (
            NotImplemented
            if asked == 1
            else Error(
                service_choice=5,
                errorClass="resources",
                errorCode="no-space-to-add-list-element",
                context=apdu,
            )
        )

    device.app.on_request = answer
    given = connection(device, useCov=True, covLifetime=10)
    async with session_with(given, [{**POINTS[0], "pollIntervalMs": 1000}]) as (session, told):
        await session.connect()
        await until(lambda: session._subscriptions.every[0].refused)
        for detection in device.app._cov_detections.values():
            detection.send_cov_notifications = lambda subscription=None: None
        device.temperature.presentValue = 30.0
        await until(lambda: told.latest["temperature"] == (30.0, None))


class Bbmd(asyncio.DatagramProtocol):
    """`codes` are what it answers to registrations, one after the other, None: nothing; the last goes on."""

    def __init__(self, *codes: int | None) -> None:
        self.codes = list(codes)
        self.asked: list[int] = []
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data[:2] != b"\x81\x05":
            return
        self.asked.append(struct.unpack(">H", data[4:6])[0])
        code = self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]
        if code is not None:
            self.transport.sendto(b"\x81\x00\x00\x06" + struct.pack(">H", code), addr)


@pytest.mark.parametrize("codes", [(0x30, 0), (None, None, 0), (0, 0x30, None, 0)])
async def test_a_registration_that_failed_is_asked_for_again_and_again(
    codes: tuple[int | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """JoelBender/bacpypes 367 and 368: renewals stopped after a BBMD had refused, or had not answered, once.
    RadixIoT/BACnet4J 155: and so did the first attempt, where the BBMD was not up yet."""
    monkeypatch.setattr(foreign, "_AGAIN", (0.05, 0.05))
    monkeypatch.setattr(foreign, "_WITHIN", 0.1)
    monkeypatch.setattr(foreign, "_LEAST", 0.05)
    bbmd, loop = Bbmd(*codes), asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: bbmd, local_addr=("127.0.0.1", 0))
    place = f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    given = {"host": "127.0.0.1", "bbmd": place, "ttl": 10, "localAddress": "127.0.0.1"}
    local = read_connection({**given, "localPort": free_udp_port()}).local
    lines = Lines()
    port = await open_port(lines, local)
    try:
        await until(lambda: len(bbmd.asked) >= len(codes))
        await until(lambda: port.foreign is not None and port.foreign.trouble is None)
        assert set(bbmd.asked) == {10}
    finally:
        release_port(lines, port)
        await until(lambda: bbmd.asked[-1] == 0, 1.0)  # nor does it keep a place that nobody needs
        transport.close()


async def test_a_bbmd_that_has_forgotten_who_was_registered_is_asked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that begins anew refuses to distribute broadcasts, until half of the time that it has forgotten."""
    monkeypatch.setattr(foreign, "_LEAST", 0.05)
    bbmd, loop = Bbmd(0), asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: bbmd, local_addr=("127.0.0.1", 0))
    place = f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    given = {"host": "127.0.0.1", "bbmd": place, "localAddress": "127.0.0.1", "localPort": free_udp_port()}
    lines, local = Lines(), read_connection(given).local
    port = await open_port(lines, local)
    try:
        await until(lambda: bbmd.asked)
        transport.sendto(b"\x81\x00\x00\x06\x00\x60", ("127.0.0.1", local.port))
        await until(lambda: len(bbmd.asked) == 2)
        assert port.foreign is not None
        assert port.foreign.trouble is None
    finally:
        release_port(lines, port)
        transport.close()


async def test_what_was_commanded_is_given_back(device: Device) -> None:
    """thingsboard/thingsboard-gateway 535, ChristianTremblay/BAC0 240: a value that was written at a priority
    could not be released again."""
    given = connection(device)
    async with session_with(given, POINTS) as (session, _):
        await session.connect()
        for value, read in ((25.0, 25.0), (None, 20.0)):
            request = WriteRequest("", "setpoint", value, priority=8)
            assert PROTOCOL.prepare is not None
            prepared = PROTOCOL.prepare(PROTOCOL.check(given, POINTS), request)
            assert await session.write(prepared) == value
            assert await session.read_back(prepared) == (read, True)
        assert device.setpoint.priorityArray[7].null is not None


async def test_two_devices_of_one_instance_at_different_hosts_are_told_apart() -> None:
    """thingsboard/thingsboard-gateway 2042: of two devices with the instance 500 only one was read."""
    async with AsyncExitStack() as stack:
        lines, local = Lines(), free_udp_port()
        for value in (1.0, 2.0):
            device = await stack.enter_async_context(Device(500))
            device.temperature.presentValue = value
            given = connection(device, localPort=local)
            session, _ = await stack.enter_async_context(session_with(given, POINTS[:1], lines))
            await session.connect()
            assert (await session.read(5)).values == [value]


async def test_an_i_am_from_somewhere_else_does_not_lead_requests_away(device: Device) -> None:
    """jscott3201/rusty-bacnet 456: the device was asked at whatever address had said its instance last."""
    local = free_udp_port()
    async with session_with(connection(device, localPort=local, **COV), POINTS[:1]) as (session, told):
        await session.connect()
        async with Device(7) as other:
            other.temperature.presentValue = 99.0
            other.app.i_am(IPv4Address(("127.0.0.1", local)))
            device.temperature.presentValue = 30.0
            await until(lambda: told.latest["temperature"] == (30.0, None))
            await asyncio.sleep(0.5)  # some polls
            assert not other.services("ReadPropertyMultipleRequest")
        assert 99.0 not in told.values_of("temperature")
        assert not told.losses


# Trend logs


def logging(device: Device, answer: Any) -> None:
    device.app.on_request = lambda apdu: (
        answer(apdu) if isinstance(apdu, ReadRangeRequest) else NotImplemented
    )


def records(apdu: Any, first: int, count: int, more: bool) -> ReadRangeACK:
    date, time = Date((126, 6, 1, 1)), Time((12, 0, 0, 0))
    one = LogRecord(timestamp=DateTime(date=date, time=time), logDatum=LogRecordLogDatum(realValue=Real(1.0)))
    return ReadRangeACK(
        objectIdentifier=apdu.objectIdentifier,
        propertyIdentifier=apdu.propertyIdentifier,
        resultFlags=ResultFlags([0, int(not more), int(more)]),
        itemCount=count,
        itemData=ListOf(LogRecord)([one] * count),
        firstSequenceNumber=first,
        context=apdu,
    )


@pytest.fixture
async def logger() -> AsyncIterator[Device]:
    log = TrendLogObject(
        objectIdentifier=("trend-log", 1), objectName="log", recordCount=50, totalRecordCount=50
    )
    async with Device(7, objects=[log]) as running:
        yield running


async def test_a_log_whose_records_are_numbered_wrongly_comes_to_an_end(logger: Device) -> None:
    """bacnet-stack/bacnet-stack 1147: the first sequence number in an answer was another one's."""
    logging(logger, lambda apdu: records(apdu, 1, 10, more=True))
    async with session_with(connection(logger), POINTS[:1]) as (session, _):
        await session.connect()
        [found] = await session.backfill(BackfillRequest(("temperature",), "trend-log:1"))
    assert len(found.values) == 10
    assert any("does not number its records" in note for note in found.notes)


async def test_a_day_of_the_week_is_the_one_of_the_date(logger: Device) -> None:
    """JoelBender/bacpypes 523, ela-compil/BACnet 8: with another one controllers refuse to read by time."""
    asked: list[Any] = []

    def answer(apdu: Any) -> Any:
        asked.append(apdu)
        return records(apdu, 1, 1, more=False)

    logging(logger, answer)
    async with session_with(connection(logger), POINTS[:1]) as (session, _):
        await session.connect()
        sunday = 1_780_272_000_000  # 2026-06-01 00:00 UTC is a Monday; a moment before is wanted
        await session.backfill(BackfillRequest(("temperature",), "trend-log:1", since=sunday))
    assert tuple(asked[0].range.byTime.referenceTime.date) == (126, 5, 31, 7)


async def test_a_device_that_reads_no_log_by_time_is_read_whole(logger: Device) -> None:
    """jscott3201/rusty-bacnet 134: time ranges are rejected."""

    def answer(apdu: Any) -> Any:
        if apdu.range.byTime is not None:
            return RejectPDU(reason=3, context=apdu)
        return records(apdu, int(apdu.range.bySequenceNumber.referenceSequenceNumber), 50, more=False)

    logging(logger, answer)
    async with session_with(connection(logger), POINTS[:1]) as (session, _):
        await session.connect()
        [found] = await session.backfill(BackfillRequest(("temperature",), "trend-log:1", since=1))
    assert len(found.values) == 50
    assert any("does not find records by time" in note for note in found.notes)


async def test_a_log_that_may_not_be_read_is_told_by_its_name(logger: Device) -> None:
    """fh1ch/node-bacstack 124: READ_ACCESS_DENIED."""
    logging(
        logger,
        lambda apdu: Error(
            service_choice=26, errorClass="property", errorCode="read-access-denied", context=apdu
        ),
    )
    async with session_with(connection(logger), POINTS[:1]) as (session, _):
        await session.connect()
        with pytest.raises(Exception, match="READ_ACCESS_DENIED"):
            await session.backfill(BackfillRequest(("temperature",), "trend-log:1"))


async def test_an_address_that_nobody_has_is_no_crash() -> None:
    given = {"host": "127.0.0.1", "port": free_udp_port(), "timeout": 200, "retryAttempts": 0}
    async with session_with(
        {**given, "localPort": free_udp_port(), "localAddress": "127.0.0.1"}, POINTS[:1]
    ) as (session, _):
        with pytest.raises(Transient):
            await session.connect()
