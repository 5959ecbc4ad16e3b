"""What polling makes of BACnet devices that are as they are, by a device that knows bytes only."""

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from typing import Any

import pytest
from bacnet_polling import ONE, made, polling, port_of, quality, some
from servers.bacnet_bytes import (
    GOOD,
    PRESENT_VALUE,
    READ,
    READ_SEVERAL,
    STATUS_FLAGS,
    ByteDevice,
    Objects,
    analog_inputs,
    enumerated,
    flags,
    real,
    text,
    unsigned,
    wrapped,
)

from actors.connections.connection import NoConnection, Transient
from actors.endpoints.lines import Lines
from actors.endpoints.protocols.bacnet.codec import Value
from actors.endpoints.protocols.bacnet.points import Ref


async def read(device: ByteDevice, point: dict[str, Any]) -> tuple[Any, str | None]:
    async with polling(device, point) as session:
        return quality(await session.read(1.0))


def one(content: bytes, status: bytes | None = GOOD, **further: bytes) -> Objects:
    """An analog input 0."""
    properties = {PRESENT_VALUE: content}
    if status is not None:
        properties[STATUS_FLAGS] = status
    return {(0, 0): properties | {int(key[1:]): value for key, value in further.items()}}


# Values and their quality


@pytest.mark.parametrize(
    ("content", "status", "expected"),
    [
        (real(21.5), GOOD, (21.5, None)),
        (real(21.5), flags(in_alarm=True), (21.5, None)),
        (real(21.5), flags(overridden=True), (21.5, "OVERRIDDEN")),
        (real(21.5), flags(out=True), (21.5, "OUT_OF_SERVICE")),
        (real(21.5), flags(fault=True), (None, "FAULT")),
        (real(21.5), flags(fault=True, out=True), (None, "FAULT")),
        (real(21.5), None, (21.5, None)),
        (real(21.5), b"\x21\x00", (21.5, "NO_STATUS_FLAGS")),
        (real(21.5), b"\x82\x03\x00", (21.5, "NO_STATUS_FLAGS")),
        (real(float("nan")), GOOD, (None, "NOT_A_NUMBER")),
        (real(float("-inf")), GOOD, (None, "NOT_A_NUMBER")),
        (b"\x00", GOOD, (None, "NO_VALUE")),
        (text("warm"), GOOD, (None, "WRONG_TYPE")),
        (real(1.0) + real(2.0), GOOD, (None, "WRONG_TYPE")),
        (b"", GOOD, (None, "WRONG_TYPE")),
        (b"\x43\x41\x50\x00", GOOD, (None, "WRONG_TYPE")),
        (unsigned(7), GOOD, (7, None)),
    ],
)
async def test_values_have_the_quality_that_the_device_says(
    content: bytes, status: bytes | None, expected: Any
) -> None:
    async with ByteDevice(one(content, status)) as device:
        assert await read(device, ONE) == expected


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (enumerated(4), "OPEN_LOOP"),
        (enumerated(12), "COMMUNICATION_FAILURE"),
        (enumerated(200), "RELIABILITY_200"),
        (enumerated(0), "FAULT"),
        (real(1.0), "FAULT"),
    ],
)
async def test_a_fault_is_told_by_its_reliability(said: bytes, code: str) -> None:
    async with ByteDevice(one(real(1.0), flags(fault=True), _103=said)) as device:
        assert await read(device, ONE) == (None, code)


async def test_a_missing_object_is_bad_and_costs_the_others_nothing() -> None:
    async with ByteDevice(analog_inputs(2)) as device, polling(device, *some(4)) as session:
        result = await session.read(1.0)
        assert result.values == [1.0, 2.0, None, None]
        assert result.qualities == [None, None, "UNKNOWN_OBJECT", "UNKNOWN_OBJECT"]
        assert device.counts[READ] <= 2  # of finding it


async def test_a_missing_property_is_bad() -> None:
    async with ByteDevice() as device:
        assert await read(device, {**ONE, "propertyId": "high-limit"}) == (None, "UNKNOWN_PROPERTY")


async def test_status_flags_that_an_object_does_not_have_are_not_asked_for_again() -> None:
    async with ByteDevice(one(real(1.0), None)) as device, polling(device) as session:
        await session.read(1.0)
        device.asked.clear()
        assert quality(await session.read(1.0)) == (1.0, None)
        assert ((0, 0), STATUS_FLAGS, None) not in device.asked[0]


