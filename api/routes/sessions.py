"""Who is signed in. Nobody is shown a token."""

import msgspec

from actors.accounts.messages import (
    EndSession,
    EndSessionsOf,
    ListSessions,
    SessionRow,
    SessionsEnded,
    SessionsListed,
)
from actors.system.failure import Refusal
from api.routing import Call, route
from api.sessions import SESSION


class SessionView(SessionRow, frozen=True, kw_only=True):
    """`current` is the session that asks."""

    current: bool


class SessionList(msgspec.Struct, frozen=True):
    sessions: list[SessionView]


class SessionDeleted(msgspec.Struct, frozen=True):
    ok: bool = True


class SessionQuery(msgspec.Struct, frozen=True):
    username: str = ""


class SessionsDeleted(msgspec.Struct, frozen=True):
    ended: int


@route("GET", "/v1/admin/sessions", reply=SessionList, access="admin", summary="Who is signed in")
async def list_sessions(call: Call) -> SessionList:
    listed = await call.context.request("accounts", ListSessions(), SessionsListed)
    own = call.request[SESSION].id
    return SessionList(
        [SessionView(**msgspec.structs.asdict(row), current=row.id == own) for row in listed.sessions]
    )


@route(
    "DELETE",
    "/v1/admin/sessions/{id}",
    reply=SessionDeleted,
    access="admin",
    numbers={"id": "Invalid session id"},
    errors=(404,),
    summary="End a session",
)
async def end_session(call: Call) -> SessionDeleted:
    await call.context.request("accounts", EndSession(call.number("id")), SessionsEnded)
    return SessionDeleted()


@route(
    "DELETE",
    "/v1/admin/sessions",
    reply=SessionsDeleted,
    query=SessionQuery,
    access="admin",
    errors=(404,),
    summary="End all sessions of a user",
)
async def end_sessions(call: Call, query: SessionQuery) -> SessionsDeleted:
    if not query.username:
        raise Refusal("username is required", "username")
    ended = await call.context.request("accounts", EndSessionsOf(query.username), SessionsEnded)
    return SessionsDeleted(ended.count)
