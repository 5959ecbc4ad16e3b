import pytest
from fake_agent import FakeAgent, serving

from actors.publish.messages import AddSubscription
from actors.publish.preview_messages import (
    PreviewNewSubscription,
    PreviewSubscription,
    PreviewWarning,
    PublishedTopic,
    SamplePayload,
    SelectedPoint,
    SubscriptionPreviewed,
)

SUBSCRIPTIONS = "/v1/publish/subscriptions"
NEW = {"publish_destination_id": 1, "route_json": {"topic": "plant"}}
PREVIEWED = SubscriptionPreviewed(
    points=[SelectedPoint("a", "b", "m", ["sensors/a/m"])],
    total=2,
    endpoints=1,
    topics=[PublishedTopic("plant", 1)],
    topics_total=1,
    payload=SamplePayload("a", "plant", "tags", "msgpack", 1, 2, base64=b"\x80\x81"),
    warnings=[PreviewWarning("name-changed", "in topics 'a/b' is 'a_b'")],
)


async def test_a_preview_is_answered_as_it_is_made():
    agent = FakeAgent()
    agent.answers[PreviewSubscription] = PREVIEWED
    async with serving(agent) as client:
        reply = await client.get(f"{SUBSCRIPTIONS}/7/preview?limit=1")
        assert reply.status == 200
        assert await reply.json() == {
            "points": [{"endpoint": "a", "device": "b", "metric": "m", "topics": ["sensors/a/m"]}],
            "total": 2,
            "endpoints": 1,
            "topics": [{"topic": "plant", "endpoints": 1}],
            "topics_total": 1,
            "payload": {
                "endpoint": "a",
                "topic": "plant",
                "format": "tags",
                "compression": "msgpack",
                "messages": 1,
                "bytes": 2,
                "text": None,
                "base64": "gIE=",
            },
            "warnings": [{"code": "name-changed", "message": "in topics 'a/b' is 'a_b'"}],
        }
    assert agent.asked[-1] == PreviewSubscription(7, [], 1)


async def test_one_that_is_not_stored_is_previewed_from_its_body():
    agent = FakeAgent()
    agent.answers[PreviewNewSubscription] = PREVIEWED
    async with serving(agent) as client:
        assert (await client.post(f"{SUBSCRIPTIONS}/preview", json=NEW)).status == 200
    added = AddSubscription(1, route_json={"topic": "plant"})
    assert agent.asked[-1] == PreviewNewSubscription(added, [], 100)


@pytest.mark.parametrize("limit", ["0", "1001", "x", "1.5"])
async def test_a_limit_out_of_range_is_400(limit):
    async with serving(FakeAgent()) as client:
        for method, path in (("GET", f"{SUBSCRIPTIONS}/1/preview"), ("POST", f"{SUBSCRIPTIONS}/preview")):
            reply = await client.request(
                method, f"{path}?limit={limit}", json=NEW if method == "POST" else None
            )
            assert (reply.status, (await reply.json())["message"]) == (400, "limit must be 1 to 1000")


async def test_what_cannot_be_previewed_is_answered_as_by_the_other_routes():
    async with serving(FakeAgent()) as client:
        reply = await client.get(f"{SUBSCRIPTIONS}/9/preview")
        assert (reply.status, (await reply.json())["message"]) == (404, "Publish subscription not found: 9")
        reply = await client.get(f"{SUBSCRIPTIONS}/x/preview")
        assert (reply.status, (await reply.json())["message"]) == (400, "Invalid subscription id")
        reply = await client.post(f"{SUBSCRIPTIONS}/preview", json=NEW)
        assert (reply.status, (await reply.json())["message"]) == (404, "Destination not found: 1")
        reply = await client.post(f"{SUBSCRIPTIONS}/preview", json={})
        assert (reply.status, (await reply.json())["field"]) == (400, "publish_destination_id")
