"""An MQTT 3.1.1 broker that misbehaves on purpose, called a fake: what no real broker does on demand."""

import asyncio
from types import TracebackType
from typing import Self

from servers.mosquitto import free_port

_CONNECT = 0x10
_PUBLISH = 0x30


class ScriptedBroker:
    """Answers CONNECT with `code` (None: not at all), and then is silent: it acknowledges nothing
    until `acknowledge()`. `reads` False also stops reading after CONNECT, as a dead peer does.
    `client_ids` are those of the CONNECTs."""

    def __init__(self, code: int | None = 0, reads: bool = True) -> None:
        self.port = free_port()
        self.connections = 0
        self.client_ids: list[str] = []
        self.published: list[int] = []
        self.code = code
        self._reads = reads
        self._writers: list[asyncio.StreamWriter] = []
        self._handlers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
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

    def acknowledge(self) -> None:
        """One PUBACK for everything published so far, in one piece."""
        packets = b"".join(b"\x40\x02" + mid.to_bytes(2, "big") for mid in self.published)
        self.published.clear()
        self._writers[-1].write(packets)

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
            body = await reader.readexactly(await _length(reader))
            if kind == _CONNECT:
                self.client_ids.append(body[12 : 12 + int.from_bytes(body[10:12], "big")].decode())
                if self.code is None:
                    continue
                writer.write(bytes([0x20, 2, 0, self.code]))
                if self.code:
                    await writer.drain()
                    writer.close()
                    return
                if not self._reads:
                    await asyncio.Event().wait()
            elif kind & 0xF0 == _PUBLISH:
                topic = int.from_bytes(body[:2], "big")
                self.published.append(int.from_bytes(body[2 + topic : 4 + topic], "big"))


async def _length(reader: asyncio.StreamReader) -> int:
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return length
