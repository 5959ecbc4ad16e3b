"""One connection to a server: socket, secure channel, session. The library's, without its supervisors."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, Final, TypeVar

from asyncua.client import Client
from asyncua.client.ua_client import UaClient
from asyncua.ua.ua_binary import struct_from_binary
from asyncua.ua.uaerrors import UaStatusCodeError

from actors.connections.connection import NoConnection, Transient

from . import faults, security
from .connection import Connection
from .posting import PostingProtocol, Service

T = TypeVar("T")

logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)  # what goes wrong it raises, too

log = logging.getLogger(__name__)

LARGEST_CHUNK: Final = 65_536
"""Bytes; who announces more than a server is told to send at most is none."""
_CHUNKS: Final = (b"MSG", b"OPN", b"CLO", b"ACK", b"ERR")
_HEADER: Final = 8
LIFETIME: Final = 3_600_000
"""Milliseconds of a security token."""
RENEW_AFTER: Final = 0.75
"""Of its lifetime (part 4, 5.5.2.1)."""
_REACHING: Final = ("connecting", "saying hello")
_SHOWING: Final = ("opening a secure channel", "creating a session")
"""Steps in which the server looks at this agent's certificate."""
_ACTIVATING: Final = "activating the session"
_IN_THREAD: Final = 262_144
"""Bytes of an answer that take longer to decode than the loop may wait."""
_FAREWELL: Final = 2.0
"""Seconds to say good-bye in."""


def _begins_a_chunk(octets: bytes) -> bool:
    """Whether these may be the first of one (part 6, 7.1.2.2)."""
    kind, size = octets[:3], int.from_bytes(octets[4:8], "little")
    known = any(one.startswith(kind) for one in _CHUNKS)
    return known and (len(octets) < _HEADER or _HEADER <= size <= LARGEST_CHUNK)


class Socket(PostingProtocol):
    """Notes when anything has come in, and takes no more than a chunk may be."""

    receive_buffer: bytes | None
    heard = 0.0
    """monotonic seconds"""
    most: int | None = None
    """Bytes that are taken of the server at most; None: as many as it sends."""
    taken = 0
    refusal: UaStatusCodeError | None = None
    """What the server has answered instead of opening a channel; the library says no more than that there is
    none."""

    def data_received(self, data: bytes) -> None:
        self.heard = monotonic()
        self.taken += len(data)
        if self.has_too_much:
            if self.transport is not None:
                self.transport.abort()
            return
        super().data_received(data)
        # The library waits for as much as is announced, whatever it is.
        if self.receive_buffer is not None and not _begins_a_chunk(self.receive_buffer):
            self.receive_buffer = None
            self.disconnect_socket()

    @property
    def has_too_much(self) -> bool:
        return self.most is not None and self.taken > self.most

    def _call_callback(self, request_id: int, body: Any) -> None:
        if self._open_secure_channel_exchange is not None:
            try:
                self.check_answer(body, "")
            except UaStatusCodeError as error:
                self.refusal = error
        super()._call_callback(request_id, body)


class _Transport(UaClient):  # type: ignore[misc]
    most: int | None = None

    def _make_protocol(self) -> Socket:
        self.protocol = protocol = Socket(self._timeout, security_policy=self.security_policy)
        protocol.most = self.most
        protocol.on_connection_lost = self._on_transport_lost
        protocol.is_session_closing = self._is_session_closing
        return protocol


