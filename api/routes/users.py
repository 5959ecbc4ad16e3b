"""Users (spec 01 section 19)."""

from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from actors.accounts.messages import (
    AddUser,
    ChangeUser,
    ListUsers,
    RemoveUser,
    UserChanged,
    UserRemoved,
    UserRow,
    UsersListed,
)
from api.routing import Call, route
from api.sessions import SESSION
from storage.users import Role


class UserBody(msgspec.Struct, frozen=True):
    """`is_superuser` is the role admin; without either it is operator."""

    username: str = ""
    password: str = ""
    is_superuser: bool | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    is_active: bool = True
    must_change_password: bool = False

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "username": "operator1",
        "password": "secure-password-min-6-chars",
        "is_superuser": False,
    }


class UserPatch(msgspec.Struct, frozen=True):
    """An empty password is none."""

    is_active: bool | UnsetType = UNSET
    is_superuser: bool | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    password: str | UnsetType = UNSET
    must_change_password: bool | UnsetType = UNSET


class UserReply(UserRow, frozen=True, kw_only=True):
    """The object flat, as the reference has it, and wrapped, as clients read it."""

    user: UserRow


class UserList(msgspec.Struct, frozen=True):
    users: list[UserRow]


class UserDeleted(msgspec.Struct, frozen=True):
    ok: bool = True


@route("GET", "/v1/admin/users", reply=UserList, access="admin", summary="Users")
async def list_users(call: Call) -> UserList:
    listed = await call.context.request("accounts", ListUsers(), UsersListed)
    return UserList(listed.users)


@route(
    "POST",
    "/v1/admin/users",
    reply=UserReply,
    body=UserBody,
    status=201,
    access="admin",
    errors=(409,),
    summary="Add a user",
)
async def add_user(call: Call, body: UserBody) -> UserReply:
    message = AddUser(**msgspec.structs.asdict(body))
    return _reply(await call.context.request("accounts", message, UserChanged))


@route(
    "PATCH",
    "/v1/admin/users/{username}",
    reply=UserReply,
    body=UserPatch,
    access="admin",
    errors=(404, 409),
    summary="Change a user; one who is disabled or gets another password is signed out",
)
async def change_user(call: Call, body: UserPatch) -> UserReply:
    changes = msgspec.structs.asdict(body) | {"password": body.password or UNSET}
    message = ChangeUser(call.text("username"), **changes, by=call.request[SESSION].id)
    return _reply(await call.context.request("accounts", message, UserChanged))


@route(
    "DELETE",
    "/v1/admin/users/{username}",
    reply=UserDeleted,
    access="admin",
    errors=(404, 409),
    summary="Remove a user, who is signed out",
)
async def remove_user(call: Call) -> UserDeleted:
    await call.context.request("accounts", RemoveUser(call.text("username")), UserRemoved)
    return UserDeleted()


def _reply(changed: UserChanged) -> UserReply:
    return UserReply(**msgspec.structs.asdict(changed.user), user=changed.user)
