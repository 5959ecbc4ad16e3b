import hashlib
import hmac
import ssl
import zlib
from typing import Any

import cbor2
import msgpack
import msgspec
import pytest
from servers.certificates import Authority

from actors.publish import destinations
from actors.publish.destinations import masks
from actors.publish.destinations.driver import Identity
from actors.publish.destinations.webhook_bodies import CBOR, JSON, MSGPACK, Kind, joined, kind_of
from actors.publish.destinations.webhook_config import Given, Signature, check, tls_context
from actors.publish.destinations.webhook_driver import headers_of
from actors.publish.formats.compression import COMPRESSIONS, compress
from actors.publish.topics import Target, fill
from actors.system.failure import Refusal

GIVEN = {"url": "https://hooks.example/a?code=s3cret"}
IDENTITY = Identity("agent", "connection")
WEBHOOK = destinations.find("webhook")
AUTHORITY = Authority()
CERTIFICATE, KEY = AUTHORITY.issue("press-4")


# Configuration


def test_what_is_not_given_has_a_default() -> None:
    assert check(GIVEN) == Given(url="https://hooks.example/a?code=s3cret")


def test_everything_can_be_given() -> None:
    config = check(
        {
            "url": " http://B\u00dccher.example:8080/x?a=b%20c ",
            "method": "put",
            "headers": {"Authorization": "Bearer x y", "X-Site": "7"},
            "hmac": {"secret": " s ", "header": "X-Hub-Signature-256", "algorithm": "SHA512"},
            "batch": "50",
            "expect": [200],
            "acceptHtml": True,
            "timeout": "2500",
        }
    )
    assert config == Given(
        url="http://xn--bcher-kva.example:8080/x?a=b%20c",
        method="PUT",
        headers={"Authorization": "Bearer x y", "X-Site": "7"},
        hmac=Signature(" s ", "X-Hub-Signature-256", "sha512"),
        batch=50,
        expect=(200,),
        accept_html=True,
        timeout=2500,
    )


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("url", "ftp://h", "url"),
        ("url", "http://u:secret@h", "url"),
        ("url", "http://h/#secret", "url"),
        ("url", "http://h/a b", "url"),
        ("url", "http://h/\r\nX: secret", "url"),
        ("url", "http://127.1/", "url"),
        ("method", "GET", "method"),
        ("headers", {"X": "a\r\nY: b"}, "headers.X"),
        ("headers", {"X": "secrét"}, "headers.X"),
        ("headers", {"X": ""}, "headers.X"),
        ("headers", {"X": "s" * 8001}, "headers.X"),
        ("headers", {"X: secret\r\n": "a"}, "headers"),
        ("headers", {"": "a"}, "headers"),
        ("headers", {"Host": "h"}, "headers"),
        ("headers", {"content-length": "5"}, "headers"),
        ("headers", {"Idempotency-Key": "5"}, "headers"),
        ("headers", {"x-a": "5", "X-A": "6"}, "headers.X-A"),
        ("headers", {f"x-{number}": "5" for number in range(51)}, "headers"),
        ("headers", {"X": 5}, "headers"),
        ("hmac", {}, "hmac.secret"),
        ("hmac", {"secret": "s", "header": "X Y"}, "hmac.header"),
        ("hmac", {"secret": "s", "header": "Content-Length"}, "hmac.header"),
        ("hmac", {"secret": "s", "algorithm": "md5"}, "hmac.algorithm"),
        ("batch", 0, "batch"),
        ("batch", 1001, "batch"),
        ("expect", [], "expect"),
        ("expect", [302], "expect"),
        ("timeout", 0, "timeout"),
        ("ca", "secret", "ca"),
        ("cert", CERTIFICATE, "key"),
        ("key", KEY, "cert"),
    ],
)
def test_a_refusal_names_the_field_and_no_secret(key: str, value: Any, field: str) -> None:
    with pytest.raises(Refusal) as refused:
        check({**GIVEN, key: value})
    assert refused.value.field.startswith(f"config_json.{field}")
    assert "sec" not in refused.value.message.replace("secret is required", "")


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://h", "https://h/"),
        ("https://h?a=b", "https://h/?a=b"),
        ("https://h/a%2Fb%20c/?sig=a%2Bb%3D%3d&x=/?", "https://h/a%2Fb%20c/?sig=a%2Bb%3D%3d&x=/?"),
        ("https://h/\u00fc?q=\u00fc", "https://h/%C3%BC?q=%C3%BC"),
    ],
)
def test_a_url_stays_as_it_is_given(url: str, sent: str) -> None:
    assert check({"url": url}).url == sent


def test_a_signature_and_a_header_are_not_of_one_name() -> None:
    with pytest.raises(Refusal, match="x-signature twice"):
        check({**GIVEN, "headers": {"x-signature": "a"}, "hmac": {"secret": "s"}})


