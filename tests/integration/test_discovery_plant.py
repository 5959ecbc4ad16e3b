"""An agent in a network of 300 hosts finds those that are devices: all of them, nothing else, in time, and
without a packet to anybody that it was not told to look at."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from servers import plant_servers
from servers.captures import Capture
from servers.inner_agent import InnerAgent
from servers.plant_hosts import CLIENT, GONE, HOSTS, PREFIX, RANGE, SILENT, Plant

TIMEOUT = 250
AT_ONCE, PER_SECOND = 64, 128
BROADCAST = "10.77.3.255"
UNITS = 12
"""Those that are asked for where nobody says which."""


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with Plant(tmp_path_factory.mktemp("plant"), plant_servers.hosts()) as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def servers(plant: Plant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with plant_servers.running(plant, tmp_path_factory.mktemp("servers")) as found:
        yield found


@pytest.fixture(scope="module")
def agent(plant: Plant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InnerAgent]:
    with InnerAgent(plant.client, tmp_path_factory.mktemp("agent") / "data") as found:
        yield found
        assert found.stop() == 0
    assert "Traceback" not in found.log.read_text()


@pytest.fixture(autouse=True)
def _nobody_is_known(plant: Plant) -> None:
    """No address is in the cache of ARP."""
    plant.client.ip("neigh flush all nud all")


def scan(agent: InnerAgent, network: str = RANGE, unit: int | None = None, **further: Any) -> dict[str, Any]:
    options = {"network": network, "timeout": TIMEOUT} | ({} if unit is None else {"unitId": unit})
    overrides = {"modbus": options}
    found: dict[str, Any] = agent.post(
        "/v1/discover", {"protocols": ["modbus"], "overrides": overrides, **further}
    )
    return found


def found_units(reply: dict[str, Any]) -> list[tuple[str, int]]:
    return [(device["connection"]["host"], device["connection"]["unitId"]) for device in reply["devices"]]


def until_clear(plant: Plant, seconds: float = 5.0) -> None:
    """No host has a connection any more."""
    deadline = time.monotonic() + seconds
    while still := {address: seen for address, seen in plant.counts().items() if seen["open"]}:
        assert time.monotonic() < deadline, still
        time.sleep(0.01)


class Watch:
    """What a process has, looked at again and again: at most so many `descriptors` and `threads`."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.descriptors = self.threads = 0

    def _look(self) -> None:
        while not self._ends.wait(0.02):
            self.descriptors = max(self.descriptors, self._process.num_fds())
            self.threads = max(self.threads, self._process.num_threads())

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()


def test_everything_that_is_there_is_found_and_nothing_else(plant: Plant, agent: InnerAgent) -> None:
    plant.devices.ask("forget")
    descriptors = psutil.Process(agent.pid).num_fds()
    begun = time.monotonic()
    with Capture(plant.client) as seen, Watch(agent.pid) as watch:
        reply = scan(agent)
    took = time.monotonic() - begun
    found = found_units(reply)
    assert sorted(set(found)) == sorted(plant.units())
    assert len(found) == len(set(found))
    run = reply["run"]
    assert (run["status"], run["planned"], run["probed"]) == ("success", HOSTS, HOSTS)
    assert run["devices_found"] == len(found)
    # Nobody else was touched, and who was named at least once.
    assert not seen.outside(plant.addresses)
    assert set(seen.sent("arp", "tcp")) == set(plant.addresses)
    # A host that has nobody costs its time-out, so many at once and so many a second; one that takes what is
    # said and does not answer a time-out for each unit that may be there.
    longest = HOSTS / PER_SECOND + (UNITS + 4) * TIMEOUT / 1000
    assert took < longest + 3.0, took
    assert watch.descriptors <= descriptors + AT_ONCE + 20
    assert watch.threads < 40
    # And of all that nothing is left.
    until_clear(plant)
    assert psutil.Process(agent.pid).num_fds() <= descriptors + 4
    assert {seen_["peak"] for seen_ in plant.counts().values()} == {1}
    # What was there and is no device is told; where nobody is, there is nothing to tell.
    told = {error["where"].partition(":")[0] for error in reply["errors"]}
    assert told >= set(plant.at("tarpit", "banner", "garbage", "echo", "reset-when-asked", "ssh"))
    assert told.isdisjoint(plant.at(GONE, SILENT, "refusing"))


