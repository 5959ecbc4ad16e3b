"""What the configuration of an MQTT endpoint may say, and what is refused."""

import json
from typing import Any

import pytest
from servers.certificates import Authority

from actors.endpoints.protocol import WriteRequest
from actors.endpoints.protocols import mqtt
from actors.endpoints.protocols.mqtt import paths, patterns, units
from actors.endpoints.protocols.mqtt.connection import completed, read_connection
from actors.endpoints.protocols.mqtt.points import read_points
from actors.endpoints.protocols.mqtt.values import Shape
from actors.endpoints.protocols.mqtt.writing import Prepared, filled, same
from actors.system.failure import Refusal
from conf.settings import load


def refusal(connection: dict[str, Any] | None = None, *points: dict[str, Any]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        mqtt.PROTOCOL.accept({"host": "b"} if connection is None else connection, points)
    return caught.value


def account(**given: Any) -> dict[str, Any]:
    return {"host": "b", "auth": {"mqtt": given}}


# The connection


def test_a_broker_is_a_url_or_a_host() -> None:
    one = read_connection({"brokerUrl": "mqtts://me:pa%20ss@broker.example", "topic": "plant"})
    assert (one.broker.host, one.broker.port, one.broker.tls) == ("broker.example", 8883, True)
    assert (one.username, one.password) == ("me", "pa ss")
    assert one.address == "mqtts://broker.example:8883"
    assert one.broker.keepalive == 30

    other = read_connection({"host": "::1", "username": "u", "password": "p", "protocolVersion": 5})
    assert (other.broker.host, other.broker.port, other.broker.tls, other.broker.version) == (
        "::1",
        1883,
        False,
        5,
    )
    assert other.address == "mqtt://[::1]:1883"
    assert other.identifier == "#"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "connection.brokerUrl"),
        ({"brokerUrl": "http://b"}, "connection.brokerUrl"),
        ({"url": "mqtt://"}, "connection.url"),
        ({"brokerUrl": "mqtt://b", "host": "c"}, "connection.host"),
        ({"brokerUrl": "mqtt://b", "port": 1884}, "connection.port"),
        ({"host": "mqtt://b"}, "connection.host"),
        ({"host": "b", "port": 0}, "connection.port"),
        ({"host": "b", "password": "p"}, "connection.username"),
        ({"host": "b", "topic": "a/#/b"}, "connection.topic"),
        ({"host": "b", "topic": "a+"}, "connection.topic"),
        ({"host": "b", "topic": "a\0"}, "connection.topic"),
        ({"host": "b", "topic": "a\nb"}, "connection.topic"),
        ({"host": "b", "topic": "a{x}"}, "connection.topic"),
        ({"host": "b", "topic": "{device}/{device}"}, "connection.topic"),
        ({"host": "b", "topic": "$share/g/a"}, "connection.topic"),
        ({"host": "b", "topic": "a" * 70_000}, "connection.topic"),
        ({"host": "b", "topic": "a/" * 300}, "connection.topic"),
        ({"host": "b", "group": "a/b"}, "connection.group"),
        ({"host": "b", "qos": 3}, "connection.qos"),
        ({"host": "b", "qos": 0, "ackAfterPersist": True}, "connection.ackAfterPersist"),
        ({"host": "b", "deviceIdField": "a..b"}, "connection.deviceIdField"),
        ({"host": "b", "timestampField": True}, "connection.timestampField"),
        ({"host": "b", "timeZone": "Mars/Phobos"}, "connection.timeZone"),
        ({"host": "b", "timeZone": "../../etc/passwd"}, "connection.timeZone"),
        ({"host": "b", "defaultPrecisions": {"t": 99}}, "connection.defaultPrecisions"),
        ({"host": "b", "statusTopic": ["a/#/b"]}, "connection.statusTopic"),
        ({"host": "b", "statusOnline": "x", "statusOffline": "X"}, "connection.statusOffline"),
        ({"host": "b", "maxPayloadBytes": 2_000_000}, "connection.maxPayloadBytes"),
        ({"host": "b", "silentAfterMs": 1}, "connection.silentAfterMs"),
        ({"host": "b", "ca": "not pem"}, "connection.ca"),
        ({"brokerUrl": "mqtt://b", "ca": Authority().pem}, "connection.ca"),
        ({"brokerUrl": "mqtts://b", "cert": Authority().issue("x")[0]}, "connection.key"),
        ({"host": "b", "format": "xml"}, "connection.format"),
        ({"host": "b", "colour": "red"}, "connection.colour"),
        (
            {"host": "b", "auth": {"mqtt": {"passwordFileHash": "hunter2"}}},
            "connection.auth.mqtt.passwordFileHash",
        ),
        ({"host": "b", "auth": {"mqtt": {"username": "u", "access": 4}}}, "connection.auth.mqtt.access"),
        (
            {"host": "b", "auth": {"mqtt": {"passwordFileHash": "$7$101$YQ==$YQ=="}}},
            "connection.auth.mqtt.username",
        ),
    ],
)
def test_a_connection_that_cannot_be_is_refused_by_its_field(given: dict[str, Any], field: str) -> None:
    assert refusal(given).field == field


