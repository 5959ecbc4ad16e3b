"""BACnet devices as the other end of an endpoint."""

import asyncio
from contextlib import AbstractContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar

from servers.bacnet_device import BacnetDevice, entry
from servers.field_counterpart import TIMEOUT_MS, TWIN, AnyRelay, FieldCounterpart
from servers.udp_relay import UdpRelay, free_udp_port


class PolledBacnet(FieldCounterpart):
    """bacpypes3's device, a process of its own that keeps running from test to test."""

    protocol = "bacnet"
    name = "polled"
    relay_kind = UdpRelay
    back_within = 8.0
    _COV = False
    _OBJECTS: ClassVar[dict[str, str]] = {
        "counter": "analog-value,1",
        "twin": "analog-value,2",
        "setpoint": "analog-value,3",
    }

    def __init__(self, shared: BacnetDevice) -> None:
        super().__init__(shared)
        self._device = shared
        self._port = free_udp_port()

    @classmethod
    def share(cls, directory: Path) -> AbstractContextManager[BacnetDevice]:
        objects = [
            entry("analog-value", number, 0.0, name=name, covIncrement=0.5, relinquishDefault=0.0)
            for number, name in enumerate(cls._OBJECTS, 1)
        ]
        return BacnetDevice(directory, objects=objects)

    def connection(self, relay: AnyRelay, right: bool = True) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": relay.port,
            "deviceInstance": self._device.instance,
            "localPort": self._port,
            "localAddress": "127.0.0.1",
            "timeout": TIMEOUT_MS,
            "retryAttempts": 0,
            "useCov": self._COV,
            "pollInterval": 200,
        }

    @property
    def data_points(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "object": place.replace(",", ":"), "writable": name == "setpoint"}
            for name, place in self._OBJECTS.items()
        ]

    async def set(self, number: int) -> None:
        await self._write(counter=number, twin=number + TWIN)

    async def _write(self, **values: int) -> None:
        """What it has at once, or else from its next start on."""
        for name, value in values.items():
            index = list(self._OBJECTS).index(name)
            self._device.config["devices"][0]["objects"][index]["value"] = value
            if self._device.running:
                await self._device.tell("set", object=self._OBJECTS[name], value=value)

    @property
    def written(self) -> list[float]:
        return [one["value"] for one in self._device.ask("written")]

    def refuse_writes(self) -> bool:
        self._device.ask("refuse", service="writeProperty", kind="property", reason="write-access-denied")
        return True

    async def _run(self, stack: AsyncExitStack) -> int:
        if not self._device.running:
            await self.start()
        self._device.ask("accept", service="writeProperty")
        await self._device.tell("set", object=self._OBJECTS["setpoint"], value=None, priority=8)
        await self._write(counter=0, twin=TWIN, setpoint=0)
        self._device.ask("forget")
        return self._device.port

    async def stop(self) -> None:
        await asyncio.to_thread(self._device.kill)

    async def start(self) -> None:
        await asyncio.to_thread(self._device.start)


class PushedBacnet(PolledBacnet):
    """Its notifications may overtake each other, and say nothing by which that is seen."""

    name = "pushed"
    order = "none"
    _COV = True
