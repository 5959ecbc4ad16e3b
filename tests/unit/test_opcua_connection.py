from typing import Any

import pytest
from servers.opcua_certificates import Identity

from actors.endpoints.protocols import find
from actors.endpoints.protocols.opcua.connection import Connection, read_connection
from actors.system.failure import Refusal
from api.masking import masked

URL = "opc.tcp://192.168.1.10:4840"
SECURED = {"endpointUrl": URL, "securityMode": "Sign", "securityPolicy": "Basic256Sha256"}
USER = Identity("operator")


def refusal(given: dict[str, Any]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read_connection(given)
    return caught.value


def test_what_is_not_given_has_the_documented_defaults() -> None:
    found = read_connection({"endpointUrl": URL})
    assert found == Connection(urls=(URL,))
    assert (found.security_mode, found.security_policy, found.trust_mode) == ("None", "None", None)
    assert (found.connection_timeout, found.session_timeout, found.keep_alive_interval) == (10.0, 60.0, 5.0)
    assert not found.looks_at_certificate


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("opc.tcp://plc", "opc.tcp://plc:4840"),
        (" opc.tcp://PLC-7:48010/UA/Server ", "opc.tcp://plc-7:48010/UA/Server"),
        ("opc.tcp://[fe80::1]:4840", "opc.tcp://[fe80::1]:4840"),
    ],
)
def test_an_endpoint_url_has_a_host_and_perhaps_a_port_and_a_path(given: str, url: str) -> None:
    assert read_connection({"endpointUrl": given}).urls == (url,)


@pytest.mark.parametrize(
    "url",
    [
        *("http://plc:4840", "plc:4840", "opc.tcp://", "opc.tcp://:4840", "opc.tcp://plc:0"),
        *("opc.tcp://plc:99999", "opc.tcp://user:pw@plc:4840", "opc.tcp://plc:4840/?a=b", "opc.tcp://plc/#a"),
        *("opc.tcp://p lc:4840", "opc.tcp://plc\n:4840", "opc.tcp://1.2.3:4840", "opc.https://plc"),
    ],
)
def test_another_url_is_refused(url: str) -> None:
    assert refusal({"endpointUrl": url}).field == "connection.endpointUrl"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"securityMode": "None"}, "securityMode"),
        ({"securityPolicy": "None"}, "securityPolicy"),
        ({"securityMode": "sign-ish"}, "securityMode"),
        ({"securityPolicy": "Basic512"}, "securityPolicy"),
        ({"certificateTrustMode": "always"}, "certificateTrustMode"),
        ({"certificateTrustMode": "thumbprint"}, "expectedServerThumbprint"),
        ({"expectedServerThumbprint": "abc"}, "expectedServerThumbprint"),
        ({"expectedServerThumbprint": "g" * 40}, "expectedServerThumbprint"),
        ({"trustedCertificates": "nothing"}, "trustedCertificates"),
        ({"password": "hush"}, "username"),
        ({"userCertificate": USER.pem}, "userKey"),
        ({"userKey": USER.key_pem}, "userCertificate"),
        ({"userCertificate": USER.pem, "userKey": Identity("b", number=1).key_pem}, "userKey"),
        ({"userCertificate": USER.pem, "userKey": USER.key_pem, "username": "op"}, "userCertificate"),
        ({"connectionTimeout": 1}, "connectionTimeout"),
        ({"publishingInterval": 0}, "publishingInterval"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_field(changes: dict[str, Any], field: str) -> None:
    assert refusal({**SECURED, **changes}).field == f"connection.{field}"


@pytest.mark.parametrize("key", ["expectedServerThumbprint", "trustedCertificates"])
def test_nobody_is_to_think_that_a_server_is_looked_at_without_security(key: str) -> None:
    value = {"expectedServerThumbprint": "a" * 40, "trustedCertificates": USER.pem}[key]
    found = refusal({"endpointUrl": URL, key: value})
    assert found.field == f"connection.{key}"
    assert "securityMode" in found.message
    protects_a_password = {"endpointUrl": URL, key: value, "username": "op", "password": "hush"}
    assert read_connection(protects_a_password).looks_at_certificate


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        ("basic256sha256", "Basic256Sha256"),
        ("Aes128Sha256RsaOaep", "Aes128_Sha256_RsaOaep"),
        ("http://opcfoundation.org/UA/SecurityPolicy#Aes256_Sha256_RsaPss", "Aes256_Sha256_RsaPss"),
    ],
)
def test_a_policy_may_be_spelled_as_other_products_do(given: str, policy: str) -> None:
    found = read_connection({**SECURED, "securityPolicy": given, "securityMode": "sign_and_encrypt"})
    assert (found.security_policy, found.security_mode) == (policy, "SignAndEncrypt")


def test_a_thumbprint_may_be_spelled_as_tools_show_it() -> None:
    shown = ":".join(USER.thumbprint[at : at + 2].upper() for at in range(0, 40, 2))
    assert read_connection({**SECURED, "expectedServerThumbprint": shown}).thumbprint == USER.thumbprint
    assert read_connection({**SECURED, "expectedServerThumbprint": USER.sha256}).thumbprint == USER.sha256


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(Refusal) as caught:
        find("opcua").accept({"endpointUrl": URL, "securtyMode": "None"}, [])
    assert caught.value.field == "connection.securtyMode"


def test_secrets_are_not_shown() -> None:
    shown = masked(
        {"username": "op", "password": "hush", "userCertificate": USER.pem, "userKey": USER.key_pem}
    )
    assert (shown["username"], shown["userCertificate"]) == ("op", USER.pem)
    assert "hush" not in str(shown)
    assert "PRIVATE" not in str(shown)
