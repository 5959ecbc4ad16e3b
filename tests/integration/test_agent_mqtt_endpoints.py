"""MQTT endpoints over the HTTP API of a real agent, with a real broker."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.agent import AgentProcess
from servers.certificates import Authority
from servers.mosquitto import Mosquitto
from servers.mqtt_device import MqttDevice

SECONDS = 10.0
LOGIN = ("ann", "right one")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """Anybody may connect."""
    with Mosquitto(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def device(broker: Mosquitto) -> Iterator[MqttDevice]:
    with MqttDevice(broker.port) as connected:
        yield connected


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """TLS, and only who has a password."""
    with Mosquitto(
        tmp_path_factory.mktemp("secured"), username=LOGIN[0], password=LOGIN[1], tls=True
    ) as running:
        yield running


def until(look: Callable[[], Any], right: Callable[[Any], bool], seconds: float = SECONDS) -> Any:
    """Look until it is right; returns what was seen."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if right(seen):
            return seen
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)


def add(
    agent: AgentProcess,
    broker: Mosquitto,
    topic: str | None,
    *points: dict[str, Any],
    name: str = "hall",
    **more: Any,
) -> dict[str, Any]:
    connection = {"brokerUrl": f"mqtt://127.0.0.1:{broker.port}", **more}
    if topic is not None:
        connection["topic"] = topic
    body = {"name": name, "protocol": "mqtt", "connection": connection, "poll_interval": 100}
    added: dict[str, Any] = agent.post("/v1/endpoints", {**body, "data_points": list(points)})
    return added


def health(agent: AgentProcess, name: str = "hall") -> dict[str, Any]:
    """Of a device that may just have been found."""
    asked = until(
        lambda: agent.request("GET", f"/v1/adapters/mqtt/devices/{name}"), lambda answer: answer[0] == 200
    )
    found: dict[str, Any] = asked[1]
    return found


def connected(agent: AgentProcess, name: str = "hall") -> None:
    until(lambda: health(agent, name), lambda found: found["connected"])


def readings(agent: AgentProcess, name: str = "hall") -> dict[tuple[str, str], tuple[Any, str, str | None]]:
    """Value, quality and code by device and metric, of the endpoint of that name."""
    found = agent.get(f"/v1/readings/latest?endpoint={name}")["readings"]
    return {
        (each["device"], each["metric"]): (each["value"], each["quality"], each.get("qualityCode"))
        for each in found
    }


def shown(agent: AgentProcess, expected: dict[tuple[str, str], Any], name: str = "hall") -> None:
    """Until these values are there and GOOD."""
    wanted = {key: (value, "GOOD", None) for key, value in expected.items()}
    until(lambda: readings(agent, name), lambda found: wanted.items() <= found.items())


def test_what_devices_publish_is_read_without_a_word_of_configuration(agent, broker, device):
    add(agent, broker, "one")
    connected(agent)
    device.publish("one/temperature", b"21.5")
    device.publish("one", json.dumps({"pressure": 3, "pressure_unit": "psi", "running": True}))
    device.publish("one/press-4", json.dumps({"speed": 1450}))
    shown(
        agent,
        {
            ("hall", "temperature"): 21.5,
            ("hall", "pressure"): 3,
            ("hall", "running"): True,
            ("press-4", "speed"): 1450,
        },
    )
    devices = until(lambda: agent.get("/v1/devices?protocol=mqtt")["devices"], lambda found: len(found) == 2)
    assert {each["name"] for each in devices} == {"hall", "press-4"}
    assert health(agent, "press-4")["connected"]