class Channel:
    """`lost` is called once, with the reason, when the connection ends by itself after `open`. It ends when
    the server has sent more than `most` bytes, if given."""

    def __init__(
        self,
        connection: Connection,
        url: str,
        lost: Callable[[NoConnection], None],
        folder: Path | None = None,
        most: int | None = None,
    ) -> None:
        self.url = url
        self.timeout = connection.connection_timeout
        self._connection = connection
        self._folder = folder
        self._lost: Callable[[NoConnection], None] | None = lost
        self._client = Client(url, timeout=self.timeout)
        self._client.uaclient = _Transport(self.timeout)
        self._client.uaclient.most = most
        self._socket: Socket | None = None
        self._active = False
        """Whether the server has a session for it, for all that is known."""
        self.resumed = False
        self._renewing: asyncio.Task[None] | None = None

    @property
    def heard(self) -> float:
        """When the server has last said anything; monotonic seconds."""
        return 0.0 if self._socket is None else self._socket.heard

    @property
    def session_timeout(self) -> float:
        """Seconds, as the server wants it."""
        return float(self._client.session_timeout) / 1000

    @property
    def is_open(self) -> bool:
        return self._socket is not None and self._socket.transport is not None

    async def open(self, before: "Channel | None" = None) -> None:
        """Connect and make a session, or take up that of an earlier channel to the same server, which has
        ended (`resumed`). Raises `NoConnection`."""
        if before is not None and before._active and before.url == self.url:
            self._client = before._client
            before._active, self._active = False, True
        client = self._client
        client.name = client.description = "Callboard"
        client.session_timeout = int(self._connection.session_timeout * 1000)
        client.secure_channel_timeout = LIFETIME
        doing = _REACHING[0]
        creating: asyncio.Future[Any] | None = None
        try:
            await security.secure(client, self._connection, self._folder)
            await client.connect_socket()
            self._socket = client.uaclient.protocol
            doing = _REACHING[1]
            await client.send_hello()
            doing = _SHOWING[0]
            await client.open_secure_channel()
            if self._active:
                doing = "resuming the session"
                self.resumed = await self._resume()
            if not self.resumed:
                self._active = False
                doing = _SHOWING[1]
                creating = asyncio.ensure_future(client.create_session())
                await asyncio.shield(creating)
                doing = _ACTIVATING
                await security.identify(client, self._connection, self._folder)
                await self._activate()
        except Exception as error:  # whatever parsing a stranger's answer raises
            if doing == _ACTIVATING:
                await self.close()  # a session that nobody has closed keeps its place on the server
            self.drop()
            refusal = None if self._socket is None else self._socket.refusal
            found = faults.trouble(refusal or error, doing, self.timeout)
            if doing in _SHOWING:
                found = await security.explained(found, client, self._connection, self._folder)
            elif doing in _REACHING and found.code in faults.UNREACHED:
                found.retry_within = faults.SOON
            raise found from error
        except asyncio.CancelledError:
            try:
                if creating is not None:
                    made, _ = await asyncio.wait({creating}, timeout=_FAREWELL)
                    if made and creating.exception() is None:
                        await self.close()
            finally:
                if creating is not None:
                    creating.cancel()
                self.drop()
            raise
        assert self._socket is not None
        self._active = True
        self._socket.on_connection_lost = self._ended
        if self._socket.transport is None:  # it has ended meanwhile
            raise Transient("the server has closed the connection", code=faults.RESET)
        self._renewing = asyncio.create_task(self._renew())

    async def _resume(self) -> bool:
        """Whether the server still has the session (part 4, 6.7)."""
        session = self._client.uaclient.session
        session.rebind_authentication_token()
        try:
            await self._activate()
        except UaStatusCodeError as error:
            log.debug("%s: the session is not taken up again: %s", self.url, error)
            session.reset_authentication_token()
            return False
        return True

    async def _activate(self) -> None:
        client = self._client
        await client.activate_session(
            username=client._username, password=client._password, certificate=client.user_certificate
        )

    async def ask(self, request: Any, answer: type[T], within: float | None = None) -> T:
        """A service's response. Raises `NoConnection`, with the name of the status code as `code` when the
        server refuses."""
        doing = type(request).__name__.removesuffix("Request")
        within = self.timeout if within is None else within
        try:
            body = await self.send(request, within)
            response: Any
            if len(body) > _IN_THREAD:
                response = await asyncio.to_thread(struct_from_binary, answer, body)
            else:
                response = struct_from_binary(answer, body)
            response.ResponseHeader.ServiceResult.check()
        except Exception as error:  # as above
            raise faults.trouble(error, doing, within) from error
        found: T = response
        return found

    async def send(self, request: Any, within: float) -> Any:
        """The body of the answer, undecoded; `within` 0: whenever it comes. Raises what the library does."""
        if self._socket is None or self._socket.transport is None:
            raise Transient("not connected", code=faults.RESET)
        return await self._socket.send_request(request, within)

    def post(self, service: Service, parameters: bytes, within: float) -> "asyncio.Future[Any]":
        """As `PostingProtocol.post`; raises `Transient` as well."""
        if self._socket is None:
            raise Transient("not connected", code=faults.RESET)
        return self._socket.post(service, parameters, within)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_AFTER * self._client.secure_channel_timeout / 1000)
            try:
                await self._client.open_secure_channel(renew=True)
                self._client.uaclient.revolve_security_token()
            except Exception as error:  # noqa: BLE001 - as above
                self.fail(faults.trouble(error, "renewing the secure channel", self.timeout))
                return

    def _ended(self, error: Exception | None) -> None:
        reason = "the server has closed the connection" if error is None else f"connection lost: {error}"
        self.fail(Transient(reason, code=faults.RESET))

    def fail(self, error: NoConnection) -> None:
        """It is of no use any more."""
        lost, self._lost = self._lost, None
        self.drop()
        if lost is not None:
            lost(error)

    def drop(self) -> None:
        """Let go of it without a word to the server."""
        self._lost = None
        if self._renewing is not None:
            self._renewing.cancel()
        socket = self._socket or self._client.uaclient.protocol
        if socket is not None and socket.transport is not None:
            socket.transport.abort()

    async def close(self) -> None:
        """Tell the server, if it listens."""
        self._lost = None
        self._active = False
        if self._renewing is not None:
            self._renewing.cancel()
        try:
            await self._say_farewell()
        finally:
            self.drop()

    async def _say_farewell(self) -> None:
        if self.is_open:
            try:
                async with asyncio.timeout(_FAREWELL):
                    await self._client.uaclient.close_session(True)
                    await self._client.close_secure_channel()
            except Exception as error:  # noqa: BLE001 - it is closed either way
                log.debug("%s: closing the session: %s", self.url, error)
