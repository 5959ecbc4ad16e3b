import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from actors.endpoints.lines import lines_of
from actors.endpoints.listener import Nobody
from actors.endpoints.protocols import find

_SCRIPT = Path(__file__).parents[1] / "bench" / "modbus_server.py"


async def test_the_simulated_devices_serve_on_the_ports_that_they_print_until_they_are_ended():
    options = ("--devices", "3", "--registers", "10", "--units", "2")
    process = await asyncio.create_subprocess_exec(sys.executable, str(_SCRIPT), *options, stdout=PIPE)
    assert process.stdout is not None
    try:
        ports = json.loads(await process.stdout.readline())
        assert len(set(ports)) == 3
        for port in ports:
            assert await read_register(port, unit=2, register=9) == 9
        process.terminate()
        async with asyncio.timeout(5):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def read_register(port: int, unit: int, register: int) -> int:
    protocol = find("modbus")
    point = {"name": "p", "register": f"holding:{register}:uint16"}
    reader = protocol.session(
        protocol.check({"host": "127.0.0.1", "port": port, "unitId": unit}, [point]),
        Nobody(),
        lines_of("modbus"),
    )
    await reader.connect()
    try:
        [value] = (await reader.read(1.0)).values
    finally:
        await reader.close()
    return int(value)