def test_data_points_say_what_is_read_and_how(agent, broker, device):
    metrics = [
        {"field": "t[0]", "metric": "temp", "unit": "C", "precision": 1},
        {"field": "ok", "type": "boolean"},
    ]
    add(agent, broker, "two", {"topic": "two/a", "metrics": metrics, "timestampField": "at"})
    connected(agent)
    device.publish("two/a", json.dumps({"t": [70.25], "t_unit": "x", "ok": "on", "at": 1_764_331_000}))
    shown(agent, {("hall", "temp"): 70.2, ("hall", "ok"): True})
    device.publish("two/a", b"{broken")
    found = until(lambda: readings(agent), lambda found: found["hall", "temp"][1] == "BAD")
    assert found["hall", "temp"] == (None, "BAD", "PAYLOAD_MALFORMED")
    [temp, _] = health(agent)["registers"]
    assert (temp["address"], temp["unit"], temp["qualityCode"]) == ("two/a:t[0]", "°C", "PAYLOAD_MALFORMED")
    device.publish("two/a", json.dumps({"t": [20], "ok": 0}))
    found = until(lambda: readings(agent), lambda found: found["hall", "temp"][0] == 20)
    assert found["hall", "temp"] == (20, "UNCERTAIN", "TIMESTAMP_INVALID")


def test_what_the_broker_kept_is_uncertain_until_the_device_speaks(agent, broker, device):
    device.publish("three/level", b"5", retain=True)
    add(agent, broker, "three")
    found = until(lambda: readings(agent), lambda found: ("hall", "level") in found)
    assert found["hall", "level"] == (5, "UNCERTAIN", "RETAINED_MESSAGE")
    device.publish("three/level", b"6", retain=True)
    shown(agent, {("hall", "level"): 6})
    device.publish("three/level", b"", retain=True)


def test_a_last_will_makes_a_device_offline_and_it_comes_back(agent, broker, device):
    add(agent, broker, "four/{device}/state", {"topic": "four/{device}/state", "metric": "t"})
    connected(agent)
    sensor = MqttDevice(broker.port, client_id="s1", will=("device/s1/status", b"offline"))
    sensor.connect()
    sensor.publish("four/s1/state", b"1")
    shown(agent, {("s1", "t"): 1})
    sensor.cut()
    found = until(lambda: readings(agent), lambda found: found["s1", "t"][1] == "BAD")
    assert found["s1", "t"] == (None, "BAD", "DEVICE_OFFLINE")
    assert not until(lambda: health(agent, "s1"), lambda found: not found["connected"])["connected"]
    assert health(agent)["connected"]
    device.publish("device/s1/status", b"", retain=True)
    device.publish("four/s1/state", b"2")
    shown(agent, {("s1", "t"): 2})
    assert health(agent, "s1")["connected"]


def test_a_device_that_falls_silent_is_away(agent, broker, device):
    add(agent, broker, "five", silentAfterMs=1000)
    connected(agent)
    device.publish("five/t", b"1")
    shown(agent, {("hall", "t"): 1})
    found = until(lambda: readings(agent), lambda found: found["hall", "t"][1] == "BAD")
    assert found["hall", "t"] == (None, "BAD", "TIMEOUT")
    device.publish("five/t", b"2")
    shown(agent, {("hall", "t"): 2})


def test_what_is_written_is_published_and_looked_for_on_request(agent, broker):
    told: list[tuple[str, bytes]] = []
    point = {
        "topic": "six/speed",
        "metric": "speed",
        "type": "number",
        "max": 100,
        "writeTopic": "six/speed/set",
    }
    template = {
        "topic": "six/mode",
        "metric": "mode",
        "writeTopic": "six/mode/set",
        "writeTemplate": '{"m": {value}}',
    }
    add(agent, broker, "six", point, template)
    connected(agent)
    write = "/v1/adapters/mqtt/devices/hall/write"

    def obey(topic: str, payload: bytes) -> None:
        told.append((topic, payload))
        if topic == "six/speed/set" and payload != b"13":
            obeying.pour([("six/speed", payload)])

    with MqttDevice(broker.port, client_id="six", told=obey) as obeying:
        obeying.subscribe("six/+/set")
        assert agent.post(write, {"register": "mode", "value": 'a"b'})["value"] == 'a"b'
        until(lambda: told, bool)
        assert told == [("six/mode/set", b'{"m": "a\\"b"}')]
        verified = agent.post(write, {"register": "six/speed", "value": 42, "verify": True})
        assert verified["value"] == 42
        shown(agent, {("hall", "speed"): 42})
        status, _ = agent.request("POST", write, {"register": "speed", "value": 13, "verify": True})
        assert status != 200
    for body, expected in (
        ({"register": "speed", "value": 101}, 400),
        ({"register": "speed", "value": "fast"}, 400),
        ({"register": "nothing", "value": 1}, 404),
    ):
        assert agent.request("POST", write, body)[0] == expected, body


