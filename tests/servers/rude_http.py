"""An HTTP server that answers as servers and what stands before them do when they are not well."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from servers.mosquitto import free_port

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


class Asked(NamedTuple):
    """A request; `turn` counts those of its connection, from 0."""

    method: str
    body: bytes
    turn: int


class Said(NamedTuple):
    """Bytes to answer with; `close`: the connection ends behind them, this many seconds later."""

    raw: bytes = NO_CONTENT
    close: float | None = None


def reply(status: int, body: str = "", **headers: str) -> bytes:
    """A well-formed answer; `_` stands for `-` in names."""
    fields = {"Content-Length": str(len(body))} | {name.replace("_", "-"): v for name, v in headers.items()}
    lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {text}" for name, text in fields.items())]
    return "\r\n".join([*lines, "", body]).encode()


class RudeHttp:
    """On a free port of 127.0.0.1, on the loop that enters it. `answer` says what each request gets."""

    def __init__(self, answer: Callable[[Asked], Said]) -> None:
        self.port = free_port()
        self.answer = answer
        self.asked: list[Asked] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # The client hung up.
        except asyncio.CancelledError:
            return  # The test is over, which is no failure of this handler.
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        turn = 0
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            asked = Asked(head.split(" ", 1)[0], await _body(reader, head.lower()), turn)
            self.asked.append(asked)
            said = self.answer(asked)
            writer.write(said.raw)
            await writer.drain()
            if said.close is not None:
                await asyncio.sleep(said.close)
                writer.close()
                return
            turn += 1


async def _body(reader: asyncio.StreamReader, head: str) -> bytes:
    if "transfer-encoding: chunked" in head:
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return body
    _, found, rest = head.partition("content-length:")
    return await reader.readexactly(int(rest.split("\r\n", 1)[0])) if found else b""
