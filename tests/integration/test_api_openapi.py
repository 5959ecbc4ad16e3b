import re
from typing import Any

import pytest
from fake_accounts import TOKEN
from fake_agent import FakeAgent, serving

from api.routing import collect


async def _document(**settings: Any) -> dict[str, Any]:
    async with serving(FakeAgent(), **settings) as client:
        reply = await client.get("/v1/openapi.json", headers={"X-Api-Key": "s3cret"})
        assert reply.status == 200
        return await reply.json()


def _references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


async def test_every_route_is_described():
    document = await _document()
    assert document["openapi"] == "3.1.0"
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, route.path) for route in collect() if not route.hidden}
    assert ("GET", "/v1/endpoints") in described
    assert not any("well-known" in path for path in document["paths"])


async def test_every_reference_and_link_resolves():
    document = await _document()
    schemas = document["components"]["schemas"]
    references = set(_references(document))
    assert "#/components/schemas/Error" in references
    assert {reference.removeprefix("#/components/schemas/") for reference in references} <= schemas.keys()
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    created = document["paths"]["/v1/endpoints"]["post"]["responses"]["201"]["links"]
    assert created.keys() == {"change_endpoint", "remove_endpoint"}
    assert created.keys() <= set(ids)


async def test_every_path_parameter_is_declared():
    document = await _document()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            declared = {item["name"] for item in operation["parameters"] if item["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path))


async def test_bodies_and_queries_are_described():
    paths = (await _document())["paths"]
    add = paths["/v1/endpoints"]["post"]
    assert add["requestBody"]["required"] is True
    assert paths["/v1/endpoints/{uuid}"]["patch"]["requestBody"]["required"] is False
    assert add["responses"].keys() == {"201", "400", "403", "409", "413", "415", "500", "503"}
    (query,) = paths["/v1/endpoints"]["get"]["parameters"]
    assert (query["name"], query["in"], query["required"]) == ("protocol", "query", False)
    (number,) = paths["/v1/publish/destinations/{id}"]["delete"]["parameters"]
    assert number["schema"] == {"type": "integer"}
    assert paths["/v1/actors"]["get"]["responses"]["200"]["content"].keys() == {
        "application/json",
        "text/plain",
    }


async def test_a_stream_of_events_is_described():
    document = await _document()
    stream = document["paths"]["/v1/readings/stream"]["get"]
    assert stream["responses"]["200"]["content"] == {
        "text/event-stream": {
            "schema": {
                "type": "string",
                "contentSchema": {"$ref": "#/components/schemas/ReadingsEvent"},
            }
        }
    }
    assert stream["responses"].keys() == {"200", "400", "403", "500", "503"}
    quality = next(item for item in stream["parameters"] if item["name"] == "quality")
    assert quality["schema"]["items"]["enum"] == ["BAD", "GOOD", "UNCERTAIN"]


async def test_the_key_is_described_only_where_it_is_needed():
    plain = await _document()
    assert plain["components"]["securitySchemes"].keys() == {"session"}
    assert "401" not in plain["paths"]["/v1/device"]["get"]["responses"]
    keyed = await _document(security_mode="API_KEY", key="s3cret")
    assert keyed["components"]["securitySchemes"]["header"]["name"] == "X-Api-Key"
    assert keyed["paths"]["/v1/device"]["get"]["security"] == [{"header": []}, {"query": []}]
    assert "401" in keyed["paths"]["/v1/device"]["get"]["responses"]
    assert keyed["paths"]["/v1/buffer/status"]["get"]["security"] == []
    assert keyed["paths"]["/ping"]["get"]["responses"].keys() == {"200"}


KEYS = [{"header": []}, {"query": []}]
SIGNED_IN = [{"session": []}]
EITHER = SIGNED_IN + KEYS
WITH_BOTH = [{"session": [], "header": []}, {"session": [], "query": []}]


@pytest.mark.parametrize(
    ("settings", "device", "admin", "login", "report"),
    [
        ({}, None, SIGNED_IN, None, None),
        ({"security_mode": "API_KEY", "key": "s3cret"}, KEYS, WITH_BOTH, KEYS, []),
        (
            {"enable_auth": True, "require_session": True, "key": "s3cret"},
            KEYS,
            WITH_BOTH,
            KEYS,
            SIGNED_IN + KEYS,
        ),
        ({"require_session": True, "key": "s3cret"}, EITHER, SIGNED_IN, [], EITHER),
    ],
)
async def test_what_each_route_needs_is_described(settings, device, admin, login, report):
    paths = (await _document(**settings))["paths"]
    described = {
        "/v1/device": device,
        "/v1/admin/users": admin,
        "/v1/auth/me": login,
        "/v1/health/report": report,
    }
    for path, security in described.items():
        operation = paths[path]["get"]
        assert operation.get("security") == security, path
        assert ("401" in operation["responses"]) == (bool(security) or path == "/v1/auth/me")
    assert paths["/v1/auth/login"]["post"]["responses"].keys() >= {"200", "400", "401", "429"}


async def test_a_session_alone_is_described_where_there_is_no_key():
    async with serving(FakeAgent(), require_session=True) as client:
        reply = await client.get("/v1/openapi.json", headers={"Cookie": f"admin_session={TOKEN}"})
        document = await reply.json()
    assert document["paths"]["/v1/device"]["get"]["security"] == SIGNED_IN
    assert document["components"]["securitySchemes"].keys() == {"session"}
