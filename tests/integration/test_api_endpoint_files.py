"""Endpoints in and out as files, over HTTP."""

from typing import Any

import pytest
from fake_agent import FakeAgent, as_json, serving
from test_api_endpoints import PLC

from actors.endpoints.messages import EndpointsImported, ImportFault
from actors.system.failure import Failed

CSV = {"Content-Type": "text/csv"}
FIELDS = {
    "name",
    "protocol",
    "connection",
    "poll_interval",
    "enabled",
    "data_points",
    "metadata",
    "fingerprint",
}
OPEN = {**PLC, "connection": {"host": "10.0.1.100", "port": 502, "unitId": 1}}


def named(name: str, **changes: Any) -> dict[str, Any]:
    return {**OPEN, "name": name, **changes}


async def _refused(client, status: int, **request: Any) -> dict[str, Any]:
    reply = await client.post("/v1/endpoints/import", **request)
    assert reply.status == status
    body: dict[str, Any] = await reply.json()
    return body


@pytest.mark.parametrize("wrap", [lambda some: some, lambda some: {"endpoints": some}])
async def test_an_array_of_endpoints_is_imported(wrap):
    agent = FakeAgent()
    async with serving(agent) as client:
        reply = await client.post("/v1/endpoints/import", json=wrap([named("a"), named("b", enabled=False)]))
        assert reply.status == 201
        assert await reply.json() == {"message": "Imported 2 endpoint(s)", "imported": 2}
    first, second = agent.endpoints.values()
    assert (first.name, second.name, second.enabled) == ("a", "b", False)
    assert first.connection == as_json(OPEN["connection"])


@pytest.mark.parametrize("form", ["json", "csv"])
async def test_what_is_exported_can_be_imported_and_is_the_same(form):
    one, two = FakeAgent(), FakeAgent()
    async with serving(one) as client:
        await client.post(
            "/v1/endpoints/import", json=[named("b"), named("=a", metadata=None, data_points=None)]
        )
        exported = await client.get(f"/v1/endpoints/export?format={form}")
        assert exported.status == 200
        assert exported.headers["Content-Disposition"] == f'attachment; filename="endpoints.{form}"'
        content, kind = await exported.read(), exported.headers["Content-Type"]
    async with serving(two) as client:
        reply = await client.post("/v1/endpoints/import", data=content, headers={"Content-Type": kind})
        assert reply.status == 201, await reply.text()
        again = await client.get(f"/v1/endpoints/export?format={form}")
        assert await again.read() == content


async def test_a_listing_can_be_imported():
    one, two = FakeAgent(), FakeAgent()
    async with serving(one) as client:
        await client.post("/v1/endpoints", json=OPEN)
        listing = await (await client.get("/v1/endpoints")).read()
    async with serving(two) as client:
        json = {"Content-Type": "application/json"}
        reply = await client.post("/v1/endpoints/import", data=listing, headers=json)
        assert reply.status == 201, await reply.text()
    assert [row.name for row in two.endpoints.values()] == [OPEN["name"]]


async def test_an_export_has_what_can_be_imported_and_masks_secrets():
    async with serving(FakeAgent()) as client:
        await client.post("/v1/endpoints", json=PLC)
        (endpoint,) = (await (await client.get("/v1/endpoints/export")).json())["endpoints"]
        assert endpoint.keys() == FIELDS
        assert endpoint["connection"]["password"] == "********"
        assert (await (await client.get("/v1/endpoints/export?protocol=opcua")).json()) == {"endpoints": []}
        body = await _refused(client, 400, json=[{**endpoint, "name": "other"}])
    assert body["errors"] == [
        {
            "row": 1,
            "field": "connection.password",
            "error": "connection.password is masked; send the secret itself",
        }
    ]


async def test_every_fault_is_told_by_row_and_nothing_is_imported():
    agent = FakeAgent()
    async with serving(agent) as client:
        bad = [named("a"), named("b", poll_interval="soon"), 7, {"name": "c"}]
        body = await _refused(client, 400, json=bad)
        assert (body["error"], body["message"]) == ("Bad request", "Nothing was imported: 3 rows at fault")
        assert [(one["row"], one.get("field")) for one in body["errors"]] == [
            (2, "poll_interval"),
            (3, None),
            (4, "protocol"),
        ]
        body = await _refused(client, 400, json=[named("a"), named("b", protocol="nope")])
        assert [(one["row"], one["field"]) for one in body["errors"]] == [(2, "protocol")]
    assert agent.endpoints == {}


async def test_names_that_are_taken_are_a_conflict_if_nothing_else_is_wrong():
    async with serving(FakeAgent()) as client:
        await client.post("/v1/endpoints", json=named("a"))
        body = await _refused(client, 409, json=[named("b"), named("a"), named("b")])
        assert body == {
            "error": "Nothing was imported: 2 rows at fault",
            "errors": [
                {"row": 2, "field": "name", "error": "Endpoint already exists: a"},
                {"row": 3, "field": "name", "error": "Endpoint already exists: b"},
            ],
        }
        await _refused(client, 400, json=[named("a"), named("c", protocol="nope")])


async def test_what_a_protocol_refuses_is_told_by_the_row_and_column_of_the_file():
    agent = FakeAgent()
    fault = ImportFault(0, Failed("invalid", "it is wrong", "data_points[1].register"))
    agent.on_ImportEndpoints = lambda message: EndpointsImported(0, [fault])
    text = "name,protocol,connection.host,point.name\na,modbus,h,p\na,,,q\n"
    async with serving(agent) as client:
        body = await _refused(client, 400, data=text, headers=CSV)
    assert body["errors"] == [{"row": 3, "field": "point.register", "error": "it is wrong"}]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"nonsense", "application/json", 400),
        (b"null", "application/json", 400),
        (b"{}", "application/json", 400),
        (b'{"endpoints": 5}', "application/json", 400),
        (b"", "text/csv", 400),
        (b"\xff", "text/csv", 400),
        (b"name,colour\n", "text/csv", 400),
        (b"name=a", "application/x-www-form-urlencoded", 415),
    ],
)
async def test_what_is_no_file_of_endpoints_is_refused(content, kind, status):
    async with serving(FakeAgent()) as client:
        body = await _refused(client, status, data=content, headers={"Content-Type": kind})
    assert body["error"]


async def test_an_empty_file_imports_nothing():
    async with serving(FakeAgent()) as client:
        reply = await client.post("/v1/endpoints/import", json=[])
        assert (await reply.json())["imported"] == 0


async def test_the_routes_of_files_are_not_taken_for_endpoints_and_endpoints_not_for_them():
    async with serving(FakeAgent()) as client:
        assert (await client.get("/v1/endpoints/export")).status == 200
        assert (await client.get("/v1/endpoints/export?format=xml")).status == 400
        assert (await client.delete("/v1/endpoints/export")).status == 405
        assert (await client.get("/v1/endpoints/import")).status == 405
