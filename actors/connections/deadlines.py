"""Every wait for somebody else's code ends."""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from actors.connections.connection import Connection

T = TypeVar("T")

CLOSE_SECONDS = 5.0
UNWIND_SECONDS = 1.0
"""What a cancelled call has to let go of what it holds."""

log = logging.getLogger(__name__)


class Overdue(Exception):
    """It took longer than it may, and was cancelled."""


async def bounded(call: Awaitable[T], seconds: float) -> T:
    """The result of `call`, a coroutine or a task. Raises `Overdue` when there is none within `seconds`.

    Ends in time even when the call withstands its cancellation; then nobody waits for it any more.
    """
    task = asyncio.ensure_future(call)
    task.add_done_callback(_retrieve)
    try:
        await asyncio.wait({task}, timeout=seconds)
        overdue = not task.done()
    finally:
        await _cancel(task)
    if overdue:
        raise Overdue(f"not done within {seconds:g} s")
    return task.result()


async def _cancel(task: "asyncio.Future[Any]") -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=UNWIND_SECONDS)


def _retrieve(task: "asyncio.Future[Any]") -> None:
    """What it has to say when nobody waits any more is not asyncio's to log."""
    if not task.cancelled():
        task.exception()


def close(connection: Connection, peer: str) -> Coroutine[Any, Any, None]:
    """Begin to close the connection of `peer`; what it returns ends when that has, or is given up."""
    return _closed(asyncio.ensure_future(connection.close()), peer)


async def _closed(closing: "asyncio.Future[None]", peer: str) -> None:
    try:
        await bounded(closing, CLOSE_SECONDS)
    except Overdue:
        log.warning("%s: its connection does not close within %g s and is abandoned", peer, CLOSE_SECONDS)
