"""Subscriptions to changes of value, with bacpypes3's device and with one of the tests' own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest
from bacnet_rig import Device, free_udp_port
from bacnet_sessions import POINTS, Told, session_with, until
from bacpypes3.apdu import Error, RejectPDU, SubscribeCOVRequest
from bacpypes3.pdu import IPv4Address

from actors.endpoints.protocol import WriteRequest
from actors.endpoints.protocols.bacnet import PROTOCOL, subscribing

SUBSCRIBE = "SubscribeCOVRequest"


def connection(device: Device, **more: Any) -> dict[str, Any]:
    return {
        "host": device.host,
        "port": device.port,
        "deviceInstance": device.instance,
        "localPort": free_udp_port(),
        "localAddress": "127.0.0.1",
        "timeout": 500,
        "retryAttempts": 0,
        "useCov": True,
        **more,
    }


@asynccontextmanager
async def subscribed(
    device: Device, points: list[dict[str, Any]] = POINTS, **more: Any
) -> AsyncIterator[tuple[Any, Told]]:
    async with session_with(connection(device, **more), points) as (session, told):
        await session.connect()
        yield session, told


@pytest.fixture
async def device() -> AsyncIterator[Device]:
    async with Device(7) as running:
        yield running


@pytest.mark.parametrize("confirmed", [False, True])
async def test_what_changes_is_told_at_once(device: Device, confirmed: bool) -> None:
    async with subscribed(device, covConfirmed=confirmed) as (_, told):
        assert told.latest["temperature"] == (21.5, None)
        assert told.latest["mode"] == ("Heating", None)
        assert [point.unit for point in told.points] == ["°C", "°C", None, None]
        for value in (22.0, 23.0, 24.0):
            device.temperature.presentValue = value
            await until(lambda value=value: told.latest["temperature"] == (value, None))  # type: ignore[misc]
        assert told.values_of("temperature") == [21.5, 22.0, 23.0, 24.0]
        [asked, *_] = device.services(SUBSCRIBE)
        assert (asked.issueConfirmedNotifications, asked.lifetime) == (confirmed, 300)


async def test_status_flags_make_the_quality(device: Device) -> None:
    async with subscribed(device) as (_, told):
        device.temperature.statusFlags = [0, 1, 0, 0]
        device.temperature.reliability = "openLoop"
        await until(lambda: told.latest["temperature"] == (None, "OPEN_LOOP"))
        device.temperature.statusFlags = [0, 0, 0, 1]
        device.temperature.reliability, device.temperature.outOfService = "noFaultDetected", True
        await until(lambda: told.latest["temperature"] == (21.5, "OUT_OF_SERVICE"))
        device.temperature.statusFlags = [0, 0, 0, 0]
        device.temperature.outOfService = False
        await until(lambda: told.latest["temperature"] == (21.5, None))


async def test_they_are_renewed_well_before_they_end_and_cancelled_at_the_end(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribing, "_RENEW_AFTER", 0.03)
    async with subscribed(device, POINTS[:1], covLifetime=10):
        await until(lambda: len(device.services(SUBSCRIBE)) >= 3)
    first, *_, last = device.services(SUBSCRIBE)
    assert first.lifetime == 10
    assert last.lifetime is None
    assert {apdu.subscriberProcessIdentifier for apdu in device.services(SUBSCRIBE)} == {
        first.subscriberProcessIdentifier
    }
    assert not any(one.cov_subscriptions for one in device.app._cov_detections.values())


async def test_another_life_of_the_agent_takes_no_second_place(device: Device) -> None:
    local = free_udp_port()
    for _ in range(2):
        async with session_with(connection(device, localPort=local), POINTS[:1]) as (session, _told):
            await session.connect()
            session._subscriptions.every.clear()  # it dies without cancelling anything
    held = [sub for one in device.app._cov_detections.values() for sub in one.cov_subscriptions]
    assert len(held) == 1


@pytest.mark.parametrize("refusal", ["no such service", "no room"])
async def test_what_cannot_be_subscribed_to_is_polled(
    device: Device, refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(apdu: Any) -> Any:
        if not isinstance(apdu, SubscribeCOVRequest):
            return NotImplemented
        if refusal == "no such service":
            return RejectPDU(reason=9, context=apdu)
        if apdu.monitoredObjectIdentifier[0] == "analog-input":
            return NotImplemented
        return Error(
            service_choice=5, errorClass="resources", errorCode="no-space-to-add-list-element", context=apdu
        )

    device.app.on_request = answer
    points = [{**point, "pollIntervalMs": 1000} for point in POINTS[:2]]
    async with subscribed(device, points) as (_, told):
        assert "cannot be subscribed to and are polled" in caplog.text
        device.setpoint.presentValue = 25.0
        device.temperature.presentValue = 30.0
        await until(lambda: told.latest["temperature"] == (30.0, None))
        await until(lambda: told.latest["setpoint"] == (25.0, None))
        asked = [apdu for apdu in device.services(SUBSCRIBE) if apdu.lifetime is not None]
        assert len(asked) <= 2, "it is asked again and again"


async def test_what_a_notification_has_lost_is_seen_by_a_poll_and_subscribed_to_again(device: Device) -> None:
    async with subscribed(device, POINTS[:1], pollInterval=300) as (_, told):
        before = len(device.services(SUBSCRIBE))
        for one in list(device.app._cov_detections.values()):  # as a device that begins anew
            for sub in list(one.cov_subscriptions):
                device.app.cancel_subscription(sub)
        for value in (30.0, 31.0):
            device.temperature.presentValue = value
            await until(lambda value=value: told.latest["temperature"] == (value, None))  # type: ignore[misc]
        await until(lambda: len(device.services(SUBSCRIBE)) > before)


async def test_a_device_that_says_who_it_is_has_its_subscriptions_renewed(device: Device) -> None:
    async with subscribed(device, POINTS[:1]) as (session, _):
        before = len(device.services(SUBSCRIBE))
        device.app.i_am(IPv4Address(("127.0.0.1", session._connection.local.port)))
        await until(lambda: len(device.services(SUBSCRIBE)) > before)
        device.app.i_am(IPv4Address(("127.0.0.1", session._connection.local.port)))
        await until(lambda: session._subscriptions.every[0].due > monotonic())
        assert len(device.services(SUBSCRIBE)) == before + 1, "and not each time that anybody asks"


async def test_a_silent_device_is_lost_and_one_that_is_back_is_subscribed_to_anew(device: Device) -> None:
    async with subscribed(device, pollInterval=300) as (session, told):
        await device.stop()
        await until(lambda: told.losses)
        assert told.losses[0].code == "TIMEOUT"
        await device.start()
        device.temperature.presentValue = 5.0
        await session.connect()
        assert told.latest["temperature"] == (5.0, None)
        device.temperature.presentValue = 6.0
        await until(lambda: told.latest["temperature"] == (6.0, None))


async def test_none_is_lost_in_a_burst(device: Device) -> None:
    async with subscribed(device, POINTS[:1]) as (_, told):
        for number in range(200):
            device.temperature.presentValue = 100.0 + number
            device.app._cov_detections[device.temperature.objectIdentifier].execute()
        await until(lambda: told.latest["temperature"] == (299.0, None))


async def test_a_change_that_it_makes_itself_is_told_though_the_device_says_nothing(device: Device) -> None:
    async with subscribed(device, POINTS[1:2]) as (session, told):
        for one in list(device.app._cov_detections.values()):
            for sub in list(one.cov_subscriptions):
                device.app.cancel_subscription(sub)
        given = connection(device)
        prepared = PROTOCOL.prepare(PROTOCOL.check(given, POINTS), WriteRequest("", "setpoint", 25))  # type: ignore[misc]
        assert await session.write(prepared) == 25.0
        await until(lambda: told.latest["setpoint"] == (25.0, None))


async def test_an_increment_of_ones_own_is_asked_for(device: Device) -> None:
    asked: list[Any] = []

    def answer(apdu: Any) -> Any:
        if type(apdu).__name__ == "SubscribeCOVPropertyRequest":
            asked.append(apdu)
            return RejectPDU(reason=9, context=apdu)
        return NotImplemented

    device.app.on_request = answer
    async with subscribed(device, [{**POINTS[0], "covIncrement": 2.5}]) as (_, told):
        assert (asked[0].covIncrement, asked[0].monitoredPropertyIdentifier.propertyIdentifier) == (2.5, 85)
        device.temperature.presentValue = 30.0  # the device knows no such thing: it tells as it is configured
        await until(lambda: told.latest["temperature"] == (30.0, None))


# What is not for it


async def test_notifications_of_others_are_not_taken(device: Device) -> None:
    async with subscribed(device, POINTS[:1]) as (session, told):
        [one] = session._subscriptions.every
        process, port = one.process.to_bytes(4, "big"), session._port
        station = session._asking.station

        def note(process: bytes, device: int, kind: int, value: bytes = b"\x44\x42\xc8\x00\x00") -> bytes:
            head = b"\x0c" + process if len(process) == 4 else b"\x09" + process
            return (
                head
                + b"\x1c" + (8 << 22 | device).to_bytes(4, "big")
                + b"\x2c" + (kind << 22 | 1).to_bytes(4, "big")
                + b"\x39\x00\x4e\x09\x55\x2e" + value + b"\x2f\x4f"
            )  # fmt: skip

        for body in (note(process, 8, 0), note(process, 7, 2), note(process, 7, 0)[:-1], b""):
            assert not session._notified(one, station, body)
        assert told.latest["temperature"] == (21.5, None)
        assert session._notified(one, station, note(process, 7, 0))
        assert told.latest["temperature"] == (100.0, None)
        assert port.is_notified(station, one.process)
    assert not port.is_notified(station, one.process)


async def test_a_device_that_says_nothing_to_what_it_does_not_know_is_polled(device: Device) -> None:
    device.app.on_request = lambda apdu: None if isinstance(apdu, SubscribeCOVRequest) else NotImplemented
    points = [{**point, "pollIntervalMs": 1000} for point in POINTS]
    async with subscribed(device, points) as (_, told):
        assert len(device.services(SUBSCRIBE)) == 1
        device.temperature.presentValue = 30.0
        await until(lambda: told.latest["temperature"] == (30.0, None))
        assert not told.losses
