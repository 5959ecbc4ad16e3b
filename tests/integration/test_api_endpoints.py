import pytest
from fake_agent import NOW, SILENT, FakeAgent, as_json, serving

from actors.endpoints.messages import ChangeEndpoint, ListEndpoints, ReportHealth

PLC = {
    "name": "plc-line-1",
    "protocol": "modbus",
    "connection": {"host": "10.0.1.100", "port": 502, "unitId": 1, "password": "s3cret"},
    "data_points": [{"name": "speed", "register": "holding:0", "type": "uint16", "scale": 0.1}],
    "metadata": {"location": "Assembly Line 1"},
}
ROW_KEYS = {
    "id",
    "uuid",
    "fingerprint",
    "name",
    "protocol",
    "groupName",
    "enabled",
    "poll_interval",
    "connection",
    "data_points",
    "metadata",
    "lastSeenAt",
    "created_at",
    "updated_at",
}


async def _add(client, **changes):
    reply = await client.post("/v1/endpoints", json={**PLC, **changes})
    assert reply.status == 201
    return await reply.json()


async def _list(client, path="/v1/endpoints"):
    reply = await client.get(path)
    assert reply.status == 200
    return (await reply.json())["endpoints"]


async def test_an_added_endpoint_is_answered_flat_and_wrapped():
    agent = FakeAgent()
    async with serving(agent) as client:
        body = await _add(client)
    endpoint = body.pop("endpoint")
    assert body == endpoint
    assert body.keys() == ROW_KEYS
    assert body["poll_interval"] == 5000
    assert body["enabled"] is True
    assert body["connection"] == {**PLC["connection"], "password": "********"}
    (row,) = agent.endpoints.values()
    assert row.connection == as_json(PLC["connection"])
    assert (body["data_points"], body["metadata"]) == (PLC["data_points"], PLC["metadata"])


async def test_a_topic_of_the_connection_is_answered_too():
    async with serving(FakeAgent()) as client:
        assert (await _add(client, connection={"topic": "a/#"}))["topic"] == "a/#"


@pytest.mark.parametrize("field", ["name", "protocol", "connection"])
async def test_required_fields(field):
    async with serving(FakeAgent()) as client:
        reply = await client.post("/v1/endpoints", json={k: v for k, v in PLC.items() if k != field})
        assert reply.status == 400
        assert await reply.json() == {
            "error": "Bad request",
            "message": f"{field} is required",
            "field": field,
        }


async def test_a_name_is_taken_once():
    async with serving(FakeAgent()) as client:
        await _add(client)
        reply = await client.post("/v1/endpoints", json=PLC)
        assert reply.status == 409
        assert (await reply.json())["error"] == "Endpoint already exists: plc-line-1"


async def test_the_list_is_sorted_and_has_live_health():
    async with serving(FakeAgent()) as client:
        await _add(client, name="b")
        await _add(client, name="a")
        first, second = await _list(client)
    assert (first["name"], second["name"]) == ("a", "b")
    assert first.keys() == ROW_KEYS | {"health"}
    assert first["health"] == {
        "status": "connected",
        "connected": True,
        "communicationQuality": 98.5,
        "quality": "good",
        "lastSeen": NOW,
        "lastPoll": NOW,
        "lastError": None,
        "responseTimeMs": 12.0,
    }
    assert first["lastSeenAt"] == NOW


async def test_a_disabled_endpoint_says_so_and_is_not_asked():
    agent = FakeAgent()
    async with serving(agent) as client:
        await _add(client, enabled=False)
        (row,) = await _list(client)
    assert row["health"]["status"] == "disabled"
    assert (row["health"]["connected"], row["health"]["communicationQuality"]) == (False, 0)
    assert row["lastSeenAt"] is None
    assert not any(isinstance(message, ReportHealth) for message in agent.asked)


async def test_an_endpoint_that_does_not_answer_has_no_health():
    agent = FakeAgent()
    agent.answers[ReportHealth] = SILENT
    async with serving(agent) as client:
        await _add(client)
        (row,) = await _list(client)
    assert row.keys() == ROW_KEYS
    assert row["lastSeenAt"] is None


@pytest.mark.parametrize(("query", "asked"), [("", None), ("?protocol=", None), ("?protocol=opcua", "opcua")])
async def test_the_list_is_filtered_by_protocol(query, asked):
    agent = FakeAgent()
    async with serving(agent) as client:
        await _list(client, f"/v1/endpoints{query}")
    assert agent.asked == [ListEndpoints(asked)]


@pytest.mark.parametrize("key", ["uuid", "name"])
async def test_an_endpoint_is_changed_by_uuid_or_name(key):
    async with serving(FakeAgent()) as client:
        added = await _add(client, name="Öl / 1")
        path = f"/v1/endpoints/{added[key].replace('/', '%2F').replace(' ', '%20')}"
        reply = await client.patch(path, json={"enabled": False, "poll_interval": 10000})
        assert reply.status == 200
        body = await reply.json()
        assert (body["enabled"], body["poll_interval"]) == (False, 10000)
        assert body["endpoint"]["enabled"] is False


async def test_only_two_fields_of_a_patch_are_read():
    agent = FakeAgent()
    async with serving(agent) as client:
        uuid = (await _add(client))["uuid"]
        await client.patch(f"/v1/endpoints/{uuid}", json={"enabled": False, "name": "x", "connection": 5})
        await client.patch(f"/v1/endpoints/{uuid}")
    assert agent.asked[-2:] == [ChangeEndpoint(uuid, False), ChangeEndpoint(uuid)]


@pytest.mark.parametrize(
    "patch",
    [{"enabled": "no"}, {"enabled": 1}, {"enabled": None}, {"poll_interval": "5"}, {"poll_interval": 0.5}],
)
async def test_wrong_types_in_a_patch_are_400(patch):
    async with serving(FakeAgent()) as client:
        reply = await client.patch("/v1/endpoints/plc", json=patch)
        assert reply.status == 400
        assert (await reply.json())["field"] == next(iter(patch))


async def test_an_unknown_endpoint_is_404():
    async with serving(FakeAgent()) as client:
        reply = await client.patch("/v1/endpoints/nope", json={"enabled": True})
        assert reply.status == 404
        assert await reply.json() == {"error": "Not found", "message": "Endpoint not found: nope"}
        assert (await client.delete("/v1/endpoints/nope")).status == 404


async def test_endpoints_are_removed_one_by_one_or_all():
    async with serving(FakeAgent()) as client:
        uuid = (await _add(client, name="a"))["uuid"]
        await _add(client, name="b")
        await _add(client, name="c")
        reply = await client.delete(f"/v1/endpoints/{uuid}")
        assert (reply.status, await reply.json()) == (200, {"message": "Endpoint removed"})
        reply = await client.delete("/v1/endpoints")
        assert (reply.status, await reply.json()) == (200, {"message": "Removed 2 endpoint(s)", "removed": 2})
        assert await _list(client) == []


async def test_devices_are_listed():
    async with serving(FakeAgent()) as client:
        uuid = (await _add(client))["uuid"]
        reply = await client.get("/v1/devices?protocol=modbus")
        assert await reply.json() == {
            "devices": [
                {
                    "uuid": f"device-of-{uuid}",
                    "endpoint_id": 1,
                    "name": "plc-line-1",
                    "protocol": "modbus",
                    "enabled": True,
                    "identifier": "1",
                    "metadata": None,
                    "lastSeenAt": NOW,
                    "created_at": NOW,
                    "updated_at": NOW,
                }
            ]
        }
        assert await (await client.get("/v1/devices?protocol=opcua")).json() == {"devices": []}
