"""The routes of the settings; what is expected comes from the API reference ("Settings")."""

from typing import Any

import msgspec
import pytest
from fake_agent import SILENT, FakeAgent, serving

from actors.settings.messages import ChangeSettings, ReportSettings
from actors.subsystems.messages import AgentDescribed

REFERENCE: dict[str, Any] = {
    "logging": {"level": "info", "cloudEnabled": True},
    "features": {"anomalyDetection": True, "discovery": True},
    "intervals": {"stateReportMs": 10000, "statePollMs": 60000},
    "runtime": {"maxMemoryMb": 512},
    "anomalyDetection": {"enabled": True, "metrics": []},
}


def holds(shown: Any, wanted: Any) -> bool:
    if not isinstance(wanted, dict):
        return bool(shown == wanted)
    return all(key in shown and holds(shown[key], value) for key, value in wanted.items())


async def patch(client: Any, body: Any, **options: Any) -> tuple[int, Any]:
    sent = options or {"json": body}
    reply = await client.patch("/v1/settings", **sent)
    return reply.status, await reply.json()


async def shown(client: Any) -> Any:
    reply = await client.get("/v1/settings")
    assert reply.status == 200
    body = await reply.json()
    assert body.keys() == {"settings"}
    return body["settings"]


async def test_the_settings_are_those_of_the_reference_with_who_the_agent_is():
    agent = FakeAgent()
    agent.on_DescribeAgent = lambda message: AgentDescribed(
        "7f3e9a1b",
        "factory-sensor-01",
        "standalone",
        "1.0.508",
        True,
        api_endpoint="https://api.iotistica.io",
    )
    async with serving(agent) as client:
        status, body = await patch(client, REFERENCE)
        assert status == 200
        assert holds(await shown(client), REFERENCE)
        assert (await shown(client))["agent"] == {
            "uuid": "7f3e9a1b",
            "name": "factory-sensor-01",
            "version": "1.0.508",
            "type": "standalone",
            "provisioned": True,
            "apiEndpoint": "https://api.iotistica.io",
        }
        assert body["settings"] == await shown(client)
        assert {key: value for key, value in body.items() if key != "settings"} == body["settings"]


async def test_a_patch_is_merged_and_answered_with_all_settings():
    async with serving(FakeAgent()) as client:
        await patch(client, REFERENCE)
        status, body = await patch(
            client, {"logging": {"level": "debug"}, "intervals": {"stateReportMs": 30000}}
        )
        assert status == 200
        assert holds(body["settings"]["logging"], {"level": "debug", "cloudEnabled": True})
        assert holds(body["settings"]["intervals"], {"stateReportMs": 30000, "statePollMs": 60000})
        assert holds(body["settings"], REFERENCE | {"logging": {}, "intervals": {}})
        status, body = await patch(client, {"anomalyDetection": None, "runtime": {"maxMemoryMb": None}})
        assert "anomalyDetection" not in body["settings"]
        assert "maxMemoryMb" not in body["settings"]["runtime"]


async def test_other_keys_are_ignored_and_whole_replies_taken():
    agent = FakeAgent()
    async with serving(agent) as client:
        status, _ = await patch(
            client, {"endpoints": [1], "agent": {"name": "x"}, "mqttMonitor": None, "a": 5}
        )
        assert status == 200
        assert [one.patch for one in agent.asked if isinstance(one, ChangeSettings)] == [{}]
        whole = await shown(client)
        whole["intervals"]["stateReportMs"] = 30_000
        for body in (whole, {"settings": whole}):
            status, body = await patch(client, body)
            assert (status, body["settings"]["intervals"]["agent"]["reportIntervalMs"]) == (200, 30_000)
            await patch(client, {"intervals": None})
        status, body = await patch(client, None, data={"logging": '{"level": "warn"}'})
        assert (status, body["settings"]["logging"]["level"]) == (200, "warn")
        status, body = await patch(client, None, data=b"")
        assert (status, body["settings"]["logging"]["level"]) == (200, "warn")


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"logging": {"level": 5}}, "logging.level", "must be one of debug, info, warn, error or null"),
        ({"logging": {"maxlogs": 5}}, "logging.maxlogs", "is not known; did you mean logging.maxLogs?"),
        ({"logging": "debug"}, "logging", "logging must be an object or null"),
        ({"Logging": {}}, "Logging", "Logging is not known; did you mean logging?"),
        ({"settings": {"logging": {"x": 1}}}, "logging.x", "is not known"),
        ({"settings": 5}, "settings", "settings must be an object"),
        ({"features": {"discovery": "no"}}, "features.discovery", "must be true or false"),
        (
            {"runtime": {"memory": {"thresholdMb": 0}}},
            "runtime.memory.thresholdMb",
            "a number from 1 to 100000",
        ),
        ({"anomalyDetection": {"a": "\0"}}, "anomalyDetection.a", "NUL"),
        ([], None, "must be a JSON object"),
        ("x", None, "must be a JSON object"),
        (None, None, "must be a JSON object"),
    ],
)
async def test_what_is_refused_names_the_setting_and_changes_nothing(body, field, message):
    agent = FakeAgent()
    async with serving(agent) as client:
        before = await shown(client)
        status, reply = await patch(
            client, None, data=msgspec.json.encode(body), headers={"Content-Type": "application/json"}
        )
        assert (status, reply["error"], reply.get("field")) == (400, "Bad request", field)
        assert message in reply["message"]
        assert await shown(client) == before


async def test_a_keeper_that_does_not_answer_is_503():
    agent = FakeAgent()
    agent.answers = {ReportSettings: SILENT, ChangeSettings: SILENT}
    async with serving(agent) as client:
        reply = await client.get("/v1/settings")
        assert reply.status == 503
        assert (await patch(client, {"logging": {}}))[0] == 503
