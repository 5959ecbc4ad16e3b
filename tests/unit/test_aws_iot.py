import ssl
from typing import Any

import pytest
from servers.certificates import Authority

from actors.mqtt.broker import Broker, tls_context
from actors.publish.destinations import find
from actors.publish.destinations.aws_iot import check, target
from actors.publish.destinations.driver import Identity
from actors.publish.destinations.masks import masked
from actors.publish.topics import Target, fill
from actors.system.failure import Refusal

AUTHORITY = Authority()
CA = AUTHORITY.pem.strip()
CERTIFICATE, KEY = (pem.strip() for pem in AUTHORITY.issue("press-4"))
AUTH = {"type": "mtls", "cert": CERTIFICATE, "key": KEY, "ca": CA}
UUID = "3f2b8c1e-90d4-4a57-8e61-0c2d7b9a4f10"
IDENTITY = Identity(UUID, "agent-1")


def config_json(**changes: Any) -> dict[str, Any]:
    return {"endpoint": "x-ats.iot.example", "deviceId": "press-4", "auth": AUTH} | changes


def test_the_broker_is_reached_by_verified_mutual_tls() -> None:
    broker = check(config_json()).broker
    assert broker == Broker("x-ats.iot.example", 8883, tls=True, ca=CA, cert=CERTIFICATE, key=KEY)
    assert tls_context(broker).verify_mode == ssl.CERT_REQUIRED
    assert tls_context(broker).check_hostname


def test_verification_cannot_be_turned_off() -> None:
    assert check(config_json(rejectUnauthorized=False)).broker.reject_unauthorized


def test_line_ends_of_pem_texts_may_be_spelled_out() -> None:
    spelled = {key: value.replace("\n", "\\n") for key, value in AUTH.items()}
    assert check(config_json(auth=spelled)) == check(config_json())


def test_port_443_asks_for_mqtt() -> None:
    assert check(config_json(port=443)).broker.alpn == "x-amzn-mqtt-ca"
    assert check(config_json(port="443")).broker.alpn == "x-amzn-mqtt-ca"
    assert check(config_json(port=8443)).broker.alpn is None
    assert check(config_json()).broker.alpn is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"endpoint": ""}, "endpoint"),
        ({"endpoint": "mqtts://x-ats.iot.example"}, "endpoint"),
        ({"port": 70_000}, "port"),
        ({"deviceId": 4}, "deviceId"),
        ({"deviceId": "é" * 65}, "deviceId"),
        ({"auth": {}}, "auth.cert"),
        ({"auth": None}, "auth.cert"),
        ({"auth": [AUTH]}, "auth"),
        ({"auth": AUTH | {"type": "sigv4"}}, "auth.type"),
        ({"auth": AUTH | {"key": ""}}, "auth.key"),
        ({"auth": AUTH | {"cert": KEY}}, "auth.key"),
        ({"auth": AUTH | {"key": AUTHORITY.issue("other")[1]}}, "auth.key"),
        ({"auth": AUTH | {"ca": "no pem"}}, "auth.ca"),
        ({"topicTemplate": "plant/+"}, "topicTemplate"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Refusal) as refused:
        check(config_json(**changes))
    assert refused.value.field == f"config_json.{field}"
    assert "PRIVATE KEY" not in refused.value.message


def test_the_target_is_the_subscriptions_topic_or_the_template() -> None:
    template = "devices/{deviceId}/messages/events/{endpoint}"
    own, anonymous = check(config_json()), check(config_json(deviceId="", topicTemplate=template))
    templated = check(config_json(topicTemplate=template))
    assert target(own, "plant/a", IDENTITY) == Target("plant/a")
    assert target(templated, "plant/a", IDENTITY) == Target("plant/a")
    assert target(templated, None, IDENTITY) == Target(
        "devices/press-4/messages/events/{endpoint}", template=True, max_bytes=256
    )
    assert target(anonymous, None, IDENTITY) == Target(
        f"devices/{UUID}/messages/events/{{endpoint}}", template=True, max_bytes=256
    )
    with pytest.raises(Refusal, match=r"route_json\.topic is required for external destinations") as refused:
        target(own, None, IDENTITY)
    assert refused.value.field == "route_json.topic"


def test_the_private_key_is_masked() -> None:
    shown = repr(masked(config_json(), find("aws").secrets))
    assert "PRIVATE KEY" not in shown
    assert "CERTIFICATE" in shown


# Topics


@pytest.mark.parametrize(
    "topic",
    ["a" * 256, "1/2/3/4/5/6/7/8", f"$aws/rules/plant/{'a' * 256}", "$aws/rules/r/1/2/3/4/5/6/7/8"],
)
def test_a_topic_that_the_service_takes_is_taken(topic: str) -> None:
    assert target(check(config_json()), topic, IDENTITY) == Target(topic)


@pytest.mark.parametrize(
    "topic",
    [
        "a" * 257,
        "é" * 129,
        "1/2/3/4/5/6/7/8/9",
        f"$aws/rules/r/{'a' * 257}",
        "$aws/rules/r/1/2/3/4/5/6/7/8/9",
    ],
)
def test_a_topic_that_the_service_disconnects_over_is_refused(topic: str) -> None:
    with pytest.raises(Refusal) as refused:
        target(check(config_json()), topic, IDENTITY)
    assert refused.value.field == "route_json.topic"
    with pytest.raises(Refusal) as refused:
        check(config_json(topicTemplate=topic))
    assert refused.value.field == "config_json.topicTemplate"


def test_a_template_may_not_come_to_too_many_levels_with_what_it_holds() -> None:
    config = check(config_json(topicTemplate="a/b/c/d/e/f/{topic}"))
    with pytest.raises(Refusal) as refused:
        target(config, None, IDENTITY)
    assert refused.value.field == "route_json.topic"


def test_names_are_shortened_to_what_the_service_takes() -> None:
    found = target(check(config_json(topicTemplate="{deviceId}/{name}/{device}")), None, IDENTITY)
    topics = {fill(found, "modbus", "press " * 60 + end, "d" * 300) for end in "abc"}
    assert len(topics) == 3
    assert all(len(topic.encode()) <= 256 and topic.count("/") == 2 for topic in topics)
