import pytest
from fake_agent import FakeAgent, serving

from actors.endpoints.messages import BrowseDevice
from actors.endpoints.protocol import Browsed, BrowsedNode
from actors.system.failure import Failed
from api.routes.browse import tree

BROWSE = "/v1/discover/opcua/browse"
URL = "opc.tcp://10.0.1.50:4840"


@pytest.fixture
def fake() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
async def client(fake: FakeAgent):
    async with serving(fake) as client:
        yield client


async def test_nodes_come_as_a_tree(client):
    response = await client.post(BROWSE, json={"endpointUrl": URL, "maxDepth": 5})
    assert response.status == 200
    speed = {
        "nodeId": "ns=2;s=Speed",
        "browseName": "Speed",
        "nodeClass": "Variable",
        "dataType": "Double",
        "writable": True,
        "hasChildren": False,
        "children": [],
    }
    plant = speed | {
        "nodeId": "ns=2;s=Plant",
        "browseName": "Plant",
        "nodeClass": "Object",
        "dataType": None,
        "writable": False,
        "hasChildren": True,
        "children": [speed],
    }
    server = plant | {"nodeId": "i=2253", "browseName": "Server", "children": []}
    assert await response.json() == {"endpointUrl": URL, "complete": True, "nodes": [plant, server]}


def test_a_node_that_is_below_itself_is_at_the_top() -> None:
    nodes = tree(Browsed([BrowsedNode("a", "a", "folder", "a"), BrowsedNode("b", "b", "variable", "a")]))
    assert [(one.node_id, [below.node_id for below in one.children]) for one in nodes] == [("a", ["b"])]


async def test_what_it_is_told_is_a_connection_of_that_protocol(client, fake: FakeAgent):
    secret = {"securityMode": "Sign", "securityPolicy": "Basic256Sha256", "username": "u", "password": "p"}
    body = {"endpointUrl": URL, **secret, "connection": {"connectionTimeout": 2000}, "node": "i=84"}
    await client.post(BROWSE, json=body)
    [asked] = [message for message in fake.asked if isinstance(message, BrowseDevice)]
    assert asked.connection == {"endpointUrl": URL, "connectionTimeout": 2000, **secret}
    assert (asked.protocol, asked.request.node, asked.request.depth) == ("opcua", "i=84", 20)


async def test_what_can_be_read_says_how(client, fake: FakeAgent):
    point = {"name": "Speed", "nodeId": "ns=2;s=Speed"}
    node = BrowsedNode("ns=2;s=Speed", "Speed", "Variable", unit="rpm", data_point=point)
    fake.answers[BrowseDevice] = Browsed([node])
    [found] = (await (await client.post(BROWSE, json={"endpointUrl": URL})).json())["nodes"]
    assert (found["unit"], found["dataPoint"]) == ("rpm", point)


async def test_so_many_nodes_at_most(client, fake: FakeAgent):
    await client.post(BROWSE, json={"endpointUrl": URL, "limit": 7})
    [asked] = [message for message in fake.asked if isinstance(message, BrowseDevice)]
    assert asked.request.limit == 7
    for limit in (0, 20_001, "5", None):
        response = await client.post(BROWSE, json={"endpointUrl": URL, "limit": limit})
        assert response.status == 400
        assert (await response.json())["message"] == "limit must be an integer between 1 and 20000"


@pytest.mark.parametrize("depth", [0, 21, "5", 2.5, None])
async def test_the_depth_is_from_1_to_20(client, depth):
    response = await client.post(BROWSE, json={"endpointUrl": URL, "maxDepth": depth})
    assert response.status == 400
    assert (await response.json())["message"] == "maxDepth must be an integer between 1 and 20"


@pytest.mark.parametrize(
    ("kind", "status"), [("invalid", 400), ("internal", 500), ("unavailable", 503), ("not_found", 404)]
)
async def test_refusals(client, fake: FakeAgent, kind, status):
    fake.answers[BrowseDevice] = Failed(kind, "connection refused")
    response = await client.post(BROWSE, json={"endpointUrl": URL})
    assert response.status == status
    assert "connection refused" in await response.text()


async def test_a_protocol_that_has_nothing_to_browse(client):
    response = await client.post("/v1/discover/modbus/browse", json={})
    assert response.status == 501


async def test_a_part_of_it_says_so(client, fake: FakeAgent):
    fake.answers[BrowseDevice] = Browsed([], complete=False)
    response = await client.post(BROWSE, json={"endpointUrl": URL})
    assert await response.json() == {"endpointUrl": URL, "complete": False, "nodes": []}


async def test_objects_of_a_bacnet_device_are_listed_page_by_page(monkeypatch):
    agent = FakeAgent()
    asked = []

    def browsed(message):
        asked.append(message)
        point = {"name": "Supply air", "object": "analog-input:1", "unit": "°C"}
        nodes = [
            BrowsedNode("device:7", "AHU", "device", None, True),
            BrowsedNode(
                "analog-input:1", "Supply air", "analog-input", "device:7", unit="°C", data_point=point
            ),
        ]
        return Browsed(nodes, False)

    agent.answers[BrowseDevice] = browsed
    async with serving(agent) as client:
        reply = await client.get("/v1/discover/bacnet/7/objects?host=10.0.0.5&limit=1&offset=3")
        assert await reply.json() == {
            "deviceInstance": 7,
            "name": "AHU",
            "objects": [
                {
                    "object": "analog-input:1",
                    "name": "Supply air",
                    "type": "analog-input",
                    "unit": "°C",
                    "writable": False,
                    "dataPoint": {"name": "Supply air", "object": "analog-input:1", "unit": "°C"},
                }
            ],
            "offset": 3,
            "complete": False,
        }
        [message] = asked
        assert (message.protocol, message.connection) == ("bacnet", {"deviceInstance": 7, "host": "10.0.0.5"})
        assert (message.request.limit, message.request.skip) == (2, 3)
        assert (await client.get("/v1/discover/bacnet/x/objects")).status == 400
        agent.answers[BrowseDevice] = lambda _: Failed("invalid", "host ::1 is odd", "connection.host")
        reply = await client.get("/v1/discover/bacnet/7/objects?host=::1")
        assert (reply.status, (await reply.json())["field"]) == (400, "host")