def test_two_endpoints_share_one_connection_and_each_reads_its_own(agent, broker, device):
    add(agent, broker, "seven/a", name="a")
    add(agent, broker, "seven/#", name="b")
    connected(agent, "a")
    connected(agent, "b")
    device.publish("seven/a/t", b"1")
    shown(agent, {("a", "t"): 1}, "a")
    shown(agent, {("a", "t"): 1}, "b")
    [row] = [each for each in agent.get("/v1/endpoints")["endpoints"] if each["name"] == "a"]
    agent.delete(f"/v1/endpoints/{row['uuid']}")
    device.publish("seven/a/t", b"2")
    shown(agent, {("a", "t"): 2}, "b")


def test_another_endpoint_of_the_same_topic_gets_what_the_broker_kept_and_the_first_stays_live(
    agent, broker, device
):
    device.publish("fifteen/t", b"1", retain=True)
    add(agent, broker, "fifteen", name="a")
    until(lambda: readings(agent, "a"), lambda found: ("a", "t") in found)
    device.publish("fifteen/t", b"2")
    shown(agent, {("a", "t"): 2}, "a")
    add(agent, broker, "fifteen", name="b")
    found = until(lambda: readings(agent, "b"), lambda found: ("b", "t") in found)
    assert found["b", "t"] == (1, "UNCERTAIN", "RETAINED_MESSAGE")
    assert readings(agent, "a")["a", "t"] == (2, "GOOD", None)
    device.publish("fifteen/t", b"", retain=True)


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_a_payload_that_is_too_large_costs_nobody_else_anything(agent, broker, device, version):
    topic = f"sixteen/{version}"
    add(agent, broker, topic, protocolVersion=version)
    connected(agent)
    device.publish(f"{topic}/small", b"1")
    shown(agent, {("hall", "small"): 1})
    device.publish(f"{topic}/large", bytes(1_500_000))
    device.publish(f"{topic}/small", b"2")
    shown(agent, {("hall", "small"): 2})
    found = health(agent)
    assert (found["connected"], found["errorCount"]) == (True, 0)


def test_somebody_with_the_same_client_id_takes_the_connection_for_a_moment_only(agent, broker, device):
    add(agent, broker, "seventeen", clientId="twin")
    connected(agent)
    twin = MqttDevice(broker.port, client_id="twin")
    twin.connect()
    until(lambda: device.publish("seventeen/t", b"1") or readings(agent), lambda found: found)
    shown(agent, {("hall", "t"): 1})
    twin.cut()


def test_messages_of_one_topic_that_several_filters_select_come_once(agent, broker, device):
    points = [
        {"topic": "eighteen/a", "metric": "t"},
        {"topic": "eighteen/+", "deviceId": "all", "metric": "t"},
    ]
    add(agent, broker, "eighteen", *points, autoMetrics=False)
    connected(agent)
    for number in range(20):
        device.publish("eighteen/a", str(number))
    shown(agent, {("hall", "t"): 19, ("all", "t"): 19})
    assert health(agent)["metrics"]["dataPointsUpdated"] <= 20


def test_users_and_tls(agent, secured):
    url = f"mqtts://127.0.0.1:{secured.port}"
    own = {"brokerUrl": url, "ca": secured.ca_pem, "username": LOGIN[0], "password": LOGIN[1]}
    add(agent, secured, "eight", **own)
    connected(agent)
    with MqttDevice(secured.port, *LOGIN, ca_pem=secured.ca_pem) as device:
        device.publish("eight/t", b"1")
        shown(agent, {("hall", "t"): 1})
    [row] = agent.get("/v1/endpoints")["endpoints"]
    assert LOGIN[1] not in json.dumps(row)


