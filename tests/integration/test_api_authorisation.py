"""Who may call what: every route there is, in every mode, with everything that a client can come with.

The rules are those of the documentation, and are written down here a second time. A new route
is in here by being declared; one that only administrators may call has to be named here, too.
"""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from accounts_rig import PASSWORD, Rig, accounts
from aiohttp import web
from fake_agent import Client, FakeAgent, serving

from actors.accounts.messages import AddUser, ChangeUser, RemoveUser
from api import app
from api.routing import Call, collect

KEY = "s3cret"
LET_IN = 200

# The rules

PROBES = {"/ping", "/v1/healthy", "/v1/readiness"}
INTERNALS = {"/v1/health/report", "/v1/buffer/status"}
"""Open like probes, but not where sessions are asked for."""
EVERY_PEER = PROBES | {"/v1/health/report"}
ADMINISTRATORS = ("/v1/backups", "/v1/factory-reset", "/v1/shutdown", "/v1/reboot")
"""Whatever is below these, by whatever method."""
ADMINISTRATORS_POST = {"/v1/update"}
ROLES = ("viewer", "operator", "admin")


def least(method: str, path: str) -> str:
    if path.startswith(("/v1/admin/", *ADMINISTRATORS)) or (method == "POST" and path in ADMINISTRATORS_POST):
        return "admin"
    return "viewer" if method == "GET" else "operator"


class Who(NamedTuple):
    """`session`: a role, or what is wrong with it."""

    key: str | None = None
    session: str | None = None


class Setting(NamedTuple):
    mode: str
    enable_auth: bool = False
    require_session: bool = False
    key: str | None = KEY


def expected(method: str, path: str, who: Who, setting: Setting) -> int:
    """`LET_IN`, or the status that it is refused with."""
    if setting.mode == "PUBLIC" and path not in EVERY_PEER:
        return 500
    if (setting.enable_auth or setting.mode == "API_KEY") and path not in PROBES | INTERNALS:
        if setting.key is None:
            return 500
        if who.key != setting.key:
            return 401
    if path.startswith("/v1/admin/"):
        return by_session("admin", who)
    if not setting.require_session or path in PROBES or path.startswith("/v1/auth/"):
        return LET_IN
    if setting.key is not None and who.key == setting.key:
        return LET_IN
    return by_session(least(method, path), who)


def by_session(role: str, who: Who) -> int:
    if who.session == "must change":
        return 403
    if who.session not in ROLES:
        return 401
    return LET_IN if ROLES.index(who.session) >= ROLES.index(role) else 403


# What is tried

SETTINGS = [
    *itertools.starmap(
        Setting,
        itertools.product(
            ("LOCALHOST_ONLY", "LOCAL_NETWORK", "OPEN", "API_KEY", "PUBLIC"), (False, True), (False, True)
        ),
    ),
    Setting("LOCALHOST_ONLY", require_session=True, key=None),
    Setting("API_KEY", require_session=True, key=None),
]

SESSIONS = (*ROLES, "expired", "disabled", "removed", "garbage", "must change")
CALLERS = [
    Who(),
    Who("wrong"),
    Who(KEY),
    *(Who(None, session) for session in SESSIONS),
    *(Who(KEY, session) for session in SESSIONS),
    Who("wrong", "admin"),
]


class Asked(NamedTuple):
    method: str
    path: str
    let_in: int


NOWHERE = [
    Asked("GET", "/v1/nothing", 404),
    Asked("GET", "/v1/update", 405),
    Asked("GET", "/v1/admin/nothing", 404),
    Asked("PUT", "/v1/admin/users", 405),
]


async def stub(call: Call) -> web.Response:
    return web.Response(status=LET_IN)


def every_route() -> list[Asked]:
    declared = [Asked(one.method, re.sub(r"\{\w+(:[^}]*)?\}", "1", one.path), LET_IN) for one in collect()]
    return [*declared, *NOWHERE]


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Routes that do nothing but be reached."""
    routes = [
        msgspec.structs.replace(one, handler=stub, query=None, body=None, accepts={}, shared=None)
        for one in collect()
    ]
    monkeypatch.setattr(app, "collect", lambda: iter(routes))


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with accounts(tmp_path) as rig:
        yield rig


async def tokens(rig: Rig) -> dict[str | None, str | None]:
    """A session of each kind."""
    admin = await rig.admin()
    found: dict[str | None, str | None] = {None: None, "admin": admin.token, "garbage": "x; y"}
    for name in ("viewer", "operator"):
        found[name] = (await rig.user(name, role=name)).token
    for name in ("expired", "disabled", "removed"):
        found[name] = (await rig.user(name, role="admin")).token
    await rig.ask(AddUser("must change", PASSWORD, role="admin", must_change_password=True))
    found["must change"] = (await rig.sign_in("must change")).token
    await rig.ask(ChangeUser("disabled", is_active=False))
    await rig.ask(RemoveUser("removed"))
    sessions = rig.actor.sessions
    key, session = next(
        (key, one) for key, one in sessions._by_hash.items() if one is sessions.find(found["expired"] or "")
    )
    sessions._by_hash[key] = msgspec.structs.replace(session, until=0.0)
    return found


def agent_with(rig: Rig) -> FakeAgent:
    agent = FakeAgent()
    asked = agent.ask

    async def ask(target, message):
        return await (rig.ask(message) if target == "accounts" else asked(target, message))

    agent.ask = ask
    return agent


async def statuses(client: Client, asked: Sequence[tuple[Asked, dict[str, str]]]) -> list[int]:
    """Of all, sent one after the other without waiting."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    for one, headers in asked:
        fields = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        writer.write(f"{one.method} {one.path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
    found = []
    async with asyncio.timeout(30):
        for _ in asked:
            head = await reader.readuntil(b"\r\n\r\n")
            found.append(int(head.split(b" ", 2)[1]))
            length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
    writer.close()
    return found


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("stubbed")
async def test_every_route_lets_in_who_may_call_it_and_nobody_else(rig, caplog):
    caplog.set_level("CRITICAL")
    agent, known = agent_with(rig), await tokens(rig)
    routes = every_route()
    wrong = []
    for setting in SETTINGS:
        asked, wanted = [], []
        for one, who in itertools.product(routes, CALLERS):
            headers = {"X-Api-Key": who.key} if who.key else {}
            if token := known[who.session]:
                headers["Cookie"] = f"admin_session={token}"
            asked.append((one, headers))
            status = expected(one.method, one.path, who, setting)
            wanted.append(one.let_in if status == LET_IN else status)
        names = {"security_mode": setting.mode, "enable_auth": setting.enable_auth, "key": setting.key}
        async with serving(agent, require_session=setting.require_session, **names) as client:
            found = await statuses(client, asked)
        for (one, _), who, want, got in zip(asked, CALLERS * len(routes), wanted, found, strict=True):
            if want != got:
                wrong.append((*setting, one.method, one.path, *who, want, got))
    assert wrong == []


async def test_the_rules_cover_what_is_declared():
    """None of the paths that the rules name is gone, and none is only for administrators that they do not."""
    declared = {(one.method, one.path): one for one in collect()}
    paths = {path for _, path in declared}
    assert paths >= PROBES | INTERNALS | ADMINISTRATORS_POST | set(ADMINISTRATORS)
    for (method, path), one in declared.items():
        assert (one.access == "admin") == path.startswith("/v1/admin/")
        assert one.access == "login" or one.role == least(method, path), (method, path)
        assert (one.access == "anyone") == (path in EVERY_PEER)
