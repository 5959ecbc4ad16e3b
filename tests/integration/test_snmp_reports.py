"""How SNMP fails for people elsewhere, each rebuilt with an agent that does the same."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest
from servers.snmp_agent import (
    BASE,
    GEN_ERROR,
    NOT_WRITABLE,
    UPTIME,
    ScriptedAgent,
    counter,
    text,
    ticks,
)
from snmp_sessions import asking

from actors.connections.connection import NoConnection, Permanent, Transient
from actors.endpoints.protocols.snmp import keys, oids, pdus, usm
from actors.endpoints.protocols.snmp.ber import integer, tlv
from actors.system.failure import Refusal

USER = {"version": "v3", "username": "ann", "authProtocol": "sha256", "authKey": "ann's secret"}
SECRET = USER | {"privProtocol": "aes", "privKey": "ann's private"}


def user(priv: str | None = "aes", auth: str = "sha256") -> usm.User:
    auth_key = keys.master(auth, "ann's secret")
    priv_key = keys.master(auth, "ann's private") if priv else b""
    return usm.User("ann", auth, auth_key, priv, priv_key)


@pytest.fixture
async def agent() -> AsyncIterator[ScriptedAgent]:
    async with ScriptedAgent() as running:
        yield running


def points(*names: str, **more: Any) -> list[dict[str, Any]]:
    return [{"name": name, "oid": f"{BASE}.{number}.0", **more} for number, name in enumerate(names, 1)]


def numbered(agent: ScriptedAgent, count: int) -> list[dict[str, Any]]:
    for number in range(1, count + 1):
        agent.set(f"{number}.0", integer(number))
    return points(*(f"p{number}" for number in range(1, count + 1)))


# Values


async def test_a_float_in_an_opaque_is_a_number(agent: ScriptedAgent) -> None:
    """home-assistant/core 112392 and 2767, openhab-addons 10103: the UPS of a Synology NAS."""
    agent.set("1.0", tlv(0x44, bytes.fromhex("9f7804415b3333")))
    agent.set("2.0", tlv(0x44, bytes.fromhex("9f790840091eb851eb851f")))
    agent.set("3.0", tlv(0x44, bytes.fromhex("9f78047fc00000")))
    given = [
        *points("voltage", "double", "nan"),
        {"name": "scaled", "oid": f"{BASE}.1.0", "scalingFactor": 2},
    ]
    async with asking(agent.port, given) as asked:
        assert await asked.read() == {"voltage": 13.7, "double": 3.14, "nan": "NOT_A_NUMBER", "scaled": 27.4}


async def test_a_counter_without_its_leading_zero_is_not_negative(agent: ScriptedAgent) -> None:
    """etingof/pysnmp 190, exhuma/puresnmp 76, troglobit/mini-snmpd 8."""
    agent.set("1.0", bytes.fromhex("4104985d4b44"))
    agent.set("2.0", bytes.fromhex("420280e8"))
    agent.set("3.0", bytes.fromhex("4105ff00000000"))
    agent.set("4.0", bytes.fromhex("4100"))
    async with asking(agent.port, points("counter", "gauge", "too large", "empty")) as asked:
        assert await asked.read() == {
            "counter": 0x985D4B44,
            "gauge": 33000,
            "too large": "READ_ERROR",
            "empty": "READ_ERROR",
        }


async def test_a_text_ends_before_its_nul(agent: ScriptedAgent) -> None:
    """netboxlabs/orb-agent 319: a KVM switch calls its interface `eth0\\u0000`."""
    agent.set("1.0", text(b"eth0\0"))
    async with asking(agent.port, points("name")) as asked:
        assert await asked.read() == {"name": "eth0"}


async def test_an_address_that_happens_to_be_printable_is_still_an_address(agent: ScriptedAgent) -> None:
    """carlkidcrypto/ezsnmp 1031: one MAC address of a table came as a text."""
    agent.set("1.0", text(b"PkKl%0"))
    agent.set("2.0", text(bytes.fromhex("0002c956335b")))
    async with asking(agent.port, points("one", "other", dataType="octets-hex")) as asked:
        assert await asked.read() == {"one": "50:6b:4b:6c:25:30", "other": "00:02:c9:56:33:5b"}


async def test_a_number_in_a_text_is_one_where_the_point_says_so(agent: ScriptedAgent) -> None:
    """influxdata/telegraf's `float(X)`, home-assistant/core 2788: the load of Net-SNMP is a text."""
    for number, said in enumerate(("0.25", "-12", "1e400", "12 C", ""), 1):
        agent.set(f"{number}.0", text(said))
    given = points("load", "whole", "huge", "worded", "empty", dataType="number")
    async with asking(agent.port, given) as asked:
        assert await asked.read() == {
            "load": 0.25,
            "whole": -12,
            "huge": "NOT_A_NUMBER",
            "worded": "TYPE_MISMATCH",
            "empty": "TYPE_MISMATCH",
        }


