"""Devices of which little is known, and that say little of themselves."""

from pathlib import Path
from typing import Any

import pytest
from bacnet_rig import Device, free_udp_port
from bacnet_sessions import session_with
from bacpypes3.basetypes import Segmentation
from bacpypes3.local.analog import AnalogInputObject
from servers.bacnet_device import BacnetDevice

from actors.endpoints.protocol import BrowseRequest


def connection(host: str, port: int) -> dict[str, Any]:
    return {
        "host": host,
        "port": port,
        "localPort": free_udp_port(),
        "localAddress": "127.0.0.1",
        "timeout": 1000,
        "retryAttempts": 0,
    }


async def test_a_device_that_does_not_let_its_instance_be_read_is_asked_who_it_is(tmp_path: Path) -> None:
    with BacnetDevice(tmp_path, instance=1001) as device:
        async with session_with(connection("127.0.0.1", device.port), []) as (session, _):
            await session.connect()
            browsed = await session.browse(BrowseRequest(None, 1, 3, 0))
            assert browsed.nodes[0].node == "device:1001"


@pytest.mark.parametrize("multiple", [True, False])
async def test_a_long_list_of_objects_is_read_many_at_a_time(multiple: bool) -> None:
    objects = [
        AnalogInputObject(
            objectIdentifier=("analog-input", number), objectName=f"P{number}", presentValue=0.0
        )
        for number in range(10, 400)
    ]
    async with Device(7, objects=objects, segmentation=Segmentation.noSegmentation, max_apdu=480) as device:
        given = {**connection(device.host, device.port), "deviceInstance": 7}
        async with session_with(given, []) as (session, _):
            await session.connect()
            session._reader.capability.multiple = multiple
            device.app.asked.clear()
            browsed = await session.browse(BrowseRequest(None, 1, 2, 392))
            assert [node.node for node in browsed.nodes] == ["device:7", "analog-input:398"]
            assert not multiple or len(device.app.asked) < 40
