"""bacpypes3's layers over a socket of ours.

Its own datagram layer tries for ever, in silence, to bind a port that is taken, and leaves the receive buffer
as it is; its link layers are used as they are, over `Wire` in its place.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from bacpypes3.apdu import (
    ConfirmedCOVNotificationRequest,
    ConfirmedRequestPDU,
    ReadPropertyMultipleRequest,
    ReadPropertyRequest,
    RejectPDU,
)
from bacpypes3.app import Application as Library
from bacpypes3.basetypes import Segmentation
from bacpypes3.comm import Server, bind
from bacpypes3.ipv4.bvll import BVLLCodec
from bacpypes3.ipv4.service import BIPNormal, UDPMultiplexer
from bacpypes3.local.device import DeviceObject
from bacpypes3.pdu import IPv4Address, LocalBroadcast
from bacpypes3.settings import settings

from actors.connections.connection import Transient

from . import quality
from .connection import Local
from .foreign import Foreign
from .kinds import ANY_INSTANCE
from .peer import OURS

Send = Callable[[bytes, tuple[str, int] | None], None]
"""Of a packet to a place; None: to everybody."""

_LONGEST_MS: Final = 120_000
_UNREGISTER: Final = b"\x81\x05\x00\x06\x00\x00"
"""Register-Foreign-Device for 0 s (annex J.5.2)."""
_MOST: Final = 64
"""Requests to one device: of twice as many it would look for a free invoke id for ever."""
_UNRECOGNIZED_SERVICE: Final = 9
_ANSWERED: Final = (ConfirmedCOVNotificationRequest, ReadPropertyRequest, ReadPropertyMultipleRequest)

# An address behind a router is one together with its router; else the library asks by broadcast who routes.
settings.route_aware = True


class Application(Library):  # type: ignore[misc]
    """A client: it looks for devices and asks them, and is none itself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._next = 0
        self.heard_i_am: Callable[[Any], None] = lambda apdu: None
        super().__init__(*args, **kwargs)

    @property
    def next_invoke_id(self) -> int:
        return self._next

    @next_invoke_id.setter
    def next_invoke_id(self, value: int) -> None:
        self._next = value % OURS

    def request(self, apdu: Any) -> Any:
        """As the library's; raises `Transient` when too many are under way to that device."""
        if len(self._requests.get(apdu.pduDestination, ())) >= _MOST:
            raise Transient(f"{apdu.pduDestination} is being asked too much", code=quality.DEVICE_OFFLINE)
        return super().request(apdu)

    def forget(self, apdu: Any) -> None:
        """That request is not waited for any more."""
        for transaction in self.asap.clientTransactions:
            if transaction.invokeID == apdu.apduInvokeID and transaction.pdu_address == apdu.pduDestination:
                with suppress(RuntimeError):
                    transaction.abort(0)
                break

    async def do_WhoIsRequest(self, apdu: Any) -> None:
        """Nobody is meant to find the agent as a device."""

    async def do_IAmRequest(self, apdu: Any) -> None:
        """For who looks for devices."""
        self.heard_i_am(apdu)

    async def do_WhoHasRequest(self, apdu: Any) -> None:
        """It has no objects to tell of."""

    async def indication(self, apdu: Any) -> None:
        """Others change nothing here, and have nothing sent to anybody."""
        if isinstance(apdu, ConfirmedRequestPDU) and not isinstance(apdu, _ANSWERED):
            await self.response(RejectPDU(reason=_UNRECOGNIZED_SERVICE, context=apdu))
        else:
            await super().indication(apdu)


class Wire(Server[Any]):  # type: ignore[misc]
    """The lowest layer."""

    def __init__(self, send: Send) -> None:
        super().__init__()
        self._send = send

    async def indication(self, pdu: Any) -> None:
        destination = pdu.pduDestination
        if isinstance(destination, LocalBroadcast):
            self._send(bytes(pdu.pduData), None)
        elif isinstance(destination, IPv4Address):
            self._send(bytes(pdu.pduData), destination.addrTuple)
        else:
            self._send(bytes(pdu.pduData), IPv4Address(destination).addrTuple)


class Link:
    """The link layer of a port."""

    def __init__(self, service: BIPNormal | Foreign, send: Send) -> None:
        self.service = service
        self._send = send
        self._codec = BVLLCodec()
        self._multiplexer = UDPMultiplexer()
        self._wire = Wire(send)
        bind(service, self._codec, self._multiplexer.annexJ)
        bind(self._multiplexer, self._wire)

    async def received(self, pdu: Any) -> None:
        # Whatever others send may make the library stumble: that costs the one packet.
        with suppress(Exception):
            await self._wire.response(pdu)

    def register(self, bbmd: IPv4Address, ttl: int) -> None:
        self.service.register(bbmd, ttl)

    def give_up(self) -> None:
        """The registration at a BBMD ends at once: this is sent while there is a socket."""
        if isinstance(self.service, Foreign) and self.service.bbmdAddress is not None:
            self._send(_UNREGISTER, self.service.bbmdAddress.addrTuple)
            self.service.give_up()


def build(local: Local, send: Send) -> tuple[Application, Link]:
    """The layers of a port; they send nothing by themselves, but for a registration that was asked for."""
    device = DeviceObject(
        objectIdentifier=("device", ANY_INSTANCE),
        objectName="callboard",
        vendorName="callboard",
        modelName="callboard",
        maxApduLengthAccepted=1476,
        segmentationSupported=Segmentation.segmentedBoth,
        maxSegmentsAccepted=64,
        # How long an answer is waited for is for who asks to say, and so is asking again.
        apduTimeout=_LONGEST_MS,
        numberOfApduRetries=0,
    )
    app = Application.from_object_list([device])
    link = Link(BIPNormal() if local.bbmd is None else Foreign(), send)
    address = local.address.partition("/")[0] or "0.0.0.0"
    app.nsap.bind(link.service, address=IPv4Address((address, local.port)))
    asyncio.get_running_loop()  # of which the layers make tasks
    return app, link
