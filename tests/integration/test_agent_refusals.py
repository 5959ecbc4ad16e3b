"""What the real agent refuses: with which status, naming which field, and changing nothing."""

import socket
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from servers.agent import AgentProcess

NOBODY = "00000000-0000-4000-8000-000000000000"
POINT = {"name": "speed", "register": "holding:0"}
ENDPOINT = {
    "name": "new",
    "protocol": "modbus",
    "connection": {"host": "127.0.0.1", "port": 1},
    "data_points": [POINT],
}
INFLUX = {"url": "http://127.0.0.1:1", "org": "o", "bucket": "b", "token": "t"}
DESTINATION = {"name": "new", "type": "mqtt", "config_json": {"host": "127.0.0.1", "port": 1}}


def endpoint(**changes: Any) -> dict[str, Any]:
    return ENDPOINT | changes


def connection(**changes: Any) -> dict[str, Any]:
    return endpoint(connection=ENDPOINT["connection"] | changes)


def point(*without: str, **changes: Any) -> dict[str, Any]:
    changed = {key: value for key, value in (POINT | changes).items() if key not in without}
    return endpoint(data_points=[{"name": "other", "register": "holding:9"}, changed])


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


def config(**changes: Any) -> dict[str, Any]:
    return DESTINATION | {"config_json": DESTINATION["config_json"] | changes}


def subscription(**changes: Any) -> dict[str, Any]:
    return {"publish_destination_id": "KEPT", "route_json": {"topic": "t"}} | changes


ENDPOINTS, DESTINATIONS = "/v1/endpoints", "/v1/publish/destinations"
SUBSCRIPTIONS, WRITE = "/v1/publish/subscriptions", "/v1/adapters/modbus/devices/kept/write"

