"""Modbus over everything that carries it, and writing to devices that know few functions."""

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
from servers.certificates import Authority
from servers.polling import good, polling
from servers.rude_device import RudeDevice, always, rude_datagrams, rude_device, rude_serial, the, when

AUTHORITY = Authority()
FEW = (0, 1, 50)


@contextlib.asynccontextmanager
async def over(transport: str, *behaviours: Any) -> AsyncIterator[tuple[RudeDevice, dict[str, Any]]]:
    """A device, and how to reach it."""
    if transport in ("rtu", "ascii"):
        where, options = rude_serial(*behaviours, framing=transport), {"type": transport}
    elif transport == "udp":
        where, options = rude_datagrams(*behaviours), {"type": "udp"}
    elif transport == "tls":
        where, options = rude_device(*behaviours, tls=_server()), {"type": "tls", "ca": AUTHORITY.pem}
    elif transport == "rtu-over-tcp":
        where, options = rude_device(*behaviours, framing="rtu"), {"type": "rtu-over-tcp"}
    else:
        where, options = rude_device(*behaviours), {}
    async with where as device:
        yield device, options


def _server() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write("".join(AUTHORITY.issue()))
        file.flush()
        context.load_cert_chain(file.name)
    return context


TRANSPORTS = pytest.mark.parametrize("transport", ["tcp", "tls", "udp", "rtu-over-tcp", "rtu", "ascii"])


@TRANSPORTS
async def test_every_table_is_read_and_written(transport: str):
    points = [*FEW, "coil:1", "discrete:2", "input:3:uint16", {"name": "f", "register": "holding:60:float32"}]
    async with over(transport) as (device, options), polling(device, *points, **options) as plc:
        readings = await plc.poll()
        assert {name: readings[name] for name in good(*FEW)} == good(*FEW)
        assert readings["coil:1"] == (True, None)
        assert readings["discrete:2"] == (False, None)
        assert readings["input:3:uint16"] == (103, None)
        assert await plc.write("p50", 7) == 7
        assert await plc.write("f", 21.5) == 21.5
        assert await plc.write("coil:1", False) is False
        assert (device.registers[50], device.registers[1]) == (7, 0)
        assert (await plc.poll())["f"] == (21.5, None)


@TRANSPORTS
async def test_a_device_that_is_silent_and_speaks_again(transport: str):
    async with over(transport) as (device, options), polling(device, *FEW, **options) as plc:
        assert await plc.poll() == good(*FEW)
        device.behave(when(always, silent=True))
        assert {code for _, code in (await plc.poll()).values()} == {"TIMEOUT"}
        device.behave()
        assert await plc.until_good() <= 2


@TRANSPORTS
async def test_an_exception_is_an_exception(transport: str):
    refuses = when(lambda asked: asked.touches((50,)), exception=2)
    async with over(transport, refuses) as (device, options), polling(device, *FEW, **options) as plc:
        assert await plc.poll() == {**good(0, 1), "p50": (None, "ILLEGAL_ADDRESS")}


async def test_a_host_on_which_nobody_listens_for_datagrams_is_named_so():
    async with rude_datagrams() as device:
        pass
    async with polling(device, 0, type="udp") as plc:
        assert await plc.poll() == {"p0": (None, "CONNECTION_REFUSED")}


async def test_a_certificate_of_somebody_else_is_not_believed():
    async with over("tls") as (device, options):
        async with polling(device, 0, **{**options, "ca": Authority().pem}) as plc:
            [(value, code)] = (await plc.poll()).values()
            assert (value, code is not None) == (None, True)
        async with polling(device, 0, **{**options, "ca": None, "rejectUnauthorized": False}) as plc:
            assert await plc.poll() == good(0)


# Writing to devices that know few functions


def knows_only(*functions: int) -> Any:
    return when(lambda asked: asked.function not in functions, exception=1)


@pytest.mark.parametrize(("known", "used"), [((3, 6), [6]), ((3, 16), [6, 16])])
async def test_a_register_is_written_with_the_function_that_the_device_knows(known: Any, used: Any):
    async with rude_device(knows_only(*known)) as device, polling(device, 0) as plc:
        assert await plc.write("p0", 5) == 5
        assert device.registers[0] == 5
        assert [function for _, function, *_ in device.log] == used


