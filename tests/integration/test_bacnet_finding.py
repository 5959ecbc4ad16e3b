"""Where BACnet devices are: by instance, behind routers and BBMDs, at other addresses."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from bacnet_sessions import session_with, until
from servers.bacnet_device import PLAIN, BacnetDevice, described
from servers.namespaces import Network

from actors.connections.connection import Permanent, Transient
from actors.endpoints.discovering import At, Configured, Found, Known
from actors.endpoints.lines import Lines
from actors.endpoints.protocols.bacnet import PROTOCOL
from actors.endpoints.protocols.bacnet.finding import IAm, finder_of
from actors.endpoints.protocols.bacnet.port import open_port, release_port
from conf.settings import load

ROUTER, BBMD, PLAIN_ONE, MOVED = (f"198.51.100.{number}" for number in (2, 3, 4, 5))
LOCAL = {"localAddress": "198.51.100.1/24", "localPort": 47809, "timeout": 1500, "retryAttempts": 0}
TEMPERATURE = [{"name": "temperature", "object": "analog-input:1"}]


class Plant:
    def __init__(self, network: Network, directory: Path) -> None:
        self.client, self.field = network.add("client"), network.add("plant")
        addresses = [f"{address}/24" for address in (ROUTER, BBMD, PLAIN_ONE, MOVED)]
        network.join({self.client: ["198.51.100.1/24"], self.field: addresses})
        self.directory = directory

    def device(self, address: str, instance: int, **options: Any) -> BacnetDevice:
        fitting = {"prefix": 24, "port": 47808, "objects": PLAIN[:3], **options}
        return BacnetDevice(
            self.directory, address=address, instance=instance, namespace=self.field, **fitting
        )


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A router with device 3003 behind it, and a BBMD."""
    with Network() as network:
        made = Plant(network, tmp_path_factory.mktemp("plant"))
        behind = described(3003, PLAIN[:3], behind=300, mac="05")
        router = made.device(ROUTER, 2002, others=[behind], behind=300, mac="01", networkNumber=100)
        bbmd = made.device(BBMD, 4004, port=47809, bbmd=True)
        with router, bbmd, made.client.sockets_made_here():
            yield made


@asynccontextmanager
async def connected(connection: dict[str, Any], lines: Lines | None = None) -> AsyncIterator[tuple[Any, Any]]:
    async with session_with({**LOCAL, **connection}, TEMPERATURE, lines) as (session, told):
        await session.connect()
        yield session, told


async def value(connection: dict[str, Any]) -> Any:
    async with connected(connection) as (session, _):
        return (await session.read(5)).values[0]


@pytest.mark.parametrize(
    "connection",
    [
        {"deviceInstance": 2002},
        {"deviceInstance": 3003},
        {"deviceInstance": 3003, "network": 300},
        {"deviceInstance": 3003, "network": 300, "host": ROUTER},
        {"network": 300, "mac": "05", "host": ROUTER},
        {"deviceInstance": 3003, "network": 300, "mac": 5, "host": ROUTER},
    ],
)
async def test_a_device_is_read_by_its_instance_or_its_network_alone(
    plant: Plant, connection: dict[str, Any]
) -> None:
    assert await value(connection) == 21.5


async def test_a_device_behind_a_router_is_found_at_its_address_there(plant: Plant) -> None:
    """Nobody is at the one that is given."""
    assert await value({"deviceInstance": 3003, "network": 300, "mac": 1, "host": ROUTER}) == 21.5


async def test_a_device_whose_address_has_changed_is_found_where_it_is(plant: Plant) -> None:
    async with AsyncExitStack() as stack:
        with plant.device(PLAIN_ONE, 5005):
            given = {"host": PLAIN_ONE, "deviceInstance": 5005}
            session, _ = await stack.enter_async_context(connected(given))
            assert (await session.read(5)).values == [21.5]
        with plant.device(MOVED, 5005):
            with pytest.raises(Transient):
                await session.read(1)
            await session.connect()
            assert (await session.read(5)).values == [21.5]