OPTIONS: dict[str, dict[str, Any]] = {
    "opcua": {"network": RANGE, "timeout": 500},
    "snmp": {"network": RANGE, "timeout": TIMEOUT, "retries": 0},
    "mqtt": {"network": RANGE, "timeout": 500},
    "bacnet": {"discoveryTargets": RANGE, "timeout": 500, "localAddress": f"{CLIENT}/{PREFIX}"},
}


def there(plant: Plant, protocol: str) -> set[Any]:
    """What is to be found, as `told` has it."""
    match protocol:
        case "opcua":
            return plant_servers.opcua_uris(plant)
        case "snmp" | "mqtt":
            return set(plant.at(protocol))
    return set(plant_servers.bacnet_instances(plant).items())


def told(device: dict[str, Any]) -> Any:
    """What tells a device apart."""
    connection = device["connection"]
    match device["protocol"]:
        case "opcua":
            return device["metadata"]["applicationUri"]
        case "snmp" | "mqtt":
            return connection["host"]
    return connection["host"], connection["deviceInstance"]


@pytest.mark.parametrize("protocol", OPTIONS)
def test_so_are_the_devices_of_other_protocols(plant: Plant, agent: InnerAgent, protocol: str) -> None:
    descriptors = psutil.Process(agent.pid).num_fds()
    with Capture(plant.client) as seen:
        body = {"protocols": [protocol], "overrides": {protocol: OPTIONS[protocol]}}
        reply = agent.post("/v1/discover", body)
    found = [told(device) for device in reply["devices"]]
    assert sorted(found) == sorted(there(plant, protocol))
    assert reply["run"]["status"] == "success"
    assert not seen.outside(plant.addresses)
    assert set(seen.sent("arp", "tcp", "udp")) == set(plant.addresses)
    connections = str([device["connection"] for device in reply["devices"]])
    assert not [host for host in plant.bait if host.address in connections]
    until_clear(plant)
    assert psutil.Process(agent.pid).num_fds() <= descriptors + 4


def test_everybody_is_asked_at_once_by_broadcast(plant: Plant, agent: InnerAgent) -> None:
    """BACnet's way: one packet to everybody, and none to whoever does not answer."""
    options = {"timeout": 1000, "localAddress": f"{CLIENT}/{PREFIX}", "broadcastAddress": BROADCAST}
    with Capture(plant.client) as seen:
        reply = agent.post("/v1/discover", {"protocols": ["bacnet"], "overrides": {"bacnet": options}})
    devices = plant.at("bacnet")  # the other one only hears what is meant for itself
    found = [told(device) for device in reply["devices"]]
    assert sorted(found) == sorted(one for one in there(plant, "bacnet") if one[0] in devices)
    sent = seen.sent("udp")
    assert 1 <= sent.pop(BROADCAST) <= 3
    assert set(sent) == set(devices)