async def test_a_coil_is_written_with_the_function_that_the_device_knows():
    async with rude_device(knows_only(1, 15)) as device, polling(device, "coil:3") as plc:
        assert await plc.write("coil:3", False) is False
        assert device.registers[3] == 0


async def test_several_coils_are_written_in_one_request():
    coils = {"name": "lamps", "register": "coil:8", "length": 10}
    async with rude_device() as device, polling(device, coils) as plc:
        wanted = [True, False] * 5
        assert await plc.write("lamps", wanted) == wanted
        assert [function for _, function, *_ in device.log] == [15]
        assert (await plc.poll())["lamps"] == (wanted, None)


@pytest.mark.parametrize("known", [(3, 6), (3, 16)])
async def test_a_bit_of_a_register_is_written_without_touching_the_others(known: Any):
    async with rude_device(knows_only(*known)) as device, polling(device, "holding:9.1") as plc:
        device.registers[9] = 0b1000
        assert await plc.write("holding:9.1", True) is True
        assert device.registers[9] == 0b1010
        assert await plc.write("holding:9.1", False) is False
        assert device.registers[9] == 0b1000


async def test_bits_of_a_register_that_are_written_together_do_not_undo_each_other():
    bits = [f"holding:9.{bit}" for bit in range(6)]
    async with rude_device(knows_only(3, 6)) as device, polling(device, *bits) as plc:
        device.registers[9] = 0
        await plc.reader.connect()
        await asyncio.gather(*(plc.write(bit, True) for bit in bits))
        assert device.registers[9] == 0b111111


async def test_a_write_that_the_device_does_not_know_at_all_is_refused():
    async with rude_device(knows_only(3)) as device, polling(device, 0) as plc:
        with pytest.raises(Exception, match="ILLEGAL_FUNCTION") as refused:
            await plc.write("p0", 5)
        assert refused.value.field == "register"


# Who made it


@TRANSPORTS
async def test_a_device_says_who_made_it(transport: str):
    async with over(transport) as (device, options), polling(device, 0, identify=True, **options) as plc:
        device.identification = {0: b"Acme", 1: b"PM-5", 2: b"1.02"}
        assert await plc.poll() == good(0)
        assert plc.reader.identification == {"vendor": "Acme", "productCode": "PM-5", "revision": "1.02"}
        asked = len(device.log)
        assert await plc.poll() == good(0)
        assert len(device.log) == asked + 1


@pytest.mark.parametrize("change", [{"silent": True}, {"exception": 1}, {"close": "instead"}])
async def test_a_device_that_does_not_say_who_made_it_is_read_all_the_same(change: dict[str, Any]):
    unknown = when(lambda asked: asked.function == 43, **change)
    async with rude_device(unknown) as device, polling(device, 0, identify=True) as plc:
        for reading in await plc.polls(2):
            assert reading == good(0)
        assert plc.reader.identification is None


@pytest.mark.parametrize(
    ("most", "gap", "requests"), [(4, None, 3), (None, 0, 3), (None, None, 1), (8, 2, 2)]
)
async def test_how_much_is_read_at_once_can_be_told(most: int | None, gap: int | None, requests: int):
    registers = [0, 1, 2, 3, 6, 7, 10, 11]
    async with (
        rude_device() as device,
        polling(device, *registers, maxRegisters=most, maxGap=gap) as plc,
    ):
        assert await plc.poll() == good(*registers)
        assert len(device.log) == requests


async def test_a_point_that_is_longer_than_a_request_may_be_is_read_by_itself():
    text = {"name": "text", "register": "holding:0:string", "count": 8}
    async with rude_device() as device, polling(device, text, 20, maxRegisters=4) as plc:
        await plc.poll()
        assert [count for *_, count in device.log] == [8, 1]


async def test_only_the_first_write_is_lost():
    async with rude_device(when(the(0), silent=True)) as device, polling(device, 0) as plc:
        assert await plc.write("p0", 5) == 5
        assert [function for _, function, *_ in device.log] == [6, 6]