async def test_points_have_a_pace_of_their_own() -> None:
    slow = {"name": "slow", "object": "analog-input:1", "pollIntervalMs": 60_000}
    async with ByteDevice(analog_inputs(2)) as device, polling(device, ONE, slow) as session:
        first = await session.read(1.0)
        for place in ((0, 0), (0, 1)):
            device.objects[place][PRESENT_VALUE] = real(50.0)
        second = await session.read(1.0)
        assert first.values == [1.0, 2.0]
        assert second.values == [50.0, 2.0]
        assert first.times is not None
        assert second.times is not None
        assert second.times[1] == first.times[1]
        assert second.times[0] >= first.times[0]


async def test_a_point_of_a_slow_pace_whose_answer_was_lost_is_read_with_the_next_poll() -> None:
    slow = {"name": "slow", "object": "analog-input:1", "pollIntervalMs": 60_000}

    def without(apdu: bytes) -> Iterable[bytes]:
        return () if b"\x0c\x00\x00\x00\x01" in apdu else (apdu,)

    async with ByteDevice(analog_inputs(2)) as device:
        device.several = False
        async with polling(device, ONE, slow, timeout=100, retryAttempts=0) as session:
            device.altered = without
            assert quality(await session.read(1.0), 1) == (None, "TIMEOUT")
            device.altered = lambda apdu: (apdu,)
            assert quality(await session.read(1.0), 1) == (2.0, None)


async def test_status_flags_that_were_not_there_for_a_moment_are_asked_for_again() -> None:
    async with ByteDevice(one(real(1.0), None)) as device, polling(device) as session:
        assert quality(await session.read(1.0)) == (1.0, None)
        device.objects[0, 0][STATUS_FLAGS] = flags(fault=True)
        session._asked().capability._doubted_since -= 601
        assert quality(await session.read(1.0)) == (None, "FAULT")


async def test_any_device_is_whichever_it_is() -> None:
    anybody = {"name": "name", "object": "device:4194302:object-name"}
    async with ByteDevice() as device:
        assert await read(device, {**anybody, "object": "device:1001:object-name"}) == ("a device", None)
        async with polling(device) as session:
            found = await session._asked().read([(Ref(8, 4_194_303, 77), Ref(8, 4_194_303, 75))], 1.0)
            assert found[8 << 22 | 4_194_303, 77, None] == Value(7, "a device")
            assert not session._asked().capability.mixes


# What devices are able to do


async def test_a_device_that_does_not_know_several_is_asked_one_by_one_from_then_on() -> None:
    async with ByteDevice(analog_inputs(5)) as device:
        device.several = False
        async with polling(device, *some(5)) as session:
            result = await session.read(1.0)
            assert (result.values, result.qualities) == ([1.0, 2.0, 3.0, 4.0, 5.0], None)
            refused = device.counts[READ_SEVERAL]
            await session.read(1.0)
            assert device.counts[READ_SEVERAL] == refused


async def test_a_day_later_it_is_asked_for_several_again() -> None:
    async with ByteDevice(analog_inputs(5)) as device:
        device.several = False
        async with polling(device, *some(5)) as session:
            await session.read(1.0)
            device.several = True
            session._asked().capability._since -= 86_401
            device.counts.clear()
            result = await session.read(1.0)
            assert result.values == [1.0, 2.0, 3.0, 4.0, 5.0]
            assert device.counts == {READ_SEVERAL: 1}


async def test_a_device_that_is_silent_when_it_does_not_know_several_is_asked_one_by_one() -> None:
    async with ByteDevice(analog_inputs(3)) as device:
        device.several = None
        async with polling(device, *some(3), retryAttempts=0) as session:
            result = await session.read(1.0)
            assert (result.values, result.qualities) == ([1.0, 2.0, 3.0], None)


@pytest.mark.parametrize("too_long", [1, 4, 9, 11, 0])
async def test_what_is_too_much_for_a_device_is_asked_in_parts(too_long: int) -> None:
    async with ByteDevice(analog_inputs(40)) as device:
        device.longest, device.too_long = 206, too_long
        async with polling(device, *some(40)) as session:
            result = await session.read(1.0)
            assert result.qualities is None
            assert result.values == [1.0 + number for number in range(40)]


