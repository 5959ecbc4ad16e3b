"""Calls that may hang for ever: each in a thread, never two of one kind at a time."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class _Asked(NamedTuple):
    future: "asyncio.Future[Any]"
    thread: threading.Thread


_asked: dict[str, _Asked] = {}
"""The latest call of each name, of the whole process: an actor that restarts must not begin a second one
beside one that hangs."""


async def ask(name: str, call: Callable[[], T], within: float) -> T | None:
    """What `call` returns; None when it raised, or has not returned `within` seconds. One that hangs goes on,
    and until it returns nothing of that name is asked again."""
    loop = asyncio.get_running_loop()
    before = _asked.get(name)
    if before is not None and before.thread.is_alive():
        if before.future.get_loop() is loop:
            await asyncio.wait({before.future}, timeout=within)
        if before.thread.is_alive() and not before.future.done():
            return None
    future: asyncio.Future[T] = loop.create_future()
    thread = threading.Thread(target=_call, args=(loop, future, call), name=f"host-{name}", daemon=True)
    _asked[name] = _Asked(future, thread)
    thread.start()
    await asyncio.wait({future}, timeout=within)
    return future.result() if future.done() else None


def _call(loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]", call: Callable[[], Any]) -> None:
    found: Any = None
    # Whatever a kernel, a driver or a file system makes of it: it could not be read.
    with suppress(Exception):
        found = call()
    with suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(_settle, future, found)


def _settle(future: "asyncio.Future[Any]", found: Any) -> None:
    if not future.done():
        future.set_result(found)
