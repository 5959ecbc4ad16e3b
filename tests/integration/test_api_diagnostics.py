"""Diagnostics over the API, as the reference has them, and what Prometheus makes of `/metrics`."""

import msgspec
import pytest
from fake_agent import SILENT, FakeAgent, serving
from fake_host import MEMORY, POLICY, SAMPLE, SIZES, TRACE
from prometheus_client.parser import text_string_to_metric_families

from actors.host.messages import HostReported, ReportHost, ReportMemory, TraceMemory
from actors.state.messages import Transact, Transacted
from actors.subsystems.messages import ReportState
from actors.system.failure import Failed
from actors.system.tree import Tally
from api.context import Lifecycle
from storage.errors import StorageError

TALLY = Tally(1, 0, 0, 0, 0, 0, 0.0, 0.0)


async def get(path, agent=None, **settings):
    async with serving(agent or FakeAgent(), **settings) as client:
        reply = await client.get(path)
        return reply.status, await reply.json()


# The machine


async def test_dashboard_stats_are_the_references():
    status, body = await get("/v1/dashboard/stats")
    assert status == 200
    assert {name: body[name] for name in list(body)[:10]} == {
        "cpu_usage": 34.2,
        "memory_percent": 50.0,
        "memory_used": 1073741824,
        "memory_total": 2147483648,
        "storage_percent": 23.5,
        "storage_used": 5368709120,
        "storage_total": 21474836480,
        "uptime": 86400,
        "hostname": "factory-node-01",
        "network": {"rx_bytes_per_sec": 1024, "tx_bytes_per_sec": 512},
    }


async def test_interfaces_are_an_array_of_the_originals():
    _, body = await get("/v1/dashboard/stats")
    assert body["interfaces"][0] == {
        "iface": "eth0",
        "rx_sec": 1024.0,
        "tx_sec": 512.0,
        "rx_bytes": 10_000,
        "tx_bytes": 5000,
    }
    assert body["process"]["rss"] == 150 * 1024 * 1024
    assert (body["cpu_temp"], body["loop_lag_max_ms"]) == (51.5, 20.0)


async def test_what_could_not_be_read_is_null_and_no_temperature_is_no_key():
    agent = FakeAgent()
    blind = msgspec.structs.replace(
        SAMPLE,
        storage=None,
        cpu_percent=None,
        temperature=None,
        interfaces=None,
        received_rate=None,
        process=None,
    )
    agent.answers[ReportHost] = HostReported(blind, TALLY)
    status, body = await get("/v1/dashboard/stats", agent)
    assert status == 200
    assert body["storage_percent"] is body["storage_used"] is body["cpu_usage"] is body["process"] is None
    assert "cpu_temp" not in body
    assert body["network"] == {"rx_bytes_per_sec": 0, "tx_bytes_per_sec": 512}


async def test_a_machine_that_nobody_samples_is_503():
    agent = FakeAgent()
    agent.answers[ReportHost] = Failed("unavailable", "host is not running")
    assert await get("/v1/dashboard/stats", agent) == (503, {"error": "host is not running"})


# Memory


async def test_memory_has_the_references_keys_and_the_originals():
    status, body = await get("/v1/memory")
    assert status == 200
    diagnostics = body["diagnostics"]
    assert {name: diagnostics[name] for name in list(diagnostics)[:6]} == {
        "heapUsed": 104857600,
        "heapTotal": 262144000,
        "external": 52428800,
        "rss": 157286400,
        "leakSuspected": False,
        "consecutiveGrowthCount": 0,
    }
    assert diagnostics["currentRSSMB"] == "150.00"
    assert diagnostics["growthFromBaselineMB"] == diagnostics["rssGrowthFromBaselineMB"] == "10.00"
    assert (diagnostics["heapUtilization"], diagnostics["leakPattern"]) == ("40.0%", "stable")
    assert body["restartPolicy"] == {
        "enabled": True,
        "thresholdMb": 512,
        "criticalThresholdMb": 768,
        "maxAttempts": 3,
        "cooldownMs": 3_600_000,
        "restartAttemptsSinceStartup": 1,
        "lastRestartAttempt": "2024-01-15T10:30:00.000Z",
        "timeSinceLastRestartMs": 60_000,
        "canRestart": True,
        "blockReason": None,
    }


async def test_a_suspicion_and_a_policy_that_is_off():
    agent = FakeAgent()
    off = msgspec.structs.replace(
        POLICY,
        limit_mb=None,
        critical_mb=None,
        last_at=None,
        since_last_ms=None,
        blocked="none is configured",
    )
    agent.answers[ReportMemory] = msgspec.structs.replace(
        MEMORY, standing="leaking", pattern="rss-leak", count=12, policy=off, trace=TRACE
    )
    _, body = await get("/v1/memory", agent)
    assert (body["diagnostics"]["leakSuspected"], body["diagnostics"]["consecutiveGrowthCount"]) == (True, 12)
    assert (body["restartPolicy"]["enabled"], body["restartPolicy"]["thresholdMb"]) == (False, None)
    assert body["trace"]["top"] == [{"file": "a.py", "line": 7, "sizeBytes": 4096, "count": 2}]


