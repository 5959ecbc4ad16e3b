"""Net-SNMP's agent, read, written, browsed and looked for, as every version and user can be."""

from collections.abc import Iterator
from typing import Any

import pytest
from probing import search
from servers.snmpd import BASE, FIXED, USERS, Snmpd
from snmp_sessions import asking

from actors.connections.connection import Permanent, Transient
from actors.endpoints.discovering import Configured
from actors.endpoints.lines import Lines
from actors.endpoints.protocol import BrowseRequest
from actors.endpoints.protocols import find
from actors.system.failure import Refusal

WAYS: dict[str, dict[str, Any]] = {
    "v1": {"version": "1"},
    "v2c": {"version": "2c"},
    **{name: {"version": 3, "username": name, **said} for name, said in USERS.items()},
}
VALUES: dict[str, tuple[str, Any]] = {
    "1.0": ("integer", -5),
    "2.0": ("counter", 4_000_000_000),
    "3.0": ("gauge", 9),
    "4.0": ("timeticks", 123),
    "5.0": ("string", "23.5"),
    "6.0": ("octet", "00 1a 2b ff"),
    "7.0": ("ipaddress", "192.0.2.1"),
    "8.0": ("objectid", ".1.3.6.1.4.1.1"),
    "20.1.1": ("integer", 1),
    "20.1.10": ("integer", 2),
    "20.2.1": ("string", "one"),
}
POINTS = [
    {"name": name, "oid": f".{BASE}.{name}", "dataType": kind}
    for name, kind in {
        "1.0": "integer",
        "2.0": "counter32",
        "3.0": "gauge",
        "4.0": "timeticks",
        "5.0": "float",
        "6.0": "octets-hex",
        "7.0": "ipaddress",
        "8.0": "oid",
        "9.0": "integer",
    }.items()
] + [
    {"name": "wrong", "oid": f"{BASE}.5.0", "dataType": "integer"},
    {"name": "state", "oid": f"{BASE}.1.0", "enum": {"-5": "cold"}},
    {"name": "scaled", "oid": f"{BASE}.3.0", "scalingFactor": 0.1, "offset": 1},
    {"name": "rows", "oid": f"{BASE}.20.1", "table": True},
]


@pytest.fixture(scope="module")
def snmpd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snmpd]:
    agent = Snmpd(tmp_path_factory.mktemp("snmpd"))
    agent.integers = {"1.0": 7, "2.0": 0}
    with agent:
        agent.replace(VALUES)
        yield agent


@pytest.mark.parametrize("way", WAYS)
async def test_whoever_asks_reads_the_same(snmpd: Snmpd, way: str) -> None:
    async with asking(snmpd.port, POINTS, **WAYS[way] | {"timeout": 2000}) as asked:
        read = await asked.read()
        assert read == {
            "1.0": -5,
            "2.0": 4_000_000_000,
            "3.0": 9,
            "4.0": 123,
            "5.0": 23.5,
            "6.0": "00:1a:2b:ff",
            "7.0": "192.0.2.1",
            "8.0": "1.3.6.1.4.1.1",
            "9.0": "NO_SUCH_NAME" if way == "v1" else "NO_SUCH_INSTANCE",
            "wrong": "TYPE_MISMATCH",
            "state": "cold",
            "scaled": 1.9,
            "rows.rows": 2,
            "rows.1": 1,
            "rows.10": 2,
        }
        assert asked.session.identification["name"] == "callboard-test"


@pytest.mark.parametrize("way", WAYS)
async def test_whoever_may_writes(snmpd: Snmpd, way: str) -> None:
    community = {} if way in USERS else {"writeCommunity": "private"}
    points = [
        {"name": "typed", "oid": f"{FIXED}.2.0", "dataType": "integer", "writable": True},
        {"name": "untyped", "oid": f"{FIXED}.2.0", "writable": True},
        {"name": "tenfold", "oid": f"{FIXED}.2.0", "writable": True, "scalingFactor": 0.1},
        {"name": "named", "oid": f"{FIXED}.2.0", "writable": True, "enum": {"3": "three"}},
    ]
    async with asking(snmpd.port, points, **WAYS[way] | community | {"timeout": 2000}) as asked:
        for number, (name, value) in enumerate((("typed", 1), ("untyped", 2), ("named", "three")), 1):
            assert await asked.write(name, value) == value
            assert (await asked.read())["typed"] == number
        assert await asked.write("tenfold", 4.2) == 4.2
        assert (await asked.read())["typed"] == 42
        with pytest.raises(Refusal) as refusal:
            await asked.write("1.3.6.1.2.1.1.3.0", 1, "integer")
        assert refusal.value.field in ("register", "value")


async def test_the_community_for_reading_does_not_write(snmpd: Snmpd) -> None:
    points = [{"name": "a", "oid": f"{FIXED}.2.0", "writable": True}]
    async with asking(snmpd.port, points) as asked:
        with pytest.raises(Refusal) as refusal:
            await asked.write("a", 1)
        assert (refusal.value.kind, refusal.value.field) == ("read_only", "register")