@pytest.mark.parametrize("key", ["ca", "cert"])
def test_certificates_need_tls(key: str) -> None:
    with pytest.raises(Refusal, match=f"{key} has no effect without TLS"):
        check(
            {"url": "http://h", "ca": AUTHORITY.pem if key == "ca" else None}
            | ({"cert": CERTIFICATE, "key": KEY} if key == "cert" else {})
        )


def test_certificates_are_verified_unless_told_otherwise() -> None:
    assert tls_context(check(GIVEN)).verify_mode is ssl.CERT_REQUIRED
    assert tls_context(check({**GIVEN, "rejectUnauthorized": False})).verify_mode is ssl.CERT_NONE
    only = tls_context(check({**GIVEN, "ca": AUTHORITY.pem, "cert": CERTIFICATE, "key": KEY}))
    assert (only.verify_mode, only.check_hostname, len(only.get_ca_certs())) == (ssl.CERT_REQUIRED, True, 1)


def test_secrets_are_masked_and_come_back() -> None:
    config = {
        "url": "https://h/a?sig=s3cret",
        "headers": {"Authorization": "Bearer s3cret", "X-Site": "7"},
        "hmac": {"secret": "s3cret", "header": "X-S"},
        "cert": "c",
        "key": "s3cret",
    }
    shown = masks.masked(config, WEBHOOK.secrets)
    assert "s3cret" not in str(shown)
    assert (shown["url"], shown["hmac"]) == ("https://h/a?********", {"secret": "********", "header": "X-S"})
    assert shown["headers"] == {"Authorization": "********", "X-Site": "********"}
    assert masks.unmasked(shown, config, WEBHOOK.secrets) == config
    moved = {**shown, "url": "https://other/b?********", "headers": {"X-Site": "8"}}
    assert masks.unmasked(moved, config, WEBHOOK.secrets) == {
        **config,
        "url": "https://other/b?sig=s3cret",
        "headers": {"X-Site": "8"},
    }
    for key in ("url", "headers", "hmac", "key"):
        with pytest.raises(Refusal) as refused:
            masks.unmasked({key: shown[key]}, {}, WEBHOOK.secrets)
        assert refused.value.field.startswith(f"config_json.{key}")


# Topics


def test_the_topic_is_the_subscriptions_or_the_agents_own() -> None:
    config = check(GIVEN)
    assert WEBHOOK.target(config, "hall 1/x", IDENTITY) == Target("hall 1/x")
    assert fill(WEBHOOK.target(config, None, IDENTITY), "modbus") == "local/agent/modbus"
    with pytest.raises(Refusal) as refused:
        WEBHOOK.target(config, "a\nb", IDENTITY)
    assert refused.value.field == "route_json.topic"


# Bodies

DOCUMENTS = [{"a": number, "t": "x" * 5000 * number} for number in range(2)]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_a_payload_is_shows_in_its_first_byte(compression: str) -> None:
    media_type = {"json": JSON, "msgpack": MSGPACK, "cbor": CBOR}[compression.partition("+")[0]]
    small, large = [compress(compression, msgspec.json.encode(each)) for each in DOCUMENTS]
    assert kind_of(small) == Kind(media_type)
    assert kind_of(large) == Kind(media_type, deflated="deflate" in compression)
    assert kind_of(small).joins
    assert kind_of(large).joins != kind_of(large).deflated


@pytest.mark.parametrize(
    "payload", [b"", b"device=d a=1 5", b"xyz", b"\x00", b"\x78\x9c\xff\xff", zlib.compress(b"z")]
)
def test_what_is_of_no_known_kind_goes_alone(payload: bytes) -> None:
    assert kind_of(payload).media_type == "application/octet-stream"
    assert not kind_of(payload).joins


@pytest.mark.parametrize("count", [1, 2, 15, 16, 1000])
def test_several_payloads_are_an_array_of_them(count: int) -> None:
    documents = [{"n": number} for number in range(count)]
    decoders = {"json": msgspec.json.decode, "msgpack": msgpack.unpackb, "cbor": cbor2.loads}
    for compression, decode in decoders.items():
        payloads = [compress(compression, msgspec.json.encode(each)) for each in documents]
        assert decode(joined(kind_of(payloads[0]), payloads)) == documents


def test_equal_payloads_of_one_topic_have_one_key_and_a_signature() -> None:
    config = check({**GIVEN, "hmac": {"secret": "sh\u00e9"}})
    first = headers_of(config, "hall 1/\u00e9", b'{"a":1}')
    assert first == headers_of(config, "hall 1/\u00e9", b'{"a":1}')
    assert first["X-Topic"] == "hall%201/%C3%A9"
    digest = hmac.new("sh\u00e9".encode(), b'{"a":1}', hashlib.sha256).hexdigest()
    assert first["X-Signature"] == f"sha256={digest}"
    others = [headers_of(config, "hall 2", b'{"a":1}'), headers_of(config, "hall 1/\u00e9", b'{"a":2}')]
    assert len({each["Idempotency-Key"] for each in (first, *others)}) == 3
