"""Signing in, users and sessions over HTTP (spec 01 section 19; expected values are the reference's)."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from accounts_rig import FIRST, PASSWORD, Rig, accounts
from aiohttp import ClientError
from fake_agent import SILENT, Client, FakeAgent, serving
from raw_http import exchange
from servers.agent import AgentProcess

from actors.accounts.accounts import SweepSessions
from actors.accounts.messages import ChangeUser, EndSessionsOf, IdentifySession
from actors.accounts.throttle import FREE
from actors.system.failure import Failed
from api import sessions
from api.context import Lifecycle

COOKIE = re.compile(r"admin_session=([0-9a-f]{64}); HttpOnly; Path=/; SameSite=Strict; Max-Age=86400")


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with accounts(tmp_path) as rig:
        yield rig


def agent_with(rig: Rig) -> FakeAgent:
    agent = FakeAgent()
    asked = agent.ask

    async def ask(target: Any, message: Any) -> Any:
        return await (rig.ask(message) if target == "accounts" else asked(target, message))

    agent.ask = ask
    return agent


@asynccontextmanager
async def api(rig: Rig, **settings: Any) -> AsyncIterator[Client]:
    async with serving(agent_with(rig), **settings) as client:
        client.session.cookie_jar.clear()
        yield client


async def sign_in(client: Client, username: str = "admin", password: str = PASSWORD, **headers: str) -> str:
    """The token; nothing remembers it."""
    body = {"username": username, "password": password}
    reply = await client.post("/v1/auth/login", json=body, headers=headers)
    assert reply.status == 200, await reply.text()
    client.session.cookie_jar.clear()
    return COOKIE.fullmatch(reply.headers["Set-Cookie"])[1]


def by(token: str, **headers: str) -> dict[str, dict[str, str]]:
    return {"headers": {"Cookie": f"admin_session={token}", **headers}}


async def test_signing_in_and_out(rig):
    await rig.admin()
    async with api(rig) as client:
        reply = await client.post("/v1/auth/login", json={"username": "admin", "password": PASSWORD})
        assert (reply.status, await reply.json()) == (
            200,
            {"username": "admin", "is_superuser": True, "role": "admin", "must_change_password": False},
        )
        assert reply.headers["Cache-Control"] == "no-store"
        token = COOKIE.fullmatch(reply.headers["Set-Cookie"])[1]
        client.session.cookie_jar.clear()
        me = await client.get("/v1/auth/me", **by(token))
        assert (me.status, (await me.json())["username"]) == (200, "admin")
        out = await client.post("/v1/auth/logout", **by(token))
        assert (out.status, await out.json()) == (200, {"ok": True})
        assert out.headers["Set-Cookie"].startswith("admin_session=; ")
        assert "Max-Age=0" in out.headers["Set-Cookie"]
        after = await client.get("/v1/auth/me", **by(token))
        assert (after.status, await after.json()) == (401, {"error": "Not authenticated"})
        again = await client.post("/v1/auth/logout", **by(token))
        assert (again.status, await again.json()) == (200, {"ok": True})
        assert (await client.post("/v1/auth/logout")).status == 200


@pytest.mark.parametrize(
    "body", [{}, {"username": "admin"}, {"password": "x"}, {"username": "", "password": "x"}]
)
async def test_what_is_missing_is_said_in_the_words_of_the_reference(rig, body):
    async with api(rig) as client:
        reply = await client.post("/v1/auth/login", json=body)
        assert reply.status == 400
        assert (await reply.json())["message"] == "username and password are required"


@pytest.mark.parametrize("username", ["admin", "nobody", "disabled"])
async def test_wrong_credentials_are_the_same_for_everybody_and_cost_time_in_the_end(rig, username):
    await rig.user("disabled")
    await rig.ask(ChangeUser("disabled", is_active=False))
    async with api(rig) as client:
        body = {"username": username, "password": "wrong" if username != "disabled" else PASSWORD}
        for _ in range(FREE):
            reply = await client.post("/v1/auth/login", json=body)
            assert (reply.status, await reply.json()) == (401, {"error": "Invalid credentials"})
            assert "Set-Cookie" not in reply.headers
        reply = await client.post("/v1/auth/login", json=body)
        assert (reply.status, reply.headers["Retry-After"]) == (429, "1")
        assert await reply.json() == {"error": "Too many attempts", "message": "Try again in 1 s"}


async def test_the_first_password_has_to_be_changed_before_anything_else(rig):
    async with api(rig, require_session=True) as client:
        token = await sign_in(client, password=FIRST)
        for path in ("/v1/admin/users", "/v1/endpoints"):
            reply = await client.get(path, **by(token))
            assert reply.status == 403
            assert await reply.json() == {
                "error": "The password must be changed first",
                "hint": "POST /v1/auth/password with current_password and new_password",
            }
        assert (await (await client.get("/v1/auth/me", **by(token))).json())["must_change_password"] is True
        changed = await client.post(
            "/v1/auth/password", json={"current_password": FIRST, "new_password": PASSWORD}, **by(token)
        )
        assert (changed.status, await changed.json()) == (200, {"ok": True})
        assert (await client.get("/v1/admin/users", **by(token))).status == 200
        assert (await client.get("/v1/endpoints", **by(token))).status == 200


async def test_a_password_is_changed_by_who_knows_it(rig):
    eve = await rig.user("eve")
    async with api(rig) as client:

        async def change(current: Any, new: Any, token: str | None = eve.token) -> tuple[int, Any]:
            headers = by(token) if token else {}
            body = {"current_password": current, "new_password": new}
            reply = await client.post("/v1/auth/password", json=body, **headers)
            return reply.status, await reply.json()

        assert await change(PASSWORD, "another-one", None) == (401, {"error": "Not authenticated"})
        status, body = await change("not-the-one", "another-one")
        assert (status, body["message"], body["field"]) == (
            400,
            "current_password is wrong",
            "current_password",
        )
        status, body = await change(PASSWORD, "short")
        assert (status, body["message"]) == (400, "new_password must be at least 6 characters")
        assert (await change(PASSWORD, 7))[0] == 400
        assert await change(PASSWORD, "another-one") == (200, {"ok": True})
        await sign_in(client, "eve", "another-one")


async def test_users_from_the_first_to_the_last(rig):
    await rig.admin()
    async with api(rig) as client:
        admin = by(await sign_in(client))
        created = await client.post(
            "/v1/admin/users",
            json={"username": " operator1 ", "password": PASSWORD, "is_superuser": False},
            **admin,
        )
        user = await created.json()
        assert created.status == 201
        assert user["user"] == {key: text for key, text in user.items() if key != "user"}
        assert user["user"].keys() == {
            "id",
            "username",
            "is_superuser",
            "is_active",
            "role",
            "must_change_password",
            "created_at",
            "updated_at",
        }
        assert (user["username"], user["is_superuser"], user["role"]) == ("operator1", False, "operator")
        listed = await (await client.get("/v1/admin/users", **admin)).json()
        assert [one["username"] for one in listed["users"]] == ["admin", "operator1"]
        again = await client.post(
            "/v1/admin/users", json={"username": "operator1", "password": PASSWORD}, **admin
        )
        assert (again.status, (await again.json())["error"]) == (409, "Username already exists")
        changed = await client.patch(
            "/v1/admin/users/operator1",
            json={"is_active": False, "is_superuser": True, "password": ""},
            **admin,
        )
        body = await changed.json()
        assert (changed.status, body["is_active"], body["role"], body["user"]["is_superuser"]) == (
            200,
            False,
            "admin",
            True,
        )
        gone = await client.delete("/v1/admin/users/operator1", **admin)
        assert (gone.status, await gone.json()) == (200, {"ok": True})
        for method in (client.patch, client.delete):
            reply = await method("/v1/admin/users/operator1", **admin)
            assert (reply.status, (await reply.json())["message"]) == (404, "User not found")
        for refused in (
            await client.delete("/v1/admin/users/admin", **admin),
            await client.patch("/v1/admin/users/admin", json={"is_active": False}, **admin),
            await client.patch("/v1/admin/users/admin", json={"is_superuser": False}, **admin),
        ):
            assert refused.status == 409
            assert (await refused.json())["error"] == "The last active administrator must stay one"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"password": PASSWORD}, "username is required"),
        ({"username": "  ", "password": PASSWORD}, "username is required"),
        ({"username": "eve"}, "password must be at least 6 characters"),
        ({"username": "eve", "password": "12345"}, "password must be at least 6 characters"),
        ({"username": "eve", "password": "x" * 1025}, "password must be at most 1024 characters"),
    ],
)
async def test_what_is_wrong_with_a_new_user_is_said(rig, body, message):
    await rig.admin()
    async with api(rig) as client:
        reply = await client.post("/v1/admin/users", json=body, **by(await sign_in(client)))
        assert (reply.status, (await reply.json())["message"]) == (400, message)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"username": "eve", "password": PASSWORD, "role": "root"}, "role"),
        ({"username": 7, "password": PASSWORD}, "username"),
        ({"username": "eve", "password": PASSWORD, "is_actve": False}, "is_actve"),
        ({"username": "eve", "password": PASSWORD, "role": "viewer", "is_superuser": True}, "role"),
    ],
)
async def test_the_field_that_is_wrong_is_named(rig, body, field):
    await rig.admin()
    async with api(rig) as client:
        reply = await client.post("/v1/admin/users", json=body, **by(await sign_in(client)))
        assert (reply.status, (await reply.json())["field"]) == (400, field)


async def test_users_of_any_name_are_found_by_their_path(rig):
    await rig.admin()
    async with api(rig) as client:
        admin = by(await sign_in(client))
        for name in ("Jürgen Müller", "a%2Fb", "x?y#z", "50% off"):
            body = {"username": name, "password": PASSWORD}
            assert (await client.post("/v1/admin/users", json=body, **admin)).status == 201
            path = "".join(f"%{byte:02X}" for byte in name.encode())
            reply = await exchange(
                client, "DELETE", f"/v1/admin/users/{path}", {"Host": "localhost", **admin["headers"]}
            )
            assert reply.status == 200, name


async def test_sessions_are_listed_without_tokens_and_ended(rig):
    await rig.admin()
    eve = await rig.user("eve")
    async with api(rig) as client:
        await rig.ask(EndSessionsOf("admin"))
        admin = by(await sign_in(client, **{"User-Agent": "a browser"}))
        reply = await client.get("/v1/admin/sessions", **admin)
        listed = (await reply.json())["sessions"]
        assert [(one["username"], one["current"], one["user_agent"]) for one in listed] == [
            ("admin", True, "a browser"),
            ("eve", False, "a test"),
        ]
        assert listed[0].keys() == {
            "id",
            "username",
            "created_at",
            "expires_at",
            "peer",
            "user_agent",
            "current",
        }
        assert eve.token not in await reply.text()
        assert (await client.delete("/v1/admin/sessions/0", **admin)).status == 404
        assert (await client.delete("/v1/admin/sessions/x", **admin)).status == 400
        assert (await client.delete("/v1/admin/sessions", **admin)).status == 400
        ended = await client.delete(f"/v1/admin/sessions/{eve.session}", **admin)
        assert (ended.status, await ended.json()) == (200, {"ok": True})
        assert (await client.get("/v1/auth/me", **by(eve.token))).status == 401
        all_ended = await client.delete("/v1/admin/sessions?username=eve", **admin)
        assert (all_ended.status, await all_ended.json()) == (200, {"ended": 0})
        assert (await client.delete("/v1/admin/sessions?username=nobody", **admin)).status == 404


async def test_an_expired_session_says_so_until_it_is_forgotten(rig, monkeypatch):
    known = await rig.admin()
    real = sessions_clock()
    monkeypatch.setattr("actors.accounts.accounts._now", lambda: real() + 86_401)
    async with api(rig) as client:
        reply = await client.get("/v1/auth/me", **by(known.token))
        assert (reply.status, await reply.json()) == (401, {"error": "Session expired"})
        await rig.ask(IdentifySession("x"))
        rig.system.tell(rig.accounts, SweepSessions())
        reply = await client.get("/v1/auth/me", **by(known.token))
        assert await reply.json() == {"error": "Not authenticated"}


def sessions_clock() -> Any:
    from actors.accounts.accounts import _now

    return _now


# Browsers


@pytest.mark.parametrize("settings", [{}, {"security_mode": "API_KEY", "key": "s3cret"}])
async def test_a_page_of_another_site_does_nothing_with_a_session_whatever_the_mode(rig, settings):
    known = await rig.admin()
    async with api(rig, **settings) as client:
        for foreign in (
            {"Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            headers = by(known.token, **foreign, **{"X-Api-Key": "s3cret"})
            reply = await client.delete("/v1/admin/users/eve", **headers)
            assert (reply.status, (await reply.json())["error"]) == (403, "Forbidden")
        own = {"Origin": f"http://127.0.0.1:{client.port}", "Sec-Fetch-Site": "same-origin"}
        headers = by(known.token, **own, **{"X-Api-Key": "s3cret"})
        assert (await client.delete("/v1/admin/users/eve", **headers)).status == 404


async def test_behind_a_proxy_with_a_key_the_page_calls_by_its_own_name(rig):
    known = await rig.admin()
    async with api(rig, security_mode="API_KEY", key="s3cret") as client:
        named = {"Host": "ui.plant.example", "Origin": "https://ui.plant.example", "X-Api-Key": "s3cret"}
        assert (await client.get("/v1/admin/users", **by(known.token, **named))).status == 200


async def test_a_stream_ends_with_the_session_that_it_was_let_in_by(rig, monkeypatch):
    """kubestellar/console issue 6029, pubky-homeserver issue 492."""
    monkeypatch.setattr(sessions, "LOOK_AGAIN", 0.02)
    admin, eve = await rig.admin(), await rig.user("eve", role="viewer")
    async with api(rig, require_session=True) as client:
        followed = await client.get("/v1/readings/stream", **by(eve.token))
        kept = await client.get("/v1/readings/stream", **by(admin.token))
        assert (followed.status, kept.status) == (200, 200)
        await rig.ask(EndSessionsOf("eve"))
        async with asyncio.timeout(5):
            with suppress(ClientError, ConnectionError):
                await followed.content.read()
        assert not kept.content.at_eof()
        kept.close()


# While there is nobody to ask


@pytest.mark.parametrize("answer", [Failed("unavailable", "accounts is not running"), SILENT])
async def test_while_sessions_cannot_be_looked_up_nobody_is_let_in(answer):
    agent = FakeAgent()
    agent.answers[IdentifySession] = answer
    async with serving(agent, require_session=True, lifecycle=Lifecycle("INIT")) as client:
        for path in ("/v1/admin/users", "/v1/device", "/v1/auth/me"):
            reply = await client.get(path, **by("a" * 64))
            assert reply.status == 503
            assert await reply.json() == {
                "error": "Sessions cannot be looked up",
                "hint": "Wait until GET /v1/readiness says that it is ready",
                "state": "INIT",
            }
        assert (await client.get("/v1/admin/users")).status == 401
        assert (await client.get("/ping")).status == 200


async def test_no_actor_is_asked_where_a_session_does_not_matter():
    agent = FakeAgent()
    async with serving(agent) as client:
        await client.get("/v1/endpoints", **by("a" * 64))
        assert IdentifySession not in {type(message) for message in agent.asked}


# The whole agent


@pytest.mark.timeout(60)
def test_the_first_password_is_on_the_terminal_and_nowhere_else(tmp_path):
    with AgentProcess(tmp_path / "data") as agent:
        while (shown := re.search(r"\n    (\w{16})\n", agent.log.read_text())) is None:
            time.sleep(0.01)
        reply = agent.open("POST", "/v1/auth/login", {"username": "admin", "password": shown[1]})
        assert msgspec.json.decode(reply.read())["must_change_password"] is True
        token = COOKIE.fullmatch(reply.headers["Set-Cookie"])[1]
        assert agent.stop() == 0
        agent.start()
        for path in ("/v1/logs?limit=1000", "/v1/actors", "/v1/health/report", "/metrics", "/v1/settings"):
            with agent.open("GET", path) as reply:
                text = reply.read().decode()
            assert shown[1] not in text
            assert token not in text
        assert agent.log.read_text().count(shown[1]) == 1
        for file in agent.data_dir.rglob("*"):
            if file.is_file():
                held = file.read_bytes()
                assert shown[1].encode() not in held
                assert token.encode() not in held
                assert bytes.fromhex(token) not in held
        assert agent.stop() == 0


@pytest.mark.timeout(60)
def test_the_agent_lets_in_who_has_signed_in(tmp_path):
    with AgentProcess(
        tmp_path / "data", API_REQUIRE_SESSION="true", INITIAL_ADMIN_PASSWORD=FIRST, API_KEY="s3cret"
    ) as agent:

        def ask(method: str, path: str, body: Any = None, token: str = "", **headers: str) -> tuple[int, Any]:
            cookie = {"Cookie": f"admin_session={token}"} if token else {}
            return agent.request(method, path, body, cookie | headers)

        def log_in(username: str, password: str) -> str:
            reply = agent.open("POST", "/v1/auth/login", {"username": username, "password": password})
            return COOKIE.fullmatch(reply.headers["Set-Cookie"])[1]

        for path in ("/v1/device", "/v1/health/report", "/v1/buffer/status", "/metrics", "/v1/openapi.json"):
            assert ask("GET", path)[0] == 401, path
            assert ask("GET", path, **{"X-Api-Key": "s3cret"})[0] == 200, path
        for path in ("/ping", "/v1/healthy", "/v1/readiness"):
            assert ask("GET", path)[0] == 200, path
        admin = log_in("admin", FIRST)
        assert ask("GET", "/v1/admin/users", token=admin)[0] == 403
        new = {"current_password": FIRST, "new_password": PASSWORD}
        assert ask("POST", "/v1/auth/password", new, admin)[0] == 200
        for role in ("viewer", "operator"):
            body = {"username": role, "password": PASSWORD, "role": role}
            assert ask("POST", "/v1/admin/users", body, admin)[0] == 201
        viewer, operator = log_in("viewer", PASSWORD), log_in("operator", PASSWORD)
        assert ask("GET", "/v1/endpoints", token=viewer)[0] == 200
        assert ask("DELETE", "/v1/endpoints", token=viewer)[0] == 403
        assert ask("DELETE", "/v1/endpoints", token=operator)[0] == 200
        assert ask("POST", "/v1/reboot", token=operator)[0] == 403
        assert ask("PATCH", "/v1/admin/users/viewer", {"is_active": False}, admin)[0] == 200
        assert ask("GET", "/v1/endpoints", token=viewer)[0] == 401
        assert ask("POST", "/v1/reboot", token=admin)[0] == 202
        agent.wait_until_running()
        seen = set()
        while 200 not in seen:
            seen.add(ask("GET", "/v1/admin/users", token=admin)[0])
        assert seen <= {200, 503}
        assert agent.stop() == 0
        agent.start()
        assert ask("GET", "/v1/admin/users", token=admin)[0] == 200
        assert ask("GET", "/v1/endpoints", token=viewer)[0] == 401
        assert agent.stop() == 0
    log = agent.log.read_text()
    assert "Traceback" not in log
    for secret in (FIRST, PASSWORD, admin, viewer, operator):
        assert secret not in log


async def test_what_anybody_may_send_is_small(rig):
    """It is looked through for secrets, and its password composed, before it is known who sent it."""
    async with api(rig) as client:
        words = [f"word-{number}" for number in range(10_000)]
        for more in ({"secrets": words}, {"password": "\u0301\u0316" * 10_000}):
            body = {"username": "admin", "password": "x"} | more
            reply = await client.post("/v1/auth/login", json=body)
            assert (reply.status, await reply.json()) == (
                413,
                {"error": "Payload too large", "message": "A body may have at most 16 KB here"},
            )


@pytest.mark.parametrize(
    ("change", "status"),
    [(ChangeUser("eve", is_active=False), 401), (ChangeUser("eve", role="operator"), 403), (None, 201)],
)
async def test_a_body_that_comes_late_does_no_more_than_its_sender_may_by_then(rig, change, status):
    """A request that was begun in time would give somebody who is let go another user hours later."""
    await rig.admin()
    eve = await rig.user("eve", role="admin")
    async with api(rig) as client:
        body = b'{"username": "mallory", "password": "password", "role": "admin"}'
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(
            b"POST /v1/admin/users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nCookie: admin_session=%b\r\nContent-Length: %d\r\n\r\n"
            % (eve.token.encode(), len(body))
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        if change is not None:
            assert not isinstance(await rig.ask(change), Failed)
        writer.write(body)
        assert (await reader.readline()).split()[1] == b"%d" % status
        writer.close()
        assert (rig.actor.users.find("mallory") is None) == (change is not None)
