"""BACnet devices in the process of the tests: bacpypes3 over a socket of ours."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, Self

from bacpypes3.app import Application
from bacpypes3.basetypes import Segmentation
from bacpypes3.ipv4.service import BIPNormal
from bacpypes3.local.analog import AnalogInputObject, AnalogValueObjectCmd
from bacpypes3.local.binary import BinaryValueObject
from bacpypes3.local.device import DeviceObject
from bacpypes3.local.multistate import MultiStateValueObject
from bacpypes3.pdu import PDU, IPv4Address

from actors.endpoints.protocols.bacnet.application import Link

__all__ = ["Device", "free_udp_port"]


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class DeviceApplication(Application):
    """`asked` are the services that it was asked for; of those in `refused` it says so, or nothing (None)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asked: list[Any] = []
        self.on_request: Callable[[Any], Any] = lambda apdu: NotImplemented
        """What to answer in the place of what the library answers; None: nothing."""

    async def indication(self, apdu: Any) -> None:
        self.asked.append(apdu)
        answer = self.on_request(apdu)
        if answer is NotImplemented:
            await super().indication(apdu)
        elif answer is not None:
            await self.response(answer)


class Device(asyncio.DatagramProtocol):
    """With analog-input:1, analog-value:1 (commandable), binary-value:1 and multi-state-value:1."""

    def __init__(
        self,
        instance: int,
        host: str = "127.0.0.1",
        port: int | None = None,
        broadcast: str | None = None,
        objects: Sequence[Any] = (),
        **fields: Any,
    ) -> None:
        self.instance = instance
        self.host, self.port = host, port or free_udp_port()
        self._broadcast = broadcast
        device = DeviceObject(
            objectIdentifier=("device", instance),
            objectName=fields.pop("name", f"ahu-{instance}"),
            vendorIdentifier=999,
            vendorName="Example",
            modelName="AHU",
            maxApduLengthAccepted=fields.pop("max_apdu", 1476),
            segmentationSupported=fields.pop("segmentation", Segmentation.segmentedBoth),
            maxSegmentsAccepted=64,
            protocolVersion=1,
            protocolRevision=22,
            apduTimeout=1000,
            numberOfApduRetries=1,
            **fields,
        )
        self.temperature = AnalogInputObject(
            objectIdentifier=("analog-input", 1),
            objectName="temperature",
            presentValue=21.5,
            units="degreesCelsius",
            covIncrement=0.1,
            statusFlags=[0, 0, 0, 0],
            eventState="normal",
            outOfService=False,
        )
        self.setpoint = AnalogValueObjectCmd(
            objectIdentifier=("analog-value", 1),
            objectName="setpoint",
            presentValue=20.0,
            units="degreesCelsius",
            covIncrement=0.1,
            statusFlags=[0, 0, 0, 0],
            eventState="normal",
            outOfService=False,
            relinquishDefault=20.0,
        )
        self.running = BinaryValueObject(
            objectIdentifier=("binary-value", 1),
            objectName="running",
            presentValue="active",
            activeText="On",
            inactiveText="Off",
            statusFlags=[0, 0, 0, 0],
            eventState="normal",
            outOfService=False,
        )
        self.mode = MultiStateValueObject(
            objectIdentifier=("multi-state-value", 1),
            objectName="mode",
            presentValue=2,
            numberOfStates=3,
            stateText=["Off", "Heating", "Cooling"],
            statusFlags=[0, 0, 0, 0],
            eventState="normal",
            outOfService=False,
        )
        self.objects = [device, self.temperature, self.setpoint, self.running, self.mode, *objects]
        self.app: DeviceApplication
        self._transport: asyncio.DatagramTransport | None = None
        self._listener: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> Self:
        self.app = DeviceApplication.from_object_list(list(self.objects))
        self.link = Link(BIPNormal(), self._send)
        self.app.nsap.bind(self.link.service, address=IPv4Address((self.host, self.port)))
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, sock=_bound(self.host, self.port)
        )
        if self._broadcast is not None:
            self._listener, _ = await loop.create_datagram_endpoint(
                lambda: self, sock=_bound(self._broadcast, self.port)
            )
        return self

    async def stop(self) -> None:
        for transport in (self._transport, self._listener):
            if transport is not None:
                transport.close()
        self._transport = self._listener = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _send(self, data: bytes, place: tuple[str, int] | None) -> None:
        if self._transport is None:
            return
        if place is not None:
            self._transport.sendto(data, place)
        elif self._broadcast is not None:
            self._transport.sendto(data, (self._broadcast, 47808))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr == (self.host, self.port):
            return
        pdu = PDU(data, source=IPv4Address(addr), destination=IPv4Address((self.host, self.port)))
        task = asyncio.create_task(self.link.received(pdu))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def error_received(self, exc: Exception) -> None: ...

    def services(self, name: str) -> list[Any]:
        """Those requests (`SubscribeCOVRequest`) that it was sent."""
        return [apdu for apdu in self.app.asked if type(apdu).__name__ == name]


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind((host, port))
    return sock
