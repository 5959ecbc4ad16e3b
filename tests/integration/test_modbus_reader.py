import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from bench.modbus_server import Fault, ModbusServer

from actors.connections.connection import Transient
from actors.endpoints.lines import lines_of
from actors.endpoints.listener import Nobody
from actors.endpoints.protocol import CheckedEndpoint, PolledSession, WriteRequest
from actors.endpoints.protocols import find
from actors.endpoints.protocols.modbus import learning, link, poll
from actors.system.failure import Refusal

Open = Callable[..., PolledSession]
WITHIN = 1.0
"""Seconds for a poll."""


@pytest.fixture
async def server() -> AsyncIterator[ModbusServer]:
    async with ModbusServer(registers=100, units=(1, 2, 3), record=True) as running:
        yield running


@pytest.fixture
async def reader(server: ModbusServer) -> AsyncIterator[Open]:
    """Makes readers of the server's first port that are closed after the test."""
    made: list[PolledSession] = []

    def make(points: Sequence[dict[str, Any] | str], **connection: Any) -> PolledSession:
        checked = endpoint(server.port, points, **connection)
        made.append(find("modbus").session(checked, Nobody(), lines_of("modbus")))
        made[-1].endpoint = checked  # type: ignore[attr-defined]
        return made[-1]

    yield make
    for each in made:
        await each.close()
    assert not len(lines_of("modbus")), "a link outlived its sessions"


def endpoint(port: int, points: Sequence[dict[str, Any] | str], **connection: Any) -> CheckedEndpoint:
    data_points = [
        {"name": f"p{index}", **({"register": point} if isinstance(point, str) else point)}
        for index, point in enumerate(points)
    ]
    return find("modbus").check(
        {"host": "127.0.0.1", "port": port, "timeout": 1000, "retryAttempts": 0, **connection}, data_points
    )


async def write(plc: Any, register: str, value: Any) -> Any:
    return await plc.write(find("modbus").prepare(plc.endpoint, WriteRequest("", register, value)))


def words(*addresses: int) -> list[str]:
    return [f"holding:{address}:uint16" for address in addresses]


def refusing(code: Fault, *addresses: int) -> Callable[[int, int, int, int], Fault]:
    """A hook under which reads that touch one of the addresses fail."""

    def hook(unit: int, function: int, address: int, count: int) -> Fault:
        return code if any(address <= refused < address + count for refused in addresses) else None

    return hook


async def hang_up(server: ModbusServer, plc: Any) -> None:
    """The device ends all connections; its reader has heard of it."""
    server.drop()
    await unconnected(plc)


async def unconnected(plc: Any) -> None:
    async with asyncio.timeout(5):
        while plc._link.is_open():  # noqa: ASYNC110 - a link announces its end to nobody
            await asyncio.sleep(0.001)


# Reading


async def test_points_of_every_table_are_read(server: ModbusServer, reader: Open):
    device = server.device(1)
    device.bits[5] = True
    device.words[40:44] = struct.pack(">f", 21.3)
    device[30] = 0xFFFE
    plc = reader(
        [
            "coil:5",
            "discrete:6",
            "input:10:uint16",
            "holding:20:float32",
            "holding:30:int16",
            "holding:9:uint16",
        ]
    )
    await plc.connect()
    reading = await plc.read(WITHIN)
    assert reading.values == [True, False, 10, 21.3, -2, 9]
    assert reading.qualities is None


async def test_every_read_sees_the_device_as_it_is_now(reader: Open):
    plc = reader(["holding:0:uint32", "holding:2:uint32"])
    await plc.connect()
    before = time.time_ns() // 1_000_000 & 0xFFFFFFFF
    (first, clock), (second, _) = (await plc.read(WITHIN)).values, (await plc.read(WITHIN)).values
    assert second == first + 1
    assert 0 <= clock - before < 5000


async def test_an_endpoint_without_points_reads_nothing(reader: Open):
    plc = reader([])
    await plc.connect()
    assert (await plc.read(WITHIN)).values == []