def test_an_account_of_the_device_is_accepted() -> None:
    account = {"username": "u", "passwordFileHash": "$7$101$c2FsdA==$aGFzaA==", "access": 2}

    mqtt.PROTOCOL.accept({"host": "b", "topic": "i/t/a/g/d/e", "auth": {"mqtt": account}}, [])


def test_the_broker_of_the_environment_is_used_where_none_is_named() -> None:
    environ = {"MQTT_BROKER_URL": "mqtt://local", "MQTT_USERNAME": "agent", "MQTT_PASSWORD": "secret"}
    settings = load(None, environ)

    own = completed({"topic": "plant", "username": "device", "password": "d"}, settings, "a7")
    assert own.pop("clientId").startswith("agent-a7-")
    assert own == {"topic": "plant", "brokerUrl": "mqtt://local", "username": "agent", "password": "secret"}
    for key in ("brokerUrl", "url", "host"):
        other = {key: "elsewhere", "topic": "plant", "clientId": "me"}
        assert completed(other, settings, "a7") == other


def test_each_connection_that_is_not_shared_has_a_client_id_of_its_own() -> None:
    settings = load(None, {})
    apart: tuple[dict[str, Any], ...] = (
        {},
        {"username": "one"},
        {"username": "other"},
        {"cleanSession": True},
        {"protocolVersion": "5"},
        {"protocolVersion": 5, "username": "one"},
        {"ca": "pem"},
        {"rejectUnauthorized": False},
        {"path": "/mqtt"},
    )
    names = [completed({"host": "b", **who}, settings, "a7")["clientId"] for who in apart]
    nobody, one = names[:2]
    assert nobody == "agent-a7"
    assert len(set(names)) == len(names)
    usual = {"cleanSession": False, "protocolVersion": "3.1.1", "rejectUnauthorized": True, "keepalive": 20}
    assert completed({"host": "b", **usual}, settings, "a7")["clientId"] == nobody
    assert completed({"url": "mqtt://one:p@b"}, settings, "a7")["clientId"] == one
    assert completed({"host": "b", "username": "one"}, settings, "a7")["clientId"] == one


def test_what_an_endpoint_is_to_its_users() -> None:
    checked = mqtt.PROTOCOL.accept({"host": "b", "topic": "plant", "silentAfterMs": 5000}, [{"metric": "t"}])

    assert (checked.mode, checked.address, checked.identifier) == ("pushed", "mqtt://b:1883", "plant")
    assert checked.silent_after == 5.0
    assert [point.name for point in checked.points] == ["t"]


