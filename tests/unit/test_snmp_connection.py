from typing import Any

import pytest

from actors.endpoints.discovering import Configured, Known
from actors.endpoints.protocol import CheckedEndpoint, WriteRequest
from actors.endpoints.protocols import find
from actors.endpoints.protocols.snmp.discovery import Search
from actors.system.failure import Refusal
from conf.settings import load

SETTINGS = load(None, {})
USER = {"host": "h", "username": "ann"}
KEYS = {"authKey": "a long key", "privKey": "another key"}
OID = "1.3.6.1.2.1.1.3.0"


def accepted(connection: dict[str, Any], *points: dict[str, Any]) -> CheckedEndpoint:
    return find("snmp").accept(connection, points)


@pytest.mark.parametrize(
    ("given", "version"),
    [
        ({}, "v2c"),
        ({"version": 1}, "v1"),
        ({"version": "1"}, "v1"),
        ({"version": "2c"}, "v2c"),
        ({"version": " V3 ", "username": "ann"}, "v3"),
        ({"version": 3, "username": "ann"}, "v3"),
        ({"username": "ann"}, "v3"),
        ({"version": "", "username": ""}, "v2c"),
    ],
)
def test_versions_are_spelled_in_many_ways(given: dict[str, Any], version: str) -> None:
    assert accepted({"host": "h", **given}).connection.version == version