async def test_a_float_that_is_no_number_is_bad(server: ModbusServer, reader: Open):
    server.device(1).words[20:24] = b"\x7f\xc0\0\0"
    plc = reader(["holding:10:float32", "holding:12:uint16"])
    await plc.connect()
    reading = await plc.read(WITHIN)
    assert reading.values == [None, 12]
    assert reading.qualities == ["READ_ERROR", None]


# Device exceptions


@pytest.mark.parametrize(
    ("exception", "code"),
    [(1, "ILLEGAL_FUNCTION"), (2, "ILLEGAL_ADDRESS"), (4, "DEVICE_FAILURE"), (9, "MODBUS_EXCEPTION")],
)
async def test_only_the_point_that_the_device_refuses_is_bad(
    server: ModbusServer, reader: Open, exception: int, code: str
):
    server.on_request = refusing(exception, 20)
    plc = reader(words(*range(10, 60)))
    await plc.connect()
    reading = await plc.read(WITHIN)
    assert reading.values == [None if n == 20 else n for n in range(10, 60)]
    assert reading.qualities == [code if n == 20 else None for n in range(10, 60)]


async def test_an_empty_reply_is_cut_like_an_exception(server: ModbusServer, reader: Open):
    server.on_request = refusing("empty", 12)
    plc = reader(words(10, 11, 12, 13))
    await plc.connect()
    reading = await plc.read(WITHIN)
    assert reading.values == [10, 11, None, 13]
    assert reading.qualities == [None, None, "READ_ERROR", None]


