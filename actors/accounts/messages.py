"""What `accounts` is asked, and what it says (spec 01 section 19)."""

from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from conf.tables import Confidential
from storage.users import Role

# Sessions


class SignIn(Confidential, frozen=True):
    """Replies `SignedIn`, `SignInRefused` or `SignInDelayed`; `peer` is the address it comes from."""

    HIDDEN: ClassVar = ("username", "password")

    username: str
    password: str
    peer: str
    user_agent: str = ""


class SessionIdentified(msgspec.Struct, frozen=True):
    """Whose session it is; `id` is the session's."""

    id: int
    username: str
    role: Role
    must_change_password: bool


class SignedIn(Confidential, frozen=True):
    """`token` is for the client alone: nothing else has it."""

    HIDDEN: ClassVar = ("token",)

    token: str
    session: SessionIdentified


class SignInRefused(msgspec.Struct, frozen=True):
    """User name or password is wrong, or the user is disabled."""


class SignInDelayed(msgspec.Struct, frozen=True):
    """Too many attempts have failed, or too many are under way; try again in so many `seconds`."""

    seconds: int


class SignOut(Confidential, frozen=True):
    """Replies `SignedOut`, whatever token it is."""

    HIDDEN: ClassVar = ("token",)

    token: str


class SignedOut(msgspec.Struct, frozen=True):
    pass


class IdentifySession(Confidential, frozen=True):
    """Replies `SessionIdentified` or `SessionRefused`."""

    HIDDEN: ClassVar = ("token",)

    token: str


class SessionRefused(msgspec.Struct, frozen=True):
    """`expired`: it has been one."""

    expired: bool = False


class SessionRow(msgspec.Struct, frozen=True):
    """A session without its token; times are ISO-8601 UTC."""

    id: int
    username: str
    created_at: str
    expires_at: str
    peer: str
    user_agent: str


class ListSessions(msgspec.Struct, frozen=True):
    """Replies `SessionsListed`, the latest first."""


class SessionsListed(msgspec.Struct, frozen=True):
    sessions: list[SessionRow]


class EndSession(msgspec.Struct, frozen=True):
    """Replies `SessionsEnded`, or `Failed` when there is none with that id."""

    id: int


class EndSessionsOf(msgspec.Struct, frozen=True):
    """All of a user's; replies `SessionsEnded`, or `Failed` when there is no such user."""

    username: str


class SessionsEnded(msgspec.Struct, frozen=True):
    count: int


# Users


class UserRow(msgspec.Struct, frozen=True):
    """A user without the password; times are ISO-8601 UTC."""

    id: int
    username: str
    is_superuser: bool
    is_active: bool
    role: Role
    must_change_password: bool
    created_at: str
    updated_at: str


class ListUsers(msgspec.Struct, frozen=True):
    """Replies `UsersListed`, the first that was made first."""


class UsersListed(msgspec.Struct, frozen=True):
    users: list[UserRow]


class AddUser(Confidential, frozen=True):
    """Replies `UserChanged`."""

    HIDDEN: ClassVar = ("password",)

    username: str
    password: str
    role: Role | UnsetType = UNSET
    is_superuser: bool | UnsetType = UNSET
    is_active: bool = True
    must_change_password: bool = False


class ChangeUser(Confidential, frozen=True):
    """Replies `UserChanged`; what is UNSET stays. A user who gets another password, or is disabled, is signed
    out, but for the session `by` which it was changed."""

    HIDDEN: ClassVar = ("password",)

    username: str
    password: str | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    is_superuser: bool | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    must_change_password: bool | UnsetType = UNSET
    by: int | None = None


class UserChanged(msgspec.Struct, frozen=True):
    user: UserRow


class RemoveUser(msgspec.Struct, frozen=True):
    """With the sessions; replies `UserRemoved`."""

    username: str


class UserRemoved(msgspec.Struct, frozen=True):
    pass


class ChangePassword(Confidential, frozen=True):
    """A user's own, by who is signed in with that session; ends the user's other sessions. Replies
    `PasswordChanged`, `SessionRefused`, `SignInDelayed`, or `Failed` when `current` is wrong."""

    HIDDEN: ClassVar = ("current", "new")

    session: int
    current: str
    new: str
    peer: str


class PasswordChanged(msgspec.Struct, frozen=True):
    pass
