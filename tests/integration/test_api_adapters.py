import pytest
from fake_agent import NOW, SILENT, FakeAgent, device, failing, health, serving
from msgspec.structs import replace

from actors.accounts.messages import IdentifySession, SessionIdentified
from actors.endpoints import protocols
from actors.endpoints.messages import (
    DescribeDevice,
    DeviceRemoved,
    DevicesListed,
    DevicesReported,
    ListDevices,
    RegisterWritten,
    RemoveDevice,
    ReportDevices,
    SummariseMetrics,
    WriteRegister,
)

STATUS = {
    "deviceName": "plc",
    "status": "connected",
    "connected": True,
    "lastPoll": NOW,
    "lastSeen": NOW,
    "errorCount": 0,
    "lastError": None,
    "responseTimeMs": 12.0,
    "pollSuccessRate": 0.985,
    "registersUpdated": 2,
    "communicationQuality": 98.5,
    "quality": "good",
    "pollsSkipped": 0,
}
DEVICES = "/v1/adapters/modbus/devices"
ROUTES = [DEVICES, f"{DEVICES}/plc", f"{DEVICES}/plc/metrics", "/v1/adapters/modbus/metrics"]
WRITE = f"{DEVICES}/plc/write"


async def _add(client, name="plc", **changes):
    body = {"name": name, "protocol": "modbus", "connection": {}, **changes}
    assert (await client.post("/v1/endpoints", json=body)).status == 201


async def _get(client, path):
    reply = await client.get(path)
    return reply.status, await reply.json()


async def _write(client, body, path=WRITE):
    reply = await client.post(path, json=body)
    return reply.status, await reply.json()


@pytest.mark.parametrize("path", ROUTES)
async def test_without_an_adapter_it_is_404(path):
    async with serving(FakeAgent()) as client:
        expected = {"error": "Not found", "message": "No adapter running for protocol: modbus"}
        assert await _get(client, path) == (404, expected)


@pytest.mark.parametrize("path", ROUTES)
async def test_without_an_endpoint_supervisor_it_is_503(path):
    agent = FakeAgent()
    agent.answers[ListDevices] = SILENT
    async with serving(agent) as client:
        assert await _get(client, path) == (503, {"error": "devices feature not initialized"})
        assert (await _write(client, {"register": "r", "value": 1}))[0] == 503


@pytest.mark.parametrize("path", ROUTES[1:3])
async def test_an_unknown_device_is_404(path):
    async with serving(FakeAgent()) as client:
        await _add(client, "other")
        assert await _get(client, path) == (404, {"error": "Not found", "message": "Device not found: plc"})


async def test_statuses_of_running_disabled_and_silent_devices():
    agent = FakeAgent()
    async with serving(agent) as client:
        await _add(client)
        await _add(client, "resting", enabled=False)
        status, body = await _get(client, DEVICES)
        assert status == 200
        assert body["devices"][0] == STATUS
        assert (body["devices"][1]["status"], body["devices"][1]["quality"]) == ("disabled", "disabled")
        agent.answers[ReportDevices] = SILENT
        _, body = await _get(client, DEVICES)
        assert body["devices"][0]["status"] == "disconnected"
        assert body["devices"][0]["lastError"] == "The device's actor did not answer"


async def test_the_detail_has_metrics_and_registers():
    async with serving(FakeAgent()) as client:
        await _add(client)
        assert await _get(client, f"{DEVICES}/plc") == (
            200,
            {
                **STATUS,
                "metrics": {"pollDurations": [12.0]},
                "registers": [{"name": "setpoint", "address": "holding:10", "lastValue": 0}],
            },
        )


async def test_the_detail_of_a_silent_device_is_503_and_of_a_disabled_one_its_status():
    agent = FakeAgent()
    agent.answers[DescribeDevice] = SILENT
    async with serving(agent) as client:
        await _add(client)
        await _add(client, "resting", enabled=False)
        assert (await _get(client, f"{DEVICES}/plc"))[0] == 503
        status, body = await _get(client, f"{DEVICES}/resting")
        assert (status, body["status"]) == (200, "disabled")


async def test_metrics_of_one_device_and_of_all():
    async with serving(FakeAgent()) as client:
        await _add(client)
        await _add(client, "resting", enabled=False)
        summary = {"avgPollMs": 12.0, "totalPolls": 100}
        assert await _get(client, f"{DEVICES}/plc/metrics") == (200, summary)
        assert await _get(client, "/v1/adapters/modbus/metrics") == (200, {"plc": summary})
        assert (await _get(client, f"{DEVICES}/resting/metrics"))[0] == 409


