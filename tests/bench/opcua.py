"""OPC UA: what an endpoint costs the agent, how soon its values are there again, and how late they are."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from agent import Agent
from figures import Figure
from opcua_bench import Costs
from processes import Process
from scripts import ask
from servers.mosquitto import Mosquitto
from servers.opcua import OpcUaServer

DEVICE = "/v1/adapters/opcua/devices/bench"
IDLE_S = 10
QUIET_S = 2.5
SETTLE_S = 5
SUBSCRIBED_S = 60
AGAIN_S = 60
TIMES = 3
SILENCE_S = 12
UNDER_WAY_S = 0.2
"""After which nothing comes any more that was on its way."""
LATENCY_S = 40
LATENCY_VARIABLES = 100
QUEUE = 5
"""Values: a publishing cycle of a busy server that is late finds two."""
ODD_MS = 137
"""Between two changes: no multiple of the publishing interval."""
ENCRYPTED = ("Basic256Sha256", "SignAndEncrypt")


class Plan(msgspec.Struct, frozen=True):
    variables: int
    per_subscription: int = 1000
    subscribed: bool = True
    encrypted: bool = False


PLANS = {
    "opcua 1,000": Plan(1_000),
    "opcua 10,000": Plan(10_000),
    "opcua 1,000 by hundreds": Plan(1_000, 100),
    "opcua 10,000 by hundreds": Plan(10_000, 100),
    "opcua 1,000 read": Plan(1_000, subscribed=False),
    "opcua 10,000 read": Plan(10_000, subscribed=False),
    "opcua 10,000 encrypted": Plan(10_000, encrypted=True),
    "opcua 10,000 read encrypted": Plan(10_000, subscribed=False, encrypted=True),
}


def measure_opcua(command: Sequence[str], seconds: float) -> list[Figure]:
    return [figure for name, plan in PLANS.items() for figure in _measure(name, plan, command, seconds)]


def _measure(name: str, plan: Plan, command: Sequence[str], seconds: float) -> list[Figure]:
    security = (ENCRYPTED,) if plan.encrypted else (("None", "None"),)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        OpcUaServer(Path(directory), variables=plan.variables, security=security, nodes=[]) as server,
        Agent(Path(directory), command) as agent,
    ):
        agent.wait_until_running()
        agent.watch(SETTLE_S)
        rss, before = agent.rss_mb(), agent.cpu_s()
        agent.watch(IDLE_S)
        idle_cpu = (agent.cpu_s() - before) / IDLE_S
        began = time.monotonic()
        agent.api.post("/v1/endpoints", _endpoint(server, plan))
        _wait(lambda: _connected(agent), SUBSCRIBED_S, agent)
        subscribed_after = time.monotonic() - began
        _wait(lambda: _updated(agent) >= plan.variables, SUBSCRIBED_S, agent)
        agent.watch(SETTLE_S)
        counted = _window(agent, server, plan, seconds)
        cpu = counted.cpu_s - idle_cpu * counted.seconds
        figures = [
            Figure(name, "CPU ms/1,000 values", 1e6 * cpu / counted.values if counted.values else None),
            Figure(name, "RSS over idle MB", agent.rss_mb() - rss),
        ]
        if plan.subscribed:
            figures.append(Figure(name, "values lost", counted.produced - counted.values))
            figures.append(Figure(name, "subscribed after s", subscribed_after))
        return figures


class Counted(msgspec.Struct, frozen=True):
    seconds: float
    cpu_s: float
    values: int
    """That the agent has counted."""
    produced: int
    """Changes at the server."""


def _window(agent: Agent, server: OpcUaServer, plan: Plan, seconds: float) -> Counted:
    """From one standstill of the values to the next."""
    server.ask("rate", interval_ms=0)
    agent.watch(QUIET_S)
    ticks, values = _tick(server), _updated(agent)
    cpu, began = agent.cpu_s(), time.monotonic()
    server.ask("rate", interval_ms=1000)
    agent.watch(seconds)
    server.ask("rate", interval_ms=0)
    agent.watch(QUIET_S)
    took, cpu = time.monotonic() - began, agent.cpu_s() - cpu
    return Counted(took, cpu, _updated(agent) - values, (_tick(server) - ticks) * plan.variables)


def _tick(server: OpcUaServer) -> int:
    return int(server.ask("read", node="ns=2;s=Counter.0")["value"])


def _updated(agent: Agent) -> int:
    """Values that the agent has had of the device since it began."""
    status, reply = agent.api.request("GET", f"{DEVICE}/metrics")
    return int(reply["totalDataPointsUpdated"]) if status == 200 else 0


def _connected(agent: Agent) -> bool:
    devices = agent.api.get("/v1/adapters/opcua/devices")["devices"]
    return bool(devices) and bool(devices[0]["connected"])


def _endpoint(server: OpcUaServer, plan: Plan, **connection: Any) -> dict[str, Any]:
    if plan.encrypted:
        policy, mode = ENCRYPTED
        connection |= {
            "securityPolicy": policy,
            "securityMode": mode,
            "certificateTrustMode": "trust-on-first-use",
        }
    return {
        "name": "bench",
        "protocol": "opcua",
        "poll_interval": 1000,
        "connection": {
            "endpointUrl": server.url,
            "useSubscription": plan.subscribed,
            "maxMonitoredItemsPerSubscription": plan.per_subscription,
            "queueSize": QUEUE,
            **connection,
        },
        "data_points": [
            {"name": f"p{number}", "nodeId": f"ns=2;s=Counter.{number}"} for number in range(plan.variables)
        ],
    }


def _wait(happened: Callable[[], bool], seconds: float, agent: Agent) -> None:
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            raise RuntimeError(f"no values within {seconds} s: {agent.last_words()}")
        time.sleep(0.02)


# Again


@contextmanager
def _running(
    command: Sequence[str], interval_ms: int, variables: int
) -> Iterator[tuple[Path, OpcUaServer, Agent]]:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        path = Path(directory)
        with (
            OpcUaServer(path, variables=variables, interval_ms=interval_ms, nodes=[]) as server,
            Agent(path, command) as agent,
        ):
            agent.wait_until_running()
            yield path, server, agent


def measure_opcua_again(command: Sequence[str]) -> list[Figure]:
    """The longest of a few times each."""
    name = "opcua again"
    with _running(command, 100, 1000) as (_, server, agent):
        agent.api.post(
            "/v1/endpoints", _endpoint(server, Plan(1000), publishingInterval=100, samplingInterval=100)
        )
        _wait(lambda: _updated(agent) >= 1000, SUBSCRIBED_S, agent)
        found: dict[str, list[float]] = {}
        for _ in range(TIMES):
            for what, disturb in (
                ("server restarted", server.restart),
                ("server silent", lambda: _silence(server)),
                ("subscription forgotten", lambda: server.ask("delete_subscriptions")),
            ):
                disturb()
                found.setdefault(what, []).append(_again(agent))
                agent.watch(SETTLE_S)
        return [Figure(name, f"values after {what} s", max(times)) for what, times in found.items()]


def _silence(server: OpcUaServer) -> None:
    server.pause()
    time.sleep(SILENCE_S)
    server.resume()


def _again(agent: Agent) -> float:
    """Seconds until every value is GOOD and another than a moment after this call."""
    began = time.monotonic()
    time.sleep(UNDER_WAY_S)
    before = [point["lastValue"] for point in agent.api.get(DEVICE)["registers"]]

    def fresh() -> bool:
        reply = agent.api.get(DEVICE)
        points = zip(reply["registers"], before, strict=True)
        return reply["connected"] and all(
            point["quality"] == "GOOD" and point["lastValue"] != old for point, old in points
        )

    _wait(fresh, AGAIN_S, agent)
    return time.monotonic() - began


# Late


def measure_opcua_latency(command: Sequence[str]) -> list[Figure]:
    """From the change at the server to the subscriber of the broker."""
    name = "opcua latency"
    with _running(command, ODD_MS, LATENCY_VARIABLES) as (path, server, agent), Mosquitto(path) as broker:
        destination = agent.api.post(
            "/v1/publish/destinations",
            {"name": "bench", "type": "mqtt", "config_json": {"host": "127.0.0.1", "port": broker.port}},
        )
        agent.api.post(
            "/v1/publish/subscriptions",
            {
                "publish_destination_id": destination["id"],
                "topics": ["opcua"],
                "payload_format": "tags",
                "compression": "json",
                "route_json": {"topic": "bench"},
            },
        )
        plan = Plan(LATENCY_VARIABLES)
        agent.api.post("/v1/endpoints", _endpoint(server, plan, publishingInterval=100, samplingInterval=50))
        _wait(lambda: _updated(agent) >= plan.variables, SUBSCRIBED_S, agent)
        agent.watch(SETTLE_S)
        listening = ["mosquitto_sub", "-p", str(broker.port), "-t", "bench", "-F", "%U %p"]
        with Process(listening, path / "subscriber.log") as subscriber:
            late = _latencies(subscriber, time.monotonic() + LATENCY_S)
    return [
        Figure(name, "latency p50 ms", statistics.median(late)),
        Figure(name, "latency p99 ms", statistics.quantiles(late, n=100)[98]),
    ]


def _latencies(subscriber: Process, until: float) -> list[float]:
    """Of each message, ms."""
    late: list[float] = []
    while time.monotonic() < until:
        received, _, payload = subscriber.line().partition(" ")
        late.append(float(received) * 1000 - msgspec.json.decode(payload)["timestamp"])
    return late


# Beside the library


def measure_opcua_library() -> list[Figure]:
    """Our session and the library's own handlers on one server, in pairs."""
    figures = []
    for costs in ask(list[Costs], "opcua_bench.py", within=300):
        run = f"opcua library {costs.how}"
        figures.append(Figure(run, "ours CPU ms/1,000 values", costs.ours))
        figures.append(Figure(run, "its CPU ms/1,000 values", costs.library))
        figures.append(Figure(run, "ours / its", costs.ours / costs.library))
    return figures
