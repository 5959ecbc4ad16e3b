from typing import Any

import pytest
from fake_agent import NOW, NOW_MS, Client, FakeAgent, serving

from actors.endpoints.messages import Tried, TriedValue, TryEndpoint
from actors.system.failure import Failed

TEST = "/v1/endpoints/test"
CONNECTION = {"host": "10.0.1.7", "port": 502}
GIVEN = {"protocol": "modbus", "connection": CONNECTION}


@pytest.fixture
def fake() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
async def client(fake: FakeAgent):
    async with serving(fake) as client:
        yield client


async def tested(client: Client, **more: Any) -> Any:
    response = await client.post(TEST, json=GIVEN | more)
    assert response.status == 200
    return await response.json()


async def test_values_come_with_what_is_known_of_them(client: Client):
    assert await tested(client, data_points=[{"name": "speed"}]) == {
        "ok": True,
        "values": [{"name": "speed", "value": 7, "unit": "rpm", "quality": "GOOD", "timestamp": NOW}],
        "duration_ms": 12.3,
        "message": "1 of 1 values are good",
    }


async def test_what_is_asked_is_what_an_endpoint_would_be(client: Client, fake: FakeAgent):
    await tested(client, name="plc", enabled=False, poll_interval=100, data_points=None)
    assert fake.asked == [TryEndpoint("modbus", CONNECTION, [])]


async def test_a_device_that_is_not_there_is_no_error_of_the_request(client: Client, fake: FakeAgent):
    fake.answers[TryEndpoint] = Tried([], 2000.0, "it refuses the connection", "CONNECTION_REFUSED")
    assert await tested(client) == {
        "ok": False,
        "values": [],
        "duration_ms": 2000.0,
        "error": "it refuses the connection",
        "quality_code": "CONNECTION_REFUSED",
    }


async def test_a_device_of_which_nothing_can_be_read_is_not_ok(client: Client, fake: FakeAgent):
    fake.answers[TryEndpoint] = Tried([TriedValue("pump", "speed", None, None, "ILLEGAL_ADDRESS", NOW_MS)], 5)
    reply = await tested(client)
    assert (reply["ok"], reply["error"]) == (False, "no data point can be read: ILLEGAL_ADDRESS")
    assert reply["values"] == [
        {
            "name": "speed",
            "value": None,
            "quality": "BAD",
            "quality_code": "ILLEGAL_ADDRESS",
            "timestamp": NOW,
            "device": "pump",
        }
    ]


async def test_a_device_that_has_said_nothing_yet_is_ok_and_the_answer_says_so(
    client: Client, fake: FakeAgent
):
    fake.answers[TryEndpoint] = Tried([TriedValue(None, "speed", None, None, "NO_VALUE", None)], 5000)
    reply = await tested(client)
    assert (reply["ok"], reply["message"]) == (True, "connected; nothing has been told so far")
    assert reply["values"] == [{"name": "speed", "value": None, "quality": "BAD", "quality_code": "NO_VALUE"}]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "protocol"),
        ({"protocol": "modbus"}, "connection"),
        ({"protocol": "modbus", "connection": []}, "connection"),
        ({"protocol": "modbus", "connection": {}}, "connection.host"),
        ({"protocol": "profibus", "connection": {}}, "protocol"),
        (GIVEN | {"data_points": {}}, "data_points"),
        (GIVEN | {"data_points": [7]}, "data_points[0]"),
    ],
)
async def test_what_no_endpoint_can_be_is_refused_by_the_field(client: Client, body: Any, field: str):
    response = await client.post(TEST, json=body)
    assert response.status == 400
    assert (await response.json())["field"] == field


async def test_json_need_not_say_that_it_is(client: Client, fake: FakeAgent):
    """As `curl -d` sends it."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for body in (
        '{"protocol": "modbus", "connection": {"host": "h"}}',
        ' {"protocol":"modbus","connection":{"host":"h"}}',
    ):
        response = await client.post(TEST, data=body, headers=headers)
        assert response.status == 200, await response.text()
    for body in ("{", "[]", ' [{"protocol": "modbus"}]'):
        response = await client.post(TEST, data=body, headers=headers)
        assert response.status == 400
        assert "JSON" in (await response.json())["message"], "and no form of fields that nobody knows"
    assert fake.asked == [TryEndpoint("modbus", {"host": "h"}, [])] * 2


async def test_too_many_at_once(client: Client, fake: FakeAgent):
    fake.answers[TryEndpoint] = Failed("unavailable", "4 endpoints are being tried; try again")
    response = await client.post(TEST, json=GIVEN)
    assert response.status == 503


async def test_one_that_there_is_by_uuid_or_name(client: Client):
    body = {"name": "plc 1", "protocol": "modbus", "connection": CONNECTION}
    uuid = (await (await client.post("/v1/endpoints", json=body)).json())["uuid"]
    for key in (uuid, "plc%201"):
        response = await client.post(f"/v1/endpoints/{key}/test")
        assert (response.status, (await response.json())["error"]) == (200, "connection refused")
    response = await client.post("/v1/endpoints/nobody/test")
    assert response.status == 404
