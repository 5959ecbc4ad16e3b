import time

import msgspec
import pytest
from fake_agent import SILENT, FakeAgent, serving

from actors.publish.messages import BuffersReported, OutboxReport, ReportBuffers
from actors.readings.messages import ReportRouting, RoutingReported
from actors.subsystems.messages import Check, ReportState, StateReported

DATABASE = Check("database", False, True, 1000, 3, "SQLite", "disk full")
OUTBOX = OutboxReport(
    destination_id=1,
    destination="broker",
    connected=True,
    rows=1,
    bytes=50,
    oldest=None,
    delivered=99,
    rejected=1,
    dropped_quota=0,
    dropped_expired=0,
    last_flush_attempt=1_705_314_000_000,
    last_flush_success=1_705_314_000_000,
    last_error=None,
    latest_error=None,
    latest_error_at=None,
)
MQTT = Check("mqtt", False, False, 1000)


async def _get(state, path):
    agent = FakeAgent()
    agent.answers[ReportState] = state
    async with serving(agent) as client:
        reply = await client.get(path)
        return reply.status, await reply.json()


async def test_ping_is_plain_text():
    async with serving(FakeAgent()) as client:
        reply = await client.get("/ping")
        assert (reply.status, reply.content_type, await reply.text()) == (200, "text/plain", "OK")


async def test_a_running_agent_is_healthy_and_ready():
    state = StateReported("RUNNING", True, [])
    assert await _get(state, "/v1/healthy") == (200, {"status": "healthy", "ready": True, "state": "RUNNING"})
    assert await _get(state, "/v1/readiness") == (200, {"ready": True, "state": "RUNNING"})


async def test_a_critical_failure_is_unhealthy():
    state = StateReported("ERROR", False, [DATABASE, MQTT])
    assert await _get(state, "/v1/healthy") == (
        500,
        {
            "status": "unhealthy",
            "ready": False,
            "state": "ERROR",
            "criticalFailures": ["database"],
            "unhealthySubsystems": ["database", "mqtt"],
        },
    )
    assert await _get(state, "/v1/readiness") == (
        503,
        {"ready": False, "state": "ERROR", "criticalFailures": ["database"]},
    )


async def test_one_failure_is_not_ready_and_not_unhealthy():
    once = msgspec.structs.replace(DATABASE, consecutive_failures=1)
    state = StateReported("RUNNING", False, [once, MQTT])
    status, body = await _get(state, "/v1/healthy")
    assert (status, body) == (200, {"status": "healthy", "ready": False, "state": "RUNNING"})
    assert await _get(state, "/v1/readiness") == (
        503,
        {"ready": False, "state": "RUNNING", "criticalFailures": ["database"]},
    )
    status, body = await _get(state, "/v1/health/report")
    assert (status, body["report"]["criticalFailures"]) == (200, [])
    assert body["report"]["unhealthySubsystems"] == ["database", "mqtt"]


async def test_a_failure_that_is_not_critical_leaves_the_agent_healthy():
    status, body = await _get(StateReported("RUNNING", True, [MQTT]), "/v1/healthy")
    assert (status, body["status"]) == (200, "healthy")


async def test_an_agent_that_starts_is_not_ready():
    assert await _get(StateReported("INIT", False, []), "/v1/readiness") == (
        503,
        {"ready": False, "state": "INIT", "criticalFailures": []},
    )


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/healthy", 500), ("/v1/readiness", 503), ("/v1/health/report", 500)]
)
async def test_an_agent_that_is_silent_is_in_state_unknown(path, status):
    answered, body = await _get(SILENT, path)
    assert (answered, body["state"], body["ready"]) == (status, "UNKNOWN", False)