@pytest.mark.parametrize("cov", [False, True])
async def test_another_device_that_has_the_address_now_is_not_believed(plant: Plant, cov: bool) -> None:
    connection = {"host": PLAIN_ONE, "deviceInstance": 5005, "useCov": cov, "pollInterval": 200}
    async with AsyncExitStack() as stack:
        with plant.device(PLAIN_ONE, 5005):
            session, told = await stack.enter_async_context(connected(connection))
        with plant.device(PLAIN_ONE, 6006):
            if cov:
                await until(lambda: told.losses)
                assert told.losses[0].code in ("NO_SUCH_DEVICE", "TIMEOUT")
            else:
                with pytest.raises(Transient) as caught:
                    await session.read(1)
                assert caught.value.code == "NO_SUCH_DEVICE"
            with pytest.raises(Transient, match=r"device 6006 answers|another device answers") as caught:
                await session.connect()
            assert caught.value.code == "NO_SUCH_DEVICE"


async def test_two_devices_of_one_instance_are_refused_by_that(plant: Plant) -> None:
    with plant.device(PLAIN_ONE, 5005), plant.device(MOVED, 5005):
        with pytest.raises(
            Permanent, match=f"several devices have the instance 5005: {PLAIN_ONE}:47808 and {MOVED}"
        ):
            await value({"deviceInstance": 5005})
        assert await value({"deviceInstance": 5005, "host": MOVED}) == 21.5


async def test_one_that_comes_later_with_the_same_instance_is_a_conflict_too(plant: Plant) -> None:
    connection = {"deviceInstance": 5005, "useCov": True, "pollInterval": 1000}
    with plant.device(PLAIN_ONE, 5005):
        async with connected(connection) as (session, told):
            with plant.device(MOVED, 5005) as other:
                other.ask("i_am", address="198.51.100.1:47809")
                await until(lambda: told.losses)
                with pytest.raises(Permanent, match="several devices have the instance 5005"):
                    await session.connect()


async def test_who_is_registered_at_a_bbmd_finds_devices_by_it(plant: Plant) -> None:
    connection = {"deviceInstance": 4004, "bbmd": f"{BBMD}:47809", "localPort": 47999}
    async with connected(connection) as (session, _):
        assert (await session.read(5)).values == [21.5]
        assert session.identification["bbmd"] == "registered"