@pytest.mark.parametrize("wrong", ["password", "authority", "port", "tls"])
def test_what_is_wrong_with_the_broker_is_said(agent, secured, wrong):
    url = f"mqtts://127.0.0.1:{secured.port}"
    own = {"brokerUrl": url, "ca": secured.ca_pem, "username": LOGIN[0], "password": LOGIN[1]}
    match wrong:
        case "password":
            own["password"] = "wrong one"
        case "authority":
            own["ca"] = Authority().pem
        case "port":
            own["brokerUrl"] = "mqtts://127.0.0.1:1"
        case "tls":
            own = {**own, "brokerUrl": f"mqtt://127.0.0.1:{secured.port}"}
            del own["ca"]
    add(agent, secured, "nine", {"topic": "nine/t", "metric": "t"}, **own)
    found = until(lambda: health(agent), lambda found: found["lastError"])
    assert not found["connected"]
    assert "wrong one" not in json.dumps(found)
    expected = {"password": "user name", "authority": "certificate", "port": "refused", "tls": "closed"}
    assert expected[wrong] in found["lastError"], found["lastError"]
    assert readings(agent)["hall", "t"][1] == "BAD"


def test_an_endpoint_is_removed_while_it_connects(agent, broker):
    for _ in range(5):
        added = add(agent, broker, "ten")
        agent.delete(f"/v1/endpoints/{added['uuid']}")
    assert agent.get("/v1/devices?protocol=mqtt")["devices"] == []
    assert agent.request("GET", "/v1/adapters/mqtt/devices")[0] == 404


def test_a_broker_that_restarts_with_nothing_kept_is_subscribed_to_again(agent, tmp_path: Path):
    with Mosquitto(tmp_path) as broker:
        add(agent, broker, "eleven")
        connected(agent)
        for number in (1, 2):
            with MqttDevice(broker.port) as device:
                device.publish("eleven/t", str(number))
                shown(agent, {("hall", "t"): number})
            broker.restart()
            until(lambda: health(agent), lambda found: not found["connected"] or found["errorCount"] == 0)
            connected(agent)
        with MqttDevice(broker.port) as device:
            until(
                lambda: device.publish("eleven/t", b"3") or readings(agent),
                lambda found: found["hall", "t"][0] == 3,
            )


def test_who_may_not_read_is_connected_without_data_and_silence_is_seen(agent, tmp_path: Path):
    """mosquitto grants every subscription, and sends what the ACL allows."""
    acl = tmp_path / "acl"
    acl.write_text("user ann\ntopic write twelve/#\n")
    acl.chmod(0o600)
    with Mosquitto(tmp_path, username=LOGIN[0], password=LOGIN[1], options=(f"acl_file {acl}",)) as broker:
        point = {"topic": "twelve/t", "metric": "t"}
        login = {"username": LOGIN[0], "password": LOGIN[1]}
        add(agent, broker, "twelve", point, silentAfterMs=1000, **login)
        connected(agent)
        assert health(agent)["registers"][0]["qualityCode"] == "NO_DATA"
        with MqttDevice(broker.port, *LOGIN) as device:
            device.publish("twelve/t", b"1")
        found = until(lambda: readings(agent), lambda found: ("hall", "t") in found)
        assert found["hall", "t"] == (None, "BAD", "TIMEOUT")


def test_what_is_acknowledged_only_when_it_is_kept_survives_any_end_of_the_agent(tmp_path: Path):
    """The destination is away all the time, and the agent ends without a word while messages come."""
    count = 400
    options = ("max_inflight_messages 100",)
    with Mosquitto(tmp_path / "field", options=options) as field, Mosquitto(tmp_path / "cloud") as cloud:
        cloud.stop()
        agent = AgentProcess(tmp_path / "data")
        with agent:
            deliver(agent, cloud, "persisted")
            add(agent, field, "fourteen", {"topic": "fourteen/n", "metric": "n"}, ackAfterPersist=True)
            connected(agent)
            with MqttDevice(field.port) as device:
                for number in range(count):
                    device.publish("fourteen/n", str(number))
                    if number in (130, 270):
                        agent.kill()
                        agent.launch()
                agent.wait_until_running()
                connected(agent)
                got: set[int] = set()
                cloud.start()
                with MqttDevice(cloud.port, told=lambda topic, payload: got.update(numbers(payload))) as sink:
                    sink.subscribe("persisted")
                    until(lambda: len(got), lambda found: found == count, 30.0)
            assert agent.stop() == 0


