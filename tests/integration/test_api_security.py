import logging

import pytest
from fake_agent import FakeAgent, serving
from raw_http import exchange, send

EXEMPT_FROM_KEY = ["/ping", "/v1/healthy", "/v1/readiness", "/v1/health/report", "/v1/buffer/status"]
EXEMPT_FROM_NETWORK = EXEMPT_FROM_KEY[:4]
KEYLESS = ["LOCALHOST_ONLY", "LOCAL_NETWORK", "OPEN"]
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


async def test_open_mode_is_warned_of(caplog):
    async with serving(FakeAgent(), security_mode="OPEN"):
        assert "API_SECURITY_MODE=OPEN" in caplog.text


@pytest.mark.parametrize("mode", KEYLESS)
async def test_a_name_that_is_not_the_machines_is_refused_and_a_hint_names_the_setting(mode):
    async with serving(FakeAgent(), security_mode=mode, allowed_hosts=("edge-7.plant.example",)) as client:
        for path in [*GUARDED, "/v1/buffer/status"]:
            reply = await client.get(path, headers={"Host": "evil.example"})
            assert reply.status == 403
            body = await reply.json()
            assert body["error"] == "Forbidden"
            assert body["message"] == "evil.example is not known as a name of this machine"
            assert "API_ALLOWED_HOSTS" in body["hint"]
        for path in EXEMPT_FROM_NETWORK:
            assert (await client.get(path, headers={"Host": "evil.example"})).status == 200
        assert (await client.get("/v1/device", headers={"Host": "edge-7.plant.example"})).status == 200


@pytest.mark.parametrize("mode", KEYLESS)
async def test_another_sites_page_changes_nothing(mode):
    agent = FakeAgent()
    async with serving(agent, security_mode=mode) as client:
        for name, text in [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")]:
            reply = await client.delete("/v1/endpoints", headers={name: text})
            assert reply.status == 403
            assert (await reply.json())["message"] == "Requests from other web sites are refused"
        assert agent.asked == []
        own = {"Origin": f"http://127.0.0.1:{client.port}", "Sec-Fetch-Site": "same-origin"}
        assert (await client.delete("/v1/endpoints", headers=own)).status == 200


@pytest.mark.parametrize("settings", [{"security_mode": "API_KEY"}, {"enable_auth": True}])
async def test_where_a_key_is_asked_for_it_guards_alone(settings):
    """A page that has no key gets nowhere; one that has it, and a proxy under any name, may call."""
    foreign = {"Host": "edge-7.plant.example", "Origin": "https://ui.plant.example"}
    agent = FakeAgent()
    async with serving(agent, key="s3cret", **settings) as client:
        refused = await client.delete("/v1/endpoints", headers=foreign)
        assert refused.status == 401
        assert not [name for name in refused.headers if name.startswith("Access-Control-")]
        assert agent.asked == []
        assert (await client.delete("/v1/endpoints?apiKey=s3cret", headers=foreign)).status == 200


async def test_the_guard_holds_for_targets_and_versions_as_they_are_on_the_wire():
    async with serving(FakeAgent()) as client:
        local, evil = {"Host": "localhost"}, {"Host": "evil.example"}
        device = "/v1/device"
        assert (await exchange(client, "GET", f"http://localhost{device}", local)).status == 200
        assert (await exchange(client, "GET", f"http://evil.example{device}", local)).refused()
        assert (await exchange(client, "GET", f"http://localhost{device}", evil)).refused()
        assert (await exchange(client, "GET", device, {}, version="1.0")).status == 200
        assert (await exchange(client, "GET", device, evil, version="1.0")).refused()
        assert (await exchange(client, "GET", device, {"Origin": "http://a"}, version="1.0")).refused()
        assert (await exchange(client, "HEAD", device, evil)).status == 403
        assert (await exchange(client, "GET", "//evil.example/v1/device", local)).status == 404


async def test_no_host_or_several_are_a_bad_request():
    async with serving(FakeAgent()) as client:
        assert (await send(client, b"GET /v1/device HTTP/1.1\r\n\r\n")).status == 400
        for second in ("localhost", "evil.example"):
            raw = f"GET /v1/device HTTP/1.1\r\nHost: localhost\r\nHost: {second}\r\n\r\n"
            assert (await send(client, raw.encode())).status == 400


async def test_a_host_in_no_encoding_is_refused_with_an_answer():
    async with serving(FakeAgent()) as client:
        raw = b"GET /v1/device HTTP/1.1\r\nHost: evil\xff.example\r\n\r\n"
        assert (await send(client, raw)).refused()


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


@pytest.mark.parametrize(
    "request_line_and_headers",
    [
        b"GET /v1/device?apiKey=s3cret&name=k\xfchl HTTP/1.1\r\nHost: localhost",
        b"GET /v1/device?apiKey=s3cret HTTP/9.9\r\nHost: localhost",
        b"GET http://[half/v1/device?apiKey=s3cret HTTP/1.1\r\nHost: localhost",
        b"GE\0T /v1/device?apiKey=s3cret HTTP/1.1\r\nHost: localhost",
        b"GET /v1/device HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: s3cret\0",
        b"GET /v1/device HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: s3cret" + bytes(9000).replace(b"\0", b"x"),
    ],
)
async def test_a_key_in_what_is_not_http_does_not_reach_the_log(caplog, request_line_and_headers):
    caplog.set_level(logging.DEBUG)
    async with serving(FakeAgent(), security_mode="API_KEY", key="s3cret") as client:
        reply = await send(client, request_line_and_headers + b"\r\n\r\n")
    assert reply.status == 400
    assert "Error handling request from 127.0.0.1" in caplog.text
    assert "s3cret" not in caplog.text
