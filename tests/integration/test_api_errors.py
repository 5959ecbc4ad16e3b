import asyncio
import logging
from io import BytesIO

import pytest
from fake_agent import SILENT, FakeAgent, as_json, failing, serving

from actors.endpoints.messages import AddEndpoint, ListEndpoints
from actors.subsystems.messages import DescribeAgent
from actors.system.failure import Failed
from api import context

ENDPOINT = {"name": "plc", "protocol": "modbus", "connection": {}}


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("invalid", 400, {"error": "Bad request", "message": "because", "field": "name"}),
        ("read_only", 400, {"error": "Bad request", "message": "because", "field": "name"}),
        ("not_found", 404, {"error": "Not found", "message": "because", "field": "name"}),
        ("conflict", 409, {"error": "because", "field": "name"}),
        ("internal", 500, {"error": "Internal server error", "message": "because", "field": "name"}),
        ("unsupported", 501, {"error": "because", "field": "name"}),
        ("unavailable", 503, {"error": "because", "field": "name"}),
    ],
)
async def test_every_kind_of_refusal_has_its_status(kind, status, body):
    agent = FakeAgent()
    agent.answers[AddEndpoint] = Failed(kind, "because", "name")
    async with serving(agent) as client:
        reply = await client.post("/v1/endpoints", json=ENDPOINT)
        assert reply.status == status
        assert await reply.json() == body


async def test_a_silent_actor_is_503():
    agent = FakeAgent()
    agent.answers[DescribeAgent] = SILENT
    async with serving(agent) as client:
        reply = await client.get("/v1/device")
        assert reply.status == 503
        assert await reply.json() == {"error": "The agent actor did not answer in time"}


@pytest.mark.parametrize("answer", [RuntimeError("secret detail"), failing("x", "y"), Failed])
async def test_a_defect_is_500_without_its_detail_and_the_server_lives_on(answer, caplog):
    caplog.set_level(logging.CRITICAL + 1)
    agent = FakeAgent()
    agent.answers[DescribeAgent] = answer
    async with serving(agent) as client:
        reply = await client.get("/v1/device")
        assert reply.status == 500
        assert (await reply.json())["error"] == "Internal server error"
        assert "secret detail" not in await reply.text()
        assert (await client.get("/ping")).status == 200


async def test_an_unknown_path_is_404_in_json():
    async with serving(FakeAgent()) as client:
        for path in ("/", "/v1", "/v1/nope", "/v1/endpoints/a/b", "/v1/apps", "/v1/adapters//devices"):
            reply = await client.get(path)
            assert reply.status == 404
            assert await reply.json() == {"error": "Not found", "message": f"Cannot GET {path}"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/endpoints", {"DELETE", "GET", "HEAD", "POST"}),
        ("POST", "/ping", {"GET", "HEAD"}),
        ("PATCH", "/v1/publish/destinations/test", {"POST"}),
        ("GET", "/v1/publish/destinations/1", {"DELETE", "PATCH"}),
        ("TRACE", "/v1/device", {"GET", "HEAD"}),
    ],
)
async def test_a_wrong_method_is_405_with_the_right_ones(method, path, allowed):
    async with serving(FakeAgent()) as client:
        reply = await client.request(method, path)
        assert reply.status == 405
        assert set(reply.headers["Allow"].split(", ")) == allowed
        assert (await reply.json())["error"] == "Method not allowed"


async def test_head_is_get_without_a_body():
    async with serving(FakeAgent()) as client:
        reply = await client.head("/v1/device")
        assert reply.status == 200
        assert await reply.read() == b""


async def _post(client, raw, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = await client.post(
        "/v1/endpoints", data=raw, headers={"Content-Type": "application/json", **headers}
    )
    return reply.status, await reply.json()


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"{", None),
        (b"[]", None),
        (b"", "name"),
        (b'{"name": "a", "protocol": "modbus", "connection": 3}', "connection"),
        (b'{"name": "a\\u0000", "protocol": "modbus", "connection": {}}', "name"),
        (b'{"name": "\\ud800", "protocol": "modbus", "connection": {}}', None),
        (
            b'{"name": "a", "protocol": "modbus", "connection": {"port": 99999999999999999999}}',
            "connection.port",
        ),
        (b'{"name": "a", "protocol": "modbus", "connection": {}, "poll_interval": "soon"}', "poll_interval"),
        (b"[" * 300_000, None),
        (b'{"name": "\xff"}', None),
    ],
)
async def test_a_bad_body_is_400_and_nothing_is_asked(raw, field):
    agent = FakeAgent()
    async with serving(agent) as client:
        status, body = await _post(client, raw)
        assert status == 400
        assert body["error"] == "Bad request"
        assert body.get("field") == field
        assert agent.asked == []


async def test_a_bad_charset_or_coding_is_415():
    async with serving(FakeAgent()) as client:
        assert (await _post(client, b"{}", Content_Type="application/json; charset=klingon"))[0] == 415
        assert (await _post(client, b"{}", Content_Type="text/xml"))[0] == 415
        assert (await _post(client, b"not gzip", Content_Encoding="gzip"))[0] == 415


async def test_a_body_may_have_ten_megabytes_and_no_more():
    async with serving(FakeAgent()) as client:
        head = b'{"name": "a", "protocol": "modbus", "connection": {}, "x": "'
        fitting = head + b"x" * (10 * 1024 * 1024 - len(head) - 2) + b'"}'
        assert (await _post(client, BytesIO(fitting)))[0] == 201
        status, body = await _post(client, BytesIO(fitting + b" "))
        assert status == 413
        assert body["error"] == "Payload too large"


async def test_a_form_is_accepted_where_json_is():
    agent = FakeAgent()
    async with serving(agent) as client:
        form = {"name": "plc", "protocol": "modbus", "connection": '{"host": "x"}', "enabled": "false"}
        reply = await client.post("/v1/endpoints", data=form)
        assert reply.status == 201
        (row,) = agent.endpoints.values()
        assert (row.connection, row.enabled, row.poll_interval) == (as_json({"host": "x"}), False, 5000)


async def test_a_nul_in_a_path_is_400():
    async with serving(FakeAgent()) as client:
        reply = await client.patch("/v1/endpoints/a%00b", json={"enabled": True})
        assert reply.status == 400
        assert (await reply.json())["field"] == "uuid"


async def test_requests_do_not_wait_for_each_other():
    agent = FakeAgent()
    asked, release = asyncio.Event(), asyncio.Event()

    async def slow(target, message):
        if isinstance(message, ListEndpoints):
            asked.set()
            await release.wait()
        return await FakeAgent.ask(agent, target, message)

    agent.ask = slow
    async with serving(agent) as client:
        waiting = asyncio.create_task(client.get("/v1/endpoints"))
        await asked.wait()
        assert (await client.get("/v1/device")).status == 200
        release.set()
        assert (await waiting).status == 200


async def test_a_peek_gives_up_on_an_actor_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(context, "PEEK_SECONDS", 0.01)

    async def never(target, message):
        await asyncio.Event().wait()

    asking = context.Context(never, never)
    assert await asking.peek("agent", DescribeAgent(), object) is None