async def test_a_bbmd_that_refuses_is_told(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    connection = {"host": ROUTER, "deviceInstance": 2002, "bbmd": f"{ROUTER}:47808", "localPort": 47998}
    async with connected(connection) as (session, _):
        assert (await session.read(5)).values == [21.5]
        await until(lambda: session._port.foreign.trouble)
        assert "NAK 0x0030" in session._port.foreign.trouble
    with pytest.raises(Transient, match="refuses to register"):
        await value({**connection, "host": None, "deviceInstance": 9999})


# Looking for devices


class FakeProbing:
    """`asked` are the hosts that were probed."""

    def __init__(self, validate: bool = False) -> None:
        self.lines = Lines()
        self.validate = validate
        self.asked: list[str] = []
        self.devices: dict[str, Found] = {}
        self.troubles: list[tuple[str, str]] = []

    @asynccontextmanager
    async def probe(self, host: str) -> AsyncIterator[None]:
        self.asked.append(host)
        yield

    async def address(self, host: str) -> str:
        if not host[0].isdigit():
            raise OSError("unknown")
        return host

    def more(self, probes: int) -> None: ...

    def found(self, device: Found) -> None:
        self.devices[device.identity] = device

    def trouble(self, where: str, reason: str, *, at: At | None = None, nobody: bool = False) -> None:
        self.troubles.append((where, reason))


async def scanned(options: dict[str, Any], validate: bool = False) -> FakeProbing:
    discovery = PROTOCOL.discovery
    assert discovery is not None
    known = Known(load(None, {}), (Configured("plc", True, {}),))
    local = {"localAddress": "198.51.100.1/24", "timeout": 1500}
    plan = discovery.plan({**local, **options}, known, "overrides.bacnet")
    probing = FakeProbing(validate)
    await discovery.scanner()(plan, probing)
    assert len(probing.lines) == 0
    return probing


async def test_everybody_is_found_by_broadcast(plant: Plant) -> None:
    found = await scanned({})
    assert {one.metadata["deviceInstance"] for one in found.devices.values()} == {2002, 3003}
    behind = found.devices[f"bacnet:{ROUTER}:3003"]
    assert behind.connection == {
        "host": ROUTER,
        "port": 47808,
        "deviceInstance": 3003,
        "network": 300,
        "mac": 5,
        "maxApdu": 1024,
    }
    assert (behind.name, behind.confidence) == ("device-3003", "high")
    assert await value({key: behind.connection[key] for key in ("host", "network", "mac")}) == 21.5


async def test_hosts_are_asked_one_by_one_and_nobody_else(plant: Plant) -> None:
    with plant.device(PLAIN_ONE, 5005):
        found = await scanned({"discoveryTargets": f"{PLAIN_ONE},198.51.100.9,nobody.example"})
    assert set(found.devices) == {f"bacnet:{PLAIN_ONE}:5005"}
    assert set(found.asked) == {PLAIN_ONE, "198.51.100.9"}
    assert [where for where, _ in found.troubles] == ["nobody.example"]


async def test_validated_devices_have_data_points(plant: Plant) -> None:
    found = await scanned({"host": ROUTER, "deviceIdRange": "2000-2999"}, validate=True)
    [device] = found.devices.values()
    assert device.validated
    assert device.validation_data == {
        "totalPoints": 3,
        "proposedPoints": 3,
        "readableCount": 3,
        "errorCount": 0,
    }
    assert device.data_points == (
        {"name": "Supply air", "object": "analog-input:1", "unit": "°C"},
        {"name": "Valve", "object": "analog-output:1", "unit": "%", "writable": True},
        {"name": "Setpoint", "object": "analog-value:1", "unit": "°C", "writable": True},
    )
    PROTOCOL.accept(device.connection, device.data_points)


async def test_by_way_of_a_bbmd(plant: Plant) -> None:
    found = await scanned({"bbmd": f"{BBMD}:47809"})
    assert 4004 in {one.metadata["deviceInstance"] for one in found.devices.values()}


async def test_two_of_one_instance_and_more_than_wanted_are_told(plant: Plant) -> None:
    with plant.device(PLAIN_ONE, 2002):
        found = await scanned({"deviceIdRange": [2002, 2002]})
        assert len(found.devices) == 2
        assert any("2002 is at" in reason for _, reason in found.troubles)
        found = await scanned({"maxDevices": 1})
        assert len(found.devices) == 1
        assert any("more than 1 devices" in reason for _, reason in found.troubles)


async def test_devices_that_answer_to_everybody_are_heard(plant: Plant) -> None:
    lines = Lines()
    connection = PROTOCOL.check({**LOCAL, "host": ROUTER}, ()).connection
    port = await open_port(lines, connection.local)
    heard: list[IAm] = []
    with finder_of(port).listening(heard.append):
        finder_of(port).who_is(3003, 3003)
        await until(lambda: heard)
    assert (heard[0].instance, heard[0].station.network) == (3003, 300)
    release_port(lines, port)


def test_nobody_is_looked_for_where_that_is_switched_off() -> None:
    discovery = PROTOCOL.discovery
    assert discovery is not None
    off = Known(load(None, {"BACNET_ENABLED": "false"}))
    assert discovery.plan({}, off, "overrides.bacnet") is None
    named = Known(load(None, {"BACNET_DISCOVERY_TARGETS": "10.0.0.5-10.0.0.7"}))
    plan = discovery.plan({}, named, "overrides.bacnet")
    assert plan.hosts == ("10.0.0.5", "10.0.0.6", "10.0.0.7")
