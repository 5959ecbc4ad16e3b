"""Replies that several requests share, so that what has not changed is made and encoded once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from time import monotonic
from typing import Final

import msgspec
from aiohttp import web

FOR_GOOD: Final = float("inf")
"""Of a reply that stays the same as long as the application does."""

KEPT: Final = 64
"""Replies that are kept at a time."""


class _Made(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    content_type: str


class _Kept(msgspec.Struct, frozen=True):
    """`number` is how many changes there had been when it began to be made."""

    making: "asyncio.Task[_Made]"
    number: int
    until: float


class SharedReplies:
    """A reply is shared for some time from when it began to be made, and not beyond a change that has come in
    over the API: who changes something and asks then sees it."""

    def __init__(self) -> None:
        self._changes = 0
        self._kept: dict[Hashable, _Kept] = {}

    def changed(self) -> None:
        """Something may be another from now on, but for what is shared for good."""
        self._changes += 1

    async def reply(
        self, key: Hashable, seconds: float, make: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.Response:
        """What `make` gives, or has just given to somebody else; raises what it raises."""
        kept = self._kept.get(key)
        if kept is None or not self._is_good(kept, seconds):
            kept = self._make(key, seconds, make)
        made = await asyncio.shield(kept.making)
        return web.Response(
            body=made.body, status=made.status, content_type=made.content_type, charset="utf-8"
        )

    def _is_good(self, kept: _Kept, seconds: float) -> bool:
        if kept.making.done() and (kept.making.cancelled() or kept.making.exception() is not None):
            return False
        return seconds == FOR_GOOD or (kept.number == self._changes and monotonic() < kept.until)

    def _make(
        self, key: Hashable, seconds: float, make: Callable[[], Awaitable[web.StreamResponse]]
    ) -> _Kept:
        """A task of its own: it goes on when who has asked for it first leaves."""
        making = asyncio.ensure_future(_made(make))
        making.add_done_callback(_seen)
        kept = self._kept[key] = _Kept(making, self._changes, monotonic() + seconds)
        if seconds != FOR_GOOD:
            asyncio.get_running_loop().call_later(seconds, self._forget, key, kept)
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return kept

    def _forget(self, key: Hashable, kept: _Kept) -> None:
        """It may be large, and nobody may ask again."""
        if self._kept.get(key) is kept:
            del self._kept[key]


async def _made(make: Callable[[], Awaitable[web.StreamResponse]]) -> _Made:
    response = await make()
    assert isinstance(response, web.Response)
    assert isinstance(response.body, bytes)
    return _Made(response.status, response.body, response.content_type)


def _seen(making: "asyncio.Task[_Made]") -> None:
    """Of a failure nobody may be left to hear."""
    if not making.cancelled():
        making.exception()