async def test_metrics_that_a_protocol_does_not_have_are_501():
    agent = FakeAgent()
    agent.answers[SummariseMetrics] = failing("unsupported", "no metrics here")
    async with serving(agent) as client:
        await _add(client)
        one = {"error": "Metrics summary not supported for protocol: modbus"}
        assert await _get(client, f"{DEVICES}/plc/metrics") == (501, one)
        every = {"error": "Device metrics not supported for protocol: modbus"}
        assert await _get(client, "/v1/adapters/modbus/metrics") == (501, every)


async def test_a_silent_device_is_left_out_of_the_metrics():
    agent = FakeAgent()
    agent.answers[SummariseMetrics] = SILENT
    async with serving(agent) as client:
        await _add(client)
        assert await _get(client, "/v1/adapters/modbus/metrics") == (200, {})


@pytest.mark.parametrize("register", ["setpoint", "holding:10"])
async def test_a_register_is_written(register):
    agent = FakeAgent()
    async with serving(agent) as client:
        await _add(client)
        assert await _write(client, {"register": register, "value": 1500}) == (
            200,
            {"success": True, "deviceName": "plc", "register": register, "value": 1500},
        )
    assert agent.registers[register] == 1500


@pytest.mark.parametrize(
    ("body", "message", "field"),
    [
        ({}, "Missing or invalid register field", "register"),
        ({"register": "", "value": 1}, "Missing or invalid register field", "register"),
        ({"register": 10, "value": 1}, "Missing or invalid register field", "register"),
        ({"register": None, "value": 1}, "Missing or invalid register field", "register"),
        ({"value": None}, "Missing or invalid register field", "register"),
        ({"register": "setpoint"}, "Missing value field", "value"),
        ({"register": "setpoint", "value": None}, "Missing value field", "value"),
        ({"register": "setpoint", "value": "high"}, "value must be a number", "value"),
        ({"register": "serial", "value": 1}, "serial is read-only", "register"),
    ],
)
async def test_a_bad_write_is_400_with_the_text_clients_know(body, message, field):
    async with serving(FakeAgent()) as client:
        await _add(client)
        expected = {"error": "Bad request", "message": message, "field": field}
        assert await _write(client, body) == (400, expected)


@pytest.mark.parametrize("value", [0, False, "", 1.5, [1, 2]])
async def test_every_value_but_null_reaches_the_device(value):
    agent = FakeAgent()
    async with serving(agent) as client:
        await _add(client)
        await _write(client, {"register": "setpoint", "value": value})
    assert isinstance(agent.asked[-1], WriteRegister)
    assert (agent.asked[-1].register, agent.asked[-1].value) == ("setpoint", value)


async def test_null_releases_where_the_protocol_knows_that(monkeypatch):
    agent = FakeAgent()
    known = replace(protocols.find("modbus"), releases=True)
    monkeypatch.setattr(protocols, "find", lambda name: known)
    async with serving(agent) as client:
        await _add(client)
        await _write(client, {"register": "setpoint", "value": None, "priority": 8})
        assert (await _write(client, {"register": "setpoint"}))[1]["message"] == "Missing value field"
    asked = next(one for one in reversed(agent.asked) if isinstance(one, WriteRegister))
    assert (asked.value, asked.priority) == (None, 8)


async def test_writes_to_what_is_not_there():
    agent = FakeAgent()
    async with serving(agent) as client:
        body = {"register": "setpoint", "value": 1}
        assert (await _write(client, body))[1]["message"] == "No adapter running for protocol: modbus"
        await _add(client)
        await _add(client, "resting", enabled=False)
        assert (await _write(client, {"register": "nope", "value": 1}))[0] == 404
        status, answer = await _write(client, body, f"{DEVICES}/nope/write")
        assert (status, answer["message"]) == (404, "Device not found: nope")
        assert (await _write(client, body, f"{DEVICES}/resting/write"))[0] == 409
        agent.answers[WriteRegister] = failing("unavailable", "plc is not connected")
        assert await _write(client, body) == (503, {"error": "plc is not connected"})


# Endpoints that have several devices


