"""A double of `accounts`: one administrator, signed in from the start."""

from typing import Any

import msgspec
from msgspec import UNSET

from actors.accounts import messages as accounts
from actors.accounts.users import wanted_role
from actors.system.failure import Failed, Refusal

TOKEN = "a" * 64
"""Of the administrator's session."""
PASSWORD = "a-good-password"
NOW = "2024-01-15T10:30:00.000Z"


def user(username: str, id: int, role: Any = "operator", **fields: Any) -> accounts.UserRow:
    known = {"is_active": True, "must_change_password": False} | fields
    return accounts.UserRow(
        id=id,
        username=username,
        is_superuser=role == "admin",
        role=role,
        created_at=NOW,
        updated_at=NOW,
        **known,
    )


class FakeAccounts:
    def __init__(self) -> None:
        super().__init__()
        self.users = {"admin": user("admin", 1, "admin")}
        self.signed_in = {TOKEN: accounts.SessionIdentified(1, "admin", "admin", False)}

    def on_SignIn(self, message: accounts.SignIn) -> Any:
        found = self.users.get(message.username)
        if found is None or not found.is_active or message.password != PASSWORD:
            return accounts.SignInRefused()
        return accounts.SignedIn(TOKEN, self.signed_in[TOKEN])

    def on_SignOut(self, message: accounts.SignOut) -> accounts.SignedOut:
        return accounts.SignedOut()

    def on_IdentifySession(self, message: accounts.IdentifySession) -> Any:
        return self.signed_in.get(message.token, accounts.SessionRefused())

    def on_ChangePassword(self, message: accounts.ChangePassword) -> Any:
        if message.current != PASSWORD:
            return Failed("invalid", "current_password is wrong", "current_password")
        return accounts.PasswordChanged()

    def on_ListSessions(self, message: accounts.ListSessions) -> accounts.SessionsListed:
        return accounts.SessionsListed([accounts.SessionRow(1, "admin", NOW, NOW, "127.0.0.1", "a test")])

    def on_EndSession(self, message: accounts.EndSession) -> accounts.SessionsEnded:
        if message.id != 1:
            raise Refusal(f"Session not found: {message.id}", kind="not_found")
        return accounts.SessionsEnded(1)

    def on_EndSessionsOf(self, message: accounts.EndSessionsOf) -> accounts.SessionsEnded:
        self._known(message.username)
        return accounts.SessionsEnded(1)

    def on_ListUsers(self, message: accounts.ListUsers) -> accounts.UsersListed:
        return accounts.UsersListed(list(self.users.values()))

    def on_AddUser(self, message: accounts.AddUser) -> accounts.UserChanged:
        if not message.username.strip():
            raise Refusal("username is required", "username")
        if message.username in self.users:
            raise Refusal("Username already exists", "username", "conflict")
        role = wanted_role("operator", message.role, message.is_superuser)
        added = user(message.username, len(self.users) + 1, role, is_active=message.is_active)
        self.users[added.username] = added
        return accounts.UserChanged(added)

    def on_ChangeUser(self, message: accounts.ChangeUser) -> accounts.UserChanged:
        found = self._known(message.username)
        role = wanted_role(found.role, message.role, message.is_superuser)
        active = found.is_active if message.is_active is UNSET else message.is_active
        changed = msgspec.structs.replace(found, role=role, is_superuser=role == "admin", is_active=active)
        self._check_admin(found, changed)
        self.users[found.username] = changed
        return accounts.UserChanged(changed)

    def on_RemoveUser(self, message: accounts.RemoveUser) -> accounts.UserRemoved:
        self._check_admin(self._known(message.username), None)
        del self.users[message.username]
        return accounts.UserRemoved()

    def _known(self, username: str) -> accounts.UserRow:
        if username not in self.users:
            raise Refusal("User not found", kind="not_found")
        return self.users[username]

    def _check_admin(self, before: accounts.UserRow, after: accounts.UserRow | None) -> None:
        if before.username == "admin" and (after is None or not after.is_active or after.role != "admin"):
            raise Refusal("The last active administrator must stay one", kind="conflict")
