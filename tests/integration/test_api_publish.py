from base64 import b64decode

import pytest
from fake_agent import FakeAgent, serving
from msgspec import UNSET

from actors.publish.messages import (
    ChangeDestination,
    ChangeSubscription,
    DestinationTested,
    ListDeadLetters,
    ListDestinations,
    ListSubscriptions,
    TestDestination,
)
from storage.dead_letters import DeadLetter

DESTINATIONS = "/v1/publish/destinations"
SUBSCRIPTIONS = "/v1/publish/subscriptions"
BROKER = {"name": "broker", "type": "mqtt", "config_json": {"host": "127.0.0.1"}}
ROUTE = {"topic": "iot/plant1/sensors"}


async def _call(client, method, path, body=None):
    reply = await client.request(method, path, json=body)
    return reply.status, await reply.json()


async def test_an_added_destination_is_answered_flat_and_wrapped():
    async with serving(FakeAgent()) as client:
        status, body = await _call(client, "POST", DESTINATIONS, BROKER)
        assert status == 201
        publisher = body.pop("publisher")
        assert body == publisher
        assert body == {
            **BROKER,
            "id": 1,
            "enabled": True,
            "last_error": None,
            "last_error_at": None,
            "created_at": body["created_at"],
            "updated_at": body["updated_at"],
            "status": {
                "health": "connected",
                "rows": 0,
                "bytes": 0,
                "oldest": None,
                "lag_ms": 0,
                "delivered": 0,
                "rejected": 0,
                "dropped_quota": 0,
                "dropped_expired": 0,
            },
        }
        assert await _call(client, "GET", DESTINATIONS) == (200, {"publishers": [body]})


@pytest.mark.parametrize("field", ["name", "type"])
async def test_required_fields_of_a_destination(field):
    async with serving(FakeAgent()) as client:
        body = {key: value for key, value in BROKER.items() if key != field}
        expected = {"error": "Bad request", "message": f"{field} is required", "field": field}
        assert await _call(client, "POST", DESTINATIONS, body) == (400, expected)


@pytest.mark.parametrize("path", [DESTINATIONS, SUBSCRIPTIONS])
@pytest.mark.parametrize(
    ("query", "included"),
    [
        ("", True),
        ("?includeDisabled=false", False),
        ("?includeDisabled=0", True),
        ("?includeDisabled=FALSE", True),
    ],
)
async def test_only_the_literal_false_excludes_what_is_disabled(path, query, included):
    agent = FakeAgent()
    async with serving(agent) as client:
        assert (await client.get(f"{path}{query}")).status == 200
    assert agent.asked[0].include_disabled is included


async def test_a_destination_is_changed_by_the_fields_that_were_sent():
    agent = FakeAgent()
    async with serving(agent) as client:
        await _call(client, "POST", DESTINATIONS, BROKER)
        status, body = await _call(
            client, "PATCH", f"{DESTINATIONS}/1", {"config_json": None, "enabled": False}
        )
        assert (status, body["enabled"], body["config_json"]) == (200, False, None)
        assert body["publisher"]["name"] == "broker"
    assert agent.asked[-1] == ChangeDestination(1, UNSET, UNSET, None, False)


@pytest.mark.parametrize("number", ["x", "1x", "1.5", "99999999999999999999"])
async def test_an_id_that_is_no_number_is_400(number):
    async with serving(FakeAgent()) as client:
        for method in ("PATCH", "DELETE"):
            status, body = await _call(client, method, f"{DESTINATIONS}/{number}")
            assert (status, body["message"]) == (400, "Invalid destination id")
            status, body = await _call(client, method, f"{SUBSCRIPTIONS}/{number}")
            assert (status, body["message"]) == (400, "Invalid subscription id")


async def test_unknown_ids_are_404():
    async with serving(FakeAgent()) as client:
        texts = {
            ("PATCH", DESTINATIONS): "Publisher not found: 9",
            ("DELETE", DESTINATIONS): "Destination not found: 9",
            ("PATCH", SUBSCRIPTIONS): "Publish subscription not found: 9",
            ("DELETE", SUBSCRIPTIONS): "Publish subscription not found: 9",
        }
        for (method, path), text in texts.items():
            expected = (404, {"error": "Not found", "message": text})
            assert await _call(client, method, f"{path}/9", {}) == expected