# Requests


async def test_in_v1_one_missing_variable_does_not_cost_the_others(agent: ScriptedAgent) -> None:
    """markabrahams/node-net-snmp 39, etingof/pysnmp 37, netdata 9580: noSuchName fails the whole request."""
    given = numbered(agent, 6)
    del agent.values[oids.parse(f"{BASE}.2.0")], agent.values[oids.parse(f"{BASE}.5.0")]
    async with asking(agent.port, given, version="v1") as asked:
        expected = {"p1": 1, "p2": "NO_SUCH_NAME", "p3": 3, "p4": 4, "p5": "NO_SUCH_NAME", "p6": 6}
        assert await asked.read() == expected
        agent.requests.clear()
        for _ in range(3):
            assert await asked.read() == expected
        assert len(agent.requests) == 3, "it is asked for again every time what fails"


async def test_an_agent_without_room_is_asked_for_less(agent: ScriptedAgent) -> None:
    """gosnmp/gosnmp 72, DataDog/dd-agent 1155: 60 variables at once are tooBig for a Cisco switch."""
    given = numbered(agent, 40)
    agent.most = 7
    async with asking(agent.port, given, maxOids=40) as asked:
        assert await asked.read() == {f"p{number}": number for number in range(1, 41)}
        agent.requests.clear()
        assert await asked.read() == {f"p{number}": number for number in range(1, 41)}
        assert len(agent.requests) <= 14, "what was learnt is forgotten"


async def test_an_agent_that_is_mute_to_large_requests_is_asked_for_less(agent: ScriptedAgent) -> None:
    """alouca/gosnmp 20, DataDog/datadog-agent 8575: more than a few variables, and there is no answer."""
    given = numbered(agent, 12)
    agent.mute_above = 4
    async with asking(agent.port, given, timeout=100) as asked:
        assert await asked.read() == {f"p{number}": number for number in range(1, 13)}


async def test_a_variable_that_is_never_answered_does_not_take_the_others_along(
    agent: ScriptedAgent,
) -> None:
    """charlestolley/python-snmp 14: an OLT answers nothing that can be read for some names."""
    given = numbered(agent, 5)
    poison = oids.parse(f"{BASE}.3.0")
    agent.answer = lambda version, pdu, names: None if poison in names else agent.found(version, names)
    async with asking(agent.port, given, timeout=100) as asked:
        expected = {"p1": 1, "p2": 2, "p3": "TIMEOUT", "p4": 4, "p5": 5}
        assert await asked.read() == expected
        agent.requests.clear()
        assert await asked.read() == expected
        assert len(agent.requests) <= 3


async def test_a_variable_that_cannot_be_read_does_not_take_the_others_along(agent: ScriptedAgent) -> None:
    """Agents that write the length of one value wrong, inside of an answer that is whole otherwise."""
    given = numbered(agent, 5)
    agent.set("3.0", bytes.fromhex("020305"))
    agent.set("4.0", bytes.fromhex("04010203"))
    async with asking(agent.port, given) as asked:
        for _ in range(2):
            assert await asked.read() == {"p1": 1, "p2": 2, "p3": "READ_ERROR", "p4": "READ_ERROR", "p5": 5}


async def test_an_error_of_one_variable_does_not_fail_the_others(agent: ScriptedAgent) -> None:
    """monitoring-plugins 1702: genErr, with or without saying of what."""
    given = numbered(agent, 5)
    poison = oids.parse(f"{BASE}.3.0")
    for says in (True, False):

        def answer(version: int, pdu: pdus.Pdu, names: list[oids.Arcs], says: bool = says) -> Any:
            if poison not in names:
                return agent.found(version, names)
            return GEN_ERROR, names.index(poison) + 1 if says else 0, []

        agent.answer = answer
        async with asking(agent.port, given) as asked:
            assert await asked.read() == {"p1": 1, "p2": 2, "p3": "GEN_ERROR", "p4": 4, "p5": 5}


