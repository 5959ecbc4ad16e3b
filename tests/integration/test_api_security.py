import logging

import pytest
from fake_agent import FakeAgent, serving

EXEMPT_FROM_KEY = ["/ping", "/v1/healthy", "/v1/readiness", "/v1/health/report", "/v1/buffer/status"]
EXEMPT_FROM_NETWORK = EXEMPT_FROM_KEY[:4]
GUARDED = ["/v1/device", "/v1/endpoints", "/v1/openapi.json", "/v1/nothing", "/.well-known/x"]


async def test_localhost_only_asks_for_no_key():
    async with serving(FakeAgent()) as client:
        assert (await client.get("/v1/device")).status == 200


@pytest.mark.parametrize("settings", [{"security_mode": "API_KEY"}, {"enable_auth": True}])
async def test_the_key_is_enforced_by_mode_and_by_switch(settings):
    async with serving(FakeAgent(), key="s3cret", **settings) as client:
        for path in GUARDED:
            reply = await client.get(path)
            assert reply.status == 401, path
            assert await reply.json() == {"error": "Unauthorized"}
        assert (await client.get("/v1/device", headers={"X-Api-Key": "s3cret"})).status == 200
        assert (await client.get("/v1/device", headers={"x-api-key": "wrong"})).status == 401
        assert (await client.get("/v1/device?apiKey=s3cret")).status == 200
        assert (await client.get("/v1/device?apiKey=wrong")).status == 401
        assert (await client.get("/v1/nothing?apiKey=s3cret")).status == 404


async def test_the_header_counts_before_the_query():
    async with serving(FakeAgent(), security_mode="API_KEY", key="s3cret") as client:
        wrong_header = await client.get("/v1/device?apiKey=s3cret", headers={"X-Api-Key": "wrong"})
        assert wrong_header.status == 401


@pytest.mark.parametrize("path", EXEMPT_FROM_KEY)
async def test_probes_need_no_key(path):
    async with serving(FakeAgent(), security_mode="API_KEY", key="s3cret") as client:
        assert (await client.get(path)).status == 200


@pytest.mark.parametrize("key", [None, ""])
async def test_a_key_that_was_never_configured_lets_nobody_in(key):
    async with serving(FakeAgent(), security_mode="API_KEY", key=key) as client:
        reply = await client.get("/v1/device", headers={"X-Api-Key": ""})
        assert reply.status == 500
        assert await reply.json() == {"error": "API key not configured"}
        assert (await client.get("/ping")).status == 200


async def test_an_unknown_mode_refuses_all_but_the_probes():
    async with serving(FakeAgent(), security_mode="PUBLIC") as client:
        for path in [*GUARDED, "/v1/buffer/status"]:
            reply = await client.get(path)
            assert reply.status == 500
            assert await reply.json() == {"error": "Invalid security configuration"}
        for path in EXEMPT_FROM_NETWORK:
            assert (await client.get(path)).status == 200


@pytest.mark.parametrize("mode", ["OPEN", "LOCAL_NETWORK"])
async def test_other_modes_let_a_local_peer_in_under_any_name(mode):
    async with serving(FakeAgent(), security_mode=mode) as client:
        assert (await client.get("/v1/device", headers={"Host": "edge-7.plant.example"})).status == 200


async def test_open_mode_is_warned_of(caplog):
    async with serving(FakeAgent(), security_mode="OPEN"):
        assert "API_SECURITY_MODE=OPEN" in caplog.text


async def test_a_rebound_name_is_refused_with_a_hint():
    async with serving(FakeAgent()) as client:
        reply = await client.get("/v1/device", headers={"Host": "evil.example"})
        assert reply.status == 403
        assert {"error", "message", "hint"} == (await reply.json()).keys()
        assert (await client.get("/ping", headers={"Host": "evil.example"})).status == 200


async def test_another_sites_page_may_not_write():
    agent = FakeAgent()
    async with serving(agent) as client:
        refused = await client.delete("/v1/endpoints", headers={"Origin": "https://evil.example"})
        assert refused.status == 403
        assert agent.asked == []
        allowed = await client.delete("/v1/endpoints", headers={"Origin": "http://localhost:3000"})
        assert allowed.status == 200


async def test_nothing_is_asked_of_actors_before_the_checks():
    agent = FakeAgent()
    async with serving(agent, security_mode="API_KEY", key="s3cret") as client:
        await client.post("/v1/endpoints", json={"name": "a", "protocol": "modbus", "connection": {}})
        assert agent.asked == []


async def test_the_access_log_has_no_query_and_tells_polls_from_writes(caplog):
    caplog.set_level(logging.DEBUG, "api.middleware")
    async with serving(FakeAgent(), security_mode="API_KEY", key="s3cret") as client:
        await client.get("/v1/device?apiKey=s3cret")
        await client.delete("/v1/endpoints?apiKey=s3cret")
        await client.get("/v1/a%0Ab")
    lines = [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "api.middleware"]
    assert [level for level, _ in lines] == ["DEBUG", "INFO", "INFO"]
    assert lines[0][1].startswith("127.0.0.1 GET /v1/device 200 ")
    assert lines[1][1].startswith("127.0.0.1 DELETE /v1/endpoints 200 ")
    assert "s3cret" not in caplog.text
    assert "\n" not in lines[2][1]