async def test_a_duplicate_destination_is_409():
    async with serving(FakeAgent()) as client:
        await _call(client, "POST", DESTINATIONS, BROKER)
        assert (await _call(client, "POST", DESTINATIONS, BROKER))[0] == 409


async def test_deleting_answers_deleted():
    async with serving(FakeAgent()) as client:
        await _call(client, "POST", DESTINATIONS, BROKER)
        await _call(client, "POST", SUBSCRIPTIONS, {"publish_destination_id": 1, "route_json": ROUTE})
        assert await _call(client, "DELETE", f"{SUBSCRIPTIONS}/1") == (200, {"deleted": True})
        assert await _call(client, "DELETE", f"{DESTINATIONS}/1") == (200, {"deleted": True})
        assert await _call(client, "GET", DESTINATIONS) == (200, {"publishers": []})


async def test_a_trial_is_always_200():
    agent = FakeAgent()
    async with serving(agent) as client:
        path = f"{DESTINATIONS}/test"
        works = {"ok": True, "message": "TCP reachable at localhost:1883"}
        assert await _call(client, "POST", path, {"type": "mqtt", "config_json": {"host": "h"}}) == (
            200,
            works,
        )
        assert agent.asked[-1] == TestDestination("mqtt", {"host": "h"})
        fails = {"ok": False, "error": 'Connection test not supported for type "x"'}
        assert await _call(client, "POST", path, {"type": "x"}) == (200, fails)
        agent.answers[TestDestination] = DestinationTested(False, error="Invalid or missing token")
        assert await _call(client, "POST", path, {"type": "influxdb"}) == (
            200,
            {"ok": False, "error": "Invalid or missing token"},
        )


@pytest.mark.parametrize("body", [None, {}, {"type": ""}, {"type": None}])
async def test_a_trial_without_a_type_is_400(body):
    async with serving(FakeAgent()) as client:
        expected = (400, {"ok": False, "error": "type is required"})
        reply = await client.post(f"{DESTINATIONS}/test", json=body if body is not None else {})
        assert (reply.status, await reply.json()) == expected


async def test_an_added_subscription_is_answered_flat_and_wrapped():
    async with serving(FakeAgent()) as client:
        await _call(client, "POST", DESTINATIONS, BROKER)
        sent = {"publish_destination_id": 1, "route_json": ROUTE}
        status, body = await _call(client, "POST", SUBSCRIPTIONS, sent)
        assert status == 201
        subscription = body.pop("subscription")
        assert body == subscription
        assert body == {
            **sent,
            "id": 1,
            "topics": [],
            "payload_format": "custom",
            "compression": None,
            "enabled": True,
            "created_at": body["created_at"],
            "updated_at": body["updated_at"],
        }
        assert await _call(client, "GET", SUBSCRIPTIONS) == (200, {"subscriptions": [body]})


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"publish_destination_id": "1"}, 400, "publish_destination_id must be an integer"),
        ({"publish_destination_id": 9}, 404, "Destination not found: 9"),
        ({"topics": "modbus"}, 400, "topics must be an array of strings"),
        ({"topics": [1]}, 400, "topics[0] must be a string"),
        ({"payload_format": "x"}, 400, "Invalid payload_format: x"),
        ({"compression": "x"}, 400, "Invalid compression: x"),
        ({"route_json": {}}, 400, "route_json.topic is required for external destinations"),
    ],
)
async def test_bad_subscriptions(changes, status, message):
    async with serving(FakeAgent()) as client:
        await _call(client, "POST", DESTINATIONS, BROKER)
        body = {"publish_destination_id": 1, "route_json": ROUTE, **changes}
        answered, reply = await _call(client, "POST", SUBSCRIPTIONS, body)
        assert (answered, reply["message"]) == (status, message)


async def test_a_subscription_needs_a_destination():
    async with serving(FakeAgent()) as client:
        status, body = await _call(client, "POST", SUBSCRIPTIONS, {})
        assert (status, body["field"]) == (400, "publish_destination_id")


