"""Long lists, worked on in portions: others have their turn between them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from time import perf_counter
from typing import TypeVar

import msgspec
from aiohttp import web

T = TypeVar("T")

PORTION = 50
SLICE = 0.002  # seconds of working on a list before others have their turn


async def json_list(name: str, items: Sequence[T], view: Callable[[T], object]) -> web.Response:
    """The reply `{name: [view(item), ...]}`."""
    body = b'{"%b":[%b]}' % (name.encode(), await json_parts(items, view))
    return web.Response(body=body, content_type="application/json", charset="utf-8")


async def json_parts(items: Sequence[T], view: Callable[[T], object]) -> bytes:
    """The inside of the list `[view(item), ...]`."""
    parts: list[bytes] = []
    for start in range(0, len(items), PORTION):
        if start:
            await asyncio.sleep(0)
        parts.append(msgspec.json.encode([view(item) for item in items[start : start + PORTION]])[1:-1])
    return b",".join(parts)


async def unhurried(items: Iterable[T]) -> AsyncIterator[T]:
    """The items; after every slice of work on them others have their turn."""
    until = perf_counter() + SLICE
    for item in items:
        yield item
        if perf_counter() > until:
            await asyncio.sleep(0)
            until = perf_counter() + SLICE
