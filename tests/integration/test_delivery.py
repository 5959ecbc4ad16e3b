"""The delivery contract, end to end: a real agent, a real broker, real Modbus devices.

A device counts its reads; the count is in every reading. What it has counted and a subscriber has not
seen is missing.
"""

import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
import psutil
import pytest
from line_protocol_parser import parse_line
from servers.agent import AgentProcess
from servers.agent_clock import AgentClock
from servers.field import field
from servers.influxdb import InfluxDB
from servers.mosquitto import Mosquitto
from servers.watching import Following, Footprint, Stream

COMMIT_INTERVAL = 0.2
SLACK = 0.25  # seconds that a commit and this machine's other work may take
DEVICES = 5
POLL_MS = 50
SMALL_MEMORY = "[publish]\nmemory_bytes = 65536\n"  # a second of readings; more is left to the disk


class Reading(NamedTuple):
    unit: int
    seq: int
    arrived: float
    """Unix seconds."""


class Subscriber:
    """mosquitto_sub, with a session that the broker keeps while either of them is away."""

    def __init__(self, port: int, directory: Path) -> None:
        self._log = directory / f"subscriber-{port}.log"
        # Its words must not wait in a buffer.
        self._command = [
            "stdbuf",
            "-oL",
            "mosquitto_sub",
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-i",
            "subscriber",
            "-c",
        ]
        self._command += ["-q", "1", "-t", "#", "-d", "-F", "%U %p"]
        self._process: subprocess.Popen[bytes] | None = None
        self._read_to = 0
        self._readings: list[Reading] = []

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        try:
            wait_for(lambda: b"Subscribed" in self._log.read_bytes())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def readings(self) -> list[Reading]:
        """In the order of their arrival."""
        with self._log.open("rb") as log:
            log.seek(self._read_to)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._read_to += len(line)
                if line[:1].isdigit():
                    arrived, payload = line.split(b" ", 1)
                    self._readings.append(Reading(*reading_in(payload), float(arrived)))
        return self._readings


class Points:
    """What an InfluxDB has, as a `Subscriber` has it but for the time of arrival."""

    def __init__(self, server: InfluxDB) -> None:
        self._server = server

    @property
    def readings(self) -> list[Reading]:
        return [
            Reading(_unit(point.tags["device"]), int(point.fields["seq"]), 0.0)
            for point in self._server.points
        ]


def reading_in(payload: bytes) -> tuple[int, int]:
    """Unit and sequence number in a payload of format `tags` or `line-protocol`."""
    if not payload.startswith(b"{"):
        point = parse_line(f"m,{payload.decode()}")
        return _unit(point["tags"]["device"]), int(point["fields"]["seq"])
    message = msgspec.json.decode(payload)
    return _unit(message["node"]), next(tag["value"] for tag in message["tags"] if tag["name"] == "seq")


def _unit(device: str) -> int:
    found = re.match(r"line-(\d+)", device)
    assert found is not None
    return int(found[1])


