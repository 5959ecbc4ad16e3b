from typing import Any

import pytest
from fake_agent import SILENT, FakeAgent, failing, serving

from actors.outputs.messages import (
    ChangeDriftOptions,
    ListBaselines,
    ListDriftEvents,
    ListOutputs,
    RemoveBaselines,
)
from storage.drift import StoredDriftEvent

OUTPUTS = "/v1/protocol-outputs"
EVENT = {
    "drift_type": "type-drift",
    "severity": "critical",
    "protocol": "modbus",
    "device": "press",
    "device_uuid": "uuid-of-press",
    "field": "reading:speed",
    "detected_at": "2024-01-15T10:30:00.000Z",
    "expected_type": "number",
    "observed_types": ["string"],
    "id": 7,
}


async def _call(client, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    reply = await client.request(method, path, json=body)
    return reply.status, await reply.json()


async def test_outputs_have_the_fields_of_the_reference_and_of_the_original():
    async with serving(FakeAgent()) as client:
        status, body = await _call(client, "GET", OUTPUTS)
    assert status == 200
    assert [row["protocol"] for row in body["outputs"]] == ["modbus", "opcua", "snmp", "mqtt", "bacnet"]
    assert body["outputs"][0] == {
        "id": 1,
        "protocol": "modbus",
        "payload_format": "custom",
        "socket_path": None,
        "data_format": "json",
        "delimiter": "\n",
        "include_timestamp": True,
        "include_device_name": True,
        "buffer_capacity": 131_072,
        "drift_options": None,
        "created_at": "2024-01-15T10:30:00.000Z",
        "updated_at": "2024-01-15T10:30:00.000Z",
    }


async def test_changed_options_are_answered_flat_and_wrapped():
    agent = FakeAgent()
    sent = {"enabled": True, "windowMs": 600_000, "maxFieldCount": 500}
    async with serving(agent) as client:
        status, body = await _call(client, "PATCH", f"{OUTPUTS}/modbus/drift", {"drift_options": sent})
        output = body.pop("output")
        assert (status, body) == (200, output)
        assert (body["protocol"], body["drift_options"]) == ("modbus", sent)
        listed = await _call(client, "GET", OUTPUTS)
        assert listed[1]["outputs"][0] == body
    assert agent.asked[0] == ChangeDriftOptions("modbus", sent)


async def test_null_clears_the_options():
    agent = FakeAgent()
    async with serving(agent) as client:
        status, body = await _call(client, "PATCH", f"{OUTPUTS}/modbus/drift", {"drift_options": None})
    assert (status, body["drift_options"]) == (200, None)
    assert agent.asked == [ChangeDriftOptions("modbus", None)]


async def test_the_options_of_all_protocols_are_changed():
    agent = FakeAgent()
    async with serving(agent) as client:
        status, body = await _call(client, "PATCH", f"{OUTPUTS}/drift", {"drift_options": {"enabled": False}})
    assert status == 200
    assert [row["drift_options"] for row in body["outputs"]] == [{"enabled": False}] * 5
    assert agent.asked == [ChangeDriftOptions(None, {"enabled": False})]


@pytest.mark.parametrize("path", [f"{OUTPUTS}/modbus/drift", f"{OUTPUTS}/drift"])
@pytest.mark.parametrize(
    ("sent", "field", "message"),
    [
        ({}, "drift_options", "drift_options is required"),
        (None, "drift_options", "drift_options is required"),
        ({"drift_options": 5}, "drift_options", "drift_options must be an object or null"),
        ({"drift_options": []}, "drift_options", "drift_options must be an object or null"),
        (
            {"drift_options": {"windowMs": "long"}},
            "drift_options.windowMs",
            "drift_options.windowMs must be an integer from 0 to 604800000",
        ),
    ],
)
async def test_wrong_options_are_400(path, sent, field, message):
    async with serving(FakeAgent()) as client:
        reply = await client.patch(path, json=sent) if sent is not None else await client.patch(path)
        expected = {"error": "Bad request", "message": message, "field": field}
        assert (reply.status, await reply.json()) == (400, expected)


@pytest.mark.parametrize("protocol", ["profinet", "drift"])
async def test_an_unknown_protocol_is_404(protocol):
    async with serving(FakeAgent()) as client:
        expected = (404, {"error": "Not found", "message": f"Protocol output not found: {protocol}"})
        body = {"drift_options": {}}
        assert await _call(client, "PATCH", f"{OUTPUTS}/{protocol}/drift", body) == expected
        assert await _call(client, "DELETE", f"{OUTPUTS}/drift/baselines/{protocol}") == expected


async def test_events_are_listed_without_what_does_not_apply():
    agent = FakeAgent()
    agent.drift_events = [StoredDriftEvent(**EVENT)]
    async with serving(agent) as client:
        assert await _call(client, "GET", f"{OUTPUTS}/drift/events") == (200, {"events": [EVENT]})
        path = f"{OUTPUTS}/drift/events?protocol=opcua&limit=5"
        assert await _call(client, "GET", path) == (200, {"events": []})
    assert agent.asked == [ListDriftEvents(None, 100), ListDriftEvents("opcua", 5)]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "1.5", ""])
