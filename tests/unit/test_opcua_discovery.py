"""What a search for OPC UA servers comes to, and which answers are of one server."""

from typing import Any

import pytest
from asyncua import ua
from msgspec.structs import replace
from servers.opcua_directory import endpoint

from actors.endpoints.discovering import Configured, Known
from actors.endpoints.protocol import BrowsedNode
from actors.endpoints.protocols.opcua import sighting, survey
from actors.endpoints.protocols.opcua.discovery import Place, Search, plan
from actors.endpoints.protocols.opcua.offers import Answer
from actors.endpoints.protocols.opcua.sighting import Sighting
from actors.system.failure import Refusal
from conf.settings import load


def planned(options: dict[str, Any], *configured: Configured, **environment: str) -> Search:
    return plan(options, Known(load(None, environment), configured), "overrides.opcua")


def urls(search: Search) -> list[str]:
    return [place.url for place in search.places]


def test_without_a_word_it_is_this_machine():
    search = planned({})
    assert urls(search) == ["opc.tcp://localhost:4840"]
    assert not search.places[0].expected, "nobody has said that there is a server: none is no trouble"
    assert planned({"host": "localhost"}).places[0].expected


def test_without_a_word_it_is_what_the_environment_names_and_what_is_configured():
    press = Configured("press", False, {"endpointUrl": "opc.tcp://10.0.0.9:4841/UA"})
    broken = Configured("broken", True, {"endpointUrl": "nothing"})
    found = planned({}, press, broken, OPCUA_DISCOVERY_URLS="opc.tcp://plc-1, opc.tcp://plc-2:4841")
    assert urls(found) == ["opc.tcp://10.0.0.9:4841/UA", "opc.tcp://plc-1:4840", "opc.tcp://plc-2:4841"]
    assert found.polled == ()


def test_what_the_environment_says_wrongly_is_refused():
    with pytest.raises(Refusal, match=r"discovery\.opcua_urls: ftp://x"):
        planned({}, OPCUA_DISCOVERY_URLS="ftp://x")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"discoveryUrls": "opc.tcp://a, opc.tcp://b:4841"}, ["opc.tcp://a:4840", "opc.tcp://b:4841"]),
        ({"endpointUrl": "opc.tcp://[::1]:4841"}, ["opc.tcp://[::1]:4841"]),
        ({"discoveryUrls": ["opc.tcp://a", "opc.tcp://a:4840/"]}, ["opc.tcp://a:4840"]),
        ({"network": "10.0.0.0/30"}, ["opc.tcp://10.0.0.1:4840", "opc.tcp://10.0.0.2:4840"]),
        ({"hosts": ["plc"], "ports": [4840, 4841]}, ["opc.tcp://plc:4840", "opc.tcp://plc:4841"]),
        ({"mdns": True}, []),
    ],
)
def test_servers_are_named_in_many_ways(options: dict[str, Any], expected: list[str]):
    assert urls(planned(options)) == expected


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"discoveryUrls": "http://a"}, "discoveryUrls"),
        ({"endpointUrl": "opc.tcp://u:p@a"}, "endpointUrl"),
        ({"network": "10.0.0.0/8"}, "network"),
        ({"network": "10.0.0.0/22", "hosts": "10.1.0.0/22"}, "network"),
        ({"port": 4841}, "port"),
        ({"ports": [4841]}, "ports"),
        ({"host": "a", "port": 0}, "port[0]"),
        ({"timeout": 1}, "timeout"),
        ({"maxDepth": 0}, "maxDepth"),
        ({"maxNodes": 100_000}, "maxNodes"),
        ({"password": "x"}, "username"),
        ({"securityMode": "Sign"}, "securityPolicy"),
        ({"securityPolicy": "Basic256Sha256"}, "securityMode"),
        ({"certificateTrustMode": "thumbprint"}, "expectedServerThumbprint"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_field(options: dict[str, Any], field: str):
    with pytest.raises(Refusal) as refused:
        planned(options)
    assert refused.value.field == f"overrides.opcua.{field}"


def test_the_time_is_known_before():
    assert planned({"network": "10.0.0.0/24", "timeout": 1000}).within <= 8
    assert planned({"network": "10.0.0.0/24"}).probes == 254


def seen(
    host: str = "10.0.0.1", port: int = 4840, *at: str, uri: str | None = "urn:x", **changes: Any
) -> Sighting:
    offered = [endpoint(url, uri) for url in at or (f"opc.tcp://{host}:{port}",)]
    one = Sighting(Place(host, port), host, Answer(offered, [], []))
    return replace(one, **changes)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (seen("10.0.0.1"), seen("10.0.0.2"), False),
        (seen("10.0.0.1"), seen("10.0.0.1", uri="urn:y"), True),
        (seen("10.0.0.1", start=1_700_000_000_123_456), seen("10.0.0.2", start=1_700_000_000_123_456), True),
        (seen("10.0.0.1", start=1_700_000_000_000_000), seen("10.0.0.2", start=1_700_000_000_000_000), False),
        (seen("10.0.0.1", start=1_700_000_000_123_456), seen("10.0.0.2", start=1_700_000_000_123_457), False),
        (seen("10.0.0.1", uri=None), seen("10.0.0.2", uri=None), False),
        (seen("10.0.0.1", 4840, "opc.tcp://10.0.0.2:4840"), seen("10.0.0.2"), False),
        (
            seen("10.0.0.1", 4840, "opc.tcp://10.0.0.1:4840", "opc.tcp://10.0.0.2:4840"),
            seen("10.0.0.2", 4840, "opc.tcp://10.0.0.2:4840"),
            True,
        ),
    ],
)
def test_servers_are_one_only_where_that_is_certain(one: Sighting, other: Sighting, same: bool):
    assert sighting.is_same(one, other) is same
    assert sighting.is_same(other, one) is same


