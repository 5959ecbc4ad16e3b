"""Polling two real devices of different authors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bacnet_polling import made, quality
from servers.bacnet_device import KINDS, OBJECTS, PLAIN, BacnetDevice, Kind, entry
from servers.udp_relay import free_udp_port

from actors.connections.connection import NoConnection
from actors.endpoints.lines import Lines
from actors.endpoints.protocol import PollResult
from actors.endpoints.protocols.bacnet.polled import BacnetPolled

VALUES = {
    "analog-input:1": 21.5,
    "analog-output:1": 40.0,
    "analog-value:1": 22.0,
    "binary-input:1": 1,
    "binary-output:1": 0,
    "binary-value:1": 0,
    "multi-state-input:1": 2,
    "multi-state-output:1": 1,
    "multi-state-value:1": 3,
}
MORE = {
    "characterstring-value:1": "Küche",
    "integer-value:1": -70_000,
    "positive-integer-value:1": 4_000_000_000,
    "large-analog-value:1": 1e12 + 0.5,
    "accumulator:1": 12_345,
}


@pytest.fixture(scope="module", params=KINDS)
def device(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BacnetDevice]:
    with BacnetDevice(tmp_path_factory.mktemp("bacnet"), request.param) as found:
        yield found


def points(*places: str, **further: Any) -> list[dict[str, Any]]:
    return [{"name": place, "object": place, **further} for place in places]


def session_of(device: BacnetDevice, asked: list[dict[str, Any]], **options: Any) -> BacnetPolled:
    own = {"localAddress": "127.0.0.1", "localPort": free_udp_port(), "timeout": 500, "retryDelay": 50}
    given = {"host": device.address, "port": device.port, "deviceInstance": device.instance}
    return made({**given, **own, **options}, asked, Lines())


async def read(device: BacnetDevice, asked: list[dict[str, Any]], times: int = 1) -> PollResult:
    session = session_of(device, asked)
    try:
        await session.connect()
        for _ in range(times):
            result = await session.read(2.0)
        return result
    finally:
        await session.close()


async def test_values_of_every_type(device: BacnetDevice) -> None:
    expected = VALUES if device.kind == "node" else VALUES | MORE
    result = await read(device, points(*expected))
    assert dict(zip(expected, result.values, strict=True)) == expected
    assert result.qualities is None


async def test_states_by_their_texts(device: BacnetDevice) -> None:
    asked = points("multi-state-input:1", "multi-state-value:1", stateText=True)
    assert (await read(device, asked)).values == ["heat", "cool"]


async def test_a_missing_object_and_a_missing_property(device: BacnetDevice) -> None:
    result = await read(device, points("analog-input:1", "analog-input:77", "analog-input:1:log-buffer"))
    assert result.values == [21.5, None, None]
    assert result.qualities == [None, "UNKNOWN_OBJECT", "UNKNOWN_PROPERTY"]


async def test_units_are_those_of_the_device(device: BacnetDevice) -> None:
    session = session_of(device, points("analog-input:1"))
    try:
        await session.connect()
        assert [point.unit for point in session._points] == ["°C"]
        assert session.identification is not None
        assert session.identification["instance"] == "1001"
    finally:
        await session.close()


@pytest.mark.parametrize("kind", ["error", "reject"])
async def test_a_device_that_refuses_to_read_several(device: BacnetDevice, kind: str) -> None:
    reason = "unrecognized-service" if kind == "reject" else "optional-functionality-not-supported"
    how = "services" if kind == "error" else kind
    device.ask("refuse", service="readPropertyMultiple", kind=how, reason=reason)
    try:
        result = await read(device, points(*VALUES), 2)
        assert result.values == list(VALUES.values())
        assert result.qualities is None
    finally:
        device.ask("accept", service="readPropertyMultiple")


async def test_a_silent_device_is_a_timeout_and_is_read_again(device: BacnetDevice) -> None:
    session = session_of(device, points(*VALUES), timeout=150, retryAttempts=0)
    try:
        await session.connect()
        device.ask("silence", on=True)
        with pytest.raises(NoConnection) as caught:
            await session.read(0.2)
        assert caught.value.code == "TIMEOUT"
        device.ask("silence", on=False)
        await session.connect()
        assert (await session.read(2.0)).values == list(VALUES.values())
    finally:
        device.ask("silence", on=False)
        await session.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_device_that_does_not_know_how_to_read_several(tmp_path: Path, kind: Kind) -> None:
    with BacnetDevice(tmp_path, kind, rpm=False) as device:
        result = await read(device, points(*VALUES), 2)
        assert result.values == list(VALUES.values())
        assert device.ask("counts").get("readPropertyMultiple", 0) <= 3


@pytest.mark.parametrize("octets", [50, 128, 206, 480])
async def test_a_device_of_little_room_without_segments(tmp_path: Path, octets: int) -> None:
    objects = [entry("analog-input", number, float(number), name=f"in {number}") for number in range(40)]
    asked = points(*(f"analog-input:{number}" for number in range(40)))
    options: dict[str, Any] = {"segmentation": "no-segmentation", "maxApdu": octets}
    with BacnetDevice(tmp_path, "bacpypes3", objects=objects, **options) as device:
        result = await read(device, asked, 2)
        assert result.values == [float(number) for number in range(40)]
        assert result.qualities is None


async def test_a_text_that_is_longer_than_a_packet_comes_in_segments(tmp_path: Path) -> None:
    long = "lang " * 400
    objects = [*PLAIN, entry("characterstring-value", 1, long, name="long")]
    with BacnetDevice(tmp_path, "bacpypes3", objects=objects) as device:
        result = await read(device, points("analog-input:1", "characterstring-value:1"))
        assert quality(result, 0) == (21.5, None)
        assert result.values[1] == long


async def test_changes_of_status_are_seen(tmp_path: Path) -> None:
    with BacnetDevice(tmp_path, "bacpypes3", objects=OBJECTS) as device:
        session = session_of(device, points("analog-input:1"))
        try:
            await session.connect()
            for change, value, expected in (
                ("out-of-service", True, (21.5, "OUT_OF_SERVICE")),
                ("out-of-service", False, (21.5, None)),
                ("reliability", "open-loop", (None, "OPEN_LOOP")),
                ("reliability", "no-fault-detected", (21.5, None)),
            ):
                device.ask("set", object="analog-input,1", property=change, value=value)
                assert quality(await session.read(2.0)) == expected
        finally:
            await session.close()