async def test_a_wrong_limit_is_400(limit):
    async with serving(FakeAgent()) as client:
        status, body = await _call(client, "GET", f"{OUTPUTS}/drift/events?limit={limit}")
    assert (status, body["field"]) == (400, "limit")


async def test_baselines_are_listed():
    agent = FakeAgent()
    row = {
        "protocol": "modbus",
        "device": "press",
        "device_uuid": "uuid-of-press",
        "batches": 42,
        "learning": False,
        "last_seen": "2024-01-15T10:30:00.000Z",
        "fields": [
            {
                "field": "reading:speed",
                "types": ["number"],
                "presence": 1.0,
                "batches": 42,
                "expected": True,
                "missing": False,
                "retired": False,
            }
        ],
    }
    async with serving(agent) as client:
        path = f"{OUTPUTS}/drift/baselines"
        assert await _call(client, "GET", path) == (200, {"baselines": [row]})
        assert await _call(client, "GET", f"{path}?protocol=modbus") == (200, {"baselines": [row]})
        agent.asked.clear()
        assert await _call(client, "GET", f"{path}?protocol=opcua") == (200, {"baselines": []})
        assert agent.asked == [ListOutputs(), ListBaselines()]
        assert await _call(client, "GET", f"{path}?protocol=x") == (200, {"baselines": []})


@pytest.mark.parametrize("answer", [SILENT, failing("unavailable", "The baselines are not loaded yet")])
async def test_baselines_of_a_detector_that_does_not_answer_are_left_out(answer):
    agent = FakeAgent()
    agent.answers[ListBaselines] = answer
    async with serving(agent) as client:
        assert await _call(client, "GET", f"{OUTPUTS}/drift/baselines") == (200, {"baselines": []})


async def test_baselines_are_removed():
    agent = FakeAgent()
    async with serving(agent) as client:
        path = f"{OUTPUTS}/drift/baselines/modbus"
        unknown = (404, {"error": "Not found", "message": "Baseline not found: saw", "field": "device"})
        assert await _call(client, "DELETE", f"{path}?device=saw") == unknown
        assert await _call(client, "DELETE", f"{path}?device=press") == (200, {"removed": 1, "deleted": True})
        assert await _call(client, "DELETE", path) == (200, {"removed": 0, "deleted": True})
    removals = [message for message in agent.asked if isinstance(message, RemoveBaselines)]
    assert removals == [RemoveBaselines("saw"), RemoveBaselines("press"), RemoveBaselines(None)]


async def test_without_an_answer_it_is_503():
    agent = FakeAgent()
    agent.answers[ListOutputs] = SILENT
    async with serving(agent) as client:
        status, body = await _call(client, "GET", OUTPUTS)
    assert (status, body["error"]) == (503, "The outputs actor did not answer in time")
