"""Every route is guarded unless it was decided otherwise, and the checks come in their order."""

import logging
import re
from pathlib import Path

import pytest
from fake_agent import FakeAgent, serving
from raw_http import exchange, send

from api import app
from api.access import MODES
from api.routing import collect, route

ROUTES = list(collect())
METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
KEYLESS = ["LOCALHOST_ONLY", "LOCAL_NETWORK", "OPEN"]

# Who may call what without a key, and from where; a route not listed here needs all that the mode demands.
# Probes call by whatever name and from wherever the orchestrator sits; they learn states and counts.
EXEMPT = {
    ("GET", "/ping"): "anyone",
    ("GET", "/v1/healthy"): "anyone",
    ("GET", "/v1/readiness"): "anyone",
    ("GET", "/v1/health/report"): "anyone",
    ("GET", "/v1/buffer/status"): "peers",
}
LOCAL, EVIL = {"Host": "localhost"}, {"Host": "evil.example"}


def filled(path):
    """A path that matches the declared one."""
    return re.sub(r"\{[^}]*\}", "1", path)


@pytest.fixture
async def keyed():
    async with serving(FakeAgent(), security_mode="API_KEY", key="s3cret") as client:
        yield client


def test_the_exempt_routes_are_those_that_were_decided():
    keyed = ("key", "login", "admin")
    assert {(one.method, one.path): one.access for one in ROUTES if one.access not in keyed} == EXEMPT
    for one in ROUTES:
        assert (one.access == "admin") == one.path.startswith("/v1/admin/"), one.path
        assert (one.access == "login") == one.path.startswith("/v1/auth/"), one.path


def test_the_documentation_has_every_mode_and_the_exempt_routes():
    text = (Path(__file__).parents[2] / "docs" / "security.rst").read_text()
    assert set(re.findall(r"^``([A-Z_]+)``  ", text, re.MULTILINE)) == MODES
    rows = re.findall(r"^``([A-Z]+) (/[^`]+)``\s+(any|by the mode) ", text, re.MULTILINE)
    assert {(method, path): peer for method, path, peer in rows} == {
        one: "any" if access == "anyone" else "by the mode" for one, access in EXEMPT.items()
    }


def test_the_routes_are_all_there():
    assert len(ROUTES) > 30
    assert {one.method for one in ROUTES} <= set(METHODS)


@pytest.mark.parametrize("mode", KEYLESS)
async def test_every_method_of_every_path_is_guarded_against_other_sites(mode):
    agent = FakeAgent()
    async with serving(agent, security_mode=mode) as client:
        own = f"127.0.0.1:{client.port}"
        for path in {one.path for one in ROUTES} | {"/", "/v1/nothing", "/admin"}:
            for method in METHODS:
                if EXEMPT.get(("GET" if method == "HEAD" else method, path)) == "anyone":
                    continue
                for foreign in (EVIL, {"Host": own, "Origin": "https://evil.example"}):
                    reply = await exchange(client, method, filled(path), foreign)
                    assert reply.status == 403, (method, path, foreign)
                    assert agent.asked == [], (method, path, foreign)


async def test_every_method_of_every_path_needs_the_key(keyed):
    for path in {one.path for one in ROUTES} | {"/", "/v1/nothing", "/admin"}:
        for method in METHODS:
            if ("GET" if method == "HEAD" else method, path) in EXEMPT:
                continue
            reply = await exchange(keyed, method, filled(path), EVIL)
            assert reply.status == 401, (method, path)


@pytest.mark.parametrize("path", [path for _, path in EXEMPT])
async def test_exempt_routes_answer_without_a_key(keyed, path):
    for method in ("GET", "HEAD"):
        assert (await exchange(keyed, method, path, EVIL)).status == 200


def _with_new_routes(monkeypatch, *paths):
    async def answer(call):
        return {}

    routes = [route(method, path, reply=dict, summary="New", **more)(answer) for method, path, more in paths]
    monkeypatch.setattr(app, "collect", lambda: iter([*ROUTES, *routes]))


async def test_a_new_route_is_guarded_by_default(monkeypatch):
    _with_new_routes(monkeypatch, ("POST", "/v1/new", {}))
    async with serving(FakeAgent(), security_mode="API_KEY", key="s3cret") as client:
        assert (await exchange(client, "POST", "/v1/new", LOCAL)).status == 401
        assert (await exchange(client, "POST", "/v1/new", LOCAL | {"X-Api-Key": "s3cret"})).status == 200
    for mode in KEYLESS:
        async with serving(FakeAgent(), security_mode=mode) as client:
            assert (await exchange(client, "POST", "/v1/new", EVIL)).status == 403
            assert (await exchange(client, "POST", "/v1/new", LOCAL)).status == 200


async def test_an_exemption_is_of_a_route_and_not_of_the_others_on_its_path(monkeypatch):
    _with_new_routes(monkeypatch, ("POST", "/ping", {}), ("DELETE", "/v1/buffer/status", {}))
    async with serving(FakeAgent(), security_mode="API_KEY", key="s3cret") as client:
        assert (await exchange(client, "POST", "/ping", LOCAL)).status == 401
        assert (await exchange(client, "DELETE", "/v1/buffer/status", LOCAL)).status == 401
        assert (await exchange(client, "GET", "/ping", LOCAL)).status == 200
    async with serving(FakeAgent()) as client:
        assert (await exchange(client, "POST", "/ping", EVIL)).status == 403


# The order: access log, error mapping, network and browser, key, body


async def test_the_log_is_outermost_and_sees_every_refusal(caplog):
    caplog.set_level(logging.INFO, "api.middleware")
    async with serving(FakeAgent(), security_mode="API_KEY", key="s3cret") as client:
        await exchange(client, "GET", "/v1/device", LOCAL)
    async with serving(FakeAgent()) as client:
        await exchange(client, "GET", "/v1/device", EVIL)
    logged = [record.getMessage() for record in caplog.records if record.name == "api.middleware"]
    assert ["GET /v1/device 401" in logged[0], "GET /v1/device 403" in logged[1]] == [True, True]


async def test_the_network_is_looked_at_before_the_key():
    async with serving(FakeAgent(), security_mode="PUBLIC", enable_auth=True, key="s3cret") as client:
        reply = await exchange(client, "GET", "/v1/device", LOCAL)
        assert (reply.status, reply.body) == (500, {"error": "Invalid security configuration"})


async def test_the_peer_is_looked_at_before_its_headers(monkeypatch):
    monkeypatch.setattr("api.access._is_loopback", lambda remote: False)
    async with serving(FakeAgent()) as client:
        reply = await exchange(client, "GET", "/v1/device", EVIL)
        assert reply.body["message"] == "API access restricted to localhost only"


@pytest.mark.parametrize(
    ("settings", "status"), [({}, 403), ({"security_mode": "API_KEY", "key": "s3cret"}, 401)]
)
async def test_a_body_is_not_waited_for_before_the_checks(settings, status):
    async with serving(FakeAgent(), **settings) as client:
        raw = b"POST /v1/endpoints HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1000\r\n\r\n"
        assert (await send(client, raw)).status == status