def wait_for(happened: Callable[[], Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class Line:
    """`DEVICES` devices behind one port, told apart by unit id, and when each of their counts was read."""

    def __init__(self) -> None:
        self.read_at: dict[int, list[float]] = {unit: [] for unit in range(1, DEVICES + 1)}
        self.port = 0

    def note(self, unit: int, function: int, address: int, count: int) -> None:
        if address == 0:
            self.read_at[unit].append(time.monotonic())

    @contextmanager
    def running(self) -> Iterator[Self]:
        with field(registers=10, units=tuple(self.read_at), on_request=self.note) as server:
            self.port = server.port
            yield self

    @property
    def counts(self) -> dict[int, int]:
        return {unit: len(times) for unit, times in self.read_at.items()}

    @property
    def total(self) -> int:
        return sum(self.counts.values())


class Delivery:
    """What was read and what arrived."""

    def __init__(self, line: Line, subscriber: Subscriber | Points) -> None:
        self.line = line
        self.subscriber = subscriber

    def settle(self, seconds: float = 15) -> None:
        """Wait until what has been read by now, or what comes after it, has arrived."""
        counts = self.line.counts
        wait_for(lambda: all(self.latest.get(unit, 0) >= count for unit, count in counts.items()), seconds)

    @property
    def latest(self) -> dict[int, int]:
        return {reading.unit: reading.seq for reading in sorted(self.subscriber.readings)}

    def missing(self) -> dict[tuple[int, int], float]:
        """Unit and count of what never arrived though something later did, and when it was read."""
        newest = self.latest  # before what has arrived is looked at: more arrives meanwhile
        seen = {(reading.unit, reading.seq) for reading in self.subscriber.readings}
        return {
            (unit, seq): self.line.read_at[unit][seq - 1]
            for unit, latest in newest.items()
            for seq in range(1, latest + 1)
            if (unit, seq) not in seen
        }

    def duplicates(self) -> int:
        readings = self.subscriber.readings
        return len(readings) - len({(reading.unit, reading.seq) for reading in readings})

    def check_order(self) -> None:
        """Apart from what is sent again, every device's readings arrive in the order they were read."""
        latest: dict[int, int] = {}
        seen: set[tuple[int, int]] = set()
        for unit, seq, _ in self.subscriber.readings:
            if (unit, seq) not in seen:
                assert seq > latest.get(unit, 0), f"unit {unit}: {seq} came after {latest[unit]}"
                latest[unit] = seq
                seen.add((unit, seq))


def configure(
    agent: AgentProcess,
    line: Line,
    *broker_ports: int,
    others: dict[str, dict[str, Any]] | None = None,
    poll_ms: int = POLL_MS,
) -> None:
    """What devices say to every broker and to the `others`, `config_json` by type; endpoints last, so that
    the first reading has somewhere to go."""
    wanted = [("mqtt", {"host": "127.0.0.1", "port": port}) for port in broker_ports]
    for number, (type, config_json) in enumerate([*wanted, *(others or {}).items()]):
        destination = agent.post(
            "/v1/publish/destinations",
            {"name": f"{type}-{number}", "type": type, "config_json": config_json},
        )
        agent.post(
            "/v1/publish/subscriptions",
            {
                "publish_destination_id": destination["id"],
                "topics": ["modbus"],
                "payload_format": "tags",
                "route_json": {"topic": "plant"},
            },
        )
    for unit in line.read_at:
        agent.post(
            "/v1/endpoints",
            {
                "name": f"line-{unit}",
                "protocol": "modbus",
                "connection": {"host": "127.0.0.1", "port": line.port, "unitId": unit},
                "poll_interval": poll_ms,
                "data_points": [{"name": "seq", "register": "holding:0", "type": "uint32"}],
            },
        )


def buffer(agent: AgentProcess) -> Any:
    return agent.get("/v1/buffer/status")


def stored(agent: AgentProcess, destination: str = "%") -> set[tuple[int, int]]:
    """Unit and count of what is on the disk of an agent that is not running, for destinations whose name
    is LIKE that."""
    query = "SELECT payload FROM outbox JOIN target_state ON id = destination_id WHERE name LIKE ?"
    with closing(sqlite3.connect(agent.data_dir / "agent.sqlite")) as connection:
        return {reading_in(payload) for (payload,) in connection.execute(query, (destination,))}


class Plant:
    """Broker, subscriber, devices; agents are started on it."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.stack = stack
        self.line = stack.enter_context(Line().running())
        self.broker, self.delivery = self.add_broker("one")

    def add_broker(self, name: str) -> tuple[Mosquitto, Delivery]:
        folder = self.directory / name
        # What it has acknowledged it keeps for its subscriber, over a restart too.
        options = ("persistence true", f"persistence_location {folder}/", "set_tcp_nodelay true")
        broker = self.stack.enter_context(Mosquitto(folder, options=options))
        return broker, Delivery(self.line, self.stack.enter_context(Subscriber(broker.port, folder)))

    def add_influxdb(self) -> tuple[InfluxDB, Delivery]:
        server = self.stack.enter_context(InfluxDB())
        return server, Delivery(self.line, Points(server))

    def agent(self, config: str = "", **env: str) -> AgentProcess:
        file = self.directory / "agent.toml"
        file.write_text(config)
        return self.stack.enter_context(AgentProcess(self.directory / "data", file, **env))


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with ExitStack() as stack:
        yield Plant(tmp_path, stack)


@pytest.mark.timeout(70)
def test_a_broker_that_is_away_for_20_seconds_misses_nothing(plant: Plant) -> None:
    agent = plant.agent(SMALL_MEMORY)
    configure(agent, plant.line, plant.broker.port)
    wait_for(lambda: len(plant.delivery.subscriber.readings) > 100)
    plant.broker.stop()
    began = plant.line.total
    time.sleep(20)
    status = buffer(agent)
    during = plant.line.total - began
    assert during > 20 * DEVICES * 1000 / POLL_MS / 2
    # It is told once a second.
    assert status["mqttMessageBufferCount"] > during - 3 * DEVICES * 1000 / POLL_MS
    plant.broker.start()
    plant.delivery.settle(20)
    assert plant.delivery.missing() == {}
    plant.delivery.check_order()
    wait_for(lambda: buffer(agent)["mqttMessageBufferCount"] < 50)
    assert agent.stop() == 0


@pytest.mark.parametrize("broker", ["up", "down"])
@pytest.mark.parametrize("durability", ["group", "strict"])
def test_kill_9_costs_at_most_one_commit_interval_and_strict_at_most_the_poll_in_flight(
    plant: Plant, durability: str, broker: str
) -> None:
    agent = plant.agent(SMALL_MEMORY, CALLBOARD_DURABILITY=durability)
    configure(agent, plant.line, plant.broker.port, poll_ms=100 if durability == "strict" else 20)
    wait_for(lambda: len(plant.delivery.subscriber.readings) > 50)
    if broker == "down":
        plant.broker.stop()
        wait_for(lambda: buffer(agent)["mqttMessageBufferCount"] > 100)
    killed_at = time.monotonic()
    agent.kill()
    on_disk = stored(agent)
    agent.start()
    if broker == "down":
        assert len(on_disk) > 50
        plant.broker.start()
    plant.delivery.settle()
    missing = plant.delivery.missing()
    assert not missing.keys() & on_disk
    assert all(read_at > killed_at - COMMIT_INTERVAL - SLACK for read_at in missing.values())
    if durability == "strict":
        units = [unit for unit, _ in missing]
        assert len(units) == len(set(units)), f"more than the poll in flight: {missing}"
    plant.delivery.check_order()


@pytest.mark.parametrize("away", ["mqtt", "influxdb"])
def test_kill_9_while_one_of_two_destinations_is_away_costs_each_at_most_one_commit_interval(
    plant: Plant, away: str
) -> None:
    influxdb, points = plant.add_influxdb()
    agent = plant.agent(SMALL_MEMORY)
    others = {"influxdb": influxdb.config_json()}
    configure(agent, plant.line, plant.broker.port, others=others, poll_ms=20)
    deliveries = {"mqtt": plant.delivery, "influxdb": points}
    wait_for(lambda: all(len(each.subscriber.readings) > 50 for each in deliveries.values()))
    server = plant.broker if away == "mqtt" else influxdb
    server.stop()
    wait_for(lambda: buffer(agent)["mqttMessageBufferCount"] > 300)
    killed_at = time.monotonic()
    agent.kill()
    on_disk = {type: stored(agent, f"{type}-%") for type in deliveries}
    assert len(on_disk[away]) > 50
    agent.start()
    server.start()
    for type, delivery in deliveries.items():
        delivery.settle()
        missing = delivery.missing()
        assert not missing.keys() & on_disk[type]
        assert all(read_at > killed_at - COMMIT_INTERVAL - SLACK for read_at in missing.values())
        delivery.check_order()


def test_a_destination_that_is_down_does_not_delay_another_and_loses_nothing(plant: Plant) -> None:
    other_broker, other = plant.add_broker("other")
    other_broker.stop()
    agent = plant.agent(SMALL_MEMORY)
    configure(agent, plant.line, plant.broker.port, other_broker.port)
    wait_for(lambda: len(plant.delivery.subscriber.readings) > 300)
    offset = time.time() - time.monotonic()
    delays = sorted(
        reading.arrived - offset - plant.line.read_at[reading.unit][reading.seq - 1]
        for reading in plant.delivery.subscriber.readings
    )
    assert delays[len(delays) // 2] < 0.1
    assert delays[int(len(delays) * 0.95)] < 0.5
    status = buffer(agent)["destinations"]
    assert [(box["connected"], box["messageCount"] > 200) for box in status] == [(True, False), (False, True)]
    other_broker.start()
    other.settle()
    assert other.missing() == {}
    other.check_order()
    plant.delivery.settle()
    assert plant.delivery.missing() == {}
    assert plant.delivery.duplicates() == 0


def test_an_orderly_stop_and_a_start_lose_nothing_and_repeat_nothing(plant: Plant) -> None:
    agent = plant.agent()
    configure(agent, plant.line, plant.broker.port, poll_ms=20)
    for count in (200, 400):
        wait_for(lambda expected=count: len(plant.delivery.subscriber.readings) > expected)  # type: ignore[misc]
        assert agent.stop() == 0
        assert stored(agent) == set()
        agent.start()
    plant.delivery.settle()
    assert plant.delivery.missing() == {}
    assert plant.delivery.duplicates() == 0
    plant.delivery.check_order()


@pytest.mark.timeout(90)
def test_soft_restarts_under_load_lose_nothing_and_leave_nothing_behind(plant: Plant) -> None:
    """Nothing that a device has counted as read is missing, whatever was under way."""
    agent = plant.agent()
    configure(agent, plant.line, plant.broker.port, poll_ms=20)
    restarts = 30
    with Following(agent) as probes, Stream(agent.url) as stream:
        wait_for(lambda: len(plant.delivery.subscriber.readings) > 100)
        before = Footprint.of(agent, agent.pid)
        for _ in range(restarts):
            seen = stream.events
            assert agent.request("POST", "/v1/reboot")[0] == 202
            agent.wait_until_running()
            wait_for(lambda seen=seen: stream.events > seen + DEVICES)  # type: ignore[misc]
        wait_for(lambda: buffer(agent)["destinations"][0]["connected"])
        after = Footprint.of(agent, agent.pid)
    assert probes.worst < 2.0
    assert probes.answers > 100
    assert after.actors == before.actors
    assert after.threads <= before.threads
    assert after.descriptors <= before.descriptors + 3
    assert after.rss_mb < before.rss_mb + 8
    plant.delivery.settle()
    assert plant.delivery.missing() == {}
    assert plant.delivery.duplicates() == 0
    plant.delivery.check_order()
    assert agent.stop() == 0
    log = agent.log.read_text()
    assert log.count("lifecycle: RUNNING") == restarts + 1
    assert "Traceback" not in log
    assert " ERROR " not in log


def test_an_orderly_stop_during_an_outage_loses_nothing(plant: Plant) -> None:
    plant.broker.stop()
    agent = plant.agent(SMALL_MEMORY)
    configure(agent, plant.line, plant.broker.port, poll_ms=20)
    wait_for(lambda: buffer(agent)["mqttMessageBufferCount"] > 200)
    stopped_at = time.monotonic()
    assert agent.stop() == 0
    on_disk = stored(agent)
    answered = {
        (unit, seq)
        for unit, times in plant.line.read_at.items()
        for seq, read_at in enumerate(times, 1)
        if read_at < stopped_at - 0.1
    }
    assert answered <= on_disk
    agent.start()
    plant.broker.start()
    plant.delivery.settle()
    assert plant.delivery.missing() == {}
    assert plant.delivery.duplicates() == 0
    plant.delivery.check_order()


@pytest.mark.parametrize("deleted", ["agent.sqlite-wal", "agent.sqlite*", "*"])
def test_files_that_are_deleted_during_an_outage_cost_no_more_than_a_kill(plant: Plant, deleted: str) -> None:
    agent = plant.agent(SMALL_MEMORY)
    configure(agent, plant.line, plant.broker.port)
    wait_for(lambda: len(plant.delivery.subscriber.readings) > 50)
    plant.broker.stop()
    wait_for(lambda: buffer(agent)["mqttMessageBufferCount"] > 300)
    before = (agent.data_dir / "agent.sqlite").stat().st_ino, plant.line.total
    for file in agent.data_dir.glob(deleted):
        file.unlink()
    wait_for(lambda: plant.line.total > before[1] + 10 * DEVICES)
    killed_at = time.monotonic()
    agent.kill()
    on_disk = stored(agent)
    assert len(on_disk) > 300
    agent.start()
    plant.broker.start()
    plant.delivery.settle()
    missing = plant.delivery.missing()
    assert not missing.keys() & on_disk
    assert all(read_at > killed_at - COMMIT_INTERVAL - SLACK for read_at in missing.values())
    plant.delivery.check_order()
    assert agent.log.read_text().count("it was written anew") == 1


@pytest.mark.parametrize("put_back", [Path.rename, shutil.copyfile])
def test_under_a_database_that_is_replaced_readings_go_on_and_changes_are_refused(
    plant: Plant, put_back: Callable[[Path, Path], object]
) -> None:
    agent = plant.agent(SMALL_MEMORY + "[health]\ncheck_interval_ms = 200\n")
    configure(agent, plant.line, plant.broker.port)
    wait_for(lambda: len(plant.delivery.subscriber.readings) > 50)
    path = agent.data_dir / "agent.sqlite"
    backup = agent.data_dir / "backup.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", [str(backup)])
    late = {"name": "late", "protocol": "modbus", "connection": {"host": "127.0.0.1", "port": 1}}
    agent.post("/v1/endpoints", late)
    put_back(backup, path)
    content = path.read_bytes()

    wait_for(lambda: agent.request("GET", "/v1/readiness")[0] == 503)
    status, reply = agent.request("POST", "/v1/endpoints", late | {"name": "later"})
    assert status == 503
    what = "was replaced by another file" if put_back is Path.rename else "was overwritten"
    assert f"{what} while the agent runs" in str(reply)
    plant.delivery.settle()
    assert plant.delivery.missing() == {}
    stopped = time.monotonic()
    assert agent.stop() == 0
    assert path.read_bytes() == content
    assert agent.log.read_text().count(what) <= 3  # agent, destination, refusal

    agent.start()
    assert {one["name"] for one in agent.get("/v1/endpoints")["endpoints"]} == {
        f"line-{unit}" for unit in plant.line.read_at
    }
    plant.delivery.settle()
    # Only an answer that was still on its way from the device may be missing.
    missing = plant.delivery.missing()
    assert len(missing) <= DEVICES
    assert all(abs(read_at - stopped) < 0.2 for read_at in missing.values())


def test_over_quota_the_oldest_are_dropped_counted_shown_and_logged_once(plant: Plant) -> None:
    plant.broker.stop()
    most = 60_000
    agent = plant.agent(f"[publish]\nmemory_bytes = 32768\nmax_bytes = {most}\n")
    configure(agent, plant.line, plant.broker.port, poll_ms=10)

    def dropped() -> int:
        count: int = buffer(agent)["destinations"][0]["droppedQuota"]
        return count

    wait_for(lambda: dropped() > 0)
    before = psutil.Process(agent.pid).memory_info().rss
    wait_for(lambda: dropped() > 1000, 20)
    # What has come since the last look at the quota is on top.
    assert buffer(agent)["mqttBufferBytes"] <= most + 20_000
    assert psutil.Process(agent.pid).memory_info().rss - before < 20_000_000
    for endpoint in agent.get("/v1/endpoints")["endpoints"]:
        agent.patch(f"/v1/endpoints/{endpoint['uuid']}", {"enabled": False})
    wait_for(lambda: 0 < buffer(agent)["mqttBufferBytes"] <= most)
    plant.broker.start()
    wait_for(lambda: buffer(agent)["mqttMessageBufferCount"] == 0)
    missing = plant.delivery.missing()
    wait_for(lambda: dropped() == len(missing))
    first = {reading.unit: reading.seq for reading in reversed(plant.delivery.subscriber.readings)}
    assert all(seq < first[unit] for unit, seq in missing), "not the oldest"
    plant.delivery.check_order()
    assert agent.last_words().count("the oldest readings are dropped") == 1


HOUR, YEAR = 3600.0, 31_557_600.0


@pytest.mark.timeout(60)
def test_whatever_the_clock_says_nothing_is_lost_or_waits(plant: Plant) -> None:
    """A board without a battery, the network's time, an operator's mistake that a restart falls into."""
    plant.broker.stop()
    clock = AgentClock(plant.directory / "clock")
    clock.set(3600)
    agent = plant.agent(f"{SMALL_MEMORY}ttl_hours = 1\n", **clock.environment)
    configure(agent, plant.line, plant.broker.port)
    for number, jump in enumerate((0.0, -HOUR, 23 * HOUR, 10 * YEAR, -10 * YEAR, HOUR), 1):
        before = plant.line.total
        wait_for(lambda before=before: plant.line.total > before + 100)  # type: ignore[misc]
        clock.jump(jump)
        wait_for(lambda n=number: agent.log.read_text().count("the clock jumped") == n)  # type: ignore[misc]
    assert "jumped" in clock_line(agent)["lastError"]
    # The age of the oldest is right whatever the clock says; it is reported once a second.
    wait_for(lambda: buffer(agent)["destinations"][0]["lagMs"] < 60_000)
    assert agent.stop() == 0
    clock.jump(-7200.0)
    agent.start()
    assert "behind" in clock_line(agent)["lastError"]
    plant.broker.start()
    plant.delivery.settle()
    assert plant.delivery.missing() == {}
    assert plant.delivery.duplicates() == 0
    plant.delivery.check_order()
    status = buffer(agent)["destinations"][0]
    assert (status["droppedExpired"], status["droppedQuota"], status["rejected"]) == (0, 0, 0)
    log = agent.log.read_text()
    assert log.count("which cannot be right") == 1
    assert (log.count("the clock jumped forward"), log.count("the clock jumped back")) == (4, 2)
    assert agent.stop() == 0


def clock_line(agent: AgentProcess) -> dict[str, Any]:
    _, reply = agent.request("GET", "/v1/health/report")
    [line] = [one for one in reply["report"]["subsystems"] if one["name"] == "clock"]
    return dict(line)


@pytest.mark.timeout(60)
def test_a_restore_costs_no_reading_and_sends_none_again(plant: Plant) -> None:
    """Made while readings wait, restored while others do: those of the backup have been delivered since."""
    agent = plant.agent(SMALL_MEMORY)
    configure(agent, plant.line, plant.broker.port)
    wait_for(lambda: len(plant.delivery.subscriber.readings) > 50)
    plant.broker.stop()
    wait_for(lambda: buffer(agent)["mqttMessageBufferCount"] > 50)
    waited = plant.line.counts
    made = agent.post("/v1/backups", {})
    plant.broker.start()
    plant.delivery.settle()
    wait_for(
        lambda: buffer(agent)["mqttMessageBufferCount"] <= 2 * DEVICES
    )  # all but the latest are acknowledged
    plant.broker.stop()
    wait_for(lambda: buffer(agent)["mqttMessageBufferCount"] > 50)
    before = len(plant.delivery.subscriber.readings)
    agent.post(f"/v1/backups/{made['file']}/restore", {})

    def restored() -> bool:
        status, reply = agent.request("GET", "/v1/backups")
        return status == 200 and (reply["last_restore"] or {}).get("ok") is True

    wait_for(restored)
    plant.broker.start()
    plant.delivery.settle()
    assert plant.delivery.missing() == {}
    after = plant.delivery.subscriber.readings[before:]
    again = [one for one in after if one.seq <= waited[one.unit]]
    assert len(again) <= 2 * DEVICES  # what the broker had not seen acknowledged when it was stopped
    plant.delivery.check_order()