def _several(agent, *others):
    """Devices beside the endpoints' own, as `(uuid, name)` of the first endpoint."""
    first = next(iter(agent.endpoints.values()))
    rows = [device(row) for row in agent.endpoints.values()]
    rows += [replace(device(first), uuid=uuid, name=name) for uuid, name in others]

    def listed(message):
        return DevicesListed([row for row in rows if message.name in (None, row.name, row.uuid)])

    agent.answers[ListDevices] = listed


async def test_each_device_of_an_endpoint_is_listed_by_its_name_and_asked_for_together():
    agent = FakeAgent()
    async with serving(agent) as client:
        await _add(client)
        _several(agent, ("u-1", "pump"), ("u-2", "tank"))
        agent.answers[ReportDevices] = DevicesReported({"u-1": replace(health("pump"), connected=False)})
        asked = len(agent.asked)
        _, body = await _get(client, DEVICES)
        assert [(one["deviceName"], one["lastError"]) for one in body["devices"]] == [
            ("plc", "Not heard of since its endpoint began"),
            ("pump", None),
            ("tank", "Not heard of since its endpoint began"),
        ]
        assert [type(one) for one in agent.asked[asked:]] == [ListDevices, ReportDevices]
        _, body = await _get(client, "/v1/devices")
        assert [(one["name"], one["lastSeenAt"]) for one in body["devices"]] == [
            ("plc", None),
            ("pump", NOW),
            ("tank", None),
        ]


async def test_a_device_is_asked_for_by_its_uuid():
    agent = FakeAgent()
    async with serving(agent) as client:
        await _add(client)
        _several(agent, ("u-1", "pump"))
        assert (await _get(client, f"{DEVICES}/pump"))[1]["deviceName"] == "pump"
        assert agent.asked[-1] == DescribeDevice("u-1")
        assert (await _get(client, f"{DEVICES}/u-1/metrics"))[0] == 200
        assert agent.asked[-1] == SummariseMetrics("u-1")
        assert (await _write(client, {"register": "setpoint", "value": 1}, f"{DEVICES}/pump/write"))[0] == 200
        assert agent.asked[-1].device_uuid == "u-1"


async def test_a_name_that_several_devices_have_is_409_that_tells_their_uuids():
    agent = FakeAgent()
    async with serving(agent) as client:
        await _add(client)
        _several(agent, ("u-1", "pump"), ("u-2", "pump"))
        for path in (f"{DEVICES}/pump", f"{DEVICES}/pump/metrics"):
            status, body = await _get(client, path)
            assert status == 409
            assert "u-1 (endpoint plc), u-2 (endpoint plc)" in body["error"]
        assert (await _get(client, f"{DEVICES}/u-2"))[1]["deviceName"] == "pump"
        _, body = await _get(client, "/v1/adapters/modbus/metrics")
        assert list(body) == ["plc", "u-1", "u-2"]


async def test_a_device_is_removed_by_its_uuid():
    agent = FakeAgent()
    agent.answers[RemoveDevice] = DeviceRemoved()
    async with serving(agent) as client:
        reply = await client.delete("/v1/devices/u-1")
        assert (reply.status, await reply.json()) == (200, {"message": "Device removed"})
        assert agent.asked[-1] == RemoveDevice("u-1")
        agent.answers[RemoveDevice] = failing("not_found", "Device not found: u-1")
        assert (await client.delete("/v1/devices/u-1")).status == 404


# What else a write may say


async def test_a_write_says_type_unit_priority_and_who_asks():
    agent = FakeAgent()
    async with serving(agent) as client:
        await _add(client)
        body = {"register": "setpoint", "value": 5, "type": "uint16", "unit": "m/s", "priority": 8}
        status, answer = await _write(client, body)
        assert (status, answer) == (
            200,
            {"success": True, "deviceName": "plc", "register": "setpoint", "value": 5},
        )
        asked = agent.asked[-1]
        assert (asked.data_type, asked.unit, asked.priority, asked.verify) == ("uint16", "m/s", 8, False)
        assert asked.by == "somebody from 127.0.0.1"


async def test_the_key_is_named_in_the_log_and_not_told():
    agent = FakeAgent()
    async with serving(agent, security_mode="API_KEY", key="s3cret-key-of-the-api") as client:
        headers = {"X-Api-Key": "s3cret-key-of-the-api"}
        body = {"name": "plc", "protocol": "modbus", "connection": {}}
        assert (await client.post("/v1/endpoints", json=body, headers=headers)).status == 201
        reply = await client.post(WRITE, json={"register": "setpoint", "value": 1}, headers=headers)
        assert reply.status == 200
        assert agent.asked[-1].by == "the API key from 127.0.0.1"


