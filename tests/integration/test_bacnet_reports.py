"""What has failed for people who poll BACnet devices by other products, by small devices that do so."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import pytest
from bacnet_polling import made, polling, port_of, quality, some
from bacpypes3.apdu import ReadPropertyRequest
from servers.bacnet_bytes import (
    GOOD,
    PRESENT_VALUE,
    READ_SEVERAL,
    STATUS_FLAGS,
    ByteDevice,
    analog_inputs,
    enumerated,
    flags,
    real,
)

from actors.connections.connection import NoConnection
from actors.endpoints.lines import Lines


async def test_a_device_that_takes_one_request_at_a_time_never_gives_one_value_for_another() -> None:
    """It answers what came first with what was asked for last."""
    held: list[bytes] = []

    def mixed(apdu: bytes) -> Iterable[bytes]:
        held.append(apdu)
        if len(held) < 2:
            return ()
        first, second = held
        held.clear()
        return first[:1] + second[1:2] + first[2:], second[:1] + first[1:2] + second[2:]

    async with ByteDevice(analog_inputs(2)) as device:
        device.several = False
        async with polling(device, *some(2), retryAttempts=0) as session:
            for point in range(2):  # no status flags, so that the two values are all that is asked for
                del device.objects[0, point][STATUS_FLAGS]
            await session.read(1.0)
            device.altered = mixed
            for _ in range(3):
                try:
                    result = await session.read(1.0)
                except NoConnection:
                    continue
                assert result.values[0] in (1.0, None)
                assert result.values[1] in (2.0, None)
            device.altered = lambda apdu: (apdu,)
            assert (await session.read(1.0)).values == [1.0, 2.0]
            assert session._asked().capability.mixes


async def test_controllers_behind_a_router_to_a_slow_network_do_not_come_and_go() -> None:
    """They abort what does not fit their short answers."""
    async with ByteDevice(analog_inputs(60)) as device:
        device.longest = 206
        async with polling(device, *some(60), network=2001, mac="15") as session:
            for _ in range(5):
                result = await session.read(1.0)
                assert result.qualities is None
                assert result.values == [1.0 + number for number in range(60)]


async def test_a_device_of_which_each_object_alone_is_too_much_is_still_read() -> None:
    async with ByteDevice(analog_inputs(3)) as device:
        device.longest = 40  # one value fits, but not two
        async with polling(device, *some(3)) as session:
            result = await session.read(1.0)
            assert (result.values, result.qualities) == ([1.0, 2.0, 3.0], None)


async def test_polling_goes_on_when_all_numbers_of_requests_have_been_used() -> None:
    """And an answer is lost now and then."""
    count = 0

    def lossy(apdu: bytes) -> Iterable[bytes]:
        nonlocal count
        count += 1
        return () if count % 40 == 0 else (apdu,)

    async with ByteDevice() as device, polling(device, timeout=100, retryAttempts=2, retryDelay=0) as session:
        device.altered = lossy
        for number in range(400):
            device.objects[0, 0][PRESENT_VALUE] = real(number)
            assert quality(await session.read(1.0)) == (float(number), None)


async def test_every_reading_has_all_points_though_answers_are_lost() -> None:
    count = 0

    def lossy(apdu: bytes) -> Iterable[bytes]:
        nonlocal count
        count += 1
        return () if count % 3 == 0 else (apdu,)

    async with ByteDevice(analog_inputs(3)) as device:
        device.several = False
        async with polling(device, *some(3), timeout=100, retryAttempts=3, retryDelay=0) as session:
            device.altered = lossy
            for _ in range(5):
                result = await session.read(5.0)
                assert (result.values, result.qualities) == ([1.0, 2.0, 3.0], None)


async def test_a_reading_ends_though_the_device_does_not_answer_in_the_middle_of_it() -> None:
    async with ByteDevice(analog_inputs(20)) as device:
        device.several = False
        async with polling(device, *some(20), timeout=100, retryAttempts=0) as session:
            answered = 0

            def until_it_hangs(apdu: bytes) -> Iterable[bytes]:
                nonlocal answered
                answered += 1
                return (apdu,) if answered <= 10 else ()

            device.altered = until_it_hangs
            async with asyncio.timeout(8):
                result = await session.read(0.5)
            assert "TIMEOUT" in (result.qualities or [])
            assert [value for value in result.values if value is not None]


async def test_a_device_that_is_off_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with ByteDevice() as device, polling(device, timeout=100, retryAttempts=0) as session:
        device.silent = True
        with caplog.at_level(logging.DEBUG, "actors"):
            for _ in range(5):
                with pytest.raises(NoConnection):
                    await session.read(0.1)
        assert not caplog.records


async def test_polling_goes_on_after_any_number_of_failures() -> None:
    async with ByteDevice() as device, polling(device, timeout=100, retryAttempts=0) as session:
        for _ in range(3):
            device.silent = True
            with pytest.raises(NoConnection):
                await session.read(0.1)
            device.silent = False
            await session.connect()
            assert quality(await session.read(1.0)) == (1.0, None)


async def test_a_text_of_another_character_set_than_it_says_costs_nothing() -> None:
    async with ByteDevice(analog_inputs(1)) as device:
        device.objects[0, 0][28] = b"\x75\x05\x00d\xe9bi"  # Latin-1 that says it is UTF-8
        device.objects[0, 0][77] = b"\x75\x05\x04\xd8\x00\xd8\x00"  # and half characters
        points = [
            {"name": "value", "object": "analog-input:0"},
            {"name": "description", "object": "analog-input:0:description"},
            {"name": "title", "object": "analog-input:0:object-name"},
        ]
        async with polling(device, *points) as session:
            result = await session.read(1.0)
            assert result.values == [1.0, "débi", None]
            assert quality(result, 2)[1] == "WRONG_TYPE"


@pytest.mark.parametrize(
    ("number", "code"),
    [(13, "MEMBER_FAULT"), (15, "TRIPPED"), (25, "MULTI_STATE_OUT_OF_RANGE"), (11, "RELIABILITY_11")],
)
async def test_reliabilities_have_the_names_of_the_standard(number: int, code: str) -> None:
    objects: Any = {
        (0, 0): {PRESENT_VALUE: real(1.0), STATUS_FLAGS: flags(fault=True), 103: enumerated(number)}
    }
    async with ByteDevice(objects) as device, polling(device, *some(1)) as session:
        assert quality(await session.read(1.0)) == (None, code)


async def test_three_hundred_requests_of_the_library_at_once_do_not_hang() -> None:
    async with ByteDevice() as device, polling(device) as session:
        port, station = port_of(session), session._asked().station

        async def ask() -> Any:
            request = ReadPropertyRequest(
                objectIdentifier=("analog-input", 0),
                propertyIdentifier="present-value",
                destination=station.library(),
            )
            return await port.request(request, 1.0, 5)

        device.delay = 0.001
        async with asyncio.timeout(9):
            answers = await asyncio.gather(*(ask() for _ in range(300)))
        assert len(answers) == 300
        assert device.most_under_way <= 5
        assert max(device.invoke_ids[-300:]) < 128  # ours are those from there on


async def test_the_library_and_our_own_requests_go_on_beside_each_other() -> None:
    async with ByteDevice(analog_inputs(5)) as device, polling(device, *some(5)) as session:
        port, station = port_of(session), session._asked().station

        async def by_library() -> Any:
            request = ReadPropertyRequest(
                objectIdentifier=("analog-input", 1),
                propertyIdentifier="present-value",
                destination=station.library(),
            )
            return (await port.request(request, 1.0, 5)).propertyValue

        for _ in range(20):
            results = await asyncio.gather(session.read(1.0), by_library(), session.read(1.0))
            assert results[0].values == results[2].values == [1.0, 2.0, 3.0, 4.0, 5.0]
        assert port.unasked == 0


async def test_a_point_that_one_client_overrides_is_told_as_overridden_and_not_as_bad() -> None:
    objects: Any = {(0, 0): {PRESENT_VALUE: real(1.0), STATUS_FLAGS: flags(overridden=True, in_alarm=True)}}
    async with ByteDevice(objects) as device, polling(device, *some(1)) as session:
        assert quality(await session.read(1.0)) == (1.0, "OVERRIDDEN")
        device.objects[0, 0][STATUS_FLAGS] = GOOD
        assert quality(await session.read(1.0)) == (1.0, None)


async def test_devices_at_one_host_are_told_apart_by_their_ports() -> None:
    lines = Lines()
    async with ByteDevice(analog_inputs(1, 10.0)) as first, ByteDevice(analog_inputs(1, 20.0)) as second:
        given = first.connection()
        sessions = [made({**given, "port": device.place[1]}, some(1), lines) for device in (first, second)]
        try:
            for session in sessions:
                await session.connect()
            for _ in range(10):
                results = await asyncio.gather(*(session.read(1.0) for session in sessions))
                assert [result.values for result in results] == [[10.0], [20.0]]
        finally:
            for session in sessions:
                await session.close()


async def test_a_device_that_restarts_with_fewer_abilities_is_read_on() -> None:
    async with ByteDevice(analog_inputs(10)) as device, polling(device, *some(10)) as session:
        assert (await session.read(1.0)).qualities is None
        device.several = False
        assert (await session.read(1.0)).qualities is None
        device.several, device.longest = True, 100
        assert (await session.read(1.0)).qualities is None
        assert device.counts[READ_SEVERAL] > 0
