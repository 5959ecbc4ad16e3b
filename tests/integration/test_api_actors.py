from fake_agent import FakeAgent, node, serving

from actors.system.messages import DumpTree, TreeDumped


async def test_the_tree_is_nested():
    agent = FakeAgent()
    child = node("plc", health="connected", restarts=1, last_error="ValueError")
    agent.answers[DumpTree] = TreeDumped(node("agent", children=[child]), 0.25, 12.0)
    async with serving(agent) as client:
        body = await (await client.get("/v1/actors")).json()
    assert (body["loopLagMs"], body["loopLagMaxMs"]) == (0.25, 12.0)
    assert body["root"]["name"] == "agent"
    assert body["root"]["children"] == [
        {
            "name": "plc",
            "class": "Plc",
            "address": "/plc",
            "state": "running",
            "health": "connected",
            "uptime": 65.0,
            "mailbox": 0,
            "mailboxHigh": 3,
            "mailboxDropped": 0,
            "handled": 42,
            "meanMs": 0.05,
            "maxMs": 1.5,
            "restarts": 1,
            "lastError": "ValueError",
            "children": [],
        }
    ]


async def test_the_tree_is_text_on_request():
    async with serving(FakeAgent()) as client:
        reply = await client.get("/v1/actors?format=text")
        assert (reply.status, reply.content_type) == (200, "text/plain")
        assert "├── store" in await reply.text()
        assert (await client.get("/v1/actors?format=xml")).status == 400