# Data points


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "topic"),
        ({"topic": "a/#/b", "metric": "m"}, "topic"),
        ({"topic": "a", "metric": "m\nm"}, "metric"),
        ({"topic": "a", "metric": "m", "field": "a..b"}, "field"),
        ({"topic": "a", "metric": "m", "path": "a["}, "path"),
        ({"topic": "a", "metric": "m", "dataType": "colour"}, "dataType"),
        ({"topic": "a", "metric": "m", "type": 5}, "type"),
        ({"topic": "a", "metric": "m", "encoding": "float31le"}, "encoding"),
        ({"topic": "a", "metric": "m", "encoding": "cbor:int16be"}, "encoding"),
        ({"topic": "a", "metric": "m", "field": "x", "encoding": "int16be"}, "encoding"),
        ({"topic": "a", "metric": "m", "field": "x", "encoding": "hex"}, "encoding"),
        ({"topic": "a", "metric": "m", "byteOffset": 1}, "byteOffset"),
        ({"topic": "a", "metric": "m", "scale": 0}, "scale"),
        ({"topic": "a", "metric": "m", "min": 2, "max": 1}, "min"),
        ({"topic": "a", "metric": "m", "type": "string", "scale": 2}, "scale"),
        ({"topic": "a", "metric": "m", "precision": -1}, "precision"),
        ({"topic": "a", "metric": "m", "metrics": [{"field": "b"}]}, "metrics"),
        ({"topic": "a", "metrics": [{"field": "b"}, {"field": "b"}]}, "metrics"),
        ({"topic": "a", "metrics": [{"field": "b", "encoding": "cbor"}]}, "metrics[0].encoding"),
        ({"topic": "a", "metrics": [{"unit": "C", "metric": ""}, {"field": "["}]}, "metrics[1].field"),
        ({"topic": "a/+", "unit": "C", "metrics": [{"unit": "C"}]}, "metrics[0].metric"),
        ({"topic": "a", "autoMetrics": False}, "metric"),
        ({"topic": "a", "metric": "m", "writable": True}, "writeTopic"),
        ({"topic": "a", "metric": "m", "writeTemplate": "{value}"}, "writeTopic"),
        ({"topic": "a", "metric": "m", "writeTopic": "a/+"}, "writeTopic"),
        ({"topic": "a", "metric": "m", "writeTopic": "$SYS/x"}, "writeTopic"),
        ({"topic": "a", "metric": "m", "writeTopic": "a\0"}, "writeTopic"),
        ({"topic": "a", "metric": "m", "writeTopic": "a/{device}"}, "writeTopic"),
        ({"topic": "a", "metric": "m", "writeTopic": "b", "writeTemplate": "{}"}, "writeTemplate"),
        ({"topic": "a", "metric": "m", "writeTopic": "b", "writeTemplate": '{"v": {value}'}, "writeTemplate"),
        (
            {
                "topic": "a",
                "metric": "m",
                "writeTopic": "b",
                "writeTemplate": "v={value}",
                "encoding": "int8",
            },
            "writeTemplate",
        ),
        ({"topic": "a", "metric": "m", "colour": "red"}, "colour"),
        ({"topic": "a", "metrics": [{"field": "m", "colour": "red"}]}, "metrics[0].colour"),
    ],
)
def test_a_data_point_that_cannot_be_is_refused_by_its_field(given: dict[str, Any], field: str) -> None:
    assert refusal(None, given).field == f"data_points[0].{field}"


def test_a_name_that_two_points_of_a_device_have_is_refused() -> None:
    assert refusal(None, {"topic": "a", "metric": "m"}, {"topic": "b", "metric": "m"}).field == (
        "data_points[1].metric"
    )
    mqtt.PROTOCOL.accept(
        {"host": "b"}, [{"topic": "a", "metric": "m"}, {"topic": "b", "metric": "m", "deviceId": "x"}]
    )


def test_names_addresses_and_devices_of_points() -> None:
    checked = read_points(
        [
            {"topic": "plant/t1", "unit": "celsius"},
            {"topic": "plant/a", "metrics": [{"field": "m.speed"}, {"field": "m.t", "metric": "temp"}]},
            {"topic": "plant/b", "name": "b", "deviceId": "press"},
            {"topic": "s/+/state", "metric": "c"},
        ]
    )

    assert [(point.name, point.unit, point.address_text) for point in checked.points] == [
        ("t1", "°C", "plant/t1"),
        ("m.speed", None, "plant/a:m.speed"),
        ("temp", None, "plant/a:m.t"),
    ]
    assert [(each.identifier, [point.name for point in each.points]) for each in checked.devices] == [
        ("press", ["b"])
    ]