REFUSALS: list[tuple[str, str, Any, int, str | None]] = [
    # Bodies that are no bodies
    *(
        (method, path, raw, 400, None)
        for method, path in [
            ("POST", ENDPOINTS),
            ("PATCH", f"{ENDPOINTS}/kept"),
            ("POST", DESTINATIONS),
            ("PATCH", f"{DESTINATIONS}/KEPT"),
            ("POST", SUBSCRIPTIONS),
            ("POST", WRITE),
        ]
        for raw in (
            b"{",
            b"nonsense",
            b"\xff\xfe",
            b"[]",
            b"null",
            b"3",
            b'"text"',
            b'{"a": 1,}',
            b"[" * 5000,
        )
    ),
    ("POST", ENDPOINTS, b'{"name": "\\ud800", "protocol": "modbus", "connection": {}}', 400, None),
    ("POST", ENDPOINTS, b"{}", 400, "name"),
    # Endpoints: missing and wrong fields
    ("POST", ENDPOINTS, without(ENDPOINT, "name"), 400, "name"),
    ("POST", ENDPOINTS, without(ENDPOINT, "protocol"), 400, "protocol"),
    ("POST", ENDPOINTS, without(ENDPOINT, "connection"), 400, "connection"),
    *(
        ("POST", ENDPOINTS, endpoint(name=bad), 400, "name")
        for bad in ("", " ", "x" * 201, 7, None, ["a"], "a\0b", "a\r\nb", "a\x1b[2J")
    ),
    *(
        ("POST", ENDPOINTS, endpoint(protocol=bad), 400, "protocol")
        for bad in ("", "profibus", "Modbus", 7, None)
    ),
    *(("POST", ENDPOINTS, endpoint(connection=bad), 400, "connection") for bad in ("host", [], None, 7)),
    *(
        ("POST", ENDPOINTS, endpoint(poll_interval=bad), 400, "poll_interval")
        for bad in (0, -1, 9, 86_400_001, 10**30, 1.5, "1000", True, None)
    ),
    *(("POST", ENDPOINTS, endpoint(enabled=bad), 400, "enabled") for bad in ("true", 1, None, [])),
    *(("POST", ENDPOINTS, endpoint(data_points=bad), 400, "data_points") for bad in ({}, "points", 7)),
    *(("POST", ENDPOINTS, endpoint(data_points=[bad]), 400, "data_points[0]") for bad in ("point", 7, None)),
    *(("POST", ENDPOINTS, endpoint(metadata=bad), 400, "metadata") for bad in ([], "text", 7)),
    ("POST", ENDPOINTS, endpoint(fingerprint=7), 400, "fingerprint"),
    ("POST", ENDPOINTS, endpoint(name="kept"), 409, "name"),
    # Endpoints: slips of the pen
    ("POST", ENDPOINTS, endpoint(poll_intervall=1000), 400, "poll_intervall"),
    *(
        ("POST", ENDPOINTS, without(ENDPOINT, "data_points") | {bad: [POINT]}, 400, bad)
        for bad in ("datapoints", "dataPoints", "data_point")
    ),
    ("PATCH", f"{ENDPOINTS}/kept", {"enable": False}, 400, "enable"),
    ("PATCH", f"{ENDPOINTS}/kept", {"pollInterval": 5000}, 400, "pollInterval"),
    # Endpoints: connections
    ("POST", ENDPOINTS, endpoint(connection={}), 400, "connection.host"),
    *(("POST", ENDPOINTS, connection(host=bad), 400, "connection.host") for bad in ("", 7, None, [])),
    *(
        ("POST", ENDPOINTS, connection(port=bad), 400, "connection.port")
        for bad in (0, -1, 65536, 1.5, "modbus", True, [])
    ),
    *(("POST", ENDPOINTS, connection(unitId=bad), 400, "connection.unitId") for bad in (-1, 256, "one", 1.5)),
    *(("POST", ENDPOINTS, connection(slaveId=bad), 400, "connection.slaveId") for bad in (-1, 256, "one")),
    *(("POST", ENDPOINTS, connection(timeout=bad), 400, "connection.timeout") for bad in (99, 30001, "soon")),
    ("POST", ENDPOINTS, connection(type="carrier pigeon"), 400, "connection.type"),
    # Endpoints: data points
    ("POST", ENDPOINTS, point("name"), 400, "data_points[1].name"),
    ("POST", ENDPOINTS, point("register"), 400, "data_points[1].register"),
    *(("POST", ENDPOINTS, point(name=bad), 400, "data_points[1].name") for bad in ("", 7, None, "other")),
    *(
        ("POST", ENDPOINTS, point(register=bad), 400, "data_points[1].register")
        for bad in ("", "holding", "holding:", "holding:x", "holding:65536", "holding:-1", "drum:1", 7)
    ),
    *(("POST", ENDPOINTS, point(type=bad), 400, "data_points[1].type") for bad in ("int7", 7)),
    *(
        ("POST", ENDPOINTS, point("register", address=bad, functionCode=3), 400, "data_points[1].address")
        for bad in (-1, 65536, "zero", 1.5)
    ),
    *(
        (
            "POST",
            ENDPOINTS,
            point("register", address=1, functionCode=bad),
            400,
            "data_points[1].functionCode",
        )
        for bad in (0, 5, "three")
    ),
    ("POST", ENDPOINTS, point(byteOrder="ABBA"), 400, "data_points[1].byteOrder"),
    *(("POST", ENDPOINTS, point(scale=bad), 400, "data_points[1].scale") for bad in ("much", 0, [])),
    # Endpoints: keys that are not known
    *(
        ("POST", ENDPOINTS, connection(**{bad: 1}), 400, f"connection.{bad}")
        for bad in ("prot", "Port", "unit_id", "anything")
    ),
    ("POST", ENDPOINTS, connection(slaveRange={"start": 1, "stop": 2}), 400, "connection.slaveRange.stop"),
    *(
        ("POST", ENDPOINTS, point(**{bad: 0.1}), 400, f"data_points[1].{bad}")
        for bad in ("scaling", "byte_order", "multiplicator", "Name")
    ),
    # Changing endpoints
    *(
        ("PATCH", f"{ENDPOINTS}/kept", {"poll_interval": bad}, 400, "poll_interval")
        for bad in (0, -1, 9, 86_400_001, 1.5, "1000", None, True)
    ),
    *(("PATCH", f"{ENDPOINTS}/kept", {"enabled": bad}, 400, "enabled") for bad in ("false", 0, None)),
    ("PATCH", f"{ENDPOINTS}/kept", {"enabled": False, "poll_interval": 0}, 400, "poll_interval"),
    ("PATCH", f"{ENDPOINTS}/nobody", {"enabled": False}, 404, None),
    ("PATCH", f"{ENDPOINTS}/{NOBODY}", {}, 404, None),
    ("DELETE", f"{ENDPOINTS}/{NOBODY}", None, 404, None),
    ("DELETE", f"{ENDPOINTS}/kept", None, 404, None),
    # Writing
    ("POST", WRITE, {"value": 1}, 400, "register"),
    ("POST", WRITE, {"register": "", "value": 1}, 400, "register"),
    ("POST", WRITE, {"register": 7, "value": 1}, 400, "register"),
    ("POST", WRITE, {"register": "speed"}, 400, "value"),
    ("POST", WRITE, {"register": "speed", "value": None}, 400, "value"),
    ("POST", WRITE.replace("kept", "nobody"), {"register": "speed", "value": 1}, 404, None),
    ("POST", WRITE.replace("modbus", "opcua"), {"register": "speed", "value": 1}, 404, None),
    ("GET", "/v1/adapters/opcua/devices", None, 404, None),
    ("GET", "/v1/adapters/modbus/devices/nobody", None, 404, None),
    ("GET", "/v1/adapters/modbus/devices/nobody/metrics", None, 404, None),
    # Destinations
    ("POST", DESTINATIONS, b"{}", 400, "name"),
    ("POST", DESTINATIONS, without(DESTINATION, "name"), 400, "name"),
    ("POST", DESTINATIONS, without(DESTINATION, "type"), 400, "type"),
    *(
        ("POST", DESTINATIONS, DESTINATION | {"name": bad}, 400, "name")
        for bad in ("", " ", 7, None, "x" * 201, "a\nb")
    ),
    *(
        ("POST", DESTINATIONS, DESTINATION | {"type": bad}, 400, "type")
        for bad in ("", "kafka", 7, None, "MQTT", "timescaledb")
    ),
    *(
        ("POST", DESTINATIONS, DESTINATION | {"config_json": bad}, 400, "config_json")
        for bad in ([], "host", 7)
    ),
    *(("POST", DESTINATIONS, DESTINATION | {"enabled": bad}, 400, "enabled") for bad in ("true", 1, None)),
    *(
        ("POST", DESTINATIONS, config(port=bad), 400, "config_json.port")
        for bad in (0, -1, 65536, "many", 1.5, True)
    ),
    ("POST", DESTINATIONS, DESTINATION | {"config_json": {}}, 400, "config_json.host"),
    *(
        ("POST", DESTINATIONS, config(host=bad), 400, "config_json.host")
        for bad in ("h:1883", "mqtt://h", "u@h", "[::1]", "h/x", "a b", "127.1", "a..b", "h\r\nx", "a" * 64)
    ),
    *(
        (
            "POST",
            DESTINATIONS,
            DESTINATION | {"config_json": {"brokerUrl": bad}},
            400,
            "config_json.brokerUrl",
        )
        for bad in (
            "mqtt://h?x=y",
            "mqtt://h#x",
            "mqtt://h\tx",
            "ws://h/a\nb",
            "mqtt://300.1.1.1",
            "http://h",
        )
    ),
    ("POST", DESTINATIONS, DESTINATION | {"name": "kept"}, 409, "name"),
    *(("PATCH", f"{DESTINATIONS}/{bad}", {}, 400, "id") for bad in ("x", "1.5", "0x1", str(10**20), "-")),
    ("PATCH", f"{DESTINATIONS}/999999", {}, 404, None),
    *(("PATCH", f"{DESTINATIONS}/KEPT", {"type": bad}, 400, "type") for bad in ("kafka", "")),
    # What is configured for one type is not enough for another
    *(
        ("PATCH", f"{DESTINATIONS}/KEPT", {"type": type}, 400, f"config_json.{field}")
        for type, field in (
            ("influxdb", "url"),
            ("azure", "hostName"),
            ("aws-iot", "endpoint"),
            ("gcp-iot", "clientId"),
        )
    ),
    *(
        ("POST", DESTINATIONS, {"name": "new", "type": "influxdb", "config_json": bad}, 400, field)
        for bad, field in (
            (INFLUX | {"url": "influx"}, "config_json.url"),
            (INFLUX | {"token": ""}, "config_json.token"),
            (INFLUX | {"precision": "min"}, "config_json.precision"),
            (INFLUX | {"batchSize": 0}, "config_json.batchSize"),
        )
    ),
    ("POST", DESTINATIONS, config(topicTemplate="a/{b}"), 400, "config_json.topicTemplate"),
    *(
        ("POST", DESTINATIONS, {"name": "new", "type": type, "config_json": bad}, 400, f"config_json.{field}")
        for type, bad, field in (
            ("mqtt", {"hots": "h"}, "hots"),
            ("mqtt", {"host": "h", "user_name": "u"}, "user_name"),
            ("influxdb", INFLUX | {"batchsize": 5}, "batchsize"),
            ("azure-iot", {"hostName": "h", "auth": {"usernme": "u"}}, "auth.usernme"),
            ("aws", {"endpoint": "h", "auth": {"certificate": "x"}}, "auth.certificate"),
            ("gcp-iot", {"clientId": "c", "jwt": "a.b.c"}, "jwt"),
            ("iotistica", {"brokerUrl": "mqtt://h"}, "brokerUrl"),
        )
    ),
    ("PATCH", f"{DESTINATIONS}/KEPT", {"config_json": {"host": "h", "prt": 1}}, 400, "config_json.prt"),
    ("POST", DESTINATIONS, config(maxPayloadBytes=0), 400, "config_json.maxPayloadBytes"),
    ("GET", f"{DESTINATIONS}/999999/dead-letters", None, 404, None),
    ("GET", f"{DESTINATIONS}/KEPT/dead-letters?limit=0", None, 400, "limit"),
    ("DELETE", f"{DESTINATIONS}/999999/dead-letters", None, 404, None),
    ("PATCH", f"{DESTINATIONS}/KEPT", {"name": ""}, 400, "name"),
    ("PATCH", f"{DESTINATIONS}/KEPT", {"name": "other"}, 409, "name"),
    ("PATCH", f"{DESTINATIONS}/KEPT", {"config_json": {"host": "h", "port": 0}}, 400, "config_json.port"),
    ("DELETE", f"{DESTINATIONS}/999999", None, 404, None),
    ("DELETE", f"{DESTINATIONS}/x", None, 400, "id"),
    # Subscriptions
    ("POST", SUBSCRIPTIONS, b"{}", 400, "publish_destination_id"),
    *(
        ("POST", SUBSCRIPTIONS, subscription(publish_destination_id=bad), 400, "publish_destination_id")
        for bad in ("x", None, 1.5, True, [])
    ),
    ("POST", SUBSCRIPTIONS, subscription(publish_destination_id=999_999), 404, "publish_destination_id"),
    *(("POST", SUBSCRIPTIONS, subscription(topics=bad), 400, "topics") for bad in ("modbus", {}, 7, None)),
    ("POST", SUBSCRIPTIONS, subscription(topics=["ok", 7]), 400, "topics[1]"),
    *(("POST", SUBSCRIPTIONS, subscription(topics=["ok", bad]), 400, "topics[1]") for bad in ("a/#/b", "a+")),
    *(
        ("POST", SUBSCRIPTIONS, subscription(payload_format=bad), 400, "payload_format")
        for bad in ("xml", "", 7, None)
    ),
    *(("POST", SUBSCRIPTIONS, subscription(compression=bad), 400, "compression") for bad in ("zip", "", 7)),
    *(
        ("POST", SUBSCRIPTIONS, subscription(route_json=bad), 400, "route_json.topic")
        for bad in (None, {}, {"topic": ""}, {"topic": " "}, {"topic": 7})
    ),
    ("POST", SUBSCRIPTIONS, subscription(route_json="t"), 400, "route_json"),
    *(
        ("POST", SUBSCRIPTIONS, subscription(route_json={"topic": "t"} | bad), 400, f"route_json.{field}")
        for bad, field in (
            ({"topic": "a/#"}, "topic"),
            ({"topic": "a\nb"}, "topic"),
            ({"topc": "a"}, "topc"),
            ({"min_interval_ms": 5}, "min_interval_ms"),
            ({"includeMetrics": "speed"}, "includeMetrics"),
            ({"excludeDevices": [7]}, "excludeDevices"),
            ({"qualities": ["GOOD", "FINE"]}, "qualities[1]"),
            ({"minIntervalMs": -1}, "minIntervalMs"),
            ({"maxPointsPerMessage": 1001}, "maxPointsPerMessage"),
        )
    ),
    ("POST", SUBSCRIPTIONS, subscription(enabled="yes"), 400, "enabled"),
    ("POST", SUBSCRIPTIONS, subscription(topic=["modbus"]), 400, "topic"),
    ("PATCH", f"{SUBSCRIPTIONS}/x", {}, 400, "id"),
    ("PATCH", f"{SUBSCRIPTIONS}/999999", {}, 404, None),
    ("PATCH", f"{SUBSCRIPTIONS}/BOUND", {"payload_format": "xml"}, 400, "payload_format"),
    ("PATCH", f"{SUBSCRIPTIONS}/BOUND", {"route_json": None}, 400, "route_json.topic"),
    (
        "PATCH",
        f"{SUBSCRIPTIONS}/BOUND",
        {"route_json": {"topic": "t", "quality": 1}},
        400,
        "route_json.quality",
    ),
    ("PATCH", f"{SUBSCRIPTIONS}/BOUND", {"publish_destination_id": 999_999}, 404, "publish_destination_id"),
    ("DELETE", f"{SUBSCRIPTIONS}/999999", None, 404, None),
    ("GET", f"{SUBSCRIPTIONS}?publish_destination_id=x", None, 400, "publish_destination_id"),
    # Outputs and readings
    ("PATCH", "/v1/protocol-outputs/carrier-pigeon/drift", {"drift_options": {}}, 404, None),
    *(
        ("PATCH", "/v1/protocol-outputs/modbus/drift", bad, 400, field)
        for bad, field in (
            ({}, "drift_options"),
            ({"drift_options": []}, "drift_options"),
            ({"drift_options": {"enabled": "yes"}}, "drift_options.enabled"),
            ({"drift_options": {"warmupBatches": -1}}, "drift_options.warmupBatches"),
        )
    ),
    ("GET", "/v1/readings/latest?quality=FINE", None, 400, "quality"),
    ("GET", "/v1/readings/stream?quality=FINE", None, 400, "quality"),
    # Elsewhere
    ("GET", "/v1/actors?format=xml", None, 400, "format"),
    ("GET", "/v1/nothing", None, 404, None),
    ("PUT", ENDPOINTS, {}, 405, None),
    ("DELETE", "/v1/device", None, 405, None),
]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("agent") / "data") as agent:
        agent.post(ENDPOINTS, endpoint(name="kept"))
        yield agent
        assert agent.stop() == 0
    log = agent.log.read_text()
    assert "Traceback" not in log
    assert " ERROR " not in log