async def test_an_answer_about_something_else_is_not_believed(agent: ScriptedAgent) -> None:
    """openhab1-addons 5558: an APC answers with another variable than it was asked for."""
    given = numbered(agent, 3)
    async with asking(agent.port, given) as asked:
        agent.answer = lambda version, pdu, names: (
            0,
            0,
            [
                ((*name[:-1], 7), integer(99)) if name[-2] == 2 else (name, agent.values[name])
                for name in names
            ],
        )
        assert await asked.read() == {"p1": 1, "p2": "WRONG_OID", "p3": 3}


async def test_what_an_answer_leaves_out_is_asked_for_again(agent: ScriptedAgent) -> None:
    """Agents that have no room leave variables out instead of saying tooBig; others mix them up."""
    given = numbered(agent, 9)
    async with asking(agent.port, given) as asked:
        agent.answer = lambda version, pdu, names: (
            0,
            0,
            [(name, agent.values[name]) for name in reversed(names[:4])],
        )
        assert await asked.read() == {f"p{number}": number for number in range(1, 10)}


async def test_answers_that_come_twice_spoil_nothing(agent: ScriptedAgent) -> None:
    """gosnmp/gosnmp 68, alouca/gosnmp 47: after some duplicates every request failed."""
    given = numbered(agent, 2)
    agent.sent = lambda message: [message] * 3
    async with asking(agent.port, given) as asked:
        for number in range(20):
            agent.set("1.0", integer(number))
            assert (await asked.read())["p1"] == number
            await asyncio.sleep(0)


async def test_an_answer_that_comes_too_late_is_nobodys(agent: ScriptedAgent) -> None:
    """calmh/node-snmp-native 54, swisscom/ruby-netsnmp 31."""
    given = numbered(agent, 1)
    held: list[bytes] = []
    async with asking(agent.port, given, timeout=100) as asked:
        agent.set("1.0", integer(111))
        agent.sent = lambda message: held.append(message) or []  # type: ignore[func-returns-value]
        with pytest.raises(Transient):
            await asked.read()
        agent.set("1.0", integer(222))
        agent.sent = lambda message: [*held, message]
        assert await asked.read() == {"p1": 222}


async def test_a_write_is_sent_once_however_late_its_answer_is(agent: ScriptedAgent) -> None:
    """net-snmp 194: a switch takes longer than the time-out, and each retry is done again."""
    given = points("relay", writable=True, dataType="integer")
    agent.set("1.0", integer(0))
    async with asking(agent.port, given, timeout=100, retries=3) as asked:
        agent.requests.clear()
        agent.sent = lambda message: []
        with pytest.raises(Transient):
            await asked.write("relay", 1)
        await asyncio.sleep(0.15)
        assert [kind for kind, _ in agent.requests] == [pdus.SET]


async def test_a_write_that_is_refused_says_why(agent: ScriptedAgent) -> None:
    agent.set("1.0", integer(0))
    async with asking(agent.port, points("relay", writable=True)) as asked:
        agent.answer = lambda version, pdu, names: (
            (NOT_WRITABLE, 1, []) if pdu.kind == pdus.SET else agent.found(version, names)
        )
        with pytest.raises(Refusal, match="NOT_WRITABLE") as refusal:
            await asked.write("relay", 1)
        assert (refusal.value.field, refusal.value.kind) == ("register", "read_only")


# Tables


@pytest.mark.parametrize("circle", ["the same", "backwards", "around"])
async def test_a_walk_ends_where_the_agent_goes_round_in_circles(
    agent: ScriptedAgent, circle: str, caplog: pytest.LogCaptureFixture
) -> None:
    """exhuma/puresnmp 51 and 94, gosnmp/gosnmp 401, easysnmp 205: some Cisco and Juniper routers."""
    column = oids.parse(f"{BASE}.9")
    ways = {"the same": (1, 2, 2, 2), "backwards": (1, 2, 1, 0), "around": (1, 2, 3, 1)}

    def answer(version: int, pdu: pdus.Pdu, names: list[oids.Arcs]) -> Any:
        if pdu.kind == pdus.GET:
            return agent.found(version, names)
        return 0, 0, [((*column, row), integer(row)) for row in ways[circle]]

    agent.answer = answer
    given = [{"name": "t", "oid": f"{BASE}.9", "table": True}]
    async with asking(agent.port, given) as asked:
        read = await asked.read()
        assert read["t.rows"] == "OID_NOT_INCREASING"
        assert (read["t.1"], read["t.2"]) == (1, 2)
        assert "OID_NOT_INCREASING" in caplog.text


