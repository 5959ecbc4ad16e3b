from typing import Any

import pytest

from actors.publish import destinations
from actors.publish.destinations.fallbacks import fallbacks, merged
from actors.system.failure import Refusal
from conf.settings import load

CONNECTION = "HostName=hub.example;DeviceId=press-4;SharedAccessKey=a2V5"


def test_without_settings_there_are_the_shipped_defaults() -> None:
    assert fallbacks(load(None, {})) == {
        "azure-iot": {"auth": {"tokenTtlSeconds": 3600}},
        "aws-iot": {"port": 8883},
        "gcp-iot": {"endpoint": "mqtt.googleapis.com", "port": 8883, "username": "unused"},
    }


def test_every_variable_arrives_where_the_destination_looks_for_it() -> None:
    environ = {
        "AZURE_IOTHUB_CONNECTION_STRING": CONNECTION,
        "AZURE_SAS_TOKEN_TTL_SECONDS": "600",
        "AWS_IOT_ENDPOINT": "aws.example",
        "AWS_IOT_PORT": "443",
        "AWS_IOT_DEVICE_ID": "press-4",
        "AWS_IOT_CLIENT_CERT": "cert",
        "AWS_IOT_PRIVATE_KEY": "key",
        "AWS_IOT_CA_CERT": "ca",
        "AWS_IOT_PUBLISH_TOPIC_TEMPLATE": "aws/{endpoint}",
        "GCP_MQTT_ENDPOINT": "gcp.example",
        "GCP_MQTT_PORT": "8884",
        "GCP_MQTT_CLIENT_ID": "projects/p/devices/d",
        "GCP_MQTT_USERNAME": "me",
        "GCP_MQTT_JWT": "a.b.c",
        "GCP_MQTT_CA_CERT": "ca",
        "GCP_MQTT_PUBLISH_TOPIC_TEMPLATE": "gcp/{endpoint}",
    }
    assert fallbacks(load(None, environ)) == {
        "azure-iot": {"connectionString": CONNECTION, "auth": {"tokenTtlSeconds": 600}},
        "aws-iot": {
            "endpoint": "aws.example",
            "port": 443,
            "deviceId": "press-4",
            "topicTemplate": "aws/{endpoint}",
            "auth": {"cert": "cert", "key": "key", "ca": "ca"},
        },
        "gcp-iot": {
            "endpoint": "gcp.example",
            "port": 8884,
            "clientId": "projects/p/devices/d",
            "username": "me",
            "topicTemplate": "gcp/{endpoint}",
            "auth": {"jwt": "a.b.c"},
            "ca": "ca",
        },
    }


def test_a_password_is_a_jwt_by_another_name() -> None:
    only = fallbacks(load(None, {"GCP_MQTT_PASSWORD": "d.e.f"}))
    both = fallbacks(load(None, {"GCP_MQTT_PASSWORD": "d.e.f", "GCP_MQTT_JWT": "a.b.c"}))
    assert only["gcp-iot"]["auth"] == {"jwt": "d.e.f"}
    assert both["gcp-iot"]["auth"] == {"jwt": "a.b.c"}


@pytest.mark.parametrize(
    ("config", "fallback", "expected"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 2}, {"a": 1}, {"a": 2}),
        ({"a": 0, "b": False}, {"a": 1, "b": True}, {"a": 0, "b": False}),
        ({"a": ""}, {"a": 1}, {"a": 1}),
        ({"a": " \n"}, {"a": 1}, {"a": 1}),
        ({"a": None}, {"a": 1}, {"a": 1}),
        ({"a": "", "b": None}, {}, {"a": "", "b": None}),
        ({"auth": {"x": 2, "y": ""}}, {"auth": {"x": 1, "y": 1, "z": 1}}, {"auth": {"x": 2, "y": 1, "z": 1}}),
        ({"auth": None}, {"auth": {"x": 1}}, {"auth": {"x": 1}}),
        ({"auth": "wrong"}, {"auth": {"x": 1}}, {"auth": "wrong"}),
        ({"auth": {"x": 1}}, {"auth": "other"}, {"auth": {"x": 1}}),
        ({"hostName": "h"}, {"connectionString": "c", "port": 1}, {"hostName": "h", "port": 1}),
        ({"hostName": ""}, {"connectionString": "c"}, {"hostName": "", "connectionString": "c"}),
        ({"connectionString": "c"}, {"hostName": "h"}, {"connectionString": "c"}),
        ({"auth": {"privateKey": "k"}}, {"auth": {"jwt": "j"}}, {"auth": {"privateKey": "k"}}),
        ({"auth": {"jwt": "j"}}, {"auth": {"privateKey": "k"}}, {"auth": {"jwt": "j"}}),
    ],
)
def test_configuration_wins_over_the_fallback_key_by_key(
    config: dict[str, Any], fallback: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = (repr(config), repr(fallback))
    assert merged(config, fallback) == expected
    assert (repr(config), repr(fallback)) == before


def test_a_bad_connection_string_stops_only_the_destinations_that_need_it() -> None:
    of_types = fallbacks(load(None, {"AZURE_IOTHUB_CONNECTION_STRING": "hunter2"}))
    azure = destinations.find("azure")

    with pytest.raises(Refusal) as refused:
        azure.check(destinations.effective(azure, None, of_types))
    assert refused.value.field == "config_json.connectionString"
    assert "hunter2" not in refused.value.message

    own = {"hostName": "hub.example", "deviceId": "press-4", "auth": {"sharedAccessKey": "a2V5"}}
    assert azure.check(destinations.effective(azure, own, of_types)).device_id == "press-4"


def test_the_environment_alone_makes_an_azure_destination() -> None:
    azure = destinations.find("azure-iot")
    of_types = fallbacks(
        load(None, {"AZURE_IOTHUB_CONNECTION_STRING": CONNECTION, "AZURE_SAS_TOKEN_TTL_SECONDS": "60"})
    )
    config = azure.check(destinations.effective(azure, {"hostName": "", "deviceId": None}, of_types))
    assert (config.broker.host, config.device_id, config.key) == ("hub.example", "press-4", b"key")
    assert config.token_seconds == 60
