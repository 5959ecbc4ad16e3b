"""An OPC UA server that has no session for anybody, and says of itself and others what a test wants: as
discovery servers do, servers behind address translation, and liars."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary, struct_to_binary

from servers.mosquitto import free_port

NONE = "http://opcfoundation.org/UA/SecurityPolicy#None"
BASIC = "http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256"
TCP = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary"
HTTPS = "http://opcfoundation.org/UA-Profile/Transport/https-uabinary"


def application(uri: str | None, *urls: str, discovery: bool = False) -> ua.ApplicationDescription:
    kind = ua.ApplicationType.DiscoveryServer if discovery else ua.ApplicationType.Server
    return ua.ApplicationDescription(
        ApplicationUri=uri,
        ApplicationName=ua.LocalizedText(f"Server {uri}"),
        ApplicationType=kind,
        DiscoveryUrls=list(urls),
    )


def endpoint(
    url: str,
    uri: str | None = "urn:example:server",
    *,
    certificate: bytes | None = None,
    secured: bool = False,
    discovery: bool = False,
    transport: str = TCP,
) -> ua.EndpointDescription:
    mode = ua.MessageSecurityMode.SignAndEncrypt if secured else ua.MessageSecurityMode.None_
    token = ua.UserTokenPolicy(PolicyId="0", TokenType=ua.UserTokenType.UserName)
    return ua.EndpointDescription(
        EndpointUrl=url,
        Server=application(uri, url, discovery=discovery),
        ServerCertificate=certificate,
        SecurityMode=mode,
        SecurityPolicyUri=BASIC if secured else NONE,
        UserIdentityTokens=[token],
        TransportProfileUri=transport,
    )


class Directory:
    """`endpoints`, `servers` and `network` are its answers; a number instead is a status code, a function is
    called for the answer."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.endpoints: Any = [endpoint(self.url)]
        self.servers: Any = []
        self.network: Any = 0x800B_0000
        """BadServiceUnsupported"""
        self.pieces = 65_536
        self.pause = 0.0
        """Seconds before each piece of an answer."""
        self.asked: list[str] = []
        """The services that were asked for."""
        self.urls: list[str] = []
        """With which URLs."""
        self.connections = 0

    @property
    def url(self) -> str:
        return f"opc.tcp://{self.host}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(8)
                body = await reader.readexactly(int.from_bytes(head[4:], "little") - 8)
                if head[:3] == b"CLO":
                    break
                await self._send(writer, self._answer(head[:3], body))
        writer.close()

    async def _send(self, writer: asyncio.StreamWriter, octets: bytes) -> None:
        for at in range(0, len(octets), self.pieces):
            if self.pause:
                await asyncio.sleep(self.pause)
            writer.write(octets[at : at + self.pieces])
            await writer.drain()

    def _answer(self, kind: bytes, body: bytes) -> bytes:
        if kind == b"HEL":
            return _framed(b"ACKF", struct.pack("<5I", 0, 65_535, 65_535, 0, 0))
        buffer = Buffer(body)
        if kind == b"OPN":
            for _ in range(1 + 3):
                size = struct.unpack("<i", buffer.read(4))[0] if _ else buffer.read(4) and -1
                buffer.read(max(size, 0))
            sequence, request = struct.unpack("<II", buffer.read(8))
            opened = ua.OpenSecureChannelResponse()
            opened.Parameters.SecurityToken.ChannelId = 1
            opened.Parameters.SecurityToken.TokenId = 1
            opened.Parameters.SecurityToken.RevisedLifetime = 60_000
            header = (
                struct.pack("<Ii", 1, len(NONE)) + NONE.encode() + struct.pack("<iiII", -1, -1, 1, request)
            )
            return _framed(b"OPNF", header + struct_to_binary(opened))
        buffer.read(8)
        sequence, request = struct.unpack("<II", buffer.read(8))
        octets = struct_to_binary(self._response(buffer))
        parts = [octets[at : at + 60_000] for at in range(0, len(octets), 60_000)]
        return b"".join(
            _framed(
                b"MSGF" if at == len(parts) - 1 else b"MSGC",
                struct.pack("<4I", 1, 1, sequence + at, request) + part,
            )
            for at, part in enumerate(parts)
        )

    def _response(self, buffer: Buffer) -> Any:
        number = nodeid_from_binary(buffer.copy()).Identifier
        for name, key in (
            ("GetEndpoints", "endpoints"),
            ("FindServers", "servers"),
            ("FindServersOnNetwork", "network"),
        ):
            if number == getattr(ua.ObjectIds, f"{name}Request_Encoding_DefaultBinary"):
                self.asked.append(name)
                request = struct_from_binary(getattr(ua, f"{name}Request"), buffer)
                self.urls.append(getattr(request.Parameters, "EndpointUrl", "") or "")
                answer = getattr(self, key)
                return self._told(name, answer() if isinstance(answer, Callable) else answer)  # type: ignore[arg-type]
        return _fault(0x800B_0000)

    def _told(self, name: str, answer: Any) -> Any:
        if isinstance(answer, int):
            return _fault(answer)
        response = getattr(ua, f"{name}Response")()
        if name == "GetEndpoints":
            response.Endpoints = answer
        elif name == "FindServers":
            response.Servers = answer
        else:
            response.Parameters.Servers = [ua.ServerOnNetwork(DiscoveryUrl=url) for url in answer]
        return response


def _fault(status: int) -> Any:
    fault = ua.ServiceFault()
    fault.ResponseHeader.ServiceResult = ua.StatusCode(status)
    return fault


def _framed(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body) + 8) + body


@contextlib.asynccontextmanager
async def directory(host: str = "127.0.0.1", port: int | None = None) -> AsyncIterator[Directory]:
    found = Directory(host, free_port() if port is None else port)
    async with talking(found.serve, host, found.port):
        yield found


@contextlib.asynccontextmanager
async def talking(serve: Any, host: str = "127.0.0.1", port: int | None = None) -> AsyncIterator[int]:
    """Whoever listens there and does as `serve` does; the port."""
    tasks: set[asyncio.Task[Any]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(one, host, free_port() if port is None else port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