async def test_a_walk_stays_below_its_root_and_ends_with_the_mib(agent: ScriptedAgent) -> None:
    """markabrahams/node-net-snmp 47, alouca/gosnmp 48."""
    for row in (1, 2, 10):
        agent.set(f"9.{row}", integer(row))
    given = [{"name": "t", "oid": f"{BASE}.9", "table": True}]
    for version in ("v1", "v2c"):
        async with asking(agent.port, given, version=version) as asked:
            for after in (None, "10.1"):
                if after:
                    agent.set(after, integer(1))
                assert await asked.read() == {"t.rows": 3, "t.1": 1, "t.2": 2, "t.10": 10}


async def test_a_table_without_room_in_one_answer_is_read_in_more(agent: ScriptedAgent) -> None:
    """net-snmp 212, vincentbernat/snimpy 16: tooBig for so many repetitions."""
    for row in range(60):
        agent.set(f"9.{row}", integer(row))
    agent.most = 10
    given = [{"name": "t", "oid": f"{BASE}.9", "table": True}]
    async with asking(agent.port, given, maxRepetitions=50) as asked:
        assert await asked.read() == {"t.rows": 60} | {f"t.{row}": row for row in range(60)}


async def test_rows_that_come_and_go(agent: ScriptedAgent) -> None:
    """Interfaces of tunnels and of containers: a row that is gone is BAD, and the others keep their names."""
    for row in (1, 2, 3):
        agent.set(f"9.{row}", integer(row))
    given = [{"name": "t", "oid": f"{BASE}.9", "table": True, "maxRows": 4}]
    async with asking(agent.port, given) as asked:
        assert await asked.read() == {"t.rows": 3, "t.1": 1, "t.2": 2, "t.3": 3}
        del agent.values[oids.parse(f"{BASE}.9.2")]
        agent.set("9.7", integer(7))
        assert await asked.read() == {"t.rows": 3, "t.1": 1, "t.2": "NO_SUCH_INSTANCE", "t.3": 3, "t.7": 7}
        agent.set("9.2", integer(22))
        agent.set("9.9", integer(9))
        read = await asked.read()
        assert {name: read[name] for name in ("t.1", "t.2", "t.3", "t.7")} == {
            "t.1": 1,
            "t.2": 22,
            "t.3": 3,
            "t.7": 7,
        }
        assert "t.9" not in read


async def test_a_table_that_is_never_answered_costs_itself_only(agent: ScriptedAgent) -> None:
    """LibreNMS and others: some tables of some devices take for ever, or hang the request."""
    agent.set("1.0", integer(1))
    agent.set("8.1", integer(81))
    agent.set("9.1", integer(91))
    mute = oids.parse(f"{BASE}.8")

    def answer(version: int, pdu: pdus.Pdu, names: list[oids.Arcs]) -> Any:
        if pdu.kind == pdus.GET:
            return agent.found(version, names)
        return None if names[0][: len(mute)] == mute else agent._following(version, pdu, names[0])

    agent.answer = answer
    given = [
        *points("one"),
        {"name": "mute", "oid": f"{BASE}.8", "table": True},
        {"name": "t", "oid": f"{BASE}.9", "table": True},
    ]
    async with asking(agent.port, given, timeout=100) as asked:
        for _ in range(2):
            assert await asked.read() == {"one": 1, "mute.rows": "TIMEOUT", "t.rows": 1, "t.1": 91}
            agent.requests.clear()
        assert await asked.read() == {"one": 1, "mute.rows": "TIMEOUT", "t.rows": 1, "t.1": 91}
        assert len(agent.requests) <= 3


# Counters


async def test_a_rate_after_a_restart_is_no_spike_and_there_is_one_again(agent: ScriptedAgent) -> None:
    """nagios-plugins 410, monitoring-plugins 2257, Cacti 3901, Ozark-Connect/NetworkOptimizer 764."""
    given = points("in", rate=True)
    agent.set("1.0", counter(4_000_000_000))
    agent.values[oids.parse(UPTIME)] = ticks(10_000_000)
    async with asking(agent.port, given) as asked:
        assert await asked.read() == {"in": "FIRST_SAMPLE"}
        await asyncio.sleep(0.05)
        agent.set("1.0", counter(4_000_000_100))
        assert 0 < (await asked.read())["in"] < 10_000
        agent.set("1.0", counter(200))
        agent.values[oids.parse(UPTIME)] = ticks(500)
        await asyncio.sleep(0.05)
        assert await asked.read() == {"in": "COUNTER_RESET"}
        agent.set("1.0", counter(300))
        await asyncio.sleep(0.05)
        assert 0 < (await asked.read())["in"] < 10_000


