import base64
import hashlib
import hmac
from typing import Any
from urllib.parse import parse_qs, quote_plus

import pytest

from actors.mqtt.broker import Broker
from actors.publish.destinations import find, sas, token_clock
from actors.publish.destinations.azure_iot import address, check, login, target
from actors.publish.destinations.driver import Identity
from actors.publish.destinations.masks import masked
from actors.publish.topics import Target
from actors.system.failure import Refusal

KEY = "YSBkZXZpY2Uga2V5IG9mIDMyIGJ5dGVzLCByZWFsbHkh"
CONNECTION = f"HostName=plant.azure-devices.net;DeviceId=press-4;SharedAccessKey={KEY}"
IDENTITY = Identity("3f2b8c1e-90d4-4a57-8e61-0c2d7b9a4f10", "agent-1")


def config_json(**changes: Any) -> dict[str, Any]:
    given = {
        "provider": "azure",
        "hostName": "plant.azure-devices.net",
        "deviceId": "press-4",
        "auth": {"type": "sas", "sharedAccessKey": KEY, "tokenTtlSeconds": 3600},
    }
    return given | changes


def refusal(config: dict[str, Any]) -> tuple[str, str | None]:
    with pytest.raises(Refusal) as refused:
        check(config)
    return refused.value.message, refused.value.field


def test_a_token_is_that_of_openssl() -> None:
    # printf 'plant.azure-devices.net%%2Fdevices%%2Fpress-4\n1700003600' |
    #   openssl dgst -sha256 -mac HMAC -macopt hexkey:<KEY in hex> -binary | base64
    expected = "HAVBRIZCQDi0SaqqEhEBC6lP4yn6+7izd2W0FqzZP5I="
    assert sas.signature("plant.azure-devices.net/devices/press-4", base64.b64decode(KEY), 1_700_003_600) == (
        "SharedAccessSignature sr=plant.azure-devices.net%2Fdevices%2Fpress-4"
        f"&sig={expected.replace('+', '%2B').replace('=', '%3D')}&se=1700003600"
    )


@pytest.mark.parametrize("device_id", ["press-4", "press_4", "a%2Fb", "x@y:z=($)"])
def test_the_login_is_the_devices_with_a_token_that_verifies(
    monkeypatch: pytest.MonkeyPatch, device_id: str
) -> None:
    monkeypatch.setattr(token_clock, "unix_ms", lambda: 1_700_000_000_250)
    made = login(check(config_json(deviceId=device_id)))

    assert made.client_id == device_id
    assert made.username == f"plant.azure-devices.net/{device_id}/?api-version=2021-04-12"
    assert made.password is not None
    scheme, _, fields = made.password.partition(" ")
    assert scheme == "SharedAccessSignature"
    token = {key: value for key, [value] in parse_qs(fields, strict_parsing=True).items()}
    assert set(token) == {"sr", "sig", "se"}
    assert token["sr"] == f"plant.azure-devices.net/devices/{device_id}"
    signed = f"{quote_plus(token['sr'])}\n{token['se']}".encode()
    digest = hmac.new(base64.b64decode(KEY), signed, hashlib.sha256).digest()
    assert base64.b64decode(token["sig"]) == digest
    # Never sooner than asked for.
    assert token["se"] == "1700003601"


def test_a_token_is_renewed_at_four_fifths_of_its_life() -> None:
    assert login(check(config_json())).renew_after == 2880
    short = config_json(auth={"sharedAccessKey": KEY, "tokenTtlSeconds": 5})
    assert login(check(short)).renew_after == 4


def test_every_login_has_a_token_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    config = check(config_json())
    monkeypatch.setattr(token_clock, "unix_ms", lambda: 1_700_000_000_000)
    first = login(config)
    monkeypatch.setattr(token_clock, "unix_ms", lambda: 1_600_000_000_000)
    second = login(config)
    assert first.password != second.password
    assert first.renew_after == second.renew_after


def test_the_broker_is_the_hub_over_verified_tls() -> None:
    assert check(config_json()).broker == Broker("plant.azure-devices.net", 8883, tls=True)
    assert check(config_json(port=18883, rejectUnauthorized=False)).broker == Broker(
        "plant.azure-devices.net", 18883, tls=True, reject_unauthorized=False
    )


@pytest.mark.parametrize(
    "text",
    [
        CONNECTION,
        f" {CONNECTION}; ",
        f"SharedAccessKey={KEY};deviceid=press-4;HOSTNAME=plant.azure-devices.net;Other=1",
    ],
)
def test_a_connection_string_says_the_same(text: str) -> None:
    assert check({"connectionString": text}) == check(config_json())