@pytest.mark.parametrize("needed", [False, True])
async def test_who_is_signed_in_is_named_needed_or_not(needed):
    agent = FakeAgent()
    agent.answers[IdentifySession] = SessionIdentified(1, "anna", "operator", False)
    async with serving(agent, require_session=needed) as client:
        client.session.headers["Cookie"] = "admin_session=token"
        await _add(client)
        await _write(client, {"register": "setpoint", "value": 1})
        assert agent.asked[-1].by == "user anna from 127.0.0.1"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"prio": 8}, "prio"),
        ({"dataType": "uint16"}, "dataType"),
        ({"Verify": True}, "Verify"),
        ({"type": 5}, "type"),
        ({"unit": ["m"]}, "unit"),
        ({"priority": 0}, "priority"),
        ({"priority": 17}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"verify": "yes"}, "verify"),
        ({"register": "x" * 501}, "register"),
        ({"value": "x" * 70_000}, "value"),
        ({"value": [0] * 40_000}, "value"),
    ],
)
async def test_a_write_with_anything_odd_is_refused_and_not_made(more, field):
    agent = FakeAgent()
    async with serving(agent) as client:
        await _add(client)
        status, answer = await _write(client, {"register": "setpoint", "value": 1, **more})
        assert (status, answer["field"]) == (400, field), answer
        assert len(answer["message"]) < 500
    assert not any(isinstance(message, WriteRegister) for message in agent.asked)


async def test_a_null_says_nothing_and_a_form_may_write_too():
    agent = FakeAgent()
    async with serving(agent) as client:
        await _add(client)
        body = {"register": "setpoint", "value": 1, "type": None, "comment": None}
        assert (await _write(client, body))[0] == 200
        reply = await client.post(WRITE, data={"register": "setpoint", "value": "2", "verify": "true"})
        assert reply.status == 200
        assert (agent.asked[-1].value, agent.asked[-1].verify) == (2, True)
        reply = await client.post(WRITE, data={"register": "setpoint", "value": "2", "verfy": "true"})
        assert (await reply.json())["field"] == "verfy"


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "1e999", "1" + "0" * 30, "{" * 100, '"\\ud800"', "[" * 70 + "]" * 70]
)
async def test_a_value_that_is_none_is_400(text):
    async with serving(FakeAgent()) as client:
        await _add(client)
        reply = await client.post(
            WRITE,
            data=f'{{"register": "setpoint", "value": {text}}}',
            headers={"Content-Type": "application/json"},
        )
        assert reply.status == 400, await reply.text()


async def test_what_was_verified_is_told_and_what_differs_is_409_with_both():
    agent = FakeAgent()
    async with serving(agent) as client:
        await _add(client)
        agent.answers[WriteRegister] = RegisterWritten("setpoint", 5, True, 5)
        body = {"register": "setpoint", "value": 5, "verify": True}
        assert await _write(client, body) == (
            200,
            {
                "success": True,
                "deviceName": "plc",
                "register": "setpoint",
                "value": 5,
                "verified": True,
                "readBack": 5,
            },
        )
        agent.answers[WriteRegister] = RegisterWritten("setpoint", 5, False, None)
        assert await _write(client, body) == (
            409,
            {
                "error": "Written, but the device has another value now",
                "field": "value",
                "deviceName": "plc",
                "register": "setpoint",
                "value": 5,
                "readBack": None,
                "verified": False,
            },
        )


async def test_a_write_that_comes_to_no_device_is_in_the_log(caplog):
    agent = FakeAgent()
    async with serving(agent) as client:
        await _add(client)
        await _add(client, "resting", enabled=False)
        body = {"register": "setpoint", "value": 1}
        await _write(client, body, f"{DEVICES}/nope/write")
        await _write(client, body, f"{DEVICES}/resting/write")
    assert [one.getMessage() for one in caplog.records if one.name == "actors.endpoints.writing"] == [
        "write to nope, register setpoint, value 1, by somebody from 127.0.0.1: refused: "
        "Device not found: nope",
        "write to resting, register setpoint, value 1, by somebody from 127.0.0.1: refused: "
        "Device is not running: resting",
    ]
