"""An MQTT broker that misbehaves on purpose, called a fake: what no real broker does on demand."""

import asyncio
import socket
from types import TracebackType
from typing import Self

from servers.mosquitto import free_port

_CONNECT = 0x10
_PUBLISH = 0x30
_SUBSCRIBE = 0x82
_PINGREQ = 0xC0
_BUFFER = 65_536
_SLOW_BUFFER = 16_384


class ScriptedBroker:
    """Answers CONNECT with `code` (None: not at all), and then is silent: it acknowledges nothing
    until `acknowledge()`. `reads` False also stops reading after CONNECT, as a dead peer does.
    With `slow` it takes some 300 kB a second. With `properties` it speaks MQTT 5, and these are in its
    answer to CONNECT. `client_ids` are those of the CONNECTs, `published` the packet identifiers of
    messages, `unacknowledged` how many came without one, `pings` how many PINGREQs. `granted` is the answer
    to a subscription, if any; `subscriptions` are what was asked for, without packet identifiers."""

    def __init__(
        self, code: int | None = 0, reads: bool = True, slow: bool = False, properties: bytes | None = None
    ) -> None:
        self.port = free_port()
        self.connections = 0
        self.client_ids: list[str] = []
        self.published: list[int] = []
        self.unacknowledged = 0
        self.pings = 0
        self.granted: int | None = None
        self.subscriptions: list[bytes] = []
        self.code = code
        self.properties = properties
        self._reads = reads
        self._slow = slow
        self._writers: list[asyncio.StreamWriter] = []
        self._handlers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        listening = socket.create_server(("127.0.0.1", self.port))
        if self._slow:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER)
        limit = _SLOW_BUFFER if self._slow else _BUFFER
        self._server = await asyncio.start_server(self._accepted, sock=listening, limit=limit)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()

    def acknowledge(self, most: int | None = None) -> None:
        """One PUBACK for everything published so far, or for the `most` oldest, in one piece."""
        packets = b"".join(b"\x40\x02" + mid.to_bytes(2, "big") for mid in self.published[:most])
        del self.published[:most]
        self._writers[-1].write(packets)

    def refuse(self, code: int, reason: str = "", most: int | None = None) -> None:
        """As `acknowledge` does, with a reason code of MQTT 5."""
        said = b"\x1f" + len(reason).to_bytes(2, "big") + reason.encode() if reason else b""
        for mid in self.published[:most]:
            body = mid.to_bytes(2, "big") + bytes([code, len(said)]) + said
            self._writers[-1].write(bytes([0x40, len(body)]) + body)
        del self.published[:most]

    def say_goodbye(self, code: int) -> None:
        """DISCONNECT of MQTT 5."""
        self._writers[-1].write(bytes([0xE0, 1, code]))

    def answer_ping(self) -> None:
        self._writers[-1].write(b"\xd0\x00")

    def say(self, octets: bytes) -> None:
        self._writers[-1].write(octets)

    def hang_up(self) -> None:
        self._writers[-1].close()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self.connections += 1
        self._writers.append(writer)
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # The client hung up.
        finally:
            self._handlers.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            kind = (await reader.readexactly(1))[0]
            body = await self._body(reader, await _length(reader))
            if kind == _CONNECT:
                at = 10 if body[6] < 5 else 11 + body[10]  # the properties are short
                self.client_ids.append(
                    body[at + 2 : at + 2 + int.from_bytes(body[at : at + 2], "big")].decode()
                )
                if self.code is None:
                    continue
                own = b"" if self.properties is None else bytes([len(self.properties)]) + self.properties
                writer.write(bytes([0x20, 2 + len(own), 0, self.code]) + own)
                if self.code:
                    await writer.drain()
                    writer.close()
                    return
                if not self._reads:
                    await asyncio.Event().wait()
            elif kind == _SUBSCRIBE:
                self.subscriptions.append(body[2:])
                if self.granted is not None:
                    said = b"" if self.properties is None else b"\0"
                    writer.write(bytes([0x90, 3 + len(said)]) + body[:2] + said + bytes([self.granted]))
            elif kind == _PINGREQ:
                self.pings += 1
            elif kind & 0xF6 == _PUBLISH:
                self.unacknowledged += 1
            elif kind & 0xF0 == _PUBLISH:
                topic = int.from_bytes(body[:2], "big")
                self.published.append(int.from_bytes(body[2 + topic : 4 + topic], "big"))

    async def _body(self, reader: asyncio.StreamReader, length: int) -> bytes:
        body = b""
        while self._slow and length - len(body) > _SLOW_BUFFER:
            body += await reader.readexactly(_SLOW_BUFFER)
            await asyncio.sleep(0.05)
        return body + await reader.readexactly(length - len(body))


async def _length(reader: asyncio.StreamReader) -> int:
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return length
