"""Sessions: which requests need one, whose it is, and the cookie that carries it (spec 01 section 19)."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from actors.accounts.messages import IdentifySession, SessionIdentified, SessionRefused
from actors.accounts.signed_in import LASTS
from api import access
from api.browser_guard import check_page
from api.context import Context
from api.errors import ApiError, Error
from api.middleware import allowed_hosts, given_key
from api.routing import STILL, Route
from storage.users import Role

COOKIE: Final = "admin_session"
ADMINISTRATION: Final = "/v1/admin/"
SESSION: Final = web.RequestKey("session", SessionIdentified)
"""Where a handler finds whose session it was let in by."""

LOOK_AGAIN = 5.0
"""Seconds after which a stream is ended whose session has ended."""

NOT_AUTHENTICATED: Final = "Not authenticated"


def is_for_administrators(route: Route | None, path: str) -> bool:
    """Whether it needs an administrator's session in every mode, and the key does not do."""
    return path.startswith(ADMINISTRATION) if route is None else route.access == "admin"


def least_role(route: Route | None, path: str, context: Context) -> Role | None:
    """The least that a session must have for it; None when it needs none. The route None stands for a path,
    or a method, that there is not: who may not look is not told."""
    if is_for_administrators(route, path):
        return "admin"
    if not context.require_session:
        return None
    if route is None:
        return "viewer"
    return route.role if route.internals or route.access == "key" else None


def session_check(routes: Mapping[tuple[str, str], Route], context: Context) -> Middleware:
    """Lets a request pass that has the session, or the key, that its route needs."""

    @web.middleware
    async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        method = "GET" if request.method == "HEAD" else request.method
        route = None if resource is None else routes.get((method, resource.canonical))
        least = least_role(route, request.path, context)
        key_does = not is_for_administrators(route, request.path)
        if least is None or (key_does and access.has_key(context, given_key(request))):
            return await handler(request)

        async def let_in() -> SessionIdentified:
            return await _let_in(context, request, least)

        request[SESSION] = await let_in()
        request[STILL] = let_in
        if route is None or not route.events:
            return await handler(request)
        async with _ended_with_session(context, request):
            return await handler(request)

    return checked


async def _let_in(context: Context, request: web.Request, least: Role) -> SessionIdentified:
    """Raises `ApiError` unless the request's session may do what takes `least`."""
    session = await identify(context, request)
    if session.must_change_password:
        hint = "POST /v1/auth/password with current_password and new_password"
        raise ApiError(403, Error("The password must be changed first", hint=hint))
    access.check_role(session.role, least)
    return session


async def is_administrator(context: Context, request: web.Request) -> bool:
    """Whether an administrator's session comes with it, needed or not."""
    try:
        await _let_in(context, request, "admin")
    except ApiError as error:
        if error.status == 503:
            raise
        return False
    return True


async def identify(context: Context, request: web.Request) -> SessionIdentified:
    """Whose session the request comes with. Raises `ApiError`: 401 without one, 403 for one that a page of
    another web site has sent."""
    token = token_of(request)
    if not token:
        raise ApiError(401, Error(NOT_AUTHENTICATED))
    if access.key_needed(context):  # else every request has been looked at
        check_page(request.method, request.raw_path, request.headers, allowed_hosts(context))
    answer = await context.ask("accounts", IdentifySession(token))
    if isinstance(answer, SessionIdentified):
        return answer
    if isinstance(answer, SessionRefused):
        raise ApiError(401, Error("Session expired" if answer.expired else NOT_AUTHENTICATED))
    hint = "Wait until GET /v1/readiness says that it is ready"
    raise ApiError(503, Error("Sessions cannot be looked up", hint=hint, state=context.lifecycle.state))


@asynccontextmanager
async def _ended_with_session(context: Context, request: web.Request) -> AsyncIterator[None]:
    """What goes on without end does so while there is the session."""

    async def watch() -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN)
            try:
                await identify(context, request)
            except ApiError as error:
                if error.status == 401 and request.transport is not None:
                    request.transport.abort()
                    return

    watching = asyncio.get_running_loop().create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


def token_of(request: web.Request) -> str:
    """Empty when there is none."""
    return request.cookies.get(COOKIE, "")


async def who(context: Context, request: web.Request) -> str:
    """Who asks, as far as it is known, for the log: also by a session that was not needed."""
    session = request.get(SESSION)
    if session is None and token_of(request):
        with suppress(ApiError):
            session = await identify(context, request)
    if session is not None:
        name = f"user {session.username}"
    elif access.has_key(context, given_key(request)):
        name = "the API key"
    else:
        name = "somebody"
    return f"{name} from {request.remote}"


def cookie(request: web.Request, token: str) -> dict[str, str]:
    """The header that gives a browser the token, to be sent back by pages of the agent alone; an empty one
    takes it away."""
    age = LASTS if token else 0
    parts = [f"{COOKIE}={token}", "HttpOnly", "Path=/", "SameSite=Strict", f"Max-Age={age}"]
    if request.secure:
        parts.append("Secure")
    return {"Set-Cookie": "; ".join(parts), "Cache-Control": "no-store"}
