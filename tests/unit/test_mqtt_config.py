import ssl
import subprocess
import sys
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from servers.certificates import Authority

from actors.mqtt.broker import MAX_PAYLOAD, Broker, tls_context
from actors.mqtt.message import Message
from actors.publish import topics
from actors.publish.destinations import TYPES, canonical, find
from actors.publish.destinations.driver import Identity
from actors.publish.destinations.mqtt import target
from actors.publish.destinations.mqtt_config import SECRETS, Config, check
from actors.publish.messages import Cloud
from actors.system.failure import Refusal

AUTHORITY = Authority()
CERTIFICATE, KEY = AUTHORITY.issue("client")

IDENTITY = Identity("agent-uuid", "agent-uuid-line 1")
CLOUD = Cloud("mqtts://cloud", "c", "00112233-4455-6677-8899-aabbccddeeff", "0123456789ab")


def refusal(**config_json: Any) -> tuple[str, str | None]:
    with pytest.raises(Refusal) as refused:
        check(config_json)
    assert refused.value.kind == "invalid"
    return refused.value.message, refused.value.field


@pytest.mark.parametrize(
    ("config_json", "expected"),
    [
        ({"host": "broker"}, Broker("broker", 1883)),
        ({"host": " broker ", "port": 1884}, Broker("broker", 1884)),
        ({"host": "10.0.0.1", "port": "1884"}, Broker("10.0.0.1", 1884)),
        ({"brokerUrl": "mqtt://broker"}, Broker("broker", 1883)),
        ({"url": "mqtt://broker:1884"}, Broker("broker", 1884)),
        ({"brokerUrl": "broker:1884"}, Broker("broker", 1884)),
        ({"brokerUrl": "broker"}, Broker("broker", 1883)),
        ({"brokerUrl": "mqtt://[::1]:1884/"}, Broker("::1", 1884)),
        ({"brokerUrl": "mqtts://broker"}, Broker("broker", 8883, tls=True)),
        ({"brokerUrl": "MQTTS://broker:8884"}, Broker("broker", 8884, tls=True)),
        ({"brokerUrl": "mqtt://a", "url": "mqtt://b", "host": "c"}, Broker("a", 1883)),
        ({"brokerUrl": "", "host": "c"}, Broker("c", 1883)),
        ({"brokerUrl": "mqtt://broker/not/a/websocket", "path": "/nor/this"}, Broker("broker", 1883)),
        ({"url": "ws://broker"}, Broker("broker", 80, websocket=True, path="/mqtt")),
        ({"url": "wss://broker"}, Broker("broker", 443, tls=True, websocket=True, path="/mqtt")),
        ({"url": "ws://broker:9001/"}, Broker("broker", 9001, websocket=True, path="/mqtt")),
        ({"url": "ws://[::1]:1/a/b?c=d"}, Broker("::1", 1, websocket=True, path="/a/b?c=d")),
        ({"url": "ws://b/a", "path": "c/d"}, Broker("b", 80, websocket=True, path="/c/d")),
        ({"url": "mqtt://[fe80::1%25eth0]"}, Broker("fe80::1%eth0", 1883)),
        ({"url": "mqtt://[fe80::1%eth0]"}, Broker("fe80::1%eth0", 1883)),
        ({"url": "mqtt://b\u00fccher.example"}, Broker("xn--bcher-kva.example", 1883)),
        ({"host": "b\u00fccher.example"}, Broker("xn--bcher-kva.example", 1883)),
        ({"host": "fe80::1%eth0"}, Broker("fe80::1%eth0", 1883)),
    ],
)
def test_a_broker_is_found_by_url_or_host(config_json: dict[str, Any], expected: Config) -> None:
    assert check(config_json).broker == expected


def test_credentials_come_from_the_url_decoded() -> None:
    config = check({"brokerUrl": "mqtt://us%40er:p%2Fw%3A@broker"})
    assert (config.username, config.password) == ("us@er", "p/w:")


def test_credentials_of_their_own_win_over_those_in_the_url() -> None:
    config = check({"brokerUrl": "mqtt://a:b@broker", "username": "c", "password": " d "})
    assert (config.username, config.password) == ("c", " d ")


def test_options_are_kept() -> None:
    config = check({"host": "b", "clientId": "press", "keepalive": 30, "rejectUnauthorized": False})
    assert config == Config(Broker("b", 1883, keepalive=30, reject_unauthorized=False), client_id="press")
    assert check({"host": "b", "maxPayloadBytes": "131072"}).max_payload == 131_072
    assert check({"host": "b"}).max_payload == MAX_PAYLOAD
    assert check({"host": "b", "deviceId": "press"}).client_id == "press"


