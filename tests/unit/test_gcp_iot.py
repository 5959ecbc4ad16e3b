import base64
import subprocess
import sys
import time
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from actors.connections.connection import Permanent
from actors.mqtt.broker import Broker
from actors.publish.destinations import find, token_clock
from actors.publish.destinations.driver import Identity
from actors.publish.destinations.gcp_iot import check, login, target
from actors.publish.destinations.masks import masked
from actors.publish.topics import Target
from actors.system.failure import Refusal

CLIENT_ID = "projects/plant/locations/here/registries/all/devices/press-4"
IDENTITY = Identity("3f2b8c1e-90d4-4a57-8e61-0c2d7b9a4f10", "agent-1")
RSA = rsa.generate_private_key(65_537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> str:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def config_json(auth: Any = None, **changes: Any) -> dict[str, Any]:
    return {"clientId": CLIENT_ID, "auth": auth or {"type": "jwt", "privateKey": pem(RSA)}} | changes


def refusal(config: dict[str, Any]) -> tuple[str, str | None]:
    with pytest.raises(Refusal) as refused:
        check(config)
    assert "PRIVATE KEY" not in refused.value.message
    return refused.value.message, refused.value.field


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def claims(token: str | None, algorithm: str) -> dict[str, Any]:
    """Those of a token whose signature is that of our key, by RFC 7515 and 7518."""
    assert token is not None
    head, body, tail = token.split(".")
    signed, signature = f"{head}.{body}".encode(), decoded(tail)
    assert msgspec.json.decode(decoded(head)) == {"alg": algorithm, "typ": "JWT"}
    if algorithm == "RS256":
        RSA.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    else:
        assert len(signature) == 64
        halves = (int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        EC.public_key().verify(encode_dss_signature(*halves), signed, ec.ECDSA(hashes.SHA256()))
    found: dict[str, Any] = msgspec.json.decode(decoded(body))
    return found


@pytest.mark.parametrize(
    ("algorithm", "key", "named"),
    [("RS256", RSA, {}), ("RS256", RSA, {"algorithm": "RS256"}), ("ES256", EC, {"algorithm": "ES256"})],
)
def test_a_private_key_signs_a_token_that_verifies(
    monkeypatch: pytest.MonkeyPatch, algorithm: str, key: Any, named: dict[str, str]
) -> None:
    monkeypatch.setattr(token_clock, "unix_ms", lambda: 1_700_000_000_750)
    made = login(check(config_json({"privateKey": pem(key), "tokenTtlSeconds": 600, **named})))
    assert (made.client_id, made.username) == (CLIENT_ID, "unused")
    assert claims(made.password, algorithm) == {
        "aud": "plant",
        "iat": 1_700_000_000,
        "exp": 1_700_000_600,
    }
    assert made.renew_after == 480


def test_every_login_has_a_token_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    config = check(config_json())
    for now in (1_700_000_000, 1_600_000_000):
        monkeypatch.setattr(token_clock, "unix_ms", lambda now=now: 1000 * now)
        made = login(config)
        assert claims(made.password, "RS256")["iat"] == now
        assert made.renew_after == 2880


def test_the_audience_is_the_project() -> None:
    named = {"privateKey": pem(RSA), "projectId": "other"}
    assert claims(login(check(config_json(named))).password, "RS256")["aud"] == "other"
    assert claims(login(check(config_json(named, clientId="press-4"))).password, "RS256")["aud"] == "other"
    assert refusal(config_json(clientId="press-4"))[1] == "config_json.auth.projectId"


def token_until(expires: float) -> str:
    return jwt.encode({"aud": "plant", "exp": expires}, "a secret of 32 bytes or even more", "HS256")


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "..", token_until(time.time() + 3600)])
def test_a_supplied_token_is_sent_as_it_is(token: str) -> None:
    made = login(check(config_json({"jwt": token}, username="me")))
    assert (made.username, made.password, made.renew_after) == ("me", token, None)


def test_a_supplied_token_that_has_expired_is_not_sent() -> None:
    config = check(config_json({"jwt": token_until(time.time() - 1)}))
    with pytest.raises(Permanent, match="the configured jwt has expired"):
        login(config)


def test_a_token_that_never_ends_is_sent() -> None:
    eternal = jwt.encode({"aud": "plant"}, "a secret of 32 bytes or even more", "HS256")
    assert login(check(config_json({"jwt": eternal}))).password == eternal