async def test_a_counter_that_is_cleared_while_the_device_runs_is_no_spike(agent: ScriptedAgent) -> None:
    """OtisPresley/snmp-switch-manager 90, snmpcollector 357: there is no restart to be seen."""
    given = [*points("narrow", rate=True), {"name": "wide", "oid": f"{BASE}.2.0", "rate": True}]
    agent.set("1.0", counter(1_000_000))
    agent.set("2.0", integer(10**12, 0x46))
    async with asking(agent.port, given) as asked:
        await asked.read()
        agent.set("1.0", counter(10))
        agent.set("2.0", integer(10, 0x46))
        await asyncio.sleep(0.02)
        assert await asked.read() == {"narrow": "COUNTER_RESET", "wide": "COUNTER_RESET"}


async def test_a_counter_begins_anew_when_its_discontinuity_changes(agent: ScriptedAgent) -> None:
    """ifCounterDiscontinuityTime: the card was changed, and the device runs on."""
    agent.set("1.0", counter(1000))
    agent.set("2.0", ticks(5))
    async with asking(agent.port, points("in", rate=True, discontinuityOid=f"{BASE}.2.0")) as asked:
        await asked.read()
        await asyncio.sleep(0.02)
        agent.set("1.0", counter(5000))
        agent.set("2.0", ticks(70))
        assert await asked.read() == {"in": "COUNTER_RESET"}
        await asyncio.sleep(0.02)
        assert await asked.read() == {"in": 0.0}


# v3


async def test_a_report_whose_request_has_another_number_is_understood(agent: ScriptedAgent) -> None:
    """gosnmp/gosnmp 139: with privacy the agent cannot read the number of the request that it reports on."""
    agent.user = user()
    wrong = SECRET | {"authKey": "another secret"}
    with pytest.raises(Permanent, match="authKey") as error:
        async with asking(agent.port, points("a"), **wrong):
            pass
    assert error.value.code == "WRONG_DIGEST"


@pytest.mark.parametrize("clock", ["boots more", "boots lost", "time back", "time ahead"])
async def test_an_engine_whose_clock_jumps_is_read_on(agent: ScriptedAgent, clock: str) -> None:
    """net-snmp 385, Uninett/nav 2884, lextudio/sharpsnmplib 213: notInTimeWindows until somebody restarts."""
    agent.user = user()
    agent.set("1.0", integer(1))
    async with asking(agent.port, points("a"), **SECRET) as asked:
        assert await asked.read() == {"a": 1}
        boots, time = {
            "boots more": (4, 0),
            "boots lost": (0, 5),
            "time back": (3, 10),
            "time ahead": (3, 900_000),
        }[clock]
        agent.engine.set(boots, time)
        agent.set("1.0", integer(2))
        assert await asked.read() == {"a": 2}
        assert agent.reports[-1] == 2
        count = len(agent.reports)
        assert await asked.read() == {"a": 2}
        assert len(agent.reports) == count


async def test_the_clock_of_the_engine_goes_on_by_itself(agent: ScriptedAgent) -> None:
    """markabrahams/node-net-snmp 309: the time learnt at first was said for ever; here the window is 1 s."""
    agent.user = user()
    agent.window = 1
    agent.set("1.0", integer(1))
    async with asking(agent.port, points("a"), **SECRET) as asked:
        await asked.read()
        count = len(agent.reports)
        await asyncio.sleep(2.1)
        assert await asked.read() == {"a": 1}
        assert len(agent.reports) == count


async def test_a_device_that_was_replaced_has_another_engine(agent: ScriptedAgent) -> None:
    agent.user = user()
    agent.set("1.0", integer(1))
    async with asking(agent.port, points("a"), **SECRET) as asked:
        await asked.read()
        agent.engine = usm.Engine(b"\x80\x00\x1f\x88\x04replaced", 1, 5)
        assert await asked.read() == {"a": 1}


async def test_devices_of_one_engine_id_do_not_disturb_each_other(agent: ScriptedAgent) -> None:
    """easysnmp 146, Cacti 1469: clones of one machine, each with a clock of its own."""
    async with ScriptedAgent() as clone:
        clone.engine = usm.Engine(agent.engine.identifier, 900, 77)
        for number, one in enumerate((agent, clone), 1):
            one.user = user()
            one.set("1.0", integer(number))
        async with (
            asking(agent.port, points("a"), **SECRET) as asked,
            asking(clone.port, points("a"), **SECRET) as other,
        ):
            for _ in range(3):
                assert await asked.read() == {"a": 1}
                assert await other.read() == {"a": 2}