def test_blank_options_of_a_form_are_as_good_as_none() -> None:
    blank = dict.fromkeys(
        ["username", "password", "clientId", "ca", "cert", "key", "port", "path", "topicTemplate"], ""
    )
    assert check({"host": "b", **blank, "topicPrefix": "x"}) == Config(Broker("b", 1883))


@pytest.mark.parametrize(
    ("config_json", "field"),
    [
        ({"host": 5}, "host"),
        ({"host": "a/b"}, "host"),
        ({"host": "mqtt://a"}, "host"),
        ({"host": "a..b"}, "host"),
        ({"host": "a:1883"}, "host"),
        ({"host": "[::1]"}, "host"),
        ({"host": "user@a"}, "host"),
        ({"host": "a b"}, "host"),
        ({"host": "127.1"}, "host"),
        ({"url": f"mqtt://{'a' * 64}.b"}, "url"),
        ({"url": "mqtt://a b"}, "url"),
        ({"url": "mqtt://a\tb"}, "url"),
        ({"url": "mqtt://a\r\nb"}, "url"),
        ({"url": "mqtt://a\\b"}, "url"),
        ({"url": "mqtt://127.1"}, "url"),
        ({"url": "mqtt://\u2100.b"}, "url"),
        ({"url": "mqtt://a?clientId=x"}, "url"),
        ({"url": "mqtt://a/#x"}, "url"),
        ({"url": "ws://a/b#c"}, "url"),
        ({"url": "ws://a/b\tc"}, "url"),
        ({"url": "ws://a", "path": "/b\r\nX-Header: c"}, "path"),
        ({"url": "ws://a", "path": "/b#c"}, "path"),
        ({"url": "mqtt://us%0Aer@a"}, "url"),
        ({"host": "a", "username": "us\ner"}, "username"),
        ({"host": "a", "clientId": "a\x7fb"}, "clientId"),
        ({"host": "a", "clientId": "a\ufdd0b"}, "clientId"),
        ({"host": "a", "topicTemplate": "a\nb"}, "topicTemplate"),
        ({"url": "mqtts://a", "ca": "file:/etc/passwd"}, "ca"),
        ({"url": "mqtts://a", "ca": "/etc/ssl/certs/ca-certificates.crt"}, "ca"),
        ({"host": "a", "username": "é" * 32_768}, "username"),
        ({"host": "a", "username": "u", "password": "p" * 65_536}, "password"),
        ({"host": "a", "clientId": "c" * 65_536}, "clientId"),
        ({"host": "a", "port": 0}, "port"),
        ({"host": "a", "port": 65_536}, "port"),
        ({"host": "a", "port": "x"}, "port"),
        ({"host": "a", "port": 1.5}, "port"),
        ({"host": "a", "port": True}, "port"),
        ({"brokerUrl": 5}, "brokerUrl"),
        ({"brokerUrl": "http://a"}, "brokerUrl"),
        ({"url": "mqtt://a:99999"}, "url"),
        ({"url": "mqtt://a:0"}, "url"),
        ({"url": "mqtt://a:x"}, "url"),
        ({"url": "mqtt://[::1"}, "url"),
        ({"host": "a", "username": 5}, "username"),
        ({"host": "a", "password": 5, "username": "u"}, "password"),
        ({"host": "a", "password": "p"}, "username"),
        ({"host": "a", "clientId": 5}, "clientId"),
        ({"host": "a", "clientId": "a\0b"}, "clientId"),
        ({"host": "a", "keepalive": 0}, "keepalive"),
        ({"host": "a", "keepalive": 65_536}, "keepalive"),
        ({"host": "a", "rejectUnauthorized": "false"}, "rejectUnauthorized"),
        ({"host": "a", "topicTemplate": 5}, "topicTemplate"),
        ({"host": "a", "topicTemplate": "plant/{tenant}"}, "topicTemplate"),
        ({"host": "a", "publishTopicTemplate": "plant/#"}, "publishTopicTemplate"),
        ({"host": "a", "topicTemplate": "t" * 65_536}, "topicTemplate"),
        ({"host": "a", "maxPayloadBytes": 0}, "maxPayloadBytes"),
        ({"host": "a", "maxPayloadBytes": MAX_PAYLOAD + 1}, "maxPayloadBytes"),
        ({"url": "ws://a", "path": 5}, "path"),
        ({"url": "ws://a", "ca": AUTHORITY.pem}, "ca"),
        ({"host": "a", "ca": AUTHORITY.pem}, "ca"),
        ({"url": "mqtts://a", "ca": 5}, "ca"),
        ({"url": "mqtts://a", "ca": "nonsense"}, "ca"),
        ({"url": "mqtts://a", "cert": CERTIFICATE}, "key"),
        ({"url": "mqtts://a", "key": KEY}, "cert"),
        ({"url": "mqtts://a", "cert": "nonsense", "key": "nonsense"}, "key"),
        ({"url": "mqtts://a", "cert": CERTIFICATE, "key": AUTHORITY.issue()[1]}, "key"),
    ],
)
def test_a_bad_option_is_refused_by_its_field(config_json: dict[str, Any], field: str) -> None:
    assert refusal(**config_json)[1] == f"config_json.{field}"


