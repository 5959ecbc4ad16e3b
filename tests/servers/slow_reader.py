"""Something between a client and a server that takes bytes slowly, as a thin line does: its TCP acknowledges
no more than it has passed on, but for a few kilobytes."""

import asyncio
import socket
from types import TracebackType
from typing import Self

_TAKEN = 512
_BUFFER = 4096


class SlowReader:
    """From a free port of 127.0.0.1 to `target`: `rate` bytes a second towards it, answers at once. Runs on
    the loop that entered it."""

    def __init__(self, target: int, rate: float) -> None:
        self.target = target
        self.rate = rate
        self.accepted = 0
        self._listening = socket.socket()
        # Connections inherit it; the default takes megabytes.
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._listening.bind(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, sock=self._listening, limit=_TAKEN)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            answers = asyncio.ensure_future(self._pass(there, writer))
            try:
                await self._pass(reader, back, slowly=True)
            finally:
                answers.cancel()
                back.transport.abort()
                await asyncio.gather(answers, return_exceptions=True)
        except OSError:
            return  # Either end has gone.
        except asyncio.CancelledError:
            return  # It was ended, which is no failure of this handler.
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, slowly: bool = False
    ) -> None:
        while octets := await reader.read(_TAKEN):
            if slowly:
                await asyncio.sleep(_TAKEN / self.rate)
            writer.write(octets)
            await writer.drain()
