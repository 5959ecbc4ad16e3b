"""How a route is declared, collected and served."""

import asyncio
import importlib
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeVar

import msgspec
from aiohttp import HttpVersion11, web

import api.routes
from api.connections import TAKEN
from api.context import Context
from api.decoding import as_utf8, decode_body, decode_number, decode_query, meant, refuse_unstorable
from api.entrusted import Entrusted
from api.errors import ApiError, Error
from api.middleware import json_response
from conf.secret_forms import may_hold
from storage.users import Role

T = TypeVar("T")

Access = Literal["anyone", "peers", "login", "key", "admin"]
"""`anyone`: exempt from every check; `peers`: needs no key; `login`: needs the key where the mode demands it,
and never a session; `key`: needs whatever the mode demands; `admin`: an administrator's session, too."""

LARGE_BODY = 256 * 1024
"""A larger body is decoded in a thread, so that it does not hold the loop up."""

SECRETS_WEIGH = 64
"""How much longer a body takes that may be full of secrets."""

LOGIN_BODY = 16 * 1024
"""Bytes of a body that anybody may send."""


class Answer(msgspec.Struct, frozen=True):
    """A handler's reply with another status than the declared one."""

    status: int
    body: Any


class Call(msgspec.Struct, frozen=True):
    """One request, as its handler sees it; a declared query or body is passed beside it."""

    context: Context
    route: "Route"
    path: Mapping[str, str]
    request: web.Request

    def text(self, name: str) -> str:
        """A path parameter. Raises `Refusal`."""
        refuse_unstorable(self.path[name], name)
        return self.path[name]

    def number(self, name: str) -> int:
        """A path parameter declared in `numbers`. Raises `Refusal` with the text given there."""
        return decode_number(self.path[name], self.route.numbers[name], name)


class Upload(msgspec.Struct, frozen=True):
    """A body of one of several media types; `content` is UTF-8."""

    media_type: str
    content: bytes

    async def decode(self, decode: Callable[[str, bytes], T]) -> T:
        """`decode(media_type, content)`, which may raise `Refusal`."""
        return await _decoded(partial(decode, self.media_type, self.content), len(self.content))


Handler = Callable[..., Awaitable[Any]]

Still = Callable[[], Awaitable[object]]
STILL: Final[web.RequestKey[Still]] = web.RequestKey("still")
"""Raises `ApiError` when who was let in may not do it any more: a body can take hours to come."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A declared route: what serves it and what `/v1/openapi.json` says of it."""

    method: str
    path: str
    handler: Handler
    summary: str
    reply: Any
    query: type[Any] | None
    body: type[Any] | None
    accepts: Mapping[str, Any]
    status: int
    errors: tuple[int, ...]
    also: Mapping[int, Any]
    access: Access
    numbers: Mapping[str, str]
    text: bool
    files: tuple[str, ...]
    events: bool
    hidden: bool
    always: bool
    role: Role
    shared: float | None
    internals: bool
    raw: str | None
    kept: str | None


def route(
    method: str,
    path: str,
    *,
    reply: Any,
    summary: str,
    query: type[Any] | None = None,
    body: type[Any] | None = None,
    accepts: Mapping[str, Any] | None = None,
    status: int = 200,
    errors: tuple[int, ...] = (),
    also: Mapping[int, Any] | None = None,
    access: Access = "key",
    numbers: Mapping[str, str] | None = None,
    text: bool = False,
    files: tuple[str, ...] = (),
    events: bool = False,
    hidden: bool = False,
    always: bool = False,
    role: Role | None = None,
    shared: float | None = None,
    internals: bool = False,
    raw: str | None = None,
    kept: str | None = None,
) -> Callable[[Handler], Route]:
    """Declare the decorated coroutine as a route.

    It is called with a `Call`, and with `query=` and `body=` when those schemas are declared; it returns a
    `reply`, an `Answer`, or a ready `web.StreamResponse`; one whose `reply` is None has no body. Where
    `accepts` has media types, each with the type of its content, the body is an `Upload`. `errors` are the
    statuses with an error body that its actor may answer with, beyond those that every such route has; `also`
    are other bodies by status; `numbers` maps integer path parameters to the 400's text; `text` says that a
    plain-text form exists, `files` in which further media types the reply can be had; `events` that the reply
    is a stream of server-sent events whose data is a `reply` each; a `hidden` route is not in the OpenAPI
    document. One that answers `always` does so before the agent is RUNNING too. `role` is the least that a
    session must have, where sessions are asked for: else viewer for GET, operator for the others. A reply
    that is `shared` may be as many seconds old, unless something was changed over the API meanwhile.
    `internals` says that it shows more than a probe needs: where sessions are asked for, it needs one, or the
    key, whatever its `access`. `raw` is the media type of a body that the handler reads by itself, piece by
    piece (`take`); `kept` that of a reply which is a file.
    """

    def declare(handler: Handler) -> Route:
        return Route(
            method=method,
            path=path,
            handler=handler,
            summary=summary,
            reply=reply,
            query=query,
            body=body,
            accepts=accepts or {},
            status=status,
            errors=errors,
            also=also or {},
            access=access,
            numbers=numbers or {},
            text=text,
            files=files,
            events=events,
            hidden=hidden,
            always=always or access == "anyone",
            shared=shared,
            role="admin" if access == "admin" else role or ("viewer" if method == "GET" else "operator"),
            internals=internals,
            raw=raw,
            kept=kept,
        )

    return declare


