"""Sparkplug B from a node of another author, over a real broker."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pysparkplug as sp
import pytest
from mqtt_owner import until
from servers.mosquitto import Mosquitto

from actors.endpoints.lines import lines_of
from actors.endpoints.listener import Description, Nobody
from actors.endpoints.protocol import WriteRequest
from actors.endpoints.protocols import find


class Heard(Nobody):
    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.units: dict[str, list[str | None]] = {}
        self.now: dict[str, Any] = {}
        self.away: dict[str, str | None] = {}

    def described(self, description: Description) -> None:
        self.names[description.identifier] = [point.name for point in description.points]

    def changed(self, device: str, indices: Any, values: Any, codes: Any = None, times: Any = None) -> None:
        for place, index in enumerate(indices):
            self.now[f"{device}:{self.names[device][index]}"] = values[place]

    def presence(self, device: str, code: str | None) -> None:
        self.away[device] = code


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto")) as running:
        yield running


def metric(name: str, value: Any, datatype: Any) -> sp.Metric:
    return sp.Metric(timestamp=sp._time.get_current_timestamp(), name=name, datatype=datatype, value=value)


async def test_a_node_of_another_author_is_read_and_written(broker: Mosquitto, tmp_path: Path) -> None:
    commands: list[Any] = []
    node = sp.EdgeNode(
        "plant",
        "press",
        (metric("load", 0.5, sp.DataType.DOUBLE),),
        cmd_callback=lambda _, message: commands.append(message.payload),
    )
    pump = sp.Device(
        "pump",
        (metric("flow", 10, sp.DataType.INT16), metric("mode", "auto", sp.DataType.STRING)),
        cmd_callback=lambda _, message: commands.append(message.payload),
    )
    node.register(pump)
    protocol = find("mqtt")
    given = {
        "host": "127.0.0.1",
        "port": broker.port,
        "format": "sparkplug",
        "clientId": "agent",
        "writable": True,
    }
    endpoint = protocol.accept(given, [])
    heard = Heard()
    session = protocol.session(endpoint, heard, lines_of("mqtt"))
    await session.connect()
    try:
        node.connect("127.0.0.1", port=broker.port)
        await until(lambda: heard.now.get("plant/press/pump:mode") == "auto")
        assert heard.names == {"plant/press": ["load"], "plant/press/pump": ["flow", "mode"]}
        assert heard.now["plant/press:load"] == 0.5
        node.update_device("pump", (metric("flow", -7, sp.DataType.INT16),))
        await until(lambda: heard.now["plant/press/pump:flow"] == -7)
        request = WriteRequest("plant/press/pump", "flow", -9)
        await session.write(protocol.prepare(endpoint, request))
        await until(lambda: commands)
        assert [(one.name, one.value) for one in commands[0].metrics] == [("flow", -9)]
        node.disconnect()
        await until(lambda: heard.away.get("plant/press/pump") == "DEVICE_OFFLINE")
    finally:
        await session.close()


async def test_one_that_was_born_before_is_asked_for_its_birth(broker: Mosquitto) -> None:
    commands: list[Any] = []
    node = sp.EdgeNode(
        "plant",
        "early",
        (metric("load", 0.5, sp.DataType.DOUBLE),),
        cmd_callback=lambda _, message: commands.append(message.payload),
    )
    node.connect("127.0.0.1", port=broker.port, blocking=False)
    await until(lambda: node._connected)
    protocol = find("mqtt")
    given = {"host": "127.0.0.1", "port": broker.port, "format": "sparkplug", "clientId": "agent2"}
    heard = Heard()
    session = protocol.session(protocol.accept(given, []), heard, lines_of("mqtt"))
    await session.connect()
    try:
        node.update((metric("load", 0.7, sp.DataType.DOUBLE),))
        await until(lambda: commands)
        assert commands[0].metrics[0].name == "Node Control/Rebirth"
        assert heard.now == {}
    finally:
        await session.close()
        node.disconnect()