async def test_what_was_too_much_once_is_not_asked_again() -> None:
    async with ByteDevice(analog_inputs(40)) as device:
        device.longest = 206
        async with polling(device, *some(40)) as session:
            await session.read(1.0)
            device.counts.clear()
            result = await session.read(1.0)
            assert result.qualities is None
            assert device.counts[READ] == 0
            assert device.counts[READ_SEVERAL] <= 12


async def test_a_device_that_says_nothing_to_what_is_too_much_is_asked_for_less() -> None:
    async with ByteDevice(analog_inputs(30)) as device:
        device.longest, device.too_long = 400, None
        async with polling(device, *some(30), retryAttempts=0) as session:
            for _ in range(4):
                with contextlib.suppress(Transient):
                    result = await session.read(1.0)
            assert result.qualities is None


async def test_an_answer_that_is_cut_off_is_asked_for_in_parts() -> None:
    def cut(apdu: bytes) -> Iterable[bytes]:
        return (apdu[:100] if len(apdu) > 100 else apdu,)

    async with ByteDevice(analog_inputs(20)) as device, polling(device, *some(20)) as session:
        device.altered = cut
        result = await session.read(1.0)
        assert result.qualities is None
        assert result.values == [1.0 + number for number in range(20)]


async def test_one_object_that_spoils_an_answer_is_asked_alone_from_then_on() -> None:
    async with ByteDevice(analog_inputs(20)) as device:
        device.spoils = {((0, 99), PRESENT_VALUE, None)}
        missing = {"name": "missing", "object": "analog-input:99"}
        async with polling(device, *some(20), missing) as session:
            result = await session.read(1.0)
            assert result.values[:20] == [1.0 + number for number in range(20)]
            assert quality(result, 20) == (None, "UNKNOWN_OBJECT")
            device.counts.clear()
            again = await session.read(1.0)
            assert again.values == result.values
            assert again.qualities == result.qualities
            assert device.counts.total() <= 3


async def test_a_segmented_answer_that_was_not_asked_for_is_asked_for_in_parts() -> None:
    def segmented(apdu: bytes) -> Iterable[bytes]:
        if apdu[0] >> 4 == 3 and len(apdu) > 150:
            return (bytes((0x3C, apdu[1], 0, 4)) + apdu[2:100],)
        return (apdu,)

    async with ByteDevice(analog_inputs(20)) as device, polling(device, *some(20)) as session:
        device.altered = segmented
        result = await session.read(1.0)
        assert result.qualities is None


async def test_a_huge_plan_is_cut_into_requests_that_fit() -> None:
    async with ByteDevice(analog_inputs(500)) as device, polling(device, *some(500)) as session:
        result = await session.read(1.0)
        assert result.values == [1.0 + number for number in range(500)]
        assert result.qualities is None


# How much is asked at once


async def test_no_more_is_asked_at_once_than_is_configured() -> None:
    async with ByteDevice(analog_inputs(40)) as device:
        device.several = False
        async with polling(device, *some(40), maxConcurrentReads=3) as session:
            device.delay = 0.01
            result = await session.read(5.0)
            assert result.qualities is None
            assert device.most_under_way == 3


async def test_two_endpoints_of_a_device_are_one_to_it() -> None:
    lines = Lines()
    async with ByteDevice(analog_inputs(40)) as device:
        device.several = False
        given = device.connection(maxConcurrentReads=2)
        sessions = [made(given, some(40), lines) for _ in range(3)]
        try:
            for session in sessions:
                await session.connect()
            assert len({id(port_of(session)) for session in sessions}) == 1
            device.delay = 0.002
            results = await asyncio.gather(*(session.read(5.0) for session in sessions))
            assert all(result.qualities is None for result in results)
            assert device.most_under_way == 2
        finally:
            for session in sessions:
                await session.close()
    assert len(lines) == 0


