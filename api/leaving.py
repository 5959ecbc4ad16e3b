"""Clients that leave before their answer is there."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from aiohttp import web

from api.connections import LASTS

LOOK_EVERY = 0.5  # seconds

T = TypeVar("T")


async def while_there(request: web.Request, answering: Coroutine[Any, Any, T]) -> T:
    """What `answering` returns; it is cancelled when the client has hung up. Raises `ConnectionError` then,
    which nobody is told."""
    transport = request.transport
    request.get(LASTS, lambda: None)()
    task = asyncio.ensure_future(answering)
    try:
        while not task.done():
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the client has left")
            await asyncio.wait({task}, timeout=LOOK_EVERY)
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
