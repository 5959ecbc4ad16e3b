"""The users there are, and what has to hold of them. Plain."""

import unicodedata
from collections.abc import Iterable
from typing import Final

from msgspec import UNSET, UnsetType

from actors.accounts.messages import UserRow
from actors.system.failure import Refusal
from storage.users import Role, StoredUser

MOST: Final = 200
LENGTH: Final = 64
"""Characters of a user name."""

ADMIN: Final = "admin"
"""The name of the first user, and of the role."""


class Users:
    """By name."""

    def __init__(self, users: Iterable[StoredUser] = ()) -> None:
        self._by_name = {user.username: user for user in users}

    def __len__(self) -> int:
        return len(self._by_name)

    def all(self) -> list[StoredUser]:
        return sorted(self._by_name.values(), key=lambda user: user.id)

    def find(self, username: str) -> StoredUser | None:
        return self._by_name.get(username)

    def known(self, username: str) -> StoredUser:
        """Raises `Refusal`."""
        user = self._by_name.get(username)
        if user is None:
            raise Refusal("User not found", kind="not_found")
        return user

    def of(self, id: int) -> StoredUser | None:
        return next((user for user in self._by_name.values() if user.id == id), None)

    def put(self, user: StoredUser) -> None:
        self._by_name[user.username] = user

    def remove(self, username: str) -> None:
        self._by_name.pop(username, None)

    def check_new(self, username: str) -> None:
        """Raises `Refusal` for a name that people cannot tell from one that there is."""
        if any(_read_as(username) == _read_as(name) for name in self._by_name):
            raise Refusal("Username already exists", "username", "conflict")
        if len(self._by_name) >= MOST:
            raise Refusal(f"There are {MOST} users already", kind="conflict")

    def check_admin_left(self, changed: StoredUser, instead: StoredUser | None) -> None:
        """Raises `Refusal` when nobody could manage users any more."""
        left = [user for user in self._by_name.values() if user.id != changed.id]
        left += [] if instead is None else [instead]
        if not any(user.is_active and user.role == ADMIN for user in left):
            raise Refusal("The last active administrator must stay one", kind="conflict")


def user_name(given: str) -> str:
    """A name for a new user. Raises `Refusal`."""
    name = given.strip()
    if not name:
        raise Refusal("username is required", "username")
    if len(name) <= LENGTH:
        name = unicodedata.normalize("NFC", name)
    if len(name) > LENGTH:
        raise Refusal(f"username must be at most {LENGTH} characters", "username")
    if not name.isprintable():
        raise Refusal("username must not hold line ends or other characters that are not seen", "username")
    if "/" in name or name in (".", ".."):
        raise Refusal("username must not hold slashes, for it is part of a path", "username")
    return name


def _read_as(name: str) -> str:
    """The same for names that differ in capitals, in width, or in how accents are composed only."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def wanted_role(now: Role, role: Role | UnsetType, is_superuser: bool | UnsetType) -> Role:
    """The reference knows superusers and others; there are two roles of the others. Raises `Refusal`."""
    if role is not UNSET:
        if is_superuser is not UNSET and is_superuser != (role == ADMIN):
            raise Refusal(f"is_superuser and role contradict each other: {role}", "role")
        return role
    if is_superuser is UNSET or is_superuser == (now == ADMIN):
        return now
    return "admin" if is_superuser else "operator"


def user_row(user: StoredUser) -> UserRow:
    return UserRow(
        id=user.id,
        username=user.username,
        is_superuser=user.role == ADMIN,
        is_active=user.is_active,
        role=user.role,
        must_change_password=user.must_change_password,
        created_at=user.created_at,
        updated_at=user.updated_at,
    )
