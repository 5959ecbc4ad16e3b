"""What devices tell late, in part, or not at all does not leave a wrong value."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from struct import pack
from types import SimpleNamespace
from typing import Any

import pytest
from bacnet_rig import Device, free_udp_port
from bacnet_sessions import POINTS, Told, session_with, until
from bacpypes3.apdu import RejectPDU, SubscribeCOVRequest

from actors.endpoints.protocols.bacnet import PROTOCOL, pushed, subscribing
from actors.endpoints.protocols.bacnet.connection import read_connection
from actors.endpoints.protocols.bacnet.subscribing import Subscriptions


@asynccontextmanager
async def subscribed(device: Device, **more: Any) -> AsyncIterator[tuple[Any, Told]]:
    connection = {
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
    async with session_with(connection, POINTS[:1]) as (session, told):
        await session.connect()
        yield session, told


@pytest.fixture
async def device() -> AsyncIterator[Device]:
    async with Device(7) as running:
        yield running


def note(session: Any, value: float) -> bytes:
    """A notification of analog-input:1 of device 7, its value alone."""
    [one] = session._subscriptions.every
    process: int = one.process
    return (
        b"\x0c" + process.to_bytes(4, "big")
        + b"\x1c" + (8 << 22 | 7).to_bytes(4, "big")
        + b"\x2c" + (1).to_bytes(4, "big")
        + b"\x39\x00\x4e\x09\x55\x2e\x44" + pack(">f", value) + b"\x2f\x4f"
    )  # fmt: skip


def tell(session: Any, value: float, invoke_id: int | None = None) -> None:
    [one] = session._subscriptions.every
    assert session._notified(one, None, note(session, value), invoke_id)


def says_no_more(device: Device) -> None:
    for one in list(device.app._cov_detections.values()):
        for sub in list(one.cov_subscriptions):
            device.app.cancel_subscription(sub)


def after_the_next_poll(session: Any, then: Callable[[Any], None]) -> None:
    """Called once with what it has found, before that is looked at."""
    real = session._reader.read

    async def read(*args: Any) -> Any:
        session._reader.read = real
        found = await real(*args)
        then(found)
        return found

    session._reader.read = read


async def test_a_confirmed_notification_that_is_repeated_is_not_the_latest(device: Device) -> None:
    async with subscribed(device) as (session, told):
        says_no_more(device)
        device.temperature.presentValue = 40.0
        for value, invoke_id in ((30.0, 255), (40.0, 0), (30.0, 255), (40.0, 0)):
            tell(session, value, invoke_id)
        assert told.values_of("temperature") == [21.5, 30.0, 40.0]
        device.temperature.presentValue = 50.0
        tell(session, 40.0, 0)
        await until(lambda: told.latest["temperature"] == (50.0, None))
        assert told.values_of("temperature") == [21.5, 30.0, 40.0, 50.0]


async def test_what_is_told_while_a_poll_finds_something_else_is_polled_again(device: Device) -> None:
    async with subscribed(device) as (session, told):
        after_the_next_poll(session, lambda _: tell(session, 100.0))
        session._spoke.clear()
        session._look_at([0])
        await until(lambda: told.latest["temperature"] == (100.0, None))
        await until(lambda: told.latest["temperature"] == (21.5, None))


async def test_a_poll_that_is_wanted_during_another_one_is_made(device: Device) -> None:
    async with subscribed(device) as (session, told):
        says_no_more(device)

        def write(_: Any) -> None:
            device.temperature.presentValue = 25.0
            session._look_at([0])

        after_the_next_poll(session, write)
        session._look_at([0])
        await until(lambda: told.latest["temperature"] == (25.0, None))


async def test_a_notification_without_flags_does_not_clear_them(device: Device) -> None:
    device.temperature.outOfService = True
    async with subscribed(device) as (session, told):
        assert told.latest["temperature"] == (21.5, "OUT_OF_SERVICE")
        tell(session, 100.0)
        assert told.latest["temperature"] == (100.0, "OUT_OF_SERVICE")


async def test_a_poll_that_has_lost_a_value_is_made_up_for(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushed, "FALLBACK", 0.2)
    async with subscribed(device) as (session, told):
        after_the_next_poll(session, lambda found: found.pop((1, 85, None)))
        session._look_at([0])
        await until(lambda: told.latest["temperature"] == (None, "TIMEOUT"))
        await until(lambda: told.latest["temperature"] == (21.5, None))


async def test_a_device_that_knew_no_subscriptions_is_asked_again(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribing, "_AGAIN_AFTER", 0.2)
    device.app.on_request = lambda apdu: (
        RejectPDU(reason=9, context=apdu) if isinstance(apdu, SubscribeCOVRequest) else NotImplemented
    )
    async with subscribed(device) as (session, _):
        [one] = session._subscriptions.every
        assert one.refused == "UNRECOGNIZED_SERVICE"
        device.app.on_request = lambda apdu: NotImplemented
        await until(lambda: one.refused is None)


async def test_a_device_that_ends_while_subscriptions_are_renewed_is_not_asked_for_all_of_them() -> None:
    """A thousand times its time-out, one after the other, its values would be good all the while."""
    points = [{"name": str(number), "object": f"analog-input:{number}"} for number in range(1000)]
    given = {"host": "127.0.0.1", "timeout": 100, "retryAttempts": 2, "retryDelay": 0}
    asked: list[bytes] = []

    async def ask(_: Any, body: bytes, *__: Any) -> bytes | None:
        asked.append(body)
        return b"\x20\x80\x05" if len(asked) <= 10 else None

    port = SimpleNamespace(ask=ask, is_notified=lambda *_: False)
    subscriptions = Subscriptions(read_connection(given), PROTOCOL.check(given, points).points)
    asking: Any = SimpleNamespace(port=port, station=None)
    subscriptions.begin(asking)
    await subscriptions.see_to(asking)
    assert sum(one.until > 0 for one in subscriptions.every) == 10
    assert len(asked) <= 10 + 5 * 3
    assert sum(one.refused == "NO_ANSWER" for one in subscriptions.every) == 990


async def test_several_notifications_that_are_repeated_are_none_of_them_the_latest(device: Device) -> None:
    async with subscribed(device) as (session, told):
        says_no_more(device)
        device.temperature.presentValue = 40.0
        for value, invoke_id in ((30.0, 8), (35.0, 9), (40.0, 10), (30.0, 8), (35.0, 9)):
            tell(session, value, invoke_id)
        assert told.values_of("temperature") == [21.5, 30.0, 35.0, 40.0]
