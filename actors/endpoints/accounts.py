"""What devices log in with at the agent's own broker, and what they may do there (spec 03 section 5)."""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from actors.system.failure import Refusal
from conf.texts import has_controls

Access = Literal["read", "write", "readwrite"]
ACCESS: dict[int, Access] = {1: "read", 2: "write", 3: "readwrite"}
LONGEST = 512
"""Bytes of a user name."""


class Account(msgspec.Struct, frozen=True):
    """A user of the broker, with a password or a line of mosquitto's password file (`$7$101$<salt>$<hash>`).
    `topics` are topic filters, each with what the user may do there; `field` is where a client says the name.
    """

    username: str
    topics: tuple[tuple[Access, str], ...]
    password: str | None = None
    hashed: str | None = None
    field: str = "connection.username"

    def __repr__(self) -> str:
        return f"Account({self.username!r}, {self.topics!r})"

    @property
    def secret(self) -> tuple[str | None, str | None]:
        return self.password, self.hashed


def read_too(account: Account) -> Account:
    """The same, for an agent that has no user of its own and logs in as the device."""
    topics: tuple[tuple[Access, str], ...] = tuple(("readwrite", topic) for _, topic in account.topics)
    return msgspec.structs.replace(account, topics=topics)


def check(account: Account) -> None:
    """Raises `Refusal` for what the files cannot hold: their lines are divided at colons and spaces, and end
    where lines end."""
    name = account.username
    if ":" in name or name.startswith("#"):
        raise Refusal("a user of the agent's broker has no colon, and no # at its beginning", account.field)
    if has_controls(name) or not name.isprintable() or name != name.strip():
        text = "a user of the agent's broker has no control characters, and no spaces at its ends"
        raise Refusal(text, account.field)
    if len(name.encode()) > LONGEST:
        raise Refusal(f"a user of the agent's broker has at most {LONGEST} bytes", account.field)
    for _, topic in account.topics:
        if has_controls(topic) or topic != topic.strip():
            raise Refusal(f"{topic!r} cannot be a line of the broker's ACL file", "connection.topic")


class Accounts:
    """Those of all endpoints, by the endpoint's id. Several endpoints may have one user, if they mean the
    same by it; else the oldest is right."""

    def __init__(self, superuser: str | None = None) -> None:
        self._superuser = superuser
        self._by_endpoint: dict[int, Account] = {}
        self._by_name: dict[str, dict[int, Account]] = {}

    def put(self, endpoint_id: int, account: Account | None) -> bool:
        """Whether anything has changed."""
        if self._by_endpoint.get(endpoint_id) == account:
            return False
        self.drop(endpoint_id)
        if account is not None:
            self._by_endpoint[endpoint_id] = account
            self._by_name.setdefault(account.username, {})[endpoint_id] = account
        return True

    def add(self, account: Account) -> None:
        """Of an endpoint that has no id yet."""
        self.put(-1 - len(self._by_endpoint), account)

    def drop(self, endpoint_id: int) -> bool:
        account = self._by_endpoint.pop(endpoint_id, None)
        if account is None:
            return False
        same = self._by_name[account.username]
        del same[endpoint_id]
        if not same:
            del self._by_name[account.username]
        return True

    def refusal(self, account: Account) -> Refusal | None:
        """Why no further endpoint can have it."""
        if account.username == self._superuser:
            text = f"{account.username} is the agent's own user at its broker"
            return Refusal(text, account.field, "conflict")
        others = self._by_name.get(account.username, {}).values()
        if any(other.secret != account.secret for other in others):
            text = f"{account.username} is a user of the agent's broker already, with another password"
            return Refusal(text, account.field, "conflict")
        return None

    def merged(self) -> tuple[Account, ...]:
        """One of each name, by name."""
        return tuple(sorted(self._merged(), key=lambda one: one.username))

    def _merged(self) -> Iterator[Account]:
        for name, same in self._by_name.items():
            if name == self._superuser:
                continue
            first = same[min(same)]
            alike = (same[id] for id in sorted(same) if same[id].secret == first.secret)
            yield msgspec.structs.replace(first, topics=_together(one.topics for one in alike))


def _together(topics: Iterable[tuple[tuple[Access, str], ...]]) -> tuple[tuple[Access, str], ...]:
    """Each topic once, with all that may be done there."""
    found: dict[str, Access] = {}
    for some in topics:
        for access, topic in some:
            found[topic] = access if found.get(topic, access) == access else "readwrite"
    return tuple((access, topic) for topic, access in found.items())
