"""What a server says of itself to anybody: its endpoints, and the servers that it knows (part 4, 5.5).

Over a channel without security, and without a session. Whoever answers may be no server at all: what is taken
of it is bounded in bytes, chunks and time.
"""

import asyncio
from typing import Any, Final, TypeVar

import msgspec
from asyncua import ua
from asyncua.common.connection import TransportLimits
from asyncua.ua.ua_binary import struct_from_binary

from actors.connections.connection import NoConnection, Transient
from actors.connections.dialing import dial

from . import faults
from .channel import LARGEST_CHUNK, Socket
from .discovery import SILENT

T = TypeVar("T")

MOST_BYTES: Final = 1_048_576
"""From one server, all of it together."""
_MOST_CHUNKS: Final = 64
_IN_THREAD: Final = 32_768
"""Bytes of an answer that take longer to decode than the loop may wait."""
_LIFETIME: Final = 60_000
_RECORDS: Final = 256
_DISCOVERY: Final = ua.ApplicationType.DiscoveryServer


class Answer(msgspec.Struct, frozen=True):
    """`servers` are those that the server knows on its own machine, itself among them; `network` the URLs
    of those that it knows on others."""

    endpoints: list[ua.EndpointDescription]
    servers: list[ua.ApplicationDescription]
    network: list[str]

    @property
    def application(self) -> ua.ApplicationDescription | None:
        """The server itself."""
        return next((one.Server for one in self.endpoints if one.Server is not None), None)

    @property
    def is_discovery(self) -> bool:
        """Whether it only tells of others."""
        mine = self.application
        return mine is not None and mine.ApplicationType == _DISCOVERY


class NoServer(Transient):
    """Somebody is there, and does not speak OPC UA, or not for long."""


async def ask(address: str, port: int, url: str, within: float) -> Answer:
    """What the server at an address says when it is asked for `url`. Raises `NoConnection`: `NoServer` when
    somebody has taken the connection, and does not say what it is; with a code of `faults.UNREACHED` when
    nobody has.
    It is `within` seconds for each step."""
    try:
        async with asyncio.timeout(within):
            sock = await dial(address, port)
    except (OSError, TimeoutError) as error:
        raise faults.trouble(error, "connecting", within) from error
    asking = _Asking(url, within)
    try:
        await asyncio.get_running_loop().create_connection(lambda: asking.socket, sock=sock)
        async with asyncio.timeout(SILENT * within):
            return await asking.run()
    except TimeoutError as error:
        reason = f"takes the connection, and has not said what it is within {SILENT * within:g} s"
        raise NoServer(reason, code=faults.TIMEOUT) from error
    finally:
        asking.leave()
        if asking.socket.transport is None:
            sock.close()


class _Asking:
    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        limits = TransportLimits(LARGEST_CHUNK - 1, LARGEST_CHUNK - 1, _MOST_CHUNKS, MOST_BYTES)
        self.socket: Any = Socket(timeout, limits=limits)
        self.socket.most = MOST_BYTES

    async def run(self) -> Answer:
        doing = "saying hello"
        try:
            await self.socket.send_hello(self._url, MOST_BYTES, _MOST_CHUNKS)
            doing = "opening a secure channel"
            await self.socket.open_secure_channel(_channel())
            doing = "asking for its endpoints"
            endpoints = await self._endpoints()
        except Exception as error:  # whatever parsing a stranger's answer raises
            raise self._explained(error, doing) from error
        answer = Answer(endpoints, await self._or_nothing(self._servers), [])
        if answer.is_discovery:
            answer.network.extend(await self._or_nothing(self._network))
        return answer

    def leave(self) -> None:
        """Say good-bye, as far as the socket takes it at once."""
        transport = self.socket.transport
        if transport is None:
            return
        request = ua.CloseSecureChannelRequest()
        try:
            self.socket._send_request(request, message_type=ua.MessageType.SecureClose).cancel()
            transport.close()
        except Exception:  # noqa: BLE001 - there may be no channel yet
            transport.abort()
        if transport.get_write_buffer_size():
            transport.abort()

    def _explained(self, error: Exception, doing: str) -> NoConnection:
        if self.socket.has_too_much:
            return NoServer(f"sent more than {MOST_BYTES} bytes while {doing}", code=faults.UNREADABLE)
        found = faults.trouble(self.socket.refusal or error, doing, self._timeout)
        if found.code is not None and found.code.startswith("Bad") and found.code != faults.UNREADABLE:
            return found  # a status code of OPC UA
        if doing == "saying hello":
            reason = "does not answer" if found.code == faults.TIMEOUT else "answers something else"
            said = f"takes the connection, and is no OPC UA server: it {reason} to a hello"
            return NoServer(said, code=found.code)
        return NoServer(str(found), code=found.code)

    # Services

    async def _endpoints(self) -> list[ua.EndpointDescription]:
        request = ua.GetEndpointsRequest()
        request.Parameters.EndpointUrl = self._url
        return (await self._ask(request, ua.GetEndpointsResponse)).Endpoints or []

    async def _servers(self) -> list[ua.ApplicationDescription]:
        request = ua.FindServersRequest()
        request.Parameters.EndpointUrl = self._url
        return (await self._ask(request, ua.FindServersResponse)).Servers or []

    async def _network(self) -> list[str]:
        request = ua.FindServersOnNetworkRequest()
        request.Parameters.MaxRecordsToReturn = _RECORDS
        found = (await self._ask(request, ua.FindServersOnNetworkResponse)).Parameters.Servers or []
        return [one.DiscoveryUrl for one in found[:_RECORDS] if one.DiscoveryUrl]

    async def _or_nothing(self, service: Any) -> Any:
        """Few servers have all services; what has been said counts, whatever comes of the rest."""
        if self.socket.transport is None:
            return []
        try:
            return await service()
        except Exception:  # noqa: BLE001 - as above
            return []

    async def _ask(self, request: Any, answer: type[T]) -> T:
        body = await self.socket.send_request(request, self._timeout)
        if len(body) > _IN_THREAD:
            response: Any = await asyncio.to_thread(struct_from_binary, answer, body)
        else:
            response = struct_from_binary(answer, body)
        response.ResponseHeader.ServiceResult.check()
        found: T = response
        return found


def _channel() -> ua.OpenSecureChannelParameters:
    wanted = ua.OpenSecureChannelParameters()
    wanted.ClientProtocolVersion = 0
    wanted.RequestType = ua.SecurityTokenRequestType.Issue
    wanted.SecurityMode = ua.MessageSecurityMode.None_
    wanted.RequestedLifetime = _LIFETIME
    wanted.ClientNonce = b""
    return wanted