async def test_the_cut_is_remembered_and_the_refused_point_rests(server: ModbusServer, reader: Open):
    server.on_request = refusing(2, 20)
    plc = reader(words(*range(10, 60)))
    await plc.connect()
    await plc.read(WITHIN)
    server.log.clear()
    reading = await plc.read(WITHIN)
    assert reading.qualities is not None
    assert reading.qualities[10] == "ILLEGAL_ADDRESS"
    assert server.log == [(1, 3, 10, 10), (1, 3, 21, 39)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass for who waits for points to have rested."""
    passed = [0.0]
    for module in (learning, poll):
        monkeypatch.setattr(module, "monotonic", lambda: time.monotonic() + passed[0])

    def pass_by(seconds: float) -> None:
        passed[0] += seconds

    return pass_by


async def test_a_refused_point_comes_back_when_the_device_has_it_again(
    server: ModbusServer, reader: Open, clock: Callable[[float], None]
):
    server.on_request = refusing(2, 20, 40)
    plc = reader(words(*range(10, 60)))
    await plc.connect()
    for _ in range(30):
        assert (await plc.read(WITHIN)).qualities is not None
    server.on_request = None
    clock(11)
    for _ in range(2):
        reading = await plc.read(WITHIN)
    assert reading.values == list(range(10, 60))
    assert reading.qualities is None
    server.log.clear()
    await plc.read(WITHIN)
    assert server.log == [(1, 3, 10, 50)]


async def test_a_refused_point_rests_longer_and_longer_but_not_for_hours(
    server: ModbusServer, reader: Open, clock: Callable[[float], None]
):
    plc = reader(words(10, 20))
    await plc.connect()
    server.on_request = refusing(2, 20)
    for seconds in (11, 11, 21, 41, 81, 161, 301, 301):
        clock(seconds)
        assert (await plc.read(WITHIN)).values == [10, None]
    server.log.clear()
    clock(280)
    await plc.read(WITHIN)
    assert server.log == [(1, 3, 10, 1)]
    server.on_request = None
    clock(21)
    assert (await plc.read(WITHIN)).values == [10, 20]


async def test_a_refused_point_costs_few_requests_in_the_long_run(server: ModbusServer, reader: Open):
    server.on_request = refusing(2, 20)
    plc = reader(words(19, 20, 21))
    await plc.connect()
    for _ in range(300):
        await plc.read(WITHIN)
    assert sum(1 for entry in server.log if entry[2:] == (20, 1)) <= 12


async def test_a_device_that_limits_the_size_of_requests_is_read_whole_in_smaller_ones(
    server: ModbusServer, reader: Open
):
    server.on_request = lambda unit, function, address, count: 3 if count > 20 else None
    plc = reader(words(*range(4, 100)))
    await plc.connect()
    reading = await plc.read(WITHIN)
    assert reading.values == list(range(4, 100))
    assert reading.qualities is None
    server.log.clear()
    await plc.read(WITHIN)
    assert max(count for *_, count in server.log) <= 20
    assert len(server.log) <= 8


async def test_a_hole_between_points_is_learnt(server: ModbusServer, reader: Open):
    server.on_request = refusing(2, 11)
    plc = reader(words(10, 12))
    await plc.connect()
    for _ in range(2):
        server.log.clear()
        assert (await plc.read(WITHIN)).values == [10, 12]
    assert server.log == [(1, 3, 10, 1), (1, 3, 12, 1)]


async def test_a_device_that_refuses_everything_has_still_answered(server: ModbusServer, reader: Open):
    server.on_request = lambda *request: 4
    plc = reader([*words(10, 11), "coil:0"])
    await plc.connect()
    for _ in range(10):
        server.log.clear()
        reading = await plc.read(WITHIN)
        assert reading.values == [None] * 3
        assert reading.qualities == ["DEVICE_FAILURE"] * 3
        assert server.log, "without a request nothing is known of the device"


async def test_a_busy_device_is_asked_again_for_a_single_point(server: ModbusServer, reader: Open):
    answers: list[Fault] = [6, 5, 6]
    server.on_request = lambda *request: answers.pop() if answers else None
    plc = reader(words(10))
    await plc.connect()
    assert (await plc.read(WITHIN)).values == [10]
    assert len(server.log) == 4


async def test_a_device_that_stays_busy_is_not_asked_again_for_every_point(
    server: ModbusServer, reader: Open
):
    server.on_request = lambda *request: 6
    plc = reader(words(10, 11, 12, 13))
    await plc.connect()
    assert (await plc.read(WITHIN)).qualities == ["DEVICE_BUSY"] * 4
    assert len(server.log) == 1 + 3
    server.on_request = None
    assert (await plc.read(WITHIN)).values == [10, 11, 12, 13]


async def test_a_device_that_its_gateway_does_not_reach_is_unreachable(server: ModbusServer, reader: Open):
    server.on_request = lambda unit, *rest: 11 if unit == 1 else None
    plc = reader(words(*range(10, 60)))
    await plc.connect()
    with pytest.raises(Transient) as lost:
        await plc.read(WITHIN)
    assert lost.value.code == "DEVICE_OFFLINE"
    assert len(server.log) == 1


# Connections


async def test_a_reader_that_is_not_connected_says_so(reader: Open):
    plc = reader(words(10))
    with pytest.raises(Transient):
        await plc.read(WITHIN)
    with pytest.raises(Transient):
        await write(plc, "p0", 1)


async def test_a_host_that_refuses_is_named_so(server: ModbusServer, reader: Open):
    await server.stop()
    with pytest.raises(Transient) as refused:
        await reader(words(10)).connect()
    assert refused.value.code == "CONNECTION_REFUSED"


async def test_a_host_name_that_nobody_knows_is_unreachable(reader: Open, monkeypatch: pytest.MonkeyPatch):
    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(Transient) as unknown:
        await reader(words(10), host="plc.invalid").connect()
    assert unknown.value.code == "HOST_UNREACHABLE"


async def test_a_device_that_says_nothing_times_out_and_is_asked_again_on_the_same_connection(
    server: ModbusServer, reader: Open
):
    plc = reader(words(10), timeout=100)
    await plc.connect()
    server.on_request = lambda *request: "silent"
    with pytest.raises(Transient) as silent:
        await plc.read(WITHIN)
    assert silent.value.code == "TIMEOUT"
    server.on_request = None
    await plc.connect()
    assert (await plc.read(WITHIN)).values == [10]
    assert server.listening[0].accepted == 1
    assert [count for *_, count in server.log] == [1, 2, 1], "it was not made sure what a reply is to"


async def test_a_device_that_goes_on_saying_nothing_gets_a_new_connection(server: ModbusServer, reader: Open):
    plc = reader(words(10), timeout=100)
    server.on_request = lambda *request: "silent"
    for _ in range(3):
        await plc.connect()
        with pytest.raises(Transient):
            await plc.read(WITHIN)
    server.on_request = None
    await plc.connect()
    assert (await plc.read(WITHIN)).values == [10]
    assert server.listening[0].accepted == 2


async def test_a_connection_lost_during_a_request_is_noticed_at_once(server: ModbusServer, reader: Open):
    plc = reader(words(10), timeout=30_000)
    await plc.connect()
    server.on_request = lambda *request: "close"
    with pytest.raises(Transient) as lost:
        await plc.read(WITHIN)
    assert lost.value.code == "CONNECTION_RESET"


async def test_a_device_that_closes_idle_connections_is_read_whole_all_the_same(
    server: ModbusServer, reader: Open
):
    plc = reader(words(10))
    await plc.connect()
    for connections in (1, 2, 3):
        assert (await plc.read(WITHIN)).values == [10]
        assert server.listening[0].accepted == connections
        await hang_up(server, plc)


async def test_a_write_goes_out_though_the_device_closed_the_idle_connection(
    server: ModbusServer, reader: Open
):
    plc = reader(words(10))
    await plc.connect()
    await hang_up(server, plc)
    await write(plc, "holding:10", 4)
    assert server.device(1)[10] == 4
    assert len(server.log) == 1


async def test_readers_reconnect_once_when_the_device_was_restarted(server: ModbusServer, reader: Open):
    first, second = reader(words(10), unitId=1), reader(words(11), unitId=2)
    await asyncio.gather(first.connect(), second.connect())
    assert server.listening[0].accepted == 1
    await server.stop()
    await unconnected(first)
    for plc in (first, second):
        for attempt in (plc.read(WITHIN), plc.connect()):
            with pytest.raises(Transient) as refused:
                await attempt
            assert refused.value.code == "CONNECTION_REFUSED"
    await server.start()
    await asyncio.gather(first.connect(), second.connect())
    readings = await asyncio.gather(first.read(WITHIN), second.read(WITHIN))
    assert [reading.values for reading in readings] == [[10], [11]]
    assert server.listening[0].accepted == 2


async def test_a_reader_can_be_closed_and_connected_again(server: ModbusServer, reader: Open):
    plc = reader(words(10))
    for _ in range(2):
        await plc.connect()
        assert (await plc.read(WITHIN)).values == [10]
        await plc.close()
        await plc.close()
    assert server.listening[0].accepted == 2


# Sharing


async def test_units_of_one_address_share_a_connection_with_one_request_in_flight(
    server: ModbusServer, reader: Open
):
    async def five_times(plc: PolledSession) -> None:
        for _ in range(5):
            await plc.read(WITHIN)

    server.on_request = lambda *request: 0.002
    readers = [reader([*words(10), "coil:1"], unitId=unit) for unit in (1, 2, 3)]
    await asyncio.gather(*(plc.connect() for plc in readers))
    await asyncio.gather(
        *(five_times(plc) for plc in readers), *(write(plc, "holding:20", 7) for plc in readers)
    )
    assert server.listening[0].accepted == 1
    assert server.listening[0].peak == 1
    assert len(server.log) == 3 * (5 * 2 + 1)


async def test_a_silent_unit_does_not_cost_the_others_their_connection(server: ModbusServer, reader: Open):
    server.on_request = lambda unit, *rest: "silent" if unit == 2 else None
    lively, silent = reader(words(10), unitId=1), reader(words(10), unitId=2, timeout=100)
    await asyncio.gather(lively.connect(), silent.connect())
    for _ in range(4):
        readings = await asyncio.gather(lively.read(WITHIN), silent.read(WITHIN), return_exceptions=True)
        assert isinstance(readings[1], Transient)
        assert (await lively.read(WITHIN)).values == [10]
    for _ in range(4):
        with pytest.raises(Transient):
            await silent.read(WITHIN)
    assert (await lively.read(WITHIN)).values == [10]
    assert server.listening[0].accepted == 1


async def test_a_unit_that_is_seldom_asked_does_not_keep_the_others_on_a_dead_connection(
    server: ModbusServer, reader: Open, monkeypatch: pytest.MonkeyPatch
):
    """The gateway has forgotten the connection, but would serve a new one."""
    monkeypatch.setattr(link, "_SILENT_SECONDS", 0.2)
    often, seldom = reader(words(10), unitId=1, timeout=100), reader(words(10), unitId=2)
    await asyncio.gather(often.connect(), seldom.connect())
    server.on_request = lambda *request: "silent" if server.listening[0].accepted == 1 else None
    for _ in range(3):
        with pytest.raises(Transient):
            await often.read(WITHIN)
    await often.connect()
    assert (await often.read(WITHIN)).values == [10]
    assert (await seldom.read(WITHIN)).values == [10]
    assert server.listening[0].accepted == 2


async def test_a_reader_that_closes_leaves_the_connection_to_the_others(server: ModbusServer, reader: Open):
    first, second = reader(words(10), unitId=1), reader(words(10), unitId=1)
    await first.connect()
    await second.connect()
    await first.close()
    assert (await second.read(WITHIN)).values == [10]
    assert server.listening[0].accepted == 1
    await second.close()
    async with asyncio.timeout(5):
        await server.listening[0].deserted.wait()


async def test_those_who_wait_go_on_by_a_new_connection_after_a_reset(server: ModbusServer, reader: Open):
    server.on_request = lambda *request: "silent"
    readers = [reader(words(10), unitId=1, timeout=100) for _ in range(4)]
    await asyncio.gather(*(plc.connect() for plc in readers))
    outcomes = await asyncio.gather(*(plc.read(WITHIN) for plc in readers), return_exceptions=True)
    codes = [outcome.code for outcome in outcomes if isinstance(outcome, Transient)]
    assert codes == ["TIMEOUT"] * 4
    assert server.listening[0].accepted == 2


# Late replies and cancellation


async def test_a_late_reply_is_not_taken_for_the_next_one(server: ModbusServer, reader: Open):
    first, second = reader(words(10), timeout=100), reader(words(11), timeout=2000)
    await first.connect()
    await second.connect()
    server.on_request = lambda unit, function, address, count: 0.15 if address == 10 else 0.2
    with pytest.raises(Transient):
        await first.read(WITHIN)
    assert (await second.read(WITHIN)).values == [11]
    server.on_request = None
    assert (await first.read(WITHIN)).values == [10]
    assert server.listening[0].accepted == 1


@pytest.mark.parametrize("known", [True, False], ids=["heard of before", "silent from the first"])
async def test_a_late_reply_of_a_gateway_that_does_not_number_them_is_not_taken_for_the_next_one(known):
    delays = {10: 0.0, 11: 0.0}
    served = asyncio.Event()

    async def serve(requests: asyncio.StreamReader, replies: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                request = await requests.readexactly(12)
                await asyncio.sleep(delays[request[9]])
                replies.write(bytes([0, 0, 0, 0, 0, 5, request[6], 3, 2]) + request[8:10])
        replies.close()
        await replies.wait_closed()
        served.set()

    gateway = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = gateway.sockets[0].getsockname()[1]
    first, second = (
        find("modbus").session(endpoint(port, words(n), timeout=100), Nobody(), lines_of("modbus"))
        for n in (10, 11)
    )
    await first.connect()
    await second.connect()
    if known:
        assert (await first.read(WITHIN)).values == [10]
    delays[10] = 0.15
    with pytest.raises(Transient):
        await first.read(WITHIN)
    assert (await second.read(WITHIN)).values == [11]
    await first.close()
    await second.close()
    gateway.close()
    async with asyncio.timeout(5):
        await served.wait()


async def test_a_late_reply_that_arrives_together_with_the_awaited_one_is_sorted_out(
    server: ModbusServer, reader: Open
):
    first, second = reader(words(*range(4, 94)), timeout=100), reader(words(*range(5, 95)), timeout=2000)
    await first.connect()
    await second.connect()
    held: list[bytes] = []
    [connection] = server.listening[0].connections
    send = connection.transport.write

    class Holding:
        """Sends two replies in one go."""

        def write(self, reply: bytes) -> None:
            held.append(reply)
            if len(held) == 2:
                send(b"".join(held))
            elif len(held) > 2:
                send(reply)

        def __getattr__(self, name: str) -> Any:
            return getattr(original, name)

    original, connection.transport = connection.transport, Holding()
    with pytest.raises(Transient):
        await first.read(WITHIN)
    assert (await second.read(WITHIN)).values == list(range(5, 95))


async def test_a_cancelled_read_leaves_the_connection_in_order(server: ModbusServer, reader: Open):
    arrived = asyncio.Event()

    def slow(*request: int) -> Fault:
        arrived.set()
        return 0.05

    server.on_request = slow
    first, second = reader(words(10)), reader(words(11))
    await first.connect()
    await second.connect()
    task = asyncio.create_task(first.read(WITHIN))
    await arrived.wait()
    waiting = asyncio.create_task(second.read(WITHIN))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await waiting).values == [11]
    assert (await first.read(WITHIN)).values == [10]
    assert server.listening[0].accepted == 1


async def test_a_read_cancelled_before_its_turn_harms_nobody(server: ModbusServer, reader: Open):
    server.on_request = lambda *request: 0.05
    first, second = reader(words(10)), reader(words(11))
    await first.connect()
    await second.connect()
    running = asyncio.create_task(first.read(WITHIN))
    waiting = asyncio.create_task(second.read(WITHIN))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await running).values == [10]
    assert (await second.read(WITHIN)).values == [11]


# Writing


@pytest.mark.parametrize(
    ("register", "value", "after", "function"),
    [
        ("setpoint", 21.3, 21.3, 6),
        ("holding:20", 21.3, 21.3, 6),
        ("holding:20:uint16", 21.34, 21.3, 6),
        ("holding:20:int16", -5, -5, 6),
        ("holding:60", 1500, 1500, 6),
        ("holding:0x3c", 1500, 1500, 6),
        ("holding:60:float32", 1.1, 1.1, 16),
        ("level", 0.5, 0.5, 16),
        ("label", "PUMP", "PUMP", 16),
        ("valve", "on", True, 5),
        ("coil:70", True, True, 5),
    ],
)
async def test_values_are_written_by_name_or_by_address(
    server: ModbusServer, reader: Open, register: str, value: Any, after: Any, function: int
):
    plc = reader(
        [
            {"name": "setpoint", "register": "holding:20:uint16", "scale": 0.1},
            {"name": "level", "register": "holding:22:float32", "byteOrder": "CDAB", "writable": True},
            {"name": "label", "register": "holding:24:string", "count": 4},
            {"name": "valve", "register": "coil:7"},
        ]
    )
    await plc.connect()
    assert await write(plc, register, value) == after
    assert [entry[1] for entry in server.log] == [function]
    names = ["setpoint", "level", "label", "valve"]
    if register in names:
        assert (await plc.read(WITHIN)).values[names.index(register)] == after


async def test_a_written_register_holds_the_raw_value(server: ModbusServer, reader: Open):
    plc = reader([{"name": "setpoint", "register": "holding:20:uint16", "scale": 0.1}])
    await plc.connect()
    await write(plc, "setpoint", 150)
    await write(plc, "coil:3", 1)
    assert server.device(1)[20] == 1500
    assert server.device(2)[20] == 20
    assert server.device(1).bits[3]


@pytest.mark.parametrize(
    ("register", "value", "kind", "field"),
    [
        ("nothing", 1, "not_found", "register"),
        ("holding:x", 1, "not_found", "register"),
        ("holding:70000", 1, "not_found", "register"),
        ("locked", 1, "read_only", "register"),
        ("holding:20", 1, "read_only", "register"),
        ("holding:19:uint32", 1, "read_only", "register"),
        ("measured", 1, "read_only", "register"),
        ("input:30", 1, "read_only", "register"),
        ("discrete:30", 1, "read_only", "register"),
        ("holding:65535:uint32", 1, "invalid", "register"),
        ("holding:60:string", "x", "invalid", "register"),
        ("holding:60", 65536, "invalid", "value"),
        ("holding:60", "hot", "invalid", "value"),
        ("coil:60", "perhaps", "invalid", "value"),
    ],
)
async def test_what_cannot_be_written_is_refused_without_a_request(
    server: ModbusServer, reader: Open, register: str, value: Any, kind: str, field: str
):
    plc = reader(
        [
            {"name": "locked", "register": "holding:20:uint16", "writable": False},
            {"name": "measured", "register": "input:3:uint16", "writable": True},
        ]
    )
    await plc.connect()
    with pytest.raises(Refusal) as refusal:
        await write(plc, register, value)
    assert (refusal.value.kind, refusal.value.field) == (kind, field)
    assert server.log == []


@pytest.mark.parametrize(("exception", "code"), [(2, "ILLEGAL_ADDRESS"), (3, "ILLEGAL_VALUE")])
async def test_a_write_that_the_device_refuses_is_refused_with_its_code(
    server: ModbusServer, reader: Open, exception: int, code: str
):
    server.on_request = lambda *request: exception
    plc = reader(words(10))
    await plc.connect()
    with pytest.raises(Refusal, match=code) as refusal:
        await write(plc, "p0", 1)
    assert refusal.value.kind == "invalid"


async def test_a_write_that_the_device_fails_at_is_trouble_of_the_device(server: ModbusServer, reader: Open):
    server.on_request = lambda *request: 4
    plc = reader(words(10))
    await plc.connect()
    with pytest.raises(Transient) as failed:
        await write(plc, "p0", 1)
    assert failed.value.code == "DEVICE_FAILURE"


async def test_a_write_to_a_busy_device_is_sent_again(server: ModbusServer, reader: Open):
    answers: list[Fault] = [6]
    server.on_request = lambda *request: answers.pop() if answers else None
    plc = reader(words(10))
    await plc.connect()
    await write(plc, "p0", 77)
    assert server.device(1)[10] == 77


async def test_a_write_that_nobody_answers_times_out(server: ModbusServer, reader: Open):
    server.on_request = lambda *request: "silent"
    plc = reader(words(10), timeout=100)
    await plc.connect()
    with pytest.raises(Transient) as silent:
        await write(plc, "p0", 1)
    assert silent.value.code == "TIMEOUT"


async def test_a_write_waits_for_the_read_that_is_under_way(server: ModbusServer, reader: Open):
    server.on_request = lambda *request: 0.02
    plc = reader(words(10))
    await plc.connect()
    reading, written = await asyncio.gather(plc.read(WITHIN), write(plc, "holding:20", 5))
    assert reading.values == [10]
    assert written == 5
    assert server.listening[0].peak == 1


async def test_its_patience_is_that_of_all_who_share_the_link(reader: Open):
    """What waits its turn behind others is not taken for hung."""
    alone = reader(words(0), timeout=30_000)
    assert alone.patience == 13 * 30.0
    await alone.connect()
    for unit in (2, 3):
        await reader(words(0), timeout=30_000, unitId=unit).connect()
    assert alone.patience == 3 * 13 * 30.0
    assert reader(words(0), timeout=100).patience == 60.0


# Reading back

POINTS_OF_ALL_SORTS: list[tuple[dict[str, Any], Any]] = [
    ({"register": "holding:20:uint16", "scale": 0.1}, 21.3),
    ({"register": "holding:20:int16"}, -5),
    ({"register": "holding:20:uint8"}, 200),
    ({"register": "holding:20:uint8", "byte": "high"}, 200),
    ({"register": "holding:20:uint32", "byteOrder": "CDAB"}, 1 << 20),
    ({"register": "holding:20:int64", "byteOrder": "DCBA"}, -(1 << 40)),
    ({"register": "holding:20:float32", "byteOrder": "BADC"}, 0.1),
    ({"register": "holding:20:float32", "scale": 0.1}, 1.23),
    ({"register": "holding:20:float64"}, 1e-300),
    ({"register": "holding:20:float16"}, 0.1),
    ({"register": "holding:20:bcd", "count": 2}, 12345678),
    ({"register": "holding:20:mod10k", "count": 2}, 12345678),
    ({"register": "holding:20:string", "count": 4}, "PUMP"),
    ({"register": "holding:20:unix_time"}, "2024-05-01T12:30:00Z"),
    ({"register": "holding:20.3"}, True),
    ({"register": "holding:20:uint16", "mask": "0x0FF0"}, 0xAB),
    ({"register": "holding:20:uint16", "values": {"0": "off", "7": "auto"}}, "auto"),
    ({"register": "holding:20:uint16", "length": 3}, [1, 2, 3]),
    ({"register": "holding:20:uint16", "length": 40}, list(range(40))),
    ({"register": "coil:20"}, True),
    ({"register": "coil:20", "length": 11}, [True, False] * 5 + [True]),
]


async def write_and_read_back(plc: Any, register: str, value: Any) -> tuple[Any, bool]:
    prepared = find("modbus").prepare(plc.endpoint, WriteRequest("", register, value))
    written = await plc.write(prepared)
    found, same = await plc.read_back(prepared)
    assert (found == written) == same
    return found, same


@pytest.mark.parametrize(("point", "value"), POINTS_OF_ALL_SORTS)
async def test_what_was_written_is_read_back(server: ModbusServer, reader: Open, point: Any, value: Any):
    plc = reader([{"name": "p", **point}], maxRegisters=30)
    await plc.connect()
    _, same = await write_and_read_back(plc, "p", value)
    assert same
    assert (await plc.read(WITHIN)).values == [(await write_and_read_back(plc, "p", value))[0]]


@pytest.mark.parametrize(("point", "value"), POINTS_OF_ALL_SORTS)
async def test_a_device_that_does_not_take_a_value_over_is_found_out(
    server: ModbusServer, reader: Open, point: Any, value: Any
):
    plc = reader([{"name": "p", **point}])
    await plc.connect()
    prepared = find("modbus").prepare(plc.endpoint, WriteRequest("", "p", value))
    assert not (await plc.read_back(prepared))[1]


async def test_other_bits_of_a_register_are_not_looked_at(server: ModbusServer, reader: Open):
    plc = reader([{"name": "p", "register": "holding:20.3"}])
    await plc.connect()
    server.device(1)[20] = 0xFFF7
    assert await write_and_read_back(plc, "p", True) == (True, True)
    server.device(1)[20] = 0x0008
    prepared = find("modbus").prepare(plc.endpoint, WriteRequest("", "p", True))
    assert await plc.read_back(prepared) == (True, True)


async def test_a_register_that_cannot_be_read_cannot_be_read_back(server: ModbusServer, reader: Open):
    plc = reader([{"name": "p", "register": "holding:20:uint16"}])
    await plc.connect()
    server.on_request = lambda unit, function, *request: 2 if function == 3 else None
    with pytest.raises(Refusal, match="ILLEGAL_ADDRESS") as refusal:
        await write_and_read_back(plc, "p", 5)
    assert (refusal.value.kind, refusal.value.field) == ("conflict", "verify")
    assert server.device(1)[20] == 5


@pytest.mark.parametrize(
    ("register", "data_type", "field"),
    [
        ("p", "float32", "type"),
        ("holding:60", "flaot32", "type"),
        ("holding:60:int16", "uint16", "type"),
        ("coil:3", "uint16", "type"),
        ("holding:60", "string", "type"),
    ],
)
async def test_a_type_that_is_none_or_another_is_refused(
    reader: Open, register: str, data_type: str, field: str
):
    plc: Any = reader([{"name": "p", "register": "holding:20:uint16"}])
    with pytest.raises(Refusal) as refusal:
        find("modbus").prepare(plc.endpoint, WriteRequest("", register, 1, data_type))
    assert refusal.value.field == field


async def test_an_address_is_written_as_the_type_that_is_given(server: ModbusServer, reader: Open):
    plc: Any = reader([{"name": "p", "register": "holding:20:uint16"}])
    await plc.connect()
    for request, expected in (
        (WriteRequest("", "holding:60", 1.5, "float32"), [0x3FC0, 0]),
        (WriteRequest("", "p", 7, "uint16"), [7]),
    ):
        await plc.write(find("modbus").prepare(plc.endpoint, request))
        at = 60 if request.register != "p" else 20
        assert [server.device(1)[at + n] for n in range(len(expected))] == expected


async def test_modbus_knows_no_priority(reader: Open):
    plc: Any = reader([{"name": "p", "register": "holding:20:uint16"}])
    with pytest.raises(Refusal) as refusal:
        find("modbus").prepare(plc.endpoint, WriteRequest("", "p", 1, None, 8))
    assert refusal.value.field == "priority"
