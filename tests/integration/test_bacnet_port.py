"""The agent's own UDP port for BACnet: what comes there, who shares it, and what is left of it."""

import asyncio
import contextlib
import socket

import pytest
from bacnet_polling import ONE, made, polling, port_of, quality, some
from servers.bacnet_bytes import PRESENT_VALUE, ByteDevice, analog_inputs, text, wrapped
from servers.udp_relay import free_udp_port

from actors.connections.connection import NoConnection, Transient
from actors.endpoints.lines import Lines
from actors.endpoints.protocols.bacnet.codec import Notification, Value, notification
from actors.endpoints.protocols.bacnet.station import Station


async def test_garbage_and_what_is_for_nobody_change_nothing() -> None:
    async with ByteDevice() as device, polling(device) as session:
        place = ("127.0.0.1", port_of(session).local.port)
        for junk in (
            b"",
            b"\x81",
            b"\x81\x0a\x00\x04",
            b"\x81\x0a\xff\xff\x01\x00",
            bytes(1500),
            b"\x01" * 9,
        ):
            device.transport.sendto(junk, place)
        for apdu in (
            b"\x30\xff",
            b"\x30\xff\x0e",
            b"\x20\x80\x0f",
            b"\x00\x05\x01\x01",
            b"\x10\x02\x09",
            b"\xf0\x00",
        ):
            device.send(apdu, place)
        assert quality(await session.read(1.0)) == (1.0, None)


async def test_an_agent_that_is_asked_tells_and_changes_nothing() -> None:
    async with ByteDevice() as device, polling(device) as session:
        place = ("127.0.0.1", port_of(session).local.port)
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        device.datagram_received = lambda data, addr: heard.put_nowait(data)  # type: ignore[method-assign]
        write = b"\x00\x05\x01\x0f\x0c\x02\x3f\xff\xff\x19\x4d\x3e" + text("mine") + b"\x3f"
        device.send(write, place)
        async with asyncio.timeout(1):
            assert (await heard.get())[6:] == b"\x60\x01\x09"
        device.send(b"\x10\x08", place)  # Who-Is
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await heard.get()


async def test_what_networks_are_full_of_costs_the_library_nothing() -> None:
    async with ByteDevice() as device, polling(device) as session:
        port = port_of(session)
        for apdu in (b"\x10\x08", b"\x10\x07\x09\x01", b"\x10\x02\x09\x63"):
            for _ in range(1000):
                port.datagram_received(wrapped(apdu), device.place)
        assert not port._tasks
        assert quality(await session.read(1.0)) == (1.0, None)


# Notifications


@pytest.mark.parametrize("head", [b"\x00\x05\x11\x01", b"\x02\x75\x11\x01"])
async def test_a_confirmed_notification_is_acknowledged_once_it_is_understood(head: bytes) -> None:
    """Also of who would take segments."""
    async with ByteDevice() as device, polling(device) as session:
        port, told = port_of(session), list[Notification]()
        station, place = Station(*device.place), ("127.0.0.1", port.local.port)
        acknowledged: asyncio.Queue[bytes] = asyncio.Queue()
        device.datagram_received = (  # type: ignore[method-assign]
            lambda data, addr: acknowledged.put_nowait(data[6:])
        )
        sent: list[bytes] = []
        device.send = lambda apdu, addr, source=b"": sent.append(apdu)  # type: ignore[method-assign]
        device.tell(7, (0, 0), place, confirmed=False)
        del device.send  # type: ignore[attr-defined]
        body = sent[0][2:]

        def taken(_: Station, body: bytes, _invoke_id: int | None) -> bool:
            told.append(notification(body))
            return True

        port.notify(station, 7, taken)
        device.send(head + body, place)
        async with asyncio.timeout(1):
            assert await acknowledged.get() == b"\x20\x11\x01"
        assert told[0].values[PRESENT_VALUE, None] == Value(4, 1.0)
        port.forget(station, 7)
        device.send(head + body, place)
        async with asyncio.timeout(1):
            assert (await acknowledged.get())[:2] == b"\x50\x11"  # nobody has subscribed to that
        assert len(told) == 1


async def test_the_socket_has_room_for_a_burst() -> None:
    async with ByteDevice() as device, polling(device) as session:
        own = port_of(session)._transports[0].get_extra_info("socket")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            usual = other.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert own.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > usual


# The port


async def test_a_port_that_is_taken_says_so() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        taken = other.getsockname()[1]
        async with ByteDevice() as device:
            session = made(device.connection(localPort=taken), [ONE], Lines())
            with pytest.raises(Transient, match=f"UDP port {taken} is in use") as caught:
                await session.connect()
            assert caught.value.code == "PORT_NOT_OPEN"
            await session.close()


async def test_an_address_that_is_none_of_this_machine_says_so() -> None:
    async with ByteDevice() as device:
        session = made(device.connection(localAddress="192.0.2.1"), [ONE], Lines())
        with pytest.raises(Transient, match="no address of this machine"):
            await session.connect()
        await session.close()


async def test_endpoints_that_want_different_things_of_one_port_are_told() -> None:
    lines, port = Lines(), free_udp_port()
    async with ByteDevice() as device, polling(device, lines=lines, localPort=port):
        given = device.connection(localPort=port, broadcastAddress="127.255.255.255")
        session = made(given, [ONE], lines)
        with pytest.raises(NoConnection, match="another endpoint uses UDP port"):
            await session.connect()
        await session.close()


async def test_a_port_that_is_closed_under_a_session_is_opened_again() -> None:
    async with ByteDevice() as device, polling(device) as session:
        device.delay = 0.05
        reading = asyncio.ensure_future(session.read(1.0))
        await asyncio.sleep(0.01)
        port_of(session).close()
        with pytest.raises(NoConnection):
            await reading
        with pytest.raises(NoConnection):
            await session.read(1.0)
        device.delay = 0.0
        await session.connect()
        assert quality(await session.read(1.0)) == (1.0, None)


async def test_hundreds_that_die_at_once_keep_nobody_waiting() -> None:
    lines = Lines()
    dead = [ByteDevice() for _ in range(200)]
    async with ByteDevice(analog_inputs(2)) as alive, contextlib.AsyncExitStack() as stack:
        for device in dead:
            await stack.enter_async_context(device)
        given = alive.connection(timeout=3000, retryAttempts=0)
        sessions = [made({**given, "port": one.place[1]}, some(2), lines) for one in (alive, *dead)]
        try:
            for session in sessions:
                await session.connect()
            for device in dead:
                device.silent = True
            waiting = [asyncio.ensure_future(session.read(1.0)) for session in sessions[1:]]
            async with asyncio.timeout(2.5):
                for _ in range(10):
                    assert (await sessions[0].read(1.0)).qualities is None
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        finally:
            for session in sessions:
                await session.close()


async def test_many_reconnects_leave_nothing() -> None:
    lines = Lines()
    async with ByteDevice() as device:
        session = made(device.connection(), [ONE], lines)
        for _ in range(30):
            await session.connect()
            await session.read(1.0)
        assert len(lines) == 1
        await session.close()
        assert len(lines) == 0
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1