@pytest.mark.parametrize(
    ("way", "change", "error", "said"),
    [
        ("sha", {"authKey": "another one"}, Permanent, "authKey"),
        ("sha", {"username": "nobody"}, Permanent, "username"),
        ("plain", {"authKey": "some secret", "securityLevel": "authNoPriv"}, Permanent, "securityLevel"),
        ("aes", {"privKey": "another one"}, Transient, "privKey"),
        ("aes", {"engineId": "0x8000000001020304"}, Permanent, "engineId"),
        ("v2c", {"community": "nobody"}, Transient, "no answer"),
    ],
)
async def test_who_is_not_let_in_is_told_why(
    snmpd: Snmpd, way: str, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        async with asking(snmpd.port, POINTS, **WAYS[way] | change):
            pass


async def test_a_restart_is_noticed_by_nobody_but_the_rates(snmpd: Snmpd) -> None:
    points = [{"name": "a", "oid": f"{BASE}.1.0"}]
    async with asking(snmpd.port, points, **WAYS["aes"] | {"timeout": 1000, "retries": 2}) as asked:
        assert await asked.read() == {"a": -5}
        snmpd.stop()
        snmpd.start()
        assert await asked.read() == {"a": -5}


async def test_what_there_is_below_a_name(snmpd: Snmpd) -> None:
    for way in ("v1", "v2c", "aes"):
        async with asking(snmpd.port, [], **WAYS[way] | {"timeout": 2000}) as asked:
            browse = find("snmp").browse
            assert browse is not None
            found = await browse(asked.session, BrowseRequest(BASE, limit=100))
            assert found.complete
            assert [node.node for node in found.nodes] == [f"{BASE}.{name}" for name in VALUES]
            points = [node.data_point for node in found.nodes if node.data_point]
            find("snmp").accept({"host": "h"}, points)
            some = await browse(asked.session, BrowseRequest(None, limit=3))
            assert (len(some.nodes), some.complete) == (3, False)
            assert some.nodes[0].name == "sysDescr.0 = a device of the tests"
            with pytest.raises(Refusal) as refusal:
                await browse(asked.session, BrowseRequest("everything"))
            assert refusal.value.field == "node"


# Discovery


async def found_by(options: dict[str, Any], *configured: Configured, **more: Any) -> Any:
    discovery = find("snmp").discovery
    assert discovery is not None
    return await search(discovery, options, *configured, **more)


async def test_agents_are_found_by_community_and_by_user(snmpd: Snmpd) -> None:
    near = {"hosts": "127.0.0.1", "port": snmpd.port, "timeout": 500, "retries": 0}
    by_community = await found_by(near | {"community": ["wrong", "public"]})
    device = by_community.only
    assert (device.name, device.confidence, device.validated) == ("callboard-test", "medium", False)
    assert "community" not in device.connection, "an endpoint asks with it anyway, and masked it is no use"
    assert device.metadata["sysObjectID"] == "1.3.6.1.4.1.8072.9999.42"
    by_user = await found_by(near | {"username": "aes", **USERS["aes"]}, validate=True)
    assert by_user.only.identity == device.identity == f"snmp:{device.metadata['engineId']}"
    assert (by_user.only.confidence, by_user.only.validated) == ("high", True)
    for one in (device, by_user.only):
        endpoint = find("snmp").accept(one.connection, list(one.data_points))
        assert endpoint.points
    async with asking(snmpd.port, list(by_user.only.data_points), **WAYS["aes"] | {"timeout": 2000}) as asked:
        read = await asked.read()
        assert read["sysUpTime"] >= 0
        assert "up" in {value for name, value in read.items() if name.startswith("ifOperStatus.")}


async def test_nobody_is_no_trouble_and_who_is_not_let_in_is(snmpd: Snmpd) -> None:
    near = {"port": snmpd.port, "timeout": 200, "retries": 0}
    nobody = await found_by(near | {"network": "127.0.0.2-9", "community": "public"})
    assert (nobody.devices, nobody.troubles) == ({}, [])
    wrong = USERS["aes"] | {"authKey": "another one"}
    refused = await found_by(near | {"host": "127.0.0.1", "username": "aes", **wrong})
    assert refused.devices == {}
    [(where, reason)] = refused.troubles
    assert where == "127.0.0.1"
    assert "authKey" in reason
    assert "another one" not in reason


async def test_a_device_that_is_polled_is_asked_over_its_own_connection(snmpd: Snmpd) -> None:
    lines = Lines()
    given = WAYS["aes"] | {"timeout": 2000}
    async with asking(snmpd.port, [], lines=lines, **given) as asked:
        near = {"host": "127.0.0.1", "port": snmpd.port, "community": "nobody's", "timeout": 200}
        found = await found_by(near, lines=lines)
        assert found.only.connection["username"] == "aes"
        assert asked.session.client is not None
        assert await asked.read() == {}


async def test_what_is_configured_is_looked_for_when_nothing_is_named(snmpd: Snmpd) -> None:
    connection = {"host": "127.0.0.1", "port": snmpd.port, "community": "public", "timeout": 1000}
    found = await found_by({}, Configured("router", True, connection))
    assert found.only.name == "callboard-test"
