"""Modbus devices on a thread of their own, for tests that wait for another process."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, TypeVar

from bench.modbus_server import ModbusServer

SECONDS = 5.0
T = TypeVar("T")


class FieldServer:
    """`server` may be looked at and told faults from any thread; `start` and `stop` are those of it."""

    def __init__(self, server: ModbusServer) -> None:
        self.server = server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="field", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self.server.port

    def start(self) -> None:
        self._run(self.server.start())

    def stop(self) -> None:
        self._run(self.server.stop())

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(SECONDS)


@contextmanager
def field(**options: Any) -> Iterator[FieldServer]:
    """A running `ModbusServer(**options)`."""
    found = FieldServer(ModbusServer(**options))
    try:
        found.start()
        yield found
    finally:
        found.close()


@contextmanager
def on_a_thread(server: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """A server that runs on a loop of its own; what it yields may be looked at from any thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="device", daemon=True)
    thread.start()

    async def leave() -> None:
        await server.__aexit__(None, None, None)

    async def enter() -> T:
        return await server.__aenter__()

    try:
        yield asyncio.run_coroutine_threadsafe(enter(), loop).result(SECONDS)
    finally:
        asyncio.run_coroutine_threadsafe(leave(), loop).result(SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()
