"""An API that answers what a test wants, and `callboard` run against it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestServer

from api.cli.command import main

Reply = Any
"""JSON for a 200, a status and JSON, an aiohttp response, or a coroutine function of the request."""


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: Mapping[str, str]


class ScriptedApi:
    """`replies` are by method and path; `asked` are the requests so far."""

    def __init__(self, **replies: Reply) -> None:
        self.replies: dict[str, Reply] = {}
        self.asked: list[Asked] = []
        self.url = ""

    def says(self, request: str, reply: Reply) -> None:
        """`request` is "GET /v1/device"."""
        self.replies[request] = reply

    @property
    def last(self) -> Asked:
        return self.asked[-1]

    async def callboard(self, *arguments: str) -> int:
        """The exit code of a command with `--url`, run in a thread."""
        return await asyncio.to_thread(main, [*arguments, "--url", self.url])

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        is_json = request.content_type == "application/json" and raw
        body = json.loads(raw) if is_json else raw or None
        self.asked.append(
            Asked(request.method, request.path, dict(request.query), body, dict(request.headers))
        )
        reply = self.replies.get(f"{request.method} {request.path}")
        if asyncio.iscoroutinefunction(reply):
            answer: web.StreamResponse = await reply(request)
            return answer
        if isinstance(reply, web.StreamResponse):
            return reply
        if reply is None:
            return web.json_response({"error": "Not found"}, status=404)
        if isinstance(reply, tuple):
            return web.json_response(reply[1], status=reply[0])
        return web.json_response(reply)


@asynccontextmanager
async def scripted(replies: Mapping[str, Reply] | None = None) -> AsyncIterator[ScriptedApi]:
    api = ScriptedApi()
    api.replies |= replies or {}
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", api._answer)
    async with TestServer(app, host="127.0.0.1") as server:
        api.url = str(server.make_url("")).rstrip("/")
        yield api


@asynccontextmanager
async def raw_server(
    reply: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
) -> AsyncIterator[str]:
    """The URL of a server that says to each connection whatever `reply` makes it say."""
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            await reply(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            for one in talks:
                one.cancel()
            await asyncio.gather(*talks, return_exceptions=True)
