"""What has gone wrong for others when they looked for devices on a network, rebuilt there."""

import resource
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from typing import Any

import pytest
from servers.captures import Capture
from servers.inner_agent import InnerAgent
from servers.plant_hosts import FIRST, GONE, SILENT, Host, Plant, host_at, modbus

TIMEOUT = 200
AT_ONCE, PER_SECOND, BURST = 64, 128, 16
_FORTRESS = 20
_EMPTY = 220


def _hosts() -> Iterator[Host]:
    kinds: list[tuple[str, dict[str, Any] | None]] = [
        ("slots", modbus("slots", units=[1], slots=4)),
        ("jealous", modbus("jealous", units=[1], connections=1, jealous=True)),
        ("gateway", modbus("gateway", units=[10, 11], missing=11)),
        ("ends", modbus("ends", units=[1], ends=[43])),
        ("trickle", {"kind": "trickle"}),
        ("plain", modbus("plain", units=[1])),
        ("tarpit", {"kind": "tarpit"}),
        ("reset-when-asked", {"kind": "reset-when-asked"}),
        (SILENT, None),
        *[("fortress", {"kind": "tarpit"})] * _FORTRESS,
        ("behind", modbus("behind", units=[1])),
        *[(GONE, None)] * _EMPTY,
        ("last", modbus("last", units=[1])),
        *[("line", modbus("line", units=[1]))] * 3,
    ]
    for place, (kind, options) in enumerate(kinds):
        yield host_at(FIRST + place, kind, options)
    yield host_at("fd77::10", "ipv6", modbus("ipv6", units=[1]))


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with Plant(tmp_path_factory.mktemp("plant"), list(_hosts())) as found:
        yield found


@pytest.fixture(scope="module")
def agent(plant: Plant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InnerAgent]:
    with InnerAgent(plant.client, tmp_path_factory.mktemp("agent") / "data") as found:
        yield found
        assert found.stop() == 0
    assert "Traceback" not in found.log.read_text()


def asked(network: str | list[str], **options: Any) -> dict[str, Any]:
    return {"modbus": {"network": network, "timeout": TIMEOUT, "unitId": 1} | options}


def scan(agent: InnerAgent, network: str | list[str], save: bool = False, **options: Any) -> dict[str, Any]:
    body = {"protocols": ["modbus"], "overrides": asked(network, **options), "save": save}
    found: dict[str, Any] = agent.post("/v1/discover", body)
    return found


def places(reply: dict[str, Any]) -> list[tuple[str, int]]:
    return [(device["connection"]["host"], device["connection"]["unitId"]) for device in reply["devices"]]


@pytest.fixture(autouse=True)
def _nobody_is_known(plant: Plant) -> None:
    """No address is in the cache of ARP."""
    plant.client.ip("neigh flush all nud all")


@pytest.fixture
def endpoints(agent: InnerAgent) -> Iterator[None]:
    """Those that a test adds are gone afterwards."""
    yield
    agent.delete("/v1/endpoints")


def own(seen: Capture, plant: Plant) -> dict[str, int]:
    """Packets to others than hosts of the plant, without what IPv6 says to everybody by itself."""
    outside = seen.outside(plant.addresses)
    return {to: count for to, count in outside.items() if not to.startswith(("ff", "fe80"))}


def test_connections_are_ended_in_order(agent: InnerAgent, plant: Plant) -> None:
    """Network cards of PLCs allow four connections and never free one that was not closed with a FIN: after
    some scans 288 of them had to be unplugged. https://github.com/angryip/ipscan/issues/467"""
    [host] = plant.at("slots")
    with Capture(plant.client) as seen:
        for _ in range(6):
            assert places(scan(agent, host)) == [(host, 1)]
    ours = [packet for packet in seen.packets if packet.sent and packet.destination == host]
    assert not any(packet.rst for packet in ours)
    assert sum(packet.syn for packet in ours) == 6


@pytest.mark.usefixtures("endpoints")
def test_one_connection_is_enough_also_for_two_scans_at_a_time(agent: InnerAgent, plant: Plant) -> None:
    """One connection more than a device allows, and it drops all of them until it is switched off and on.
    https://github.com/sanny32/OpenModScan/issues/15, https://github.com/home-assistant/core/issues/149494"""
    [host] = plant.at("jealous")
    endpoint = {
        "name": "jealous",
        "protocol": "modbus",
        "connection": {"type": "tcp", "host": host, "port": 502, "unitId": 1, "timeout": 1000},
        "data_points": [{"name": "a", "register": "holding:4:uint16"}],
        "poll_interval": 100,
        "enabled": True,
    }
    with ThreadPoolExecutor(2) as threads:
        for reply in threads.map(lambda _: scan(agent, host), range(4)):
            assert places(reply) == [(host, 1)]
    agent.post("/v1/endpoints", endpoint)
    until_connected(agent)
    with ThreadPoolExecutor(2) as threads:
        for reply in threads.map(lambda _: scan(agent, host), range(4)):
            assert places(reply) == [(host, 1)]
            assert reply["devices"][0]["known"]
    until_connected(agent)
    assert plant.devices.ask("dead") == []