@pytest.mark.parametrize(
    ("given", "protocols"),
    [
        ({}, (None, None)),
        ({"authKey": "a long key"}, ("sha", None)),
        (KEYS, ("sha", "aes")),
        (KEYS | {"authProtocol": "SHA-256", "privProtocol": "AES-256-C"}, ("sha256", "aes256c")),
        (KEYS | {"authProtocol": "MD5", "privProtocol": "DES"}, ("md5", "des")),
        (KEYS | {"authProtocol": "sha1", "privProtocol": "aes128"}, ("sha", "aes")),
        ({"authKey": "a long key", "securityLevel": "AUTHNOPRIV"}, ("sha", None)),
    ],
)
def test_the_level_of_security_is_what_the_keys_make_of_it(
    given: dict[str, Any], protocols: tuple[str | None, str | None]
) -> None:
    user = accepted(USER | given).connection.user
    assert (user.auth, user.priv) == protocols


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"host": None}, "host"),
        ({"host": "http://h"}, "host"),
        ({"version": "v4"}, "version"),
        ({"version": "v3", "username": None}, "username"),
        ({"version": "v2c"}, "username"),
        ({"securityLevel": "authNoPriv"}, "authKey"),
        ({"securityLevel": "authPriv", "authKey": "a long key"}, "privKey"),
        ({"privKey": "another key"}, "authKey"),
        ({"authKey": "short"}, "authKey"),
        (KEYS | {"securityLevel": "authNoPriv"}, "privKey"),
        (KEYS | {"securityLevel": "noAuthNoPriv"}, "authKey"),
        (KEYS | {"authProtocol": "sha3"}, "authProtocol"),
        (KEYS | {"privProtocol": "rot13"}, "privProtocol"),
        ({"engineId": "8000"}, "engineId"),
        ({"port": 0}, "port"),
        ({"timeout": 1}, "timeout"),
        ({"comunity": "x"}, "comunity"),
        ({"trapPort": 70000}, "trapPort"),
    ],
)
def test_what_is_wrong_is_refused_with_its_field(given: dict[str, Any], field: str) -> None:
    with pytest.raises(Refusal) as refusal:
        accepted(USER | given)
    assert refusal.value.field == f"connection.{field}"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"oid": None}, "oid"),
        ({"oid": "sysUpTime.0"}, "oid"),
        ({"oid": "1.3.6.1.4294967296"}, "oid"),
        ({"oid": "1.3.6.1; rm"}, "oid"),
        ({"name": " "}, "name"),
        ({"dataType": "complex"}, "dataType"),
        ({"scalingFactor": 0}, "scalingFactor"),
        ({"dataType": "string", "scalingFactor": 2}, "scalingFactor"),
        ({"enum": {"1": "up"}, "offset": 2}, "offset"),
        ({"enum": {"one": "up"}}, "enum"),
        ({"enum": {"1": 5}}, "enum"),
        ({"enum": {}}, "enum"),
        ({"enum": {"1": "up"}, "dataType": "string"}, "enum"),
        ({"rate": True, "dataType": "string"}, "rate"),
        ({"rate": True, "writable": True}, "rate"),
        ({"discontinuityOid": "1.3.6.1"}, "discontinuityOid"),
        ({"discontinuityOid": "1.3.6.1", "rate": True, "table": True}, "discontinuityOid"),
        ({"maxRows": 5}, "maxRows"),
        ({"table": True, "maxRows": 0}, "maxRows"),
        ({"encoding": "klingon"}, "encoding"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_data_point_that_is_wrong_is_refused_with_its_field(given: dict[str, Any], field: str) -> None:
    with pytest.raises(Refusal) as refusal:
        accepted({"host": "h"}, {"name": "fine", "oid": OID}, {"name": "a", "oid": OID} | given)
    assert refusal.value.field == f"data_points[1].{field}"


def test_a_name_is_used_once() -> None:
    with pytest.raises(Refusal) as refusal:
        accepted({"host": "h"}, {"name": "a", "oid": OID}, {"name": "a", "oid": f".{OID}"})
    assert refusal.value.field == "data_points[1].name"


def test_the_port_for_traps_is_what_the_settings_say() -> None:
    settings = load(None, {"CALLBOARD_SNMP_TRAP_PORT": "1162"})
    protocol = find("snmp")
    for given, port in (({}, 1162), ({"trapPort": 0}, 0), ({"trapPort": 99}, 99)):
        completed = protocol.complete({"host": "h", **given}, settings, "uuid")
        assert accepted(completed).connection.trap_port == port
    assert accepted(protocol.complete({"host": "h"}, SETTINGS, "uuid")).connection.trap_port == 0


# Writing

WRITABLE = [
    {"name": kind, "oid": f"1.3.6.1.4.1.1.{number}.0", "dataType": kind, "writable": True}
    for number, kind in enumerate(
        (
            "integer",
            "gauge",
            "counter64",
            "boolean",
            "string",
            "octets-hex",
            "bits",
            "ipaddress",
            "oid",
            "float",
        )
    )
]


@pytest.mark.parametrize(
    ("register", "value", "field"),
    [
        ("integer", -7, b"\x02\x01\xf9"),
        ("integer", "7", b"\x02\x01\x07"),
        ("integer", 2.5, b"\x02\x01\x03"),
        ("gauge", 4_294_967_295, b"\x42\x05\x00\xff\xff\xff\xff"),
        ("boolean", True, b"\x02\x01\x01"),
        ("boolean", "off", b"\x02\x01\x02"),
        ("string", "späße", b"\x04\x07sp\xc3\xa4\xc3\x9fe"),
        ("octets-hex", "00:1a ff", b"\x04\x03\x00\x1a\xff"),
        ("bits", [0, 9], b"\x04\x02\x80\x40"),
        ("ipaddress", "192.0.2.1", b"\x40\x04\xc0\x00\x02\x01"),
        ("oid", ".1.3.6.1", b"\x06\x03\x2b\x06\x01"),
    ],
)
def test_values_are_written_by_their_type(register: str, value: Any, field: bytes) -> None:
    from actors.endpoints.protocols.snmp.writable import encode

    prepared = prepare(register, value)
    assert encode(prepared.kind, prepared.raw, prepared.point)[1] == field


def prepare(register: str, value: Any, data_type: str | None = None, priority: int | None = None) -> Any:
    protocol = find("snmp")
    assert protocol.prepare is not None
    endpoint = accepted({"host": "h"}, *WRITABLE, {"name": "fixed", "oid": OID})
    return protocol.prepare(endpoint, WriteRequest("", register, value, data_type, priority))


@pytest.mark.parametrize(
    ("register", "value", "more", "field", "kind"),
    [
        ("nobody", 1, {}, "register", "not_found"),
        ("fixed", 1, {}, "register", "read_only"),
        (OID, 1, {}, "register", "read_only"),
        ("integer", 2**31, {}, "value", "invalid"),
        ("integer", "many", {}, "value", "invalid"),
        ("integer", True, {}, "value", "invalid"),
        ("gauge", -1, {}, "value", "invalid"),
        ("boolean", 7, {}, "value", "invalid"),
        ("string", 7, {}, "value", "invalid"),
        ("octets-hex", "xy", {}, "value", "invalid"),
        ("bits", [-1], {}, "value", "invalid"),
        ("ipaddress", "::1", {}, "value", "invalid"),
        ("oid", "sysDescr", {}, "value", "invalid"),
        ("integer", 7, {"data_type": "string"}, "dataType", "invalid"),
        ("integer", 7, {"data_type": "complex"}, "dataType", "invalid"),
        ("integer", 7, {"priority": 8}, "priority", "invalid"),
        ("1.3.6.1.4.1.9.1", {"a": 1}, {}, "value", "invalid"),
    ],
)
def test_what_cannot_be_written_is_refused(
    register: str, value: Any, more: dict[str, Any], field: str, kind: str
) -> None:
    with pytest.raises(Refusal) as refusal:
        prepare(register, value, **more)
    assert (refusal.value.field, refusal.value.kind) == (field, kind)


# Discovery


def plan(given: dict[str, Any], *configured: Configured) -> Search | None:
    discovery = find("snmp").discovery
    assert discovery is not None
    found = discovery.plan(given, Known(SETTINGS, configured), "overrides.snmp")
    assert found is None or isinstance(found, Search)
    return found


def test_every_host_is_asked_in_every_way() -> None:
    found = plan({"network": "10.0.0.0/30", "community": "a, b", **KEYS, "username": "ann", "timeout": 500})
    assert found is not None
    assert [place.host for place in found.places] == ["10.0.0.1", "10.0.0.2"]
    assert [way.get("community") for way in found.places[0].ways] == [None, "a", "b"]
    assert found.places[0].ways[0]["username"] == "ann"
    assert found.probes == 2
    assert plan({}) is None


def test_without_hosts_what_is_configured_is_looked_for() -> None:
    connection = {"host": "10.0.0.9", "port": 1161, "community": "secret"}
    found = plan({}, Configured("a", False, connection), Configured("broken", True, {"host": "http://x"}))
    assert found is not None
    [place] = found.places
    assert (place.host, place.port, place.ways[0]["community"]) == ("10.0.0.9", 1161, "secret")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"network": "10.0.0.0/8"}, "network"),
        ({"hosts": ["10.0.0.1", "239.0.0.1"]}, "hosts"),
        ({"host": "10.0.0.1", "authKey": "short", "username": "ann"}, "authKey"),
        ({"host": "10.0.0.1", "version": "v3"}, "username"),
        ({"host": "10.0.0.1", "timeout": 1}, "timeout"),
        ({"host": "10.0.0.1", "community": [""]}, "community"),
    ],
)
def test_a_search_that_is_wrong_is_refused_with_its_field(given: dict[str, Any], field: str) -> None:
    with pytest.raises(Refusal) as refusal:
        plan(given)
    assert refusal.value.field == f"overrides.snmp.{field}"