# Paths, topics, units


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)),
        ("a.b", ("a", "b")),
        ("a[0].b", ("a", 0, "b")),
        ("[1][-1]", (1, -1)),
        ('["a.b"].c', ("a.b", "c")),
        (r"['it\'s']", ("it's",)),
        ("temp °C", ("temp °C",)),
    ],
)
def test_paths(text: str, path: paths.Path) -> None:
    assert paths.parse(text) == path
    assert paths.parse(paths.spelled(path)) == path


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "a[", "a[]", "a[x]", "a]", '["a]', "a[0]b", "a" * 2000]
)
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|is longer"):
        paths.parse(text)


def test_what_a_path_finds() -> None:
    document = {"a": [{"b": None}, 5], "c.d": 1}
    assert paths.find(document, ("a", 0, "b")) is None
    assert paths.find(document, ("a", -1)) == 5
    assert paths.find(document, ("c.d",)) == 1
    for path in (("x",), ("a", 2), ("a", "b"), ("a", 1, "b"), (0,)):
        assert paths.find(document, path) is paths.MISSING


@pytest.mark.parametrize(
    ("one", "other", "covered"),
    [
        ("#", "a/b", True),
        ("a/#", "a", True),
        ("a/#", "a/+/b", True),
        ("a/+", "a/b", True),
        ("a/+", "a/#", False),
        ("a/b", "a/+", False),
        ("#", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("a", "a/b", False),
    ],
)
def test_filters_that_cover_others(one: str, other: str, covered: bool) -> None:
    assert patterns.covers(one, other) is covered


def test_the_trees_of_brokers_are_read_when_they_are_named() -> None:
    assert patterns.parse("#").match("$SYS/load") is None
    assert patterns.parse("$SYS/#").match("$SYS/load") == (None, None, ("load",))


@pytest.mark.parametrize(
    ("said", "shown"),
    [("c", "°C"), ("degF", "°F"), ("percent", "%"), ("kPa", "kPa"), ("widgets", "widgets"), ("mPa", "mPa")],
)
def test_units_are_shown_in_one_way(said: str, shown: str) -> None:
    assert units.canonical(said) == shown


@pytest.mark.parametrize(
    ("value", "said", "wanted", "result"),
    [
        (212, "°F", "°C", 100.0),
        (0, "°C", "K", 273.15),
        (-40, "°C", "°F", -40.0),
        (1, "bar", "kPa", 100.0),
        (1013.25, "hPa", "mbar", 1013.25),
        (14.5037738, "psi", "bar", 1.0),
    ],
)
def test_conversions(value: float, said: str, wanted: str, result: float) -> None:
    convert = units.conversion(said, wanted)
    assert convert is not None
    assert convert(value) == pytest.approx(result, abs=1e-7)


def test_what_cannot_be_converted() -> None:
    assert units.conversion("°C", "bar") is None
    assert units.conversion("V", "mV") is None


# Writing


def prepared(point: dict[str, Any], value: Any, register: str = "m", device: str = "") -> Prepared:
    endpoint = mqtt.PROTOCOL.accept({"host": "b", "topic": "plant"}, [point])
    assert mqtt.PROTOCOL.prepare is not None
    found: Prepared = mqtt.PROTOCOL.prepare(endpoint, WriteRequest(device, register, value))
    return found


@pytest.mark.parametrize(
    ("point", "value", "payload"),
    [
        ({}, 21.5, b"21.5"),
        ({}, True, b"true"),
        ({}, "on", b"on"),
        ({"type": "integer"}, "7", b"7"),
        ({"type": "boolean"}, "ON", b"true"),
        ({"scale": 0.1}, 21.5, b"215"),
        ({"scale": 0.1, "offset": 10}, 21.5, b"115"),
        ({"type": "object"}, {"a": [1]}, b'{"a":[1]}'),
        ({"encoding": "float32le"}, 21.5, b"\0\0\xac\x41"),
        ({"encoding": "hex:int16be"}, -2, b"fffe"),
        ({"writeTemplate": '{"set": {value}}'}, 21.5, b'{"set": 21.5}'),
        ({"writeTemplate": '{"set": {value}}'}, 'a"b', b'{"set": "a\\"b"}'),
        ({"writeTemplate": '{"set": "{value}"}'}, 'a"b\\', b'{"set": "a\\"b\\\\"}'),
        ({"writeTemplate": '{"set": "v={value}", "on": {value}}'}, True, b'{"set": "v=true", "on": true}'),
        ({"writeTemplate": "SET {value}\r\n"}, 5, b"SET 5\r\n"),
    ],
)
def test_what_is_published_to_write(point: dict[str, Any], value: Any, payload: bytes) -> None:
    found = prepared({"topic": "plant/a", "metric": "m", "writeTopic": "plant/a/set", **point}, value)

    assert (found.topic, found.payload) == ("plant/a/set", payload)


@pytest.mark.parametrize(
    ("point", "value", "register", "kind", "field"),
    [
        ({"writeTopic": "s"}, 1, "x", "not_found", "register"),
        ({}, 1, "m", "read_only", "register"),
        ({"writeTopic": "s", "writable": False}, 1, "m", "read_only", "register"),
        ({"writeTopic": "s", "type": "number"}, "abc", "m", "invalid", "value"),
        ({"writeTopic": "s", "type": "number"}, True, "m", "invalid", "value"),
        ({"writeTopic": "s", "type": "integer"}, 1.5, "m", "invalid", "value"),
        ({"writeTopic": "s", "min": 0, "max": 10}, 11, "m", "invalid", "value"),
        ({"writeTopic": "s", "encoding": "int8"}, 200, "m", "invalid", "value"),
        ({"writeTopic": "s", "encoding": "int8"}, "abc", "m", "invalid", "value"),
    ],
)
def test_what_cannot_be_written(
    point: dict[str, Any], value: Any, register: str, kind: str, field: str
) -> None:
    with pytest.raises(Refusal) as caught:
        prepared({"topic": "plant/a", "metric": "m", **point}, value, register)

    assert (caught.value.kind, caught.value.field) == (kind, field)


def test_the_type_of_a_value_may_be_said_with_it() -> None:
    endpoint = mqtt.PROTOCOL.accept({"host": "b"}, [{"topic": "a", "metric": "m", "writeTopic": "s"}])
    assert mqtt.PROTOCOL.prepare is not None

    def written(value: Any, data_type: str | None, priority: int | None = None) -> Any:
        assert mqtt.PROTOCOL.prepare is not None
        return mqtt.PROTOCOL.prepare(endpoint, WriteRequest("", "m", value, data_type, priority)).payload

    assert (written("7", "integer"), written("7", None), written(1, "bool")) == (b"7", b"7", b"true")
    for data_type, priority in (("colour", None), ("int16", 8)):
        with pytest.raises(Refusal):
            written("7", data_type, priority)


def test_a_point_is_written_by_its_address_or_the_topic_that_writes_it_too() -> None:
    point = {"topic": "plant/a", "metric": "m", "field": "x", "writeTopic": "plant/a/set"}
    for register in ("m", "plant/a:x", "plant/a/set"):
        assert prepared(point, 1, register).point.name == "m"


def test_the_device_is_in_the_topic_and_cannot_lead_elsewhere() -> None:
    point = {"topic": "s/{device}/state", "metric": "m", "writeTopic": "s/{device}/set"}

    assert prepared(point, 1, device="d1").topic == "s/d1/set"
    for device in ("a/b", "+", "#", "a\0", "", "..", "a\n"):
        with pytest.raises(Refusal):
            prepared(point, 1, device=device)


def test_devices_in_a_template_are_escaped() -> None:
    assert json.loads(filled('{"d": "{device}", "v": {value}}', 1, 'x"y')) == {"d": 'x"y', "v": 1}


@pytest.mark.parametrize(
    ("written", "shown", "shape", "is_same"),
    [
        (21.5, 21.5, Shape(), True),
        (21.54, 21.5, Shape(precision=1), True),
        (21.6, 21.5, Shape(precision=1), False),
        (True, True, Shape(), True),
        (True, 1, Shape(), True),
        ("on", "ON", Shape(), False),
        (1, "1", Shape(), False),
        ({"a": 1}, '{"a":1}', Shape(kind="object"), True),
    ],
)
def test_whether_what_is_shown_is_what_was_written(
    written: Any, shown: Any, shape: Shape, is_same: bool
) -> None:
    assert same(written, shown, shape) is is_same
