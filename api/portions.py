"""Long lists as JSON, encoded in portions: others have their turn between them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from aiohttp import web

T = TypeVar("T")

PORTION = 100


async def json_list(name: str, items: Sequence[T], view: Callable[[T], object]) -> web.Response:
    """The reply `{name: [view(item), ...]}`."""
    parts: list[bytes] = []
    for start in range(0, len(items), PORTION):
        if start:
            await asyncio.sleep(0)
        parts.append(msgspec.json.encode([view(item) for item in items[start : start + PORTION]])[1:-1])
    body = b'{"%b":[%b]}' % (name.encode(), b",".join(parts))
    return web.Response(body=body, content_type="application/json", charset="utf-8")