async def test_a_trace_is_answered_when_it_is_over_and_a_long_one_at_once():
    async with serving(FakeAgent()) as client:
        reply = await client.post("/v1/memory/trace", json={"seconds": 2, "top": 3})
        assert (reply.status, (await reply.json())["keptBytes"]) == (200, 5000)
        reply = await client.post("/v1/memory/trace", json={"seconds": 600})
        assert (reply.status, (await reply.json())["status"]) == (202, "tracing")
        assert (await client.post("/v1/memory/trace")).status == 200


async def test_a_second_trace_is_409():
    agent = FakeAgent()
    agent.answers[TraceMemory] = Failed("conflict", "Memory is being traced already")
    async with serving(agent) as client:
        reply = await client.post("/v1/memory/trace", json={})
        assert (reply.status, await reply.json()) == (409, {"error": "Memory is being traced already"})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"seconds": 0}, "seconds"),
        ({"seconds": 1e9}, "seconds"),
        ({"top": 0}, "top"),
        ({"seconds": "x"}, "seconds"),
    ],
)
async def test_a_trace_of_nonsense_is_refused(body, field):
    async with serving(FakeAgent()) as client:
        reply = await client.post("/v1/memory/trace", json=body)
        assert (reply.status, (await reply.json())["field"]) == (400, field)


# The database


async def test_database_stats_are_the_references():
    status, body = await get("/v1/db/stats")
    assert status == 200
    assert body == {
        "path": "/data/agent.sqlite",
        "exists": True,
        "sizeBytes": 5242880,
        "sizeMb": 5,
        "tableCount": 2,
        "tables": ["agent", "devices"],
        "walSizeBytes": 32768,
        "pageSize": 4096,
        "pageCount": 1280,
        "freePages": 4,
    }


async def test_a_file_that_is_gone_is_zeros():
    agent = FakeAgent()
    gone = msgspec.structs.replace(SIZES, exists=False, size=0, wal_size=0, tables=[])
    agent.answers[Transact] = Transacted(None, gone)
    _, body = await get("/v1/db/stats", agent)
    assert (body["exists"], body["sizeBytes"], body["sizeMb"], body["tableCount"], body["tables"]) == (
        *(False, 0, 0, 0),
        [],
    )


async def test_a_database_that_is_away_is_503():
    agent = FakeAgent()
    agent.answers[Transact] = Transacted(None, error=StorageError("it is being restored", "closed"))
    status, body = await get("/v1/db/stats", agent)
    assert (status, body["error"]) == (503, "The database cannot be read: it is being restored")


# Prometheus


async def scrape(agent, **settings):
    async with serving(agent, **settings) as client:
        reply = await client.get("/metrics")
        assert reply.status == 200, await reply.text()
        assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return {one.name: one for one in text_string_to_metric_families(await reply.text())}


async def test_metrics_are_what_prometheus_reads_whatever_names_there_are():
    agent = FakeAgent()
    name = 'plc "7"\\hall\u00a01'
    async with serving(agent) as client:
        body = {"name": name, "protocol": "modbus", "connection": {"host": "127.0.0.1"}}
        reply = await client.post("/v1/endpoints", json=body)
        assert reply.status < 300, await reply.text()
    found = await scrape(agent)
    assert {one.labels["endpoint"] for one in found["callboard_endpoint_up"].samples} == {name}
    assert found["callboard_actor_restarts"].samples[0].value == 1
    assert found["process_resident_memory_bytes"].samples[0].value == 150 * 1024 * 1024
    assert found["callboard_host_cpu_usage_ratio"].samples[0].value == 0.342
    assert [one.labels for one in found["callboard_host_network_receive_bytes"].samples] == [
        {"device": "eth0"}
    ]
    assert found["callboard_http_requests"].samples
    assert {one.labels["level"]: one.value for one in found["callboard_log_entries"].samples} == {
        "info": 5,
        "error": 1,
    }


async def test_an_agent_that_starts_tells_what_there_is():
    agent = FakeAgent()
    for message in (ReportHost, ReportState):
        agent.answers[message] = SILENT
    found = await scrape(agent, lifecycle=Lifecycle("INIT"))
    assert [one.labels["state"] for one in found["callboard_state"].samples if one.value] == ["INIT"]
    assert "callboard_actors" not in found


async def test_metrics_need_the_key_and_take_it_as_scrapers_can_send_it():
    settings = {"security_mode": "API_KEY", "key": "s3cret"}
    async with serving(FakeAgent(), **settings) as client:
        assert (await client.get("/metrics")).status == 401
        assert (await client.get("/metrics?apiKey=s3cret")).status == 200
        reply = await client.get("/metrics", headers={"X-Api-Key": "s3cret"})
        assert reply.status == 200
        assert "s3cret" not in await reply.text()