@pytest.mark.parametrize("config_json", [{}, {"host": None}, {"host": " "}, {"brokerUrl": "mqtt://"}])
def test_a_missing_host_is_refused_in_the_documented_words(config_json: dict[str, Any]) -> None:
    assert refusal(**config_json)[0] == "Host is required"


def test_a_bad_url_is_refused_without_repeating_its_password() -> None:
    with pytest.raises(Refusal) as refused:
        check({"brokerUrl": "mqtt://user:pass/secret@broker"})
    assert "pass" not in refused.value.message
    assert refused.value.__cause__ is None


def test_pem_texts_may_have_escaped_line_ends() -> None:
    escaped = {
        key: pem.replace("\n", "\\n")
        for key, pem in {"ca": AUTHORITY.pem, "cert": CERTIFICATE, "key": KEY}.items()
    }
    config = check({"brokerUrl": "mqtts://broker", **escaped})
    assert config.broker.ca == AUTHORITY.pem
    assert tls_context(config.broker).get_ca_certs()


def test_an_encrypted_key_is_refused_instead_of_asking_for_its_password() -> None:
    key = load_pem_private_key(KEY.encode(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    assert refusal(url="mqtts://a", cert=CERTIFICATE, key=encrypted.decode())[1] == "config_json.key"


def test_a_broker_is_verified_unless_told_otherwise() -> None:
    strict = tls_context(Broker("b", 8883, tls=True))
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
    lax = tls_context(Broker("b", 8883, tls=True, reject_unauthorized=False))
    assert (lax.verify_mode, lax.check_hostname) == (ssl.CERT_NONE, False)


def test_checking_a_configuration_does_not_import_the_mqtt_library() -> None:
    script = (
        "import sys; from actors.publish.destinations import find;"
        "node = {'groupId': 'g', 'edgeNodeId': 'n'}; find('mqtt').check({'host': 'a', 'sparkplug': node});"
        "sys.exit(not sys.modules.keys().isdisjoint({'gmqtt', 'aiohttp', 'google.protobuf'}))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("name", TYPES)
def test_every_type_is_its_own_canonical_name(name: str) -> None:
    assert canonical(name) == name


def test_short_names_are_aliases() -> None:
    assert [canonical(name) for name in ("azure", "aws", "gcp")] == ["azure-iot", "aws-iot", "gcp-iot"]


@pytest.mark.parametrize("name", ["kafka", "", "MQTT", None, 5, ["mqtt"]])
def test_an_unknown_type_is_refused(name: Any) -> None:
    with pytest.raises(Refusal) as refused:
        find(name)
    assert (refused.value.field, refused.value.kind) == ("type", "invalid")


@pytest.mark.parametrize("given", ["plant/line 1", "plant/{endpoint}", "/sys/$x//"])
def test_the_topic_of_a_route_is_taken_as_it_is(given: str) -> None:
    config = check({"host": "b", "topicTemplate": "other/{topic}"})
    assert topics.fill(target(config, given, IDENTITY), "modbus") == given


@pytest.mark.parametrize("given", ["plant/#", "$share/x", "a\0b", "a\nb", "a\x9fb", "a\uffff", "t" * 65_536])
def test_a_topic_that_cannot_be_published_to_is_refused(given: str) -> None:
    with pytest.raises(Refusal) as refused:
        target(check({"host": "b"}), given, IDENTITY)
    assert refused.value.field == "route_json.topic"


def test_without_a_template_a_route_needs_its_topic() -> None:
    with pytest.raises(Refusal) as refused:
        target(check({"host": "b", "topicTemplate": " "}), None, IDENTITY)
    assert refused.value.message == "route_json.topic is required for external destinations"
    assert refused.value.field == "route_json.topic"


@pytest.mark.parametrize(
    ("template", "config_json", "expected"),
    [
        ("{topic}", {}, "local/agent-uuid/modbus"),
        ("{deviceId}/{endpoint}", {}, "agent-uuid-line%201/modbus"),
        ("{deviceId}/{protocol}", {"clientId": "a/b+#{topic}é"}, "a%2Fb%2B%23%7Btopic%7D%C3%A9/modbus"),
        ("devices/{deviceId}/{name}/{device}", {"deviceId": "d"}, "devices/d/plc_1/press"),
        ("plant", {}, "plant"),
        ("a}{b", {}, "a}{b"),
    ],
)
def test_a_template_is_filled(template: str, config_json: dict[str, Any], expected: str) -> None:
    for key in ("topicTemplate", "publishTopicTemplate"):
        found = target(check({"host": "b", key: template, **config_json}), None, IDENTITY)
        assert topics.fill(found, "modbus", "plc/1", "press") == expected


def test_the_agents_own_topic_is_the_clouds_once_it_is_provisioned() -> None:
    config = check({"host": "b", "topicTemplate": "{topic}"})
    found = target(config, None, Identity("agent-uuid", "name", CLOUD))
    expected = "i/ABEiM0RVZneImaq7zN3u_w/a/ASNFZ4mr/endpoints/modbus"
    assert topics.fill(found, "modbus") == expected


def test_an_unknown_placeholder_is_refused_with_the_known_ones() -> None:
    message, field = refusal(host="a", topicTemplate="a/{deviceid}")
    assert message.startswith("Unknown placeholder: {deviceid}. Supported: {deviceId}, {topic}, {endpoint}")
    assert field == "config_json.topicTemplate"


def test_the_mqtt_type_hides_its_password_and_key() -> None:
    found = find("mqtt")
    assert (found.name, found.secrets) == ("mqtt", SECRETS)


@pytest.mark.parametrize(
    ("given", "version"),
    [(None, 4), ("", 4), (4, 4), ("4", 4), ("3.1.1", 4), (5, 5), (" 5 ", 5), ("5.0", 5)],
)
def test_the_version_of_mqtt_has_several_spellings(given: Any, version: int) -> None:
    assert check({"host": "broker", "protocolVersion": given}).broker.version == version


@pytest.mark.parametrize("given", [3, "3.1", 6, True, [5], {"a": 5}, 5.5, "five"])
def test_other_versions_are_refused(given: Any) -> None:
    field = "config_json.protocolVersion"
    assert refusal(host="broker", protocolVersion=given) == ("protocolVersion must be 3.1.1 or 5", field)


def test_a_will_and_a_birth_message_are_checked_as_topics_are() -> None:
    will = {"topic": " plant/state ", "payload": "", "retain": True, "qos": 0}
    config = check({"host": "broker", "will": will, "birth": {"topic": "plant/state", "payload": "é"}})
    assert config.will == Message("plant/state", b"", qos=0, retain=True)
    assert config.birth == Message("plant/state", "é".encode(), qos=1, retain=False)


@pytest.mark.parametrize("key", ["will", "birth"])
@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"payload": "x"}, ".topic"),
        ({"topic": "plant"}, ".payload"),
        ({"topic": "plant", "payload": 1}, ".payload"),
        ({"topic": "plant", "payload": "x" * 65_536}, ".payload"),
        ({"topic": "plant/+", "payload": "x"}, ".topic"),
        ({"topic": "plant//a", "payload": "x"}, ".topic"),
        ({"topic": "plant\t1", "payload": "x"}, ".topic"),
        ({"topic": "$SYS/a", "payload": "x"}, ".topic"),
        ({"topic": "plant", "payload": "x", "qos": 2}, ".qos"),
        ({"topic": "plant", "payload": "x", "retain": "yes"}, ".retain"),
        ("plant", ""),
    ],
)
def test_a_will_or_birth_message_that_cannot_be_is_refused(key: str, said: Any, field: str) -> None:
    assert refusal(host="broker", **{key: said})[1] == f"config_json.{key}{field}"


def test_a_sparkplug_node_has_its_own_will() -> None:
    node = {"groupId": "plant", "edgeNodeId": "press"}
    said = {"topic": "a", "payload": "x"}
    assert refusal(host="broker", sparkplug=node, will=said)[1] == "config_json.will"
    assert refusal(host="broker", sparkplug=node, birth=said)[1] == "config_json.birth"


def test_user_properties_are_for_mqtt_5() -> None:
    given = {"site": "hall 1", "é": ""}
    config = check({"host": "broker", "protocolVersion": 5, "userProperties": given})
    assert config.user_properties == (("site", "hall 1"), ("é", ""))
    field = "config_json.userProperties"
    assert refusal(host="broker", userProperties=given) == ("userProperties need protocolVersion 5", field)
    for bad in ({"a": "x\n"}, {"a\0": "x"}, {"a": "x" * 65_536}):
        assert refusal(host="broker", protocolVersion=5, userProperties=bad)[1] == field
    for bad in ({"a": 1}, ["a"], "a"):
        assert (refusal(host="broker", protocolVersion=5, userProperties=bad)[1] or "").startswith(field)