def test_identities_do_not_depend_on_who_answers_first():
    both = [seen("10.0.0.1"), seen("10.0.0.2")]
    for order in (both, both[::-1]):
        groups = sighting.servers(order)
        assert {sighting.found(those, True, {}).identity for those in groups} == {
            "opcua:urn:x@10.0.0.1:4840",
            "opcua:urn:x@10.0.0.2:4840",
        }


def test_without_a_wish_no_security_is_selected_where_there_is_none_to_have():
    offers = [endpoint("opc.tcp://a", secured=True), endpoint("opc.tcp://a")]
    assert sighting.select(offers, None, None) == sighting.Selected("None", "None")
    assert sighting.select(offers[:1], None, None) == sighting.Selected("SignAndEncrypt", "Basic256Sha256")
    assert sighting.select(offers, "Sign", "Basic256Sha256") is None
    assert sighting.select([], None, None) is None


@pytest.mark.parametrize(
    ("mode", "policy"), [("Sign", "None"), ("None_", "Basic256Sha256"), ("Invalid", "None")]
)
def test_security_that_no_endpoint_can_have_is_not_selected(mode: str, policy: str):
    uri = f"http://opcfoundation.org/UA/SecurityPolicy#{policy}"
    odd = ua.EndpointDescription(SecurityMode=ua.MessageSecurityMode[mode], SecurityPolicyUri=uri)
    assert sighting.select([odd], None, None) is None


def test_what_a_server_calls_itself_is_fit_to_be_shown():
    one = seen(uri="urn:\x1b[31mx\n" + "y" * 1000)
    assert one.uri.isprintable()
    assert len(one.uri) <= 300


def node(path: str) -> BrowsedNode:
    parent, _, name = path.rpartition("/")
    return BrowsedNode(node=path, name=name, kind="Variable", parent=parent or None)


def test_names_are_as_short_as_they_may_be():
    folders = ["a", "b", "a/x", "b/x"]
    paths = ["a/x/speed", "b/x/speed", "a/level", "a/x/temp", "b/temp"]
    known = {path: node(path) for path in [*folders, *paths]}
    assert survey._names([known[path] for path in paths], known) == [
        "a.x.speed",
        "b.x.speed",
        "level",
        "x.temp",
        "b.temp",
    ]


def test_names_that_cannot_be_told_apart_are_numbered():
    same = [BrowsedNode(node=f"i={n}", name="v\n", kind="Variable") for n in range(3)]
    assert survey._names(same, {}) == ["v_", "v__2", "v__3"]


def test_nodes_are_proposed_by_the_uri_of_their_namespace():
    uris = ["http://opcfoundation.org/UA/", "urn:server", "urn:plant", "urn:odd;x"]
    assert survey._spelled("ns=2;s=a;b", uris) == "nsu=urn:plant;s=a;b"
    for text in ("i=2253", "ns=1;i=5", "ns=3;i=5", "ns=9;i=5"):
        assert survey._spelled(text, uris) == text