async def test_a_subscription_is_changed_by_the_fields_that_were_sent():
    agent = FakeAgent()
    async with serving(agent) as client:
        await _call(client, "POST", DESTINATIONS, BROKER)
        await _call(client, "POST", SUBSCRIPTIONS, {"publish_destination_id": 1, "route_json": ROUTE})
        status, body = await _call(
            client, "PATCH", f"{SUBSCRIPTIONS}/1", {"compression": None, "topics": ["a/#"]}
        )
        assert (status, body["topics"], body["subscription"]["topics"]) == (200, ["a/#"], ["a/#"])
    assert agent.asked[-1] == ChangeSubscription(1, topics=["a/#"], compression=None)


async def test_subscriptions_are_filtered_by_destination():
    agent = FakeAgent()
    async with serving(agent) as client:
        assert (await client.get(f"{SUBSCRIPTIONS}?publish_destination_id=2")).status == 200
        assert (await client.get(SUBSCRIPTIONS)).status == 200
        for wrong in ("x", "", "1.5", "99999999999999999999"):
            reply = await client.get(f"{SUBSCRIPTIONS}?publish_destination_id={wrong}")
            assert reply.status == 400
            assert (await reply.json())["message"] == "Invalid publish_destination_id"
    assert agent.asked == [ListSubscriptions(2), ListSubscriptions(None)]


LETTERS = f"{DESTINATIONS}/1/dead-letters"


def _rejecting() -> FakeAgent:
    agent = FakeAgent()
    agent.dead_letters[1] = [
        DeadLetter(12, "t/2", b"\xff\xd8\x00", "field type conflict", 1_705_314_600_000, 1_705_314_601_500),
        DeadLetter(7, "t/1", '{"t":"°C"}'.encode(), "too large", 1_705_314_600_000, 1_705_314_600_000),
    ]
    return agent


async def test_dead_letters_are_listed_with_text_where_they_are_text():
    async with serving(_rejecting()) as client:
        await _call(client, "POST", DESTINATIONS, BROKER)
        first = {
            "seq": 12,
            "topic": "t/2",
            "reason": "field type conflict",
            "createdAt": "2024-01-15T10:30:00.000Z",
            "rejectedAt": "2024-01-15T10:30:01.500Z",
            "bytes": 3,
            "payload": None,
            "payloadBase64": "/9gA",
        }
        status, body = await _call(client, "GET", LETTERS)
        assert (status, body["total"], body["deadLetters"][0]) == (200, 2, first)
        second = body["deadLetters"][1]
        assert (second["payload"], second["bytes"]) == ('{"t":"°C"}', 11)
        assert b64decode(second["payloadBase64"]).decode() == second["payload"]
        assert await _call(client, "GET", f"{LETTERS}?limit=1") == (200, {"deadLetters": [first], "total": 2})


async def test_the_limit_of_dead_letters():
    agent = _rejecting()
    async with serving(agent) as client:
        await _call(client, "POST", DESTINATIONS, BROKER)
        for query, limit in (("", 100), ("?limit=1000", 1000)):
            assert (await _call(client, "GET", f"{LETTERS}{query}"))[0] == 200
            assert agent.asked[-1] == ListDeadLetters(1, limit)
        for wrong in ("0", "1001", "-1", "x", "1.5", ""):
            status, body = await _call(client, "GET", f"{LETTERS}?limit={wrong}")
            assert (status, body["message"], body["field"]) == (400, "limit must be 1 to 1000", "limit")


async def test_dead_letters_are_removed():
    async with serving(_rejecting()) as client:
        await _call(client, "POST", DESTINATIONS, BROKER)
        assert await _call(client, "DELETE", LETTERS) == (200, {"deleted": 2})
        assert await _call(client, "GET", LETTERS) == (200, {"deadLetters": [], "total": 0})
        assert await _call(client, "DELETE", LETTERS) == (200, {"deleted": 0})


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_dead_letters_of_what_is_no_destination(method):
    async with serving(FakeAgent()) as client:
        expected = (404, {"error": "Not found", "message": "Destination not found: 9"})
        assert await _call(client, method, f"{DESTINATIONS}/9/dead-letters") == expected
        status, body = await _call(client, method, f"{DESTINATIONS}/x/dead-letters")
        assert (status, body["message"]) == (400, "Invalid destination id")


async def test_lists_ask_the_publisher_once():
    agent = FakeAgent()
    async with serving(agent) as client:
        await client.get(DESTINATIONS)
    assert agent.asked == [ListDestinations(True)]
