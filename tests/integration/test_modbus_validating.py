"""Reading devices that were found: by what is configured, by SunSpec, by guessing."""

import time
from pathlib import Path
from typing import Any

import pytest
from probing import Tried, search
from servers.modbus import libmodbus_tcp
from servers.modbus_maps import MAPS, samples
from servers.polling import polling
from servers.rude_device import RudeDevice, always, holds, larger_than, rude_device, rude_serial, when
from servers.sunspec_device import common, device, inverter, mppt

from actors.endpoints.discovering import Configured
from actors.endpoints.lines import lines_of
from actors.endpoints.protocols.modbus import PROTOCOL, validating

WRITES = {5, 6, 15, 16, 22, 23}
REGISTERS = device(common(), inverter(), mppt())


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validating, "_BETWEEN", 0.02)


async def read(found: RudeDevice, *configured: Configured, **options: Any) -> Tried:
    assert PROTOCOL.discovery is not None
    place = {"serialPort": found.path} if found.path else {"host": "127.0.0.1", "port": found.port}
    options = {**place, "unitId": 1, "timeout": 150, **options}
    tried = await search(PROTOCOL.discovery, options, *configured, validate=True, lines=lines_of("modbus"))
    assert not {function for _, function, _, _ in found.log} & WRITES
    for one in tried.devices.values():
        PROTOCOL.accept(one.connection, one.data_points)
    return tried


def told(tried: Tried) -> dict[str, Any]:
    assert tried.only.validation_data is not None
    found: dict[str, Any] = tried.only.validation_data["dataPointValidation"]
    return found


async def test_sunspec_is_read_and_named():
    async with rude_device(holds(lambda: REGISTERS)) as found:
        tried = await read(found)
        assert tried.only.name == "Sunny Works SW 10k at 127.0.0.1"
        assert (tried.only.validated, tried.only.confidence) == (True, "high")
        assert tried.only.metadata["serial"] == "SN-0042"
        assert [one["id"] for one in tried.only.metadata["sunspec"]["models"]] == [1, 103, 160]
        assert tried.only.metadata["dataPoints"]["inverter_W"] == {"confidence": "high", "value": 2010.0}
        assert told(tried)["state"] == "active"
        assert len(found.log) < 30
        # The endpoint that is made of it reads the same, and goes with the device when it scales otherwise.
        points = [point for point in tried.only.data_points if point["name"] in ("inverter_W", "mppt_1_DCA")]
        async with polling(found, *points) as plc:
            assert await plc.poll() == {"inverter_W": (2010.0, None), "mppt_1_DCA": (5.0, None)}
            REGISTERS[40002 + 68 + 2 + 12], REGISTERS[40002 + 68 + 2 + 13] = 20_104, 0xFFFF
            assert (await plc.poll())["inverter_W"] == (2010.4, None)
            REGISTERS[40002 + 68 + 2 + 12], REGISTERS[40002 + 68 + 2 + 13] = 2010, 0


async def test_sunspec_in_small_pieces():
    """A device that gives 20 registers at most."""
    async with rude_device(holds(lambda: REGISTERS), when(larger_than(20), exception=3)) as found:
        tried = await read(found)
        assert tried.only.metadata["dataPoints"]["mppt_2_DCW"]["value"] == 2000.1


