import ssl
from typing import Any

import pytest
from servers.certificates import Authority

from actors.publish import destinations
from actors.publish.destinations.driver import Identity
from actors.publish.destinations.influxdb_config import Config, check, target, tls_context
from actors.publish.topics import Target
from actors.system.failure import Refusal

GIVEN = {"url": "http://10.0.0.5:8086", "org": "plant", "bucket": "raw", "token": "s3cret"}
IDENTITY = Identity("agent", "connection")


def test_what_is_not_given_has_a_default() -> None:
    assert check(GIVEN) == Config("http://10.0.0.5:8086", "plant", "raw", "s3cret")


def test_everything_can_be_given() -> None:
    ca = Authority().pem
    config = check(
        {
            "url": " https://influx.example/db/ ",
            "org": " plant ",
            "bucket": "raw",
            "token": "s3cret",
            "precision": "ns",
            "batchSize": "200",
            "flushInterval": 1000,
            "timeout": 2500,
            "rejectUnauthorized": False,
            "ca": ca.replace("\n", "\\n"),
            "gzip": True,
            "fieldTypes": {"parts": "integer", "is_*": "boolean"},
        }
    )
    assert config == Config(
        url="https://influx.example/db",
        org="plant",
        bucket="raw",
        token="s3cret",
        precision="ns",
        batch_size=200,
        flush_interval=1.0,
        timeout=2.5,
        ca=ca,
        reject_unauthorized=False,
        gzip=True,
        field_types={"parts": "integer", "is_*": "boolean"},
    )


@pytest.mark.parametrize(
    ("config_json", "message", "key"),
    [
        ({}, "URL is required", "url"),
        ({"url": " "}, "URL is required", "url"),
        ({"url": "http://h"}, "Token is required", "token"),
        ({"url": "http://h", "token": "t"}, "Org is required", "org"),
        ({"url": "http://h", "token": "t", "org": "o"}, "Bucket is required", "bucket"),
        ({"url": "http://h", "bucket": "b", "org": "o"}, "Token is required", "token"),
    ],
)
def test_what_is_missing_is_named_in_order(config_json: dict[str, Any], message: str, key: str) -> None:
    with pytest.raises(Refusal) as refused:
        check(config_json)
    assert (refused.value.message, refused.value.field) == (message, f"config_json.{key}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("url", "10.0.0.5:8086"),
        ("url", "localhost"),
        ("url", "mqtt://h"),
        ("url", "http://"),
        ("url", "http://h:0"),
        ("url", "http://h:65536"),
        ("url", "http://h:secret"),
        ("url", "http://[::1"),
        ("url", "http://h/a b"),
        ("url", "http://h\nx"),
        ("url", "http://u:secret@h"),
        ("url", "http://secret@h"),
        ("url", "http://h?token=secret"),
        ("url", "http://h/#secret"),
        ("url", "http://" + "a" * 70),
        ("url", "http://127.1"),
        ("url", "http://h_\u2100"),
        ("url", 5),
        ("token", "sec\nret"),
        ("token", "secrét"),
        ("org", 5),
        ("org", "plant\r\nX: y"),
        ("bucket", "a\x1bb"),
        ("bucket", ["secret"]),
        ("precision", "m"),
        ("precision", 3),
        ("batchSize", 0),
        ("batchSize", 10_001),
        ("flushInterval", -1),
        ("flushInterval", 60_001),
        ("timeout", 0),
        ("rejectUnauthorized", "no"),
        ("ca", "secret"),
        ("gzip", "yes"),
        ("fieldTypes", ["integer"]),
        ("fieldTypes", {"": "integer"}),
        ("fieldTypes", {"a\nb": "integer"}),
        ("fieldTypes", {"s" * 1001: "integer"}),
        ("fieldTypes", {f"{number}": "float" for number in range(1001)}),
        ("fieldTypes", {"a": "int"}),
        ("fieldTypes", {"a": None}),
    ],
)
def test_a_refusal_names_the_field_and_no_secret(key: str, value: Any) -> None:
    with pytest.raises(Refusal) as refused:
        check({**GIVEN, "url": "https://h", key: value})
    assert refused.value.field.partition("[")[0] == f"config_json.{key}"
    assert "sec" not in refused.value.message


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://B\u00dccher.example:8086/db/", "http://xn--bcher-kva.example:8086/db"),
        ("http://[FE80::1]:8086", "http://[fe80::1]:8086"),
        ("https://[::1]", "https://[::1]"),
        ("http://influx.example./", "http://influx.example."),
    ],
)
def test_the_host_of_the_url_is_as_the_network_knows_it(url: str, expected: str) -> None:
    assert check({**GIVEN, "url": url}).url == expected


def test_a_ca_needs_tls() -> None:
    with pytest.raises(Refusal, match="https"):
        check({**GIVEN, "ca": Authority().pem})


def test_certificates_are_verified_unless_told_otherwise() -> None:
    tls = {**GIVEN, "url": "https://h"}
    assert tls_context(check(tls)).verify_mode is ssl.CERT_REQUIRED
    assert tls_context(check({**tls, "rejectUnauthorized": False})).verify_mode is ssl.CERT_NONE
    only = tls_context(check({**tls, "ca": Authority("The only one").pem}))
    assert only.verify_mode is ssl.CERT_REQUIRED
    assert only.check_hostname
    assert len(only.get_ca_certs()) == 1


def test_the_topic_is_the_measurement() -> None:
    assert target(check(GIVEN), "hall 1/line,2", IDENTITY) == Target("hall 1/line,2")


@pytest.mark.parametrize("topic", [None, "_x", "#x", "a\x00b", "a\nb", "a\\b", "é" * 501])
def test_a_topic_that_cannot_be_a_measurement_is_refused(topic: str | None) -> None:
    with pytest.raises(Refusal) as refused:
        target(check(GIVEN), topic, IDENTITY)
    assert refused.value.field == "route_json.topic"
    if topic is None:
        assert refused.value.message == "route_json.topic is required for external destinations"


def test_the_type_is_registered_with_its_own_format() -> None:
    found = destinations.find("influxdb")
    assert (found.name, found.payload_format, found.secrets) == ("influxdb", "line-protocol", ("token",))