@pytest.mark.parametrize("cipher", ["aes192", "aes256", "aes192c", "aes256c"])
@pytest.mark.parametrize("digest", ["md5", "sha", "sha512"])
async def test_long_keys_are_made_in_either_way(agent: ScriptedAgent, cipher: str, digest: str) -> None:
    """etingof/pysnmp 14, net-snmp 267, snmp_exporter 656, netdisco/snmp-info 488: Cisco makes its own."""
    agent.user = user(cipher, digest)
    agent.set("1.0", integer(1))
    given = SECRET | {"authProtocol": digest, "privProtocol": cipher}
    async with asking(agent.port, points("a"), **given) as asked:
        assert await asked.read() == {"a": 1}
    other = cipher[:-1] if cipher.endswith("c") else cipher + "c"
    if digest != "sha512":
        with pytest.raises(NoConnection):
            async with asking(agent.port, points("a"), **(given | {"privProtocol": other})):
                pass


async def test_an_answer_that_is_less_secure_than_the_question_is_not_taken(agent: ScriptedAgent) -> None:
    agent.user = user()
    agent.set("1.0", integer(1))
    async with asking(agent.port, points("a"), **SECRET) as asked:
        agent.user = usm.User("ann", "sha256", agent.user.auth_key)
        security = usm.Security(agent.user, agent.engine, b"")

        def in_the_open(message: bytes) -> list[bytes]:
            number = usm.decode(message, user(), security_keys(agent)).number
            answer = pdus_response(number)
            return [security.wrap(answer, number, 1)]

        agent.user = user()
        agent.sent = in_the_open
        with pytest.raises(Transient):
            await asked.read()


def security_keys(agent: ScriptedAgent) -> keys.Keys:
    one = user()
    return keys.keys("sha256", one.auth_key, one.priv_key, "aes", agent.engine.identifier)


def pdus_response(number: int) -> bytes:
    return tlv(pdus.RESPONSE, integer(number) + integer(0) + integer(0) + tlv(0x30, b""))


@pytest.mark.parametrize("table", [False, True])
async def test_a_rate_is_of_when_its_own_answer_came(agent: ScriptedAgent, table: bool) -> None:
    """A datagram that is lost delays its own variable, and not what the others were when they were told."""
    lost = [0]
    begun = monotonic()

    def answer(version: int, pdu: pdus.Pdu, names: list[oids.Arcs]) -> Any:
        for number in (1, 2):  # what adds 1000 in a second
            agent.set(f"9.{number}", counter(int((monotonic() - begun) * 1000)))
        agent.set("9.0", counter(0))
        if lost[0] and names[0] == oids.parse(f"{BASE}.9.{1 if table else 2}"):
            lost[0] -= 1
            return None
        if pdu.kind == pdus.GET:
            return agent.found(version, names)
        return agent._following(version, pdu, names[0])

    agent.answer = answer
    column = [{"name": "t", "oid": f"{BASE}.9", "table": True, "rate": True}]
    singly = [{"name": f"t.{number}", "oid": f"{BASE}.9.{number}", "rate": True} for number in (1, 2)]
    more = {"maxOids": 1, "maxRepetitions": 1, "timeout": 600, "retries": 1}
    async with asking(agent.port, column if table else singly, **more) as asked:
        await asked.read()
        for losing in (0, 1, 0):
            await asyncio.sleep(0.4)
            lost[0] = losing
            read = await asked.read(3.0)
            assert [read["t.1"], read["t.2"]] == pytest.approx([1000, 1000], rel=0.2)


async def test_how_many_rows_there_are_is_not_said_where_it_is_not_known(agent: ScriptedAgent) -> None:
    for row in range(10):
        agent.set(f"9.{row}", integer(row))
    given = [{"name": "t", "oid": f"{BASE}.9", "table": True, "maxRows": 3}]
    async with asking(agent.port, given) as asked:
        assert await asked.read() == {"t.rows": "TOO_MANY_ROWS", "t.0": 0, "t.1": 1, "t.2": 2}
        agent.answer = lambda version, pdu, names: (0, 0, [])
        assert set((await asked.read()).values()) == {"NO_VALUE"}