def test_other_keys_win_over_those_in_the_connection_string() -> None:
    config = check({"connectionString": CONNECTION, "deviceId": "press-5"})
    assert config.device_id == "press-5"
    assert config.broker.host == "plant.azure-devices.net"


@pytest.mark.parametrize(
    "text",
    [
        "hunter2",
        f"HostName=plant.azure-devices.net;SharedAccessKeyName=owner;SharedAccessKey={KEY}",
        "HostName=plant.azure-devices.net;DeviceId=press-4;x509=true",
        f"HostName=;DeviceId=press-4;SharedAccessKey={KEY}",
    ],
)
def test_a_bad_connection_string_is_named_but_not_shown(text: str) -> None:
    message, field = refusal({"connectionString": text})
    assert field == "config_json.connectionString"
    assert KEY not in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hostName": ""}, "hostName"),
        ({"hostName": 5}, "hostName"),
        ({"hostName": "https://plant.azure-devices.net"}, "hostName"),
        ({"deviceId": " "}, "deviceId"),
        ({"deviceId": "a/b"}, "deviceId"),
        ({"deviceId": "a#"}, "deviceId"),
        ({"deviceId": "a" * 129}, "deviceId"),
        ({"port": 0}, "port"),
        ({"auth": {}}, "auth.sharedAccessKey"),
        ({"auth": None}, "auth.sharedAccessKey"),
        ({"auth": "sas"}, "auth"),
        ({"auth": {"type": "x509", "sharedAccessKey": KEY}}, "auth.type"),
        ({"auth": {"sharedAccessKey": "not base64!"}}, "auth.sharedAccessKey"),
        ({"auth": {"sharedAccessKey": "é"}}, "auth.sharedAccessKey"),
        ({"auth": {"sharedAccessKey": KEY, "tokenTtlSeconds": 4}}, "auth.tokenTtlSeconds"),
        ({"auth": {"sharedAccessKey": KEY, "tokenTtlSeconds": 31_536_001}}, "auth.tokenTtlSeconds"),
        ({"ca": "no pem"}, "ca"),
        ({"rejectUnauthorized": "no"}, "rejectUnauthorized"),
        ({"topicTemplate": "plant/{who}"}, "topicTemplate"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(changes: dict[str, Any], field: str) -> None:
    assert refusal(config_json(**changes))[1] == f"config_json.{field}"


@pytest.mark.parametrize(
    ("topic", "payload", "expected"),
    [
        (
            "modbus",
            b'{"a":1}',
            "devices/press-4/messages/events/?endpoint=modbus&%24.ct=application%2Fjson&%24.ce=utf-8",
        ),
        (
            "plant/line 1&é",
            b'{"a":1}',
            "devices/press-4/messages/events/?endpoint=plant%2Fline%201%26%C3%A9"
            "&%24.ct=application%2Fjson&%24.ce=utf-8",
        ),
        (
            "modbus",
            b"\x81\xa1a\x01",
            "devices/press-4/messages/events/?endpoint=modbus&%24.ct=application%2Foctet-stream",
        ),
        (
            "modbus",
            b"\x78\x9c",
            "devices/press-4/messages/events/?endpoint=modbus&%24.ct=application%2Foctet-stream",
        ),
    ],
)
def test_a_payload_goes_to_the_hubs_topic_with_its_name_and_content_type(
    topic: str, payload: bytes, expected: str
) -> None:
    assert address(check(config_json()), IDENTITY, topic, payload) == expected


def test_the_target_is_the_subscriptions_topic_or_the_template() -> None:
    plain, templated = check(config_json()), check(config_json(topicTemplate="{deviceId}/{endpoint}"))
    assert target(plain, "plant/a", IDENTITY) == Target("plant/a")
    assert target(templated, "plant/a", IDENTITY) == Target("plant/a")
    assert target(templated, None, IDENTITY) == Target("press-4/{endpoint}", template=True, max_bytes=21_000)
    with pytest.raises(Refusal, match=r"route_json\.topic is required for external destinations") as refused:
        target(plain, None, IDENTITY)
    assert refused.value.field == "route_json.topic"
    with pytest.raises(Refusal) as refused:
        target(plain, "plant/#", IDENTITY)
    assert refused.value.field == "route_json.topic"


def test_keys_are_masked() -> None:
    shown = masked(config_json(connectionString=CONNECTION), find("azure").secrets)
    assert KEY not in repr(shown)
    assert shown["auth"]["tokenTtlSeconds"] == 3600