@pytest.fixture(scope="module")
def ids(agent: AgentProcess) -> dict[str, int]:
    kept = agent.post(DESTINATIONS, DESTINATION | {"name": "kept"})["id"]
    agent.post(DESTINATIONS, DESTINATION | {"name": "other", "enabled": False})
    bound = agent.post(SUBSCRIPTIONS, subscription(publish_destination_id=kept))["id"]
    return {"KEPT": kept, "BOUND": bound}


def listing(agent: AgentProcess) -> list[Any]:
    """All that is configured, without what lives by itself."""
    listed = [
        *agent.get(ENDPOINTS)["endpoints"],
        *agent.get("/v1/devices")["devices"],
        *agent.get(DESTINATIONS)["publishers"],
        *agent.get(SUBSCRIPTIONS)["subscriptions"],
        *agent.get("/v1/protocol-outputs")["outputs"],
    ]
    for row in listed:
        for live in ("health", "lastSeenAt", "last_error", "last_error_at", "status"):
            row.pop(live, None)
    return listed


def case_name(case: Any) -> str:
    return case.decode("utf-8", "replace")[:30] if isinstance(case, bytes) else str(case)[:60]


@pytest.mark.parametrize(("method", "path", "body", "status", "named"), REFUSALS, ids=case_name)
def test_what_is_wrong_is_refused_naming_the_field_and_changes_nothing(
    agent, ids, method, path, body, status, named
):
    for word, number in ids.items():
        path = path.replace(word, str(number))
        if isinstance(body, dict):
            body = {key: number if value == word else value for key, value in body.items()}
    before = listing(agent)
    found, reply = agent.request(method, path, body)
    if found == 201:  # not to be in the way of the other cases
        agent.delete(f"{path}/{reply.get('uuid', reply['id'])}")
    assert (found, (reply or {}).get("field")) == (status, named), reply
    assert isinstance(reply["error"], str)
    assert reply["error"]
    if status in (400, 404):
        assert reply["message"]
    assert listing(agent) == before