async def test_the_report_has_every_subsystem():
    assert await _get(StateReported("ERROR", False, [DATABASE, MQTT]), "/v1/health/report") == (
        500,
        {
            "overall": "unhealthy",
            "ready": False,
            "state": "ERROR",
            "report": {
                "overall": False,
                "subsystems": [
                    {
                        "name": "database",
                        "healthy": False,
                        "critical": True,
                        "lastCheck": 1000,
                        "consecutiveFailures": 3,
                        "description": "SQLite",
                        "lastError": "disk full",
                    },
                    {
                        "name": "mqtt",
                        "healthy": False,
                        "critical": False,
                        "lastCheck": 1000,
                        "consecutiveFailures": 0,
                    },
                ],
                "unhealthySubsystems": ["database", "mqtt"],
                "criticalFailures": ["database"],
            },
        },
    )
    status, body = await _get(StateReported("RUNNING", True, []), "/v1/health/report")
    assert (status, body["overall"], body["report"]["overall"]) == (200, "healthy", True)


async def test_empty_buffers():
    async with serving(FakeAgent()) as client:
        assert await (await client.get("/v1/buffer/status")).json() == {
            "mode": "standalone",
            "cloudReportQueueCount": 0,
            "cloudReportOldestAge": None,
            "transportPublishMode": "direct",
            "mqttMessageBufferCount": 0,
            "mqttBufferBytes": 0,
            "mqttBufferOldestAge": None,
            "lastFlushAttempt": None,
            "lastFlushSuccess": None,
            "agentLogBufferEnabled": False,
            "rejected": 0,
            "unroutedBatches": 0,
            "destinations": [],
        }


async def test_buffers_are_summed_and_listed():
    three_hours_ago = int(time.time() * 1000) - 3 * 3_600_000 - 60_000
    agent = FakeAgent()
    agent.answers[ReportBuffers] = BuffersReported(
        [
            msgspec.structs.replace(
                OUTBOX,
                connected=False,
                rows=10,
                bytes=1000,
                oldest=three_hours_ago,
                rejected=4,
                dropped_quota=5,
                dropped_expired=2,
                last_flush_attempt=1_705_314_600_000,
                last_flush_success=None,
                last_error="refused",
            ),
            msgspec.structs.replace(OUTBOX, destination_id=2, destination="other"),
        ]
    )
    agent.answers[ReportRouting] = RoutingReported(7)
    async with serving(agent) as client:
        body = await (await client.get("/v1/buffer/status")).json()
    assert (body["mqttMessageBufferCount"], body["mqttBufferBytes"], body["mqttBufferOldestAge"]) == (
        11,
        1050,
        3,
    )
    assert body["lastFlushAttempt"] == "2024-01-15T10:30:00.000Z"
    assert body["lastFlushSuccess"] == "2024-01-15T10:20:00.000Z"
    assert body["unroutedBatches"] == 7
    broker, other = body["destinations"]
    assert {key: broker[key] for key in ("id", "name", "connected", "messageCount", "bytes")} == {
        "id": 1,
        "name": "broker",
        "connected": False,
        "messageCount": 10,
        "bytes": 1000,
    }
    assert (broker["droppedQuota"], broker["droppedExpired"], broker["lastError"]) == (5, 2, "refused")
    assert (broker["delivered"], broker["rejected"], body["rejected"]) == (99, 4, 5)
    assert 0 <= broker["lagMs"] - (3 * 3_600_000 + 60_000) < 60_000
    assert (other["oldest"], other["lagMs"]) == (None, 0)


async def test_buffers_of_a_silent_publisher_are_503():
    agent = FakeAgent()
    agent.answers[ReportBuffers] = SILENT
    async with serving(agent) as client:
        assert (await client.get("/v1/buffer/status")).status == 503


async def test_the_device_is_described_field_by_field():
    async with serving(FakeAgent()) as client:
        assert await (await client.get("/v1/device")).json() == {
            "uuid": "7f3e9a1b",
            "name": "factory-sensor-01",
            "type": "standalone",
            "provisioned": False,
            "provisioningState": "new",
            "apiEndpoint": None,
            "apps": 0,
            "is_online": False,
            "agentVersion": "0.1.0",
            "macAddress": None,
            "osVersion": None,
            "createdAt": "2024-01-15T10:30:00.000Z",
            "update": {"state": "idle", "reason": None, "from": None, "to": None},
            "status": "Idle",
        }