@pytest.mark.parametrize("name", ["Eastron SDM630", "PLC, floats CDAB", "Victron GX"])
async def test_registers_of_devices_are_found_and_guessed(name: str):
    [known] = [one for one in MAPS if one.name == name]
    rounds, first = samples(known), min(truth.address for truth in known.truths)
    reads = 0

    def registers() -> dict[int, int]:
        nonlocal reads
        reads += 1
        return rounds[reads // 40 % len(rounds)]

    async with rude_device(holds(registers, 4 if name.startswith("E") else 3)) as found:
        tried = await read(found)
        assert tried.only.validated
        assert len(tried.only.data_points) > 5
        table = "input" if name.startswith("E") else "holding"
        assert f"{table} {first}" in told(tried)["details"]
        assert all(len(one["alternatives"]) < 4 for one in tried.only.metadata["dataPoints"].values())
        assert len(found.log) < 310


async def test_tables_that_are_the_same_are_proposed_once():
    async with rude_device(holds(lambda: {at: 100 + at for at in range(20)}, 3, 4)) as found:
        tried = await read(found)
        assert {point["register"].partition(":")[0] for point in tried.only.data_points} == {"holding"}


async def test_a_device_that_ignores_what_it_does_not_have_is_not_pressed():
    """No more than two requests in a row that are not answered."""
    only_few = when(lambda asked: asked.function != 43 and asked.address + asked.count > 12, silent=True)
    began = time.monotonic()
    async with rude_device(only_few) as found:
        tried = await read(found)
        assert tried.only.validated or not tried.only.data_points
        assert time.monotonic() - began < 5
        assert sum(address > 12 for _, _, address, _ in found.log) < 10


async def test_a_device_that_only_refuses_is_found_and_not_validated():
    async with rude_device(when(always, exception=2)) as found:
        tried = await read(found)
        assert not tried.only.validated
        assert tried.only.confidence == "low"
        assert told(tried)["readableCount"] == 0


def endpoint(found: RudeDevice, *registers: str, enabled: bool = True) -> Configured:
    points = tuple({"name": register, "register": register} for register in registers)
    place = (
        {"serialPort": found.path, "baudRate": 115200}
        if found.path
        else {"host": "127.0.0.1", "port": found.port}
    )
    return Configured("plc", enabled, {**place, "unitId": 1}, points)


async def test_what_is_configured_is_read_and_no_more():
    ten = [f"holding:{10 * index}:uint16" for index in range(10)]
    async with rude_device() as found:
        tried = await read(found, endpoint(found, *ten))
        assert told(tried)["result"] == "config_match"
        assert (told(tried)["readableCount"], told(tried)["totalPoints"]) == (5, 5)
        assert len(found.log) <= 1 + 1 + 5
        assert [point["register"] for point in tried.only.data_points] == ten


@pytest.mark.parametrize(("share", "result"), [(0.5, "degraded"), (1.0, "config_mismatch")])
async def test_what_does_not_fit_is_told(share: float, result: str):
    registers = [f"holding:{10 * index}:uint16" for index in range(1, 6)]
    refused = {10 * index for index in range(1, 6) if index <= 5 * share}
    async with rude_device(when(lambda asked: asked.address in refused, exception=2)) as found:
        tried = await read(found, endpoint(found, *registers, enabled=False))
        assert told(tried)["result"] == result
        assert "ILLEGAL_ADDRESS" in told(tried)["details"]


async def test_a_device_without_load_is_idle():
    async with rude_device() as found:
        found.registers = dict.fromkeys(range(2000), 0)
        tried = await read(found, endpoint(found, "holding:0:uint16", "holding:7:uint16"))
        assert (told(tried)["state"], told(tried)["zeroCount"]) == ("idle", 2)


async def test_a_device_that_is_polled_is_validated_between_its_polls():
    async with rude_serial() as found, polling(found, 0, 5) as plc:
        await plc.poll()
        tried = await read(found, endpoint(found, "holding:0:uint16", "holding:5:uint16"))
        assert told(tried)["result"] == "config_match"
        assert tried.troubles == []
        await plc.poll()


async def test_libmodbus_is_read(tmp_path: Path):
    assert PROTOCOL.discovery is not None
    with libmodbus_tcp(tmp_path) as port:
        options = {"host": "127.0.0.1", "port": port, "unitId": 1, "timeout": 1000}
        tried = await search(PROTOCOL.discovery, options, validate=True)
    assert "holding 0-49" in told(tried)["details"] or "holding 0-4" in told(tried)["details"]
    kinds = {
        point["register"].rpartition(":")[2]
        for point in tried.only.data_points
        if "holding" in point["register"]
    }
    assert kinds == {"uint16"}
