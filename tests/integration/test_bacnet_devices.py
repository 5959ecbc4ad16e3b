"""The BACnet devices of the tests are what other tests take them for, asked by bacpypes3."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from bacpypes3.apdu import ErrorRejectAbortNack, ReadRangeRequest, RejectPDU
from bacpypes3.app import Application
from bacpypes3.basetypes import HostNPort, LogRecord, Range, RangeBySequenceNumber
from bacpypes3.constructeddata import SequenceOf
from bacpypes3.local.device import DeviceObject
from bacpypes3.local.networkport import NetworkPortObject
from bacpypes3.pdu import Address
from bacpypes3.primitivedata import Null, ObjectIdentifier
from servers.bacnet_device import KINDS, OBJECTS, BacnetDevice, described
from servers.namespaces import Network
from servers.udp_relay import free_udp_port


@pytest.fixture(scope="module", params=KINDS)
def device(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BacnetDevice]:
    with BacnetDevice(tmp_path_factory.mktemp("bacnet"), request.param) as found:
        yield found


@contextlib.asynccontextmanager
async def asking(place: str, **options: Any) -> AsyncIterator[Application]:
    own = DeviceObject(objectIdentifier=("device", 9), objectName="test", vendorIdentifier=999)
    port = NetworkPortObject(
        place, objectIdentifier=("network-port", 1), objectName="NetworkPort-1", **options
    )
    app = Application.from_object_list([own, port])
    try:
        yield app
    finally:
        app.close()
        await asyncio.sleep(0)


@pytest.fixture
async def app() -> AsyncIterator[Application]:
    async with asking(f"127.0.0.1/32:{free_udp_port()}") as found:
        yield found


def place(device: BacnetDevice) -> Address:
    return Address(f"127.0.0.1:{device.port}")


async def refused(asked: Any) -> ErrorRejectAbortNack:
    try:
        found = await asked
    except ErrorRejectAbortNack as error:
        return error
    assert isinstance(found, ErrorRejectAbortNack)
    return found


async def test_it_is_there_and_has_its_objects(app: Application, device: BacnetDevice) -> None:
    [found] = await app.who_is(address=place(device), timeout=1)
    assert found.iAmDeviceIdentifier[1] == 1001
    objects = device.config["devices"][0]["objects"]
    listed = await app.read_property(place(device), "device,1001", "object-list")
    assert {(str(kind), number) for kind, number in listed} >= {(o["type"], o["instance"]) for o in objects}
    for each in objects:
        name = f"{each['type']},{each['instance']}"
        assert await app.read_property(place(device), name, "object-name") == each["name"]
        if each["value"] is not None:
            value = await app.read_property(place(device), name, "present-value")
            assert (str(value) if isinstance(each["value"], str) else value) == each["value"]


async def test_many_are_read_at_once_unless_it_does_not_know_how(
    app: Application, device: BacnetDevice
) -> None:
    wanted: list[Any] = ["analog-input,1", ["present-value"], "analog-value,7", ["present-value"]]
    one, missing = await app.read_property_multiple(place(device), wanted)
    assert one[3] == 21.5
    assert str(missing[3].errorCode) == "unknown-object"
    await device.tell("refuse", service="readPropertyMultiple")
    refusal = await refused(app.read_property_multiple(place(device), wanted))
    assert isinstance(refusal, RejectPDU)
    await device.tell("accept", service="readPropertyMultiple")


async def test_it_is_written_by_priority_and_released(app: Application, device: BacnetDevice) -> None:
    await device.tell("forget")
    for value, priority in ((5.5, 8), (7.5, 10), (Null(()), 8)):
        await app.write_property(place(device), "analog-value,1", "present-value", value, priority=priority)
    assert await app.read_property(place(device), "analog-value,1", "present-value") == 7.5
    assert [(one["value"], one["priority"]) for one in await device.tell("written")] == [
        (5.5, 8),
        (7.5, 10),
        (None, 8),
    ]
    await device.tell("refuse", service="writeProperty", kind="property", reason="write-access-denied")
    error = await refused(
        app.write_property(place(device), "analog-value,1", "present-value", 1.0, priority=8)
    )
    assert str(error) == "property: write-access-denied"
    await device.tell("accept", service="writeProperty")
    await device.tell("set", object="analog-value,1", value=None, priority=10)
    assert await app.read_property(place(device), "analog-value,1", "present-value") == 22.0
    assert (await device.tell("counts"))["writeProperty"] == 4


@pytest.mark.parametrize("confirmed", [True, False])
async def test_it_tells_what_changes(app: Application, device: BacnetDevice, confirmed: bool) -> None:
    watched = ObjectIdentifier("analog-input,1")
    subscribing = app.change_of_value(place(device), watched, None, confirmed, 30)
    async with subscribing as told:
        assert (await told.get_value())[1] == await device.tell("read", object="analog-input,1")
        await told.get_value()
        [known] = await device.tell("subscriptions")
        assert (known["confirmed"], known["object"], known["lifetime"]) == (confirmed, "analog-input,1", 30)
        await device.tell("set", object="analog-input,1", value=30.0)
        assert (await told.get_value())[1] == 30.0
        await told.get_value()
        await device.tell("set", object="analog-input,1", property="status-flags", value=[0, 1, 0, 0])
        await told.get_value()
        assert list((await told.get_value())[1]) == [0, 1, 0, 0]
    assert await device.tell("subscriptions") == []
    await device.tell("set", object="analog-input,1", property="status-flags", value=[0, 0, 0, 0])
    await device.tell("set", object="analog-input,1", value=21.5)


async def test_it_is_late_or_silent_when_told(app: Application, device: BacnetDevice) -> None:
    await device.tell("silence")
    assert await app.who_is(address=place(device), timeout=0.1) == []
    await device.tell("silence", on=False)
    await device.tell("delay", seconds=0.2)
    assert await app.who_is(address=place(device), timeout=0.1) == []
    assert await app.who_is(address=place(device), timeout=1)
    await device.tell("delay", seconds=0)


async def test_a_log_is_read_by_range(app: Application, tmp_path: Path) -> None:
    with BacnetDevice(tmp_path) as device:
        for number in range(60):
            await device.tell(
                "record", object="trend-log,1", value=number + 0.5, time_ms=1_700_000_000_000 + 1000 * number
            )

        async def read(asked: Range | None) -> Any:
            request = ReadRangeRequest(
                objectIdentifier="trend-log,1", propertyIdentifier="log-buffer", destination=place(device)
            )
            if asked is not None:
                request.range = asked
            found = await app.request(request)
            return found, found.itemData.cast_out(SequenceOf(LogRecord))

        answer, records = await read(None)
        assert (answer.itemCount, answer.firstSequenceNumber, list(answer.resultFlags)) == (24, 1, [1, 0, 1])
        assert [record.logDatum.realValue for record in records[:2]] == [0.5, 1.5]
        by_number = RangeBySequenceNumber(referenceSequenceNumber=51, count=20)
        answer, records = await read(Range(bySequenceNumber=by_number))
        assert (answer.itemCount, list(answer.resultFlags)) == (10, [0, 1, 0])
        assert records[0].logDatum.realValue == 50.5


def test_bacnet_over_networks(tmp_path: Path) -> None:
    """Broadcasts, a router with a device behind it, and a BBMD."""
    behind = described(3003, OBJECTS[:3], behind=300, mac="05")
    with Network() as network:
        client, plant = network.add("client"), network.add("plant")
        network.join({client: ["198.51.100.1/24"], plant: ["198.51.100.2/24", "198.51.100.3/24"]})
        router = BacnetDevice(
            tmp_path, address="198.51.100.2", prefix=24, port=47808, instance=2002, namespace=plant,
            others=[behind], behind=300, mac="01", networkNumber=100, objects=OBJECTS[:1],
        )  # fmt: skip
        bbmd = BacnetDevice(
            tmp_path, address="198.51.100.3", prefix=24, port=47809, instance=4004, namespace=plant,
            bbmd=True, objects=OBJECTS[:1],
        )  # fmt: skip

        async def broadcast() -> set[tuple[int, str]]:
            async with asking("198.51.100.1/24:47808") as app:
                await asyncio.sleep(0.05)  # its ports are bound by tasks of their own
                found = await app.who_is(timeout=1)
                [value] = await asyncio.gather(
                    app.read_property(Address("300:5"), "analog-value,1", "present-value")
                )
                assert value == 22.0
            # Whether an address has its router (`300:5@198.51.100.2`) is a setting of the whole process.
            return {(each.iAmDeviceIdentifier[1], str(each.pduSource).partition("@")[0]) for each in found}

        async def foreign() -> set[int]:
            options = {"bacnetIPMode": "foreign", "fdSubscriptionLifetime": 30}
            options["fdBBMDAddress"] = HostNPort("198.51.100.3:47809")
            async with asking("198.51.100.1/24:47999", **options) as app:
                await asyncio.sleep(0.3)
                return {each.iAmDeviceIdentifier[1] for each in await app.who_is(timeout=1)}

        with router, bbmd, client.sockets_made_here():
            assert asyncio.run(broadcast()) == {(2002, "198.51.100.2"), (3003, "300:5")}
            assert 4004 in asyncio.run(foreign())
