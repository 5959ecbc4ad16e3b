"""A receiver of webhooks that looks at everything: its signature, its media type, its encoding, its key."""

import hashlib
import hmac
import zlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

import cbor2
import msgpack
import msgspec
from aiohttp import web

from servers.mosquitto import free_port

PATH = "/hooks/press%204/%2F?sig=a%2Fb%3D"
TOKEN, SECRET = "Bearer t0ken-of-press-4", "the secret of press-4"

_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "application/json": msgspec.json.decode,
    "application/vnd.msgpack": msgpack.unpackb,
    "application/cbor": cbor2.loads,
}


class Received(NamedTuple):
    """A request; `documents` are the payloads in it."""

    method: str
    topic: str
    media_type: str
    encoding: str
    key: str
    body: bytes
    documents: list[dict[str, Any]]


class Reply(NamedTuple):
    """What a scripted request gets instead of being looked at."""

    status: int
    body: str = ""
    headers: dict[str, str] = {}


class WebhookReceiver:
    """On a port of 127.0.0.1 that stays its own from start to start, on the loop that starts it.

    `requests` are those taken, in order, repeats included; `posts` counts all that came. `script` are replies
    for the next ones. `refuse` says why a document is not taken: the request it is in gets a 422. What it
    raises is a 500.
    """

    def __init__(self, batched: bool = False, tls: Any = None) -> None:
        self.port = free_port()
        self.batched = batched
        self.requests: list[Received] = []
        self.posts = 0
        self.script: list[Reply] = []
        self.refuse: Callable[[dict[str, Any]], str | None] = lambda _: None
        self.max_body = 2**30
        self.options: Reply | None = None
        self._tls = tls
        self._runner: web.AppRunner | None = None

    def config_json(self, **others: Any) -> dict[str, Any]:
        return {
            "url": f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}{PATH}",
            "headers": {"Authorization": TOKEN, "X-Site": "7"},
            "hmac": {"secret": SECRET},
            **({"batch": 10} if self.batched else {}),
            **others,
        }

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [document for request in self.requests for document in request.documents]

    async def start(self) -> None:
        # What is refused is read first: an answer must not overtake the request.
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, access_log=None, auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.method == "OPTIONS":
            reply = self.options or Reply(204, headers={"Allow": "OPTIONS, POST, PUT"})
        else:
            self.posts += 1
            reply = self.script.pop(0) if self.script else self._look(request, body)
        return web.Response(status=reply.status, text=reply.body, headers=reply.headers)

    def _look(self, request: web.Request, body: bytes) -> Reply:
        headers = request.headers
        if (request.raw_path, request.method in ("POST", "PUT")) != (
            "/hooks/press%204/%2F?sig=a%2Fb%3D",
            True,
        ):
            return Reply(404, "no such hook")
        if headers.get("Authorization") != TOKEN:
            return Reply(401, "who are you?")
        digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        if headers.get("X-Signature") != f"sha256={digest}":
            return Reply(403, "not signed by you")
        if len(body) > self.max_body:
            return Reply(413, "<html>413 Request Entity Too Large</html>", {"Content-Type": "text/html"})
        encoding = headers.get("Content-Encoding", "")
        decoded = _DECODERS[request.content_type](zlib.decompress(body) if encoding else body)
        documents = decoded if isinstance(decoded, list) else [decoded]
        assert isinstance(decoded, list) == (self.batched and not encoding)
        for document in documents:
            why = self.refuse(document)
            if why is not None:
                return Reply(422, why)
        topic, key = unquote(headers["X-Topic"]), headers["Idempotency-Key"]
        self.requests.append(
            Received(request.method, topic, request.content_type, encoding, key, body, documents)
        )
        return Reply(202, '{"taken":true}', {"Content-Type": "application/json"})