def test_nothing_is_lost_that_comes_while_the_agent_or_its_endpoint_begins_anew_in_order(tmp_path: Path):
    count = 300
    point = {"topic": "sixteen/n", "metric": "n"}
    with Mosquitto(tmp_path / "field") as field:
        agent = AgentProcess(tmp_path / "data")
        got: set[int] = set()
        with (
            agent,
            MqttDevice(field.port) as device,
            MqttDevice(
                field.port, client_id="sink", told=lambda topic, octets: got.update(numbers(octets))
            ) as sink,
        ):
            sink.subscribe("ordered")
            deliver(agent, field, "ordered")
            row = add(agent, field, "sixteen", point, ackAfterPersist=True)
            beside = add(agent, field, "sixteen/other", name="beside", ackAfterPersist=True)
            connected(agent)
            for number in range(count):
                device.publish("sixteen/n", str(number))
                match number:
                    case 60:
                        assert agent.stop() == 0
                    case 120:
                        agent.start()
                        connected(agent)
                    case 180:
                        changed = {"data_points": [point, {"topic": "sixteen/m", "metric": "m"}]}
                        agent.patch(f"/v1/endpoints/{row['uuid']}", changed)
                    case 240:
                        agent.delete(f"/v1/endpoints/{beside['uuid']}")
            until(lambda: len(got), lambda found: found == count, 20.0)
        assert agent.stop() == 0


def test_what_cannot_be_read_is_acknowledged_like_anything_else(agent, broker, device):
    """More of it than a broker sends before the first is acknowledged."""
    add(agent, broker, "seventeen", {"topic": "seventeen/n", "metric": "n"}, ackAfterPersist=True)
    connected(agent)
    for payload in (b"", b"{", b"--inf", b"\xff", b'{"timestamp":' + b"9" * 400 + b"}") * 10:
        device.publish("seventeen/n", payload)
    device.publish("seventeen/n", b"5")
    shown(agent, {("hall", "n"): 5})


def deliver(agent: AgentProcess, broker: Mosquitto, topic: str) -> None:
    """All readings of MQTT endpoints to that topic."""
    config = {"brokerUrl": f"mqtt://127.0.0.1:{broker.port}"}
    destination = agent.post(
        "/v1/publish/destinations", {"name": "cloud", "type": "mqtt", "config_json": config}
    )
    subscription = {"publish_destination_id": destination["id"], "topics": ["mqtt"], "payload_format": "tags"}
    agent.post("/v1/publish/subscriptions", {**subscription, "route_json": {"topic": topic}})


def numbers(payload: bytes) -> set[int]:
    """The good values in a payload of format `tags`."""
    tags = json.loads(payload)["tags"]
    return {tag["value"] for tag in tags if tag.get("value") is not None}


def test_the_broker_of_the_environment_is_used_where_none_is_named(tmp_path: Path, secured):
    environ = {"MQTT_BROKER_URL": f"mqtt://127.0.0.1:{secured.plain_port}"}
    environ |= {"MQTT_USERNAME": LOGIN[0], "MQTT_PASSWORD": LOGIN[1]}
    with AgentProcess(tmp_path / "data", **environ) as agent:
        connection = {"topic": "thirteen", "username": "device", "password": "its own"}
        body = {"name": "hall", "protocol": "mqtt", "connection": connection, "poll_interval": 100}
        agent.post("/v1/endpoints", body)
        connected(agent)
        with MqttDevice(secured.plain_port, *LOGIN) as device:
            device.publish("thirteen/t", b"1")
            shown(agent, {("hall", "t"): 1})
        [row] = agent.get("/v1/endpoints")["endpoints"]
        assert row["connection"]["topic"] == "thirteen"
        assert "brokerUrl" not in row["connection"]
        assert agent.stop() == 0
    log = agent.log.read_text()
    assert "Traceback" not in log
    assert LOGIN[1] not in log