def until_connected(agent: InnerAgent) -> None:
    deadline = time.monotonic() + 10
    while not agent.get("/v1/adapters/modbus/devices/jealous")["connected"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_only_the_devices_behind_a_gateway_are_found(agent: InnerAgent, plant: Plant) -> None:
    """The gateway hosts units 10 and 11, the scanner found many others, even above 100.
    https://github.com/sanny32/OpenModScan/issues/4"""
    [host] = plant.at("gateway")
    reply = scan(agent, host, unitId=None, slaveRange={"start": 1, "end": 120})
    assert sorted(places(reply)) == [(host, 10), (host, 11)]


def test_a_device_that_does_not_bear_a_question_is_found_all_the_same(
    agent: InnerAgent, plant: Plant
) -> None:
    """Devices end the connection, or say nothing, when they are asked for a function that they do not know.
    https://github.com/gonium/gosdm630/issues/2, https://github.com/yaacov/node-modbus-serial/issues/364"""
    [host] = plant.at("ends")
    plant.devices.ask("forget")
    assert places(scan(agent, host)) == [(host, 1)]
    assert plant.counts()[host]["accepted"] <= 4


def test_a_host_that_always_has_a_little_to_say_does_not_hold_up_the_scan(
    agent: InnerAgent, plant: Plant
) -> None:
    """The time-out only fired after silence, a host that trickled data reset it again and again, and one such
    address stopped the whole run. https://github.com/hreskiv/mikr/issues/68,
    https://github.com/quipucords/quipucords/issues/1418"""
    [slow], [plain] = plant.at("trickle"), plant.at("plain")
    begun = time.monotonic()
    reply = scan(agent, f"{slow},{plain}")
    assert places(reply) == [(plain, 1)]
    assert time.monotonic() - begun < 10 * TIMEOUT / 1000 + 1.0
    assert any(slow in error["where"] for error in reply["errors"])


def test_what_accepts_everything_costs_its_time_and_no_more(agent: InnerAgent, plant: Plant) -> None:
    """A device in between says yes to every connection to slow scanners down: it works annoyingly well.
    https://github.com/nmap/nmap/issues/1904"""
    fortress, [behind] = plant.at("fortress"), plant.at("behind")
    begun = time.monotonic()
    reply = scan(agent, f"{fortress[0]}-{behind}")
    assert places(reply) == [(behind, 1)]
    assert time.monotonic() - begun < 10 * TIMEOUT / 1000 + 1.0
    assert len(reply["errors"]) == _FORTRESS


def test_the_same_scan_takes_the_same_time_again(agent: InnerAgent, plant: Plant) -> None:
    """What the scan before met with made the next one wait longer: it never completed.
    https://github.com/angryip/ipscan/issues/45"""
    hosts = ",".join(plant.at("tarpit", "reset-when-asked", "trickle"))
    took = []
    for _ in range(2):
        begun = time.monotonic()
        scan(agent, hosts)
        took.append(time.monotonic() - begun)
    assert took[-1] < took[0] + 1.0, took


def test_a_scan_needs_few_descriptors(plant: Plant, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Too many open files, at twenty scans at a time. https://github.com/scanopy/scanopy/issues/113"""
    with InnerAgent(plant.client, tmp_path_factory.mktemp("few") / "data") as agent:
        resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (160, 160))
        network = f"{plant.at(GONE)[0]}-{plant.at('last')[0]}"
        with ThreadPoolExecutor(2) as threads:
            for reply in threads.map(lambda _: scan(agent, network), range(2)):
                assert places(reply) == [(plant.at("last")[0], 1)]
                assert reply["errors"] == []
        assert agent.stop() == 0
    assert "Too many open files" not in agent.log.read_text()


def test_nobody_is_called_faster_than_switches_bear(agent: InnerAgent, plant: Plant) -> None:
    """A sweep as fast as it can be is an ARP storm. https://github.com/phpipam/phpipam/issues/3677,
    https://github.com/royhills/arp-scan/issues/176"""
    with Capture(plant.client) as seen:
        scan(agent, f"{plant.at(GONE)[0]}-{plant.at('last')[0]}")
    first: dict[str, float] = {}
    for packet in seen.packets:
        if packet.sent and packet.kind == "arp":
            first.setdefault(packet.destination, packet.at)
    times = sorted(first.values())
    assert len(times) == _EMPTY + 1
    busiest = max(sum(at <= other < at + 1.0 for other in times) for at in times)
    assert busiest <= 1.1 * PER_SECOND + BURST
    calls = Counter(packet.destination for packet in seen.packets if packet.sent and packet.kind == "arp")
    assert max(calls.values()) <= 3  # as often as the system itself calls again


def test_the_addresses_of_a_network_itself_are_no_hosts(agent: InnerAgent, plant: Plant) -> None:
    """Broadcast addresses were discovered as devices. https://github.com/netdisco/netdisco/issues/639"""
    start = IPv4Address(int(IPv4Address(plant.at(GONE)[0])) | 15) + 1
    with Capture(plant.client) as seen:
        reply = scan(agent, f"{start}/28")
    assert (reply["devices"], reply["run"]["planned"]) == ([], 14)
    assert set(seen.sent("arp")) == {str(start + place) for place in range(1, 15)}


@pytest.mark.usefixtures("endpoints")
def test_scans_that_overlap_add_a_device_once(agent: InnerAgent, plant: Plant) -> None:
    """Two runs of the discovery at a time inserted the same devices twice.
    https://github.com/librenms/librenms/issues/1762"""
    hosts = ",".join(plant.at("plain", "slots", "ends"))
    with ThreadPoolExecutor(3) as threads:
        replies = list(threads.map(lambda _: scan(agent, hosts, save=True), range(3)))
    added = [name for reply in replies for name in reply["saved"]["added"]]
    endpoints = agent.get("/v1/endpoints")["endpoints"]
    assert len(added) == len(endpoints) == 3


def test_a_network_that_is_out_of_reach_is_told(agent: InnerAgent) -> None:
    """0 of 254 hosts found, said the scan of a network that the probe could not reach, and no more.
    https://github.com/OneUptime/oneuptime/issues/3078"""
    reply = scan(agent, "192.0.2.0/28")
    assert reply["devices"] == []
    assert any("unreachable" in error["error"].lower() for error in reply["errors"]), reply["errors"]


def test_hosts_that_ignore_pings_are_found(agent: InnerAgent, plant: Plant) -> None:
    """Hosts that did not answer an echo were never asked. https://github.com/OneUptime/oneuptime/issues/3078,
    https://github.com/fstubner/netscli/pull/243"""
    plant.plant.sysctl("ipv4/icmp_echo_ignore_all", 1)
    [host] = plant.at("plain")
    with Capture(plant.client) as seen:
        assert places(scan(agent, host)) == [(host, 1)]
    assert not [
        packet
        for packet in seen.packets
        if packet.sent and packet.kind == "icmp" and ":" not in packet.source
    ]


def test_ipv6_beside_ipv4(agent: InnerAgent, plant: Plant) -> None:
    """The first IPv6 network ended the scan, and the IPv4 networks behind it were not looked at; a /64 has no
    end. https://github.com/phpipam/phpipam/issues/2844, https://github.com/bee-san/RustScan/issues/783"""
    [plain], [ipv6] = plant.at("plain"), plant.at("ipv6")
    with plant.client.socket(socket.AF_INET6) as first:  # neighbours take a second to know each other
        first.settimeout(5)
        first.connect((ipv6, 502))
    reply = scan(agent, ["fd77::8/125", plain, ipv6])
    assert sorted(places(reply)) == [(plain, 1), (ipv6, 1)]
    status, refusal = agent.request(
        "POST", "/v1/discover", {"protocols": ["modbus"], "overrides": asked("fd77::/64")}
    )
    assert status == 400
    assert refusal["field"] == "overrides.modbus.network"


def test_an_agent_that_nobody_has_asked_looks_for_nothing(agent: InnerAgent, plant: Plant) -> None:
    """Laptops scanned the networks of whoever was visited. https://github.com/OCSInventory-NG/OCSInventory-Server/issues/316"""
    with Capture(plant.client) as seen:
        assert agent.get("/v1/discovery-runs")
        time.sleep(1.0)
    assert not own(seen, plant)
    assert not seen.sent("tcp", "udp")


@pytest.mark.usefixtures("endpoints")
def test_a_rule_keeps_up_with_what_is_there(agent: InnerAgent, plant: Plant) -> None:
    """Who was missing once may be back; who was missing twice is removed, and found again when back."""
    hosts = plant.at("line")
    params = {"network": f"{hosts[0]}-{hosts[-1]}", "timeout": TIMEOUT, "unitId": 1}
    given = {"name": "line 1", "protocol": "modbus", "params_json": params, "interval_seconds": 86_400}
    uuid = agent.post("/v1/discovery-rules", given)["uuid"]

    def run() -> tuple[int, int]:
        """How many endpoints there are, and how many were removed."""
        reply = agent.post(f"/v1/discovery-rules/{uuid}/run", None)
        return len(agent.get("/v1/endpoints")["endpoints"]), reply["prunedCount"]

    assert run() == (3, 0)
    plant.devices.ask("stop_host", address=hosts[1])
    assert [run(), run()] == [(3, 0), (2, 1)]
    plant.devices.ask("start_host", address=hosts[1])
    assert run() == (3, 0)
    runs = agent.get(f"/v1/discovery-rules/{uuid}/runs")["runs"]
    agent.delete(f"/v1/discovery-rules/{uuid}")
    assert [(row["status"], row["devices_found"]) for row in runs] == [
        ("success", 3),
        ("success", 2),
        ("success", 2),
        ("success", 3),
    ]