def test_a_destination_is_not_tried_without_a_type(agent):
    expected = (400, {"ok": False, "error": "type is required"})
    assert agent.request("POST", f"{DESTINATIONS}/test", {}) == expected


def test_a_destination_is_not_tried_with_keys_that_are_not_known(agent):
    trial = {"type": "mqtt", "config_json": {"host": "127.0.0.1", "prot": 1}}
    expected = (200, {"ok": False, "error": "prot is not known; did you mean port?"})
    assert agent.request("POST", f"{DESTINATIONS}/test", trial) == expected


def test_a_body_that_is_too_large_is_refused(agent):
    body = msgspec.json.encode(endpoint(metadata={"much": "x" * 11 * 1024 * 1024}))
    status, reply = agent.request("POST", ENDPOINTS, body)
    assert (status, reply["error"]) == (413, "Payload too large")


def test_a_body_of_another_kind_is_refused(agent):
    status, reply = agent.request("POST", ENDPOINTS, b"<xml/>", {"Content-Type": "text/xml"})
    assert (status, reply["error"]) == (415, "Unsupported media type")


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/device HTTP/1.1\r\nHost: localhost\r\nX-Bad: \x00\r\n\r\n",
        b"POST /v1/endpoints HTTP/1.1\r\nHost: localhost\r\nContent-Length: many\r\n\r\n",
        b"\x16\x03\x01\x02\x00",  # the beginning of TLS
    ],
)
def test_what_is_not_http_does_not_trouble_the_agent(agent, sent):
    with socket.create_connection(("127.0.0.1", agent.port), 5) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        reply = connection.makefile("rb").readline()
    assert reply == b"" or b" 400 " in reply
    assert agent.ready()