def collect() -> Iterator[Route]:
    """Every route declared in the modules of `api.routes`, in the order of module names."""
    for module in sorted(pkgutil.iter_modules(api.routes.__path__), key=lambda found: found.name):
        loaded = importlib.import_module(f"{api.routes.__name__}.{module.name}")
        for value in vars(loaded).values():
            if isinstance(value, Route) and value.handler.__module__ == loaded.__name__:
                yield value


def serve(declared: Route, context: Context) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The aiohttp handler of a route."""

    async def handle(request: web.Request) -> web.StreamResponse:
        with Entrusted() as entrusted:
            decoded: dict[str, Any] = {}
            if declared.query is not None:
                decoded["query"] = decode_query(request.query, declared.query)
            if declared.body is not None:
                most = LOGIN_BODY if declared.access in ("anyone", "peers", "login") else None
                decoded["body"] = await _read_body(request, declared.body, entrusted, most)
            if declared.accepts:
                decoded["body"] = await _read_upload(request, tuple(declared.accepts), entrusted)
            return await _answer(request, Call(context, declared, request.match_info, request), decoded)

    return handle


async def _answer(request: web.Request, call: Call, decoded: dict[str, Any]) -> web.StreamResponse:
    declared, shared = call.route, call.context.shared

    async def answer() -> web.StreamResponse:
        return _respond(await declared.handler(call, **decoded), declared.status)

    if declared.shared is not None:
        key = (declared.path, *request.match_info.values(), decoded.get("query"))
        return await shared.reply(key, declared.shared, answer)
    try:
        return await answer()
    finally:
        if declared.method != "GET":
            shared.changed()


async def _read_body(request: web.Request, schema: type[Any], entrusted: Entrusted, most: int | None) -> Any:
    if most is not None and (request.content_length or 0) > most:
        raise too_large(most)  # before it comes
    raw = await _read(request)
    if most is not None and len(raw) > most:
        raise too_large(most)
    media_type, charset = meant(raw, request.content_type), request.charset

    def decode() -> Any:
        entrusted.look(raw, media_type)
        return decode_body(raw, media_type, charset, schema)

    return await _decoded(decode, len(raw) * (SECRETS_WEIGH if may_hold(raw) else 1))


async def _read_upload(request: web.Request, accepted: Sequence[str], entrusted: Entrusted) -> Upload:
    """What says nothing of itself is of the first type."""
    media_type = request.content_type
    if media_type == "application/octet-stream":
        media_type = accepted[0]
    if media_type not in accepted:
        raise ApiError(
            415, Error("Unsupported media type", f"Send {' or '.join(accepted)}, not {media_type}")
        )
    content = as_utf8(await _read(request), request.charset)
    await _decoded(partial(entrusted.look, content, media_type), len(content))
    return Upload(media_type, content)


async def take(request: web.Request, most: int) -> AsyncIterator[bytes]:
    """The pieces of a body that is not to be in memory whole. Raises `ApiError` when it has more than `most`
    bytes."""
    refuse_coding(request)
    await _invite(request)
    taken = request.get(TAKEN, lambda count: None)
    came = 0
    async for piece in request.content.iter_any():
        came += len(piece)
        if came > most:
            raise too_large(most)
        yield piece
        taken(len(piece))
    await _check_again(request)


def too_large(most: int) -> ApiError:
    size = f"{most >> 20} MB" if most >> 20 else f"{most >> 10} KB"
    return ApiError(413, Error("Payload too large", f"A body may have at most {size} here"))


async def body_is_awaited(request: web.Request) -> None:
    """A client that waits for a sign before it sends its body gets it once the body is wanted, which is after
    all checks."""


async def _invite(request: web.Request) -> None:
    expected = request.headers.get("Expect")
    if expected is None or request.version < HttpVersion11:
        return
    if expected.lower() != "100-continue":
        raise ApiError(417, Error("Expectation failed", f"Unsupported Expect {expected!r}"))
    writer = request.writer
    await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    writer.output_size = 0  # of the answer nothing is sent yet


async def _read(request: web.Request) -> bytes:
    refuse_coding(request)
    await _invite(request)
    raw = await request.read()
    if raw:
        await _check_again(request)
    return raw


async def _check_again(request: web.Request) -> None:
    still = request.get(STILL)
    if still is not None:
        await still()


def refuse_coding(request: web.Request) -> None:
    """Raises `ApiError` for a body that is compressed."""
    coding = request.headers.get("Content-Encoding", "identity")
    if coding.lower() != "identity":
        raise ApiError(415, Error("Unsupported media type", f"Unsupported Content-Encoding {coding}"))


async def _decoded(decode: Callable[[], T], size: int) -> T:
    return await asyncio.to_thread(decode) if size > LARGE_BODY else decode()


def _respond(result: Any, status: int) -> web.StreamResponse:
    if isinstance(result, web.StreamResponse):
        return result
    if isinstance(result, Answer):
        return json_response(result.body, result.status)
    if result is None:
        return web.Response(status=status)
    if isinstance(result, str):
        return web.Response(text=result, status=status)
    return json_response(result, status)