def test_devices_that_are_polled_go_on_being_read_over_their_only_connection(
    plant: Plant, agent: InnerAgent
) -> None:
    single = plant.at("modbus single")
    plant.devices.ask("forget")
    for place, host in enumerate(single):
        connection = {"type": "tcp", "host": host, "port": 502, "unitId": 1, "timeout": 1000}
        points = [{"name": "a", "register": "holding:4:uint16"}]
        given = {"name": f"single-{place}", "protocol": "modbus", "connection": connection}
        agent.post("/v1/endpoints", given | {"data_points": points, "poll_interval": 100, "enabled": True})
    names = [f"single-{place}" for place in range(len(single))]

    def devices() -> list[dict[str, Any]]:
        return [agent.get(f"/v1/adapters/modbus/devices/{name}") for name in names]

    deadline = time.monotonic() + 10
    while not all(device["connected"] for device in devices()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    reply = scan(agent, ",".join([*single, *plant.at("tarpit", "banner")]), unit=1)
    assert sorted(found_units(reply)) == sorted((host, 1) for host in single)
    assert all(device["known"] for device in reply["devices"])
    assert all(device["connected"] and not device["errorCount"] for device in devices())
    counts = plant.counts()
    assert {(counts[host]["accepted"], counts[host]["odd"]) for host in single} == {(1, 0)}
    agent.delete("/v1/endpoints")


def test_who_speaks_without_being_asked_is_not_found(
    plant: Plant, agent: InnerAgent, servers: dict[str, Any]
) -> None:
    """Devices say where they are to everybody when they start, and routers say it for others again and again:
    https://github.com/JoelBender/bacpypes/issues/350."""
    instances = plant_servers.bacnet_instances(plant)
    first, *others = plant.at("bacnet")
    ends = threading.Event()

    def speak() -> None:
        while not ends.wait(0.02):
            for address in others:
                servers[first].ask("i_am", device=instances[address], address="*")

    speaking = threading.Thread(target=speak, daemon=True)
    speaking.start()
    options = OPTIONS["bacnet"] | {"discoveryTargets": ",".join([first, *plant.at(GONE)[:20]])}
    try:
        with Capture(plant.client) as seen:
            reply = agent.post("/v1/discover", {"protocols": ["bacnet"], "overrides": {"bacnet": options}})
    finally:
        ends.set()
        speaking.join()
    assert {packet.source for packet in seen.packets if packet.destination == BROADCAST} == set(others)
    assert [told(device) for device in reply["devices"]] == [(first, instances[first])]


def test_a_scan_that_is_cancelled_ends_at_once_and_keeps_what_it_has(plant: Plant, agent: InnerAgent) -> None:
    descriptors = psutil.Process(agent.pid).num_fds()
    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(scan, agent)
        run = None
        while run is None or not run["probed"] or not run["found"]:
            time.sleep(0.05)
            run = next(
                (row for row in agent.get("/v1/discovery-runs")["runs"] if row["status"] == "running"), None
            )
        assert run["planned"] == HOSTS
        begun = time.monotonic()
        agent.delete(f"/v1/discovery-runs/{run['uuid']}")
        reply = asking.result(10)
        assert time.monotonic() - begun < 2.0
    assert len(reply["devices"]) > 0
    assert set(found_units(reply)) <= plant.units()
    assert reply["run"]["probed"] < HOSTS
    assert reply["run"]["status"] == "error"
    until_clear(plant, 2.0)
    with Capture(plant.client) as seen:
        time.sleep(0.5)
    assert not seen.sent("tcp")
    assert psutil.Process(agent.pid).num_fds() <= descriptors + 4


def test_a_client_that_hangs_up_ends_its_scan(plant: Plant, agent: InnerAgent) -> None:
    body = b'{"protocols":["modbus"],"overrides":{"modbus":{"network":"%s","timeout":5000}}}' % RANGE.encode()
    with plant.client.socket() as client:
        client.connect(("127.0.0.1", agent.port))
        client.sendall(
            b"POST /v1/discover HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        while not [row for row in agent.get("/v1/discovery-runs")["runs"] if row["status"] == "running"]:
            time.sleep(0.02)
    deadline = time.monotonic() + 5
    while [row for row in agent.get("/v1/discovery-runs")["runs"] if row["status"] == "running"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    until_clear(plant)


def test_what_is_found_is_saved_once_and_known_from_then_on(plant: Plant, agent: InnerAgent) -> None:
    some = f"{plant.addresses[0]}-{plant.addresses[59]}"
    mine = {
        (address, unit) for address, unit in plant.units() if address in plant.addresses[:60] and unit == 1
    }
    for again in (False, True):
        reply = scan(agent, some, unit=1, save=True)
        assert set(found_units(reply)) == mine
        assert len(reply["saved"]["added"]) == (0 if again else len(mine))
        assert all(device["known"] for device in reply["devices"]) == again
    endpoints = agent.get("/v1/endpoints")["endpoints"]
    assert len(endpoints) == len(mine)
    assert not any(endpoint["enabled"] for endpoint in endpoints)
    agent.delete("/v1/endpoints")


def test_an_agent_that_scanned_again_and_again_is_as_it_was(plant: Plant, agent: InnerAgent) -> None:
    kinds = (
        "modbus",
        "modbus gateway",
        "modbus single",
        "tarpit",
        "banner",
        "full",
        "reset",
        SILENT,
        GONE,
        "refusing",
    )
    some = ",".join(plant.at(kind)[0] for kind in kinds)

    def has() -> tuple[int, int]:
        process = psutil.Process(agent.pid)
        return process.num_fds(), process.num_threads()

    scan(agent, some, unit=1)
    before = has()
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: scan(agent, some, unit=1), range(6)))
    until_clear(plant)
    descriptors, running = has()
    assert descriptors <= before[0] + 4
    assert running <= before[1] + 2