def test_a_private_key_is_used_rather_than_a_token() -> None:
    both = config_json({"jwt": token_until(0), "privateKey": pem(RSA)})
    assert claims(login(check(both)).password, "RS256")["aud"] == "plant"


def test_line_ends_of_the_key_may_be_spelled_out() -> None:
    spelled = config_json({"privateKey": pem(EC).replace("\n", "\\n"), "algorithm": "ES256"})
    assert claims(login(check(spelled)).password, "ES256")["aud"] == "plant"


def test_the_broker_has_defaults() -> None:
    assert check(config_json()).broker == Broker("mqtt.googleapis.com", 8883, tls=True)
    assert check(config_json(endpoint="broker.example", port=8884, username="")).broker == Broker(
        "broker.example", 8884, tls=True
    )


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"endpoint": "mqtts://broker"}, "endpoint"),
        ({"port": "x"}, "port"),
        ({"clientId": " "}, "clientId"),
        ({"clientId": "x" * 65_536}, "clientId"),
        ({"username": 5}, "username"),
        ({"ca": "no pem"}, "ca"),
        ({"topicTemplate": "{}"}, "topicTemplate"),
        ({"auth": {}}, "auth.privateKey"),
        ({"auth": "jwt"}, "auth"),
        ({"auth": {"type": "sas", "jwt": "a"}}, "auth.type"),
        ({"auth": {"jwt": 5}}, "auth.jwt"),
        ({"auth": {"jwt": "x" * 65_536}}, "auth.jwt"),
        ({"auth": {"privateKey": "no pem"}}, "auth.privateKey"),
        ({"auth": {"privateKey": pem(EC, b"hush"), "algorithm": "ES256"}}, "auth.privateKey"),
        ({"auth": {"privateKey": pem(EC)}}, "auth.privateKey"),
        ({"auth": {"privateKey": pem(RSA), "algorithm": "ES256"}}, "auth.privateKey"),
        ({"auth": {"privateKey": pem(RSA), "algorithm": "HS256"}}, "auth.algorithm"),
        ({"auth": {"privateKey": pem(RSA), "algorithm": "none"}}, "auth.algorithm"),
        ({"auth": {"privateKey": pem(RSA), "tokenTtlSeconds": 86_401}}, "auth.tokenTtlSeconds"),
        ({"auth": {"privateKey": pem(RSA), "tokenTtlSeconds": 4}}, "auth.tokenTtlSeconds"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(changes: dict[str, Any], field: str) -> None:
    assert refusal(config_json() | changes)[1] == f"config_json.{field}"


def test_weak_public_and_foreign_keys_are_refused() -> None:
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    other_curve = pem(ec.generate_private_key(ec.SECP384R1()))
    for key, algorithm in (
        (pem(rsa.generate_private_key(65_537, 1024)), "RS256"),
        (public, "RS256"),
        (public, "ES256"),
        (other_curve, "ES256"),
    ):
        auth = {"privateKey": key, "algorithm": algorithm}
        assert refusal(config_json(auth))[1] == "config_json.auth.privateKey"


def test_the_target_is_the_subscriptions_topic_or_the_template() -> None:
    template = "/devices/{deviceId}/events/{endpoint}"
    plain, templated = check(config_json()), check(config_json(topicTemplate=template))
    other = check(config_json({"jwt": "x"}, clientId="line/1", topicTemplate=template))
    assert target(templated, "plant/a", IDENTITY) == Target("plant/a")
    assert target(templated, None, IDENTITY) == Target("/devices/press-4/events/{endpoint}", template=True)
    assert target(other, None, IDENTITY) == Target("/devices/line%2F1/events/{endpoint}", template=True)
    with pytest.raises(Refusal, match=r"route_json\.topic is required for external destinations") as refused:
        target(plain, None, IDENTITY)
    assert refused.value.field == "route_json.topic"


def test_tokens_and_keys_are_masked() -> None:
    shown = repr(masked(config_json({"jwt": "a.b.c", "privateKey": pem(RSA)}), find("gcp").secrets))
    assert "a.b.c" not in shown
    assert "PRIVATE KEY" not in shown


def test_configuring_without_a_key_imports_no_library() -> None:
    code = """
import sys
from actors.publish.destinations import find, token_clock
find("gcp-iot").check({"clientId": "press-4", "auth": {"jwt": "a.b.c"}})
find("azure-iot").check({"hostName": "h", "deviceId": "d", "auth": {"sharedAccessKey": "a2V5"}})
find("aws-iot"), find("iotistica")
print(sorted({"jwt", "gmqtt"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
