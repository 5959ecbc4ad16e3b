"""Signing in and out (spec 01 section 19)."""

from typing import Any, ClassVar

import msgspec
from aiohttp import web

from actors.accounts.messages import (
    ChangePassword,
    PasswordChanged,
    SessionIdentified,
    SessionRefused,
    SignedIn,
    SignedOut,
    SignIn,
    SignInDelayed,
    SignInRefused,
    SignOut,
)
from actors.system.failure import Refusal
from api.errors import ApiError, Error
from api.middleware import json_response
from api.routing import Call, route
from api.sessions import NOT_AUTHENTICATED, cookie, identify, token_of
from storage.users import Role

MISSING = "username and password are required"


class Credentials(msgspec.Struct, frozen=True):
    username: str = ""
    password: str = ""

    EXAMPLE: ClassVar[dict[str, Any]] = {"username": "admin", "password": "your-password"}


class SignedInUser(msgspec.Struct, frozen=True):
    username: str
    is_superuser: bool
    role: Role
    must_change_password: bool


class PasswordBody(msgspec.Struct, frozen=True):
    current_password: str
    new_password: str

    EXAMPLE: ClassVar[dict[str, Any]] = {"current_password": "old-password", "new_password": "new-password"}


class Done(msgspec.Struct, frozen=True):
    ok: bool = True


@route(
    "POST",
    "/v1/auth/login",
    reply=SignedInUser,
    body=Credentials,
    access="login",
    always=True,
    errors=(401, 429),
    summary="Sign in: sets the cookie admin_session, good for 24 hours",
)
async def login(call: Call, body: Credentials) -> web.Response:
    if not body.username or not body.password:
        raise Refusal(MISSING, "password" if body.username else "username")
    agent = call.request.headers.get("User-Agent", "")
    message = SignIn(body.username, body.password, call.request.remote or "", agent)
    answer: Any = await call.context.request("accounts", message, (SignedIn, SignInRefused, SignInDelayed))
    if isinstance(answer, SignInDelayed):
        raise _delayed(answer)
    if isinstance(answer, SignInRefused):
        raise ApiError(401, Error("Invalid credentials"))
    return json_response(_user(answer.session), headers=cookie(call.request, answer.token))


@route("POST", "/v1/auth/logout", reply=Done, access="login", always=True, summary="End the session")
async def logout(call: Call) -> web.Response:
    token = token_of(call.request)
    if token:
        await call.context.request("accounts", SignOut(token), SignedOut)
    return json_response(Done(), headers=cookie(call.request, ""))


@route(
    "GET",
    "/v1/auth/me",
    reply=SignedInUser,
    access="login",
    always=True,
    errors=(401,),
    summary="Who is signed in",
)
async def me(call: Call) -> SignedInUser:
    return _user(await identify(call.context, call.request))


@route(
    "POST",
    "/v1/auth/password",
    reply=Done,
    body=PasswordBody,
    access="login",
    always=True,
    errors=(401, 409, 429),
    summary="Change one's own password; ends one's other sessions",
)
async def change_password(call: Call, body: PasswordBody) -> Done:
    session = await identify(call.context, call.request)
    message = ChangePassword(session.id, body.current_password, body.new_password, call.request.remote or "")
    answer: Any = await call.context.request(
        "accounts", message, (PasswordChanged, SessionRefused, SignInDelayed)
    )
    if isinstance(answer, SignInDelayed):
        raise _delayed(answer)
    if isinstance(answer, SessionRefused):
        raise ApiError(401, Error(NOT_AUTHENTICATED))
    return Done()


def _user(session: SessionIdentified) -> SignedInUser:
    return SignedInUser(session.username, session.role == "admin", session.role, session.must_change_password)


def _delayed(answer: SignInDelayed) -> ApiError:
    body = Error("Too many attempts", f"Try again in {answer.seconds} s")
    return ApiError(429, body, {"Retry-After": str(answer.seconds)})