async def test_a_dead_device_costs_the_others_nothing() -> None:
    lines = Lines()
    async with ByteDevice(analog_inputs(5)) as dead, ByteDevice(analog_inputs(5)) as alive:
        given = dead.connection(timeout=1000, retryAttempts=3)
        host, port = alive.place
        first = made(given, some(5), lines)
        second = made({**given, "host": host, "port": port}, some(5), lines)
        try:
            await first.connect()
            await second.connect()
            dead.silent = True
            waiting = asyncio.ensure_future(first.read(1.0))
            async with asyncio.timeout(0.8):
                for _ in range(20):
                    assert (await second.read(1.0)).qualities is None
            assert not waiting.done()
            waiting.cancel()
        finally:
            await first.close()
            await second.close()


# What is not answered


async def test_what_is_lost_is_asked_again_under_another_number() -> None:
    lost = iter([True, False, True, False])

    def one_in_two(apdu: bytes) -> Iterable[bytes]:
        return () if next(lost, False) else (apdu,)

    async with ByteDevice() as device, polling(device) as session:
        device.altered = one_in_two
        device.invoke_ids.clear()
        assert quality(await session.read(1.0)) == (1.0, None)
        assert len(device.invoke_ids) == len(set(device.invoke_ids)) == 2


async def test_a_silent_device_is_a_timeout_and_comes_back() -> None:
    async with ByteDevice(analog_inputs(3)) as device, polling(device, *some(3)) as session:
        device.silent = True
        with pytest.raises(NoConnection) as caught:
            await session.read(0.1)
        assert caught.value.code == "TIMEOUT"
        with pytest.raises(NoConnection):
            await session.connect()
        device.silent = False
        await session.connect()
        assert (await session.read(1.0)).values == [1.0, 2.0, 3.0]


async def test_a_late_answer_is_nobodys() -> None:
    async with ByteDevice() as device, polling(device, timeout=100, retryAttempts=0) as session:
        device.delay = 0.18
        with pytest.raises(NoConnection):
            await session.read(0.1)
        device.delay = 0.0
        device.objects[0, 0][PRESENT_VALUE] = real(2.0)
        await session.connect()
        assert quality(await session.read(1.0)) == (2.0, None)
        await asyncio.sleep(0.2)
        assert port_of(session).unasked >= 1
        assert quality(await session.read(1.0)) == (2.0, None)


async def test_answers_that_come_twice_count_once() -> None:
    async with ByteDevice() as device, polling(device) as session:
        device.altered = lambda apdu: (apdu, apdu)
        for number in range(5):
            device.objects[0, 0][PRESENT_VALUE] = real(number)
            assert quality(await session.read(1.0)) == (float(number), None)


async def test_an_answer_from_somebody_else_is_not_believed() -> None:
    async with ByteDevice() as device, polling(device, timeout=100, retryAttempts=0) as session:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            place = ("127.0.0.1", port_of(session).local.port)

            def from_another(apdu: bytes) -> Iterable[bytes]:
                other.sendto(wrapped(apdu), place)
                other.sendto(wrapped(apdu, b"\x00\x07\x01\x05"), place)
                device.send(apdu, place, b"\x00\x07\x01\x05")
                return ()

            device.altered = from_another
            with pytest.raises(NoConnection):
                await session.read(0.1)


async def test_an_answer_about_another_object_is_not_believed() -> None:
    def other(apdu: bytes) -> Iterable[bytes]:
        return (apdu.replace(b"\x0c\x00\x00\x00\x00", b"\x0c\x00\x00\x00\x01"),)

    async with ByteDevice() as device, polling(device) as session:
        device.altered = other
        assert quality(await session.read(1.0))[0] is None


async def test_another_device_at_the_address_is_not_believed() -> None:
    async with ByteDevice() as device, polling(device, deviceInstance=1001) as session:
        assert quality(await session.read(1.0)) == (1.0, None)
        device.objects[8, 1002] = {75: b"\xc4" + (8 << 22 | 1002).to_bytes(4, "big")}
        del device.objects[8, 1001]
        device.instance = 1002
        with pytest.raises(NoConnection):
            await session.read(1.0)


# Routers


async def test_a_device_behind_a_router_is_read_by_its_network_and_address() -> None:
    behind = {"network": 7, "mac": "05"}
    async with ByteDevice(analog_inputs(3)) as device, polling(device, *some(3), **behind) as session:
        result = await session.read(1.0)
        assert (result.values, result.qualities) == ([1.0, 2.0, 3.0], None)
