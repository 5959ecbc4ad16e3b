"""`POST /v1/reboot` (spec 01 section 17)."""

from typing import Any

import pytest
from fake_agent import SILENT, FakeAgent, serving

from actors.subsystems.messages import RestartAgent, RestartBegun
from actors.system.failure import Failed


async def _reboot(answer: Any, body: Any = None) -> tuple[int, Any]:
    agent = FakeAgent()
    agent.answers[RestartAgent] = answer
    async with serving(agent) as client:
        reply = await client.post("/v1/reboot", json=body)
        return reply.status, await reply.json()


@pytest.mark.parametrize("body", [None, {}])
async def test_a_running_agent_says_that_it_restarts(body):
    assert await _reboot(RestartBegun("RUNNING"), body) == (
        202,
        {"Data": "Agent services restarting", "Error": None, "state": "RUNNING"},
    )


async def test_one_that_is_not_running_says_when_to_ask_again():
    refused = Failed("conflict", "Restart not allowed in current lifecycle state")
    status, body = await _reboot(refused)
    assert status == 409
    assert body["error"] == "Restart not allowed in current lifecycle state"
    assert body["hint"] == "Wait for RUNNING state before requesting restart"
    assert body["state"] == "RUNNING"


async def test_one_that_does_not_answer_is_503():
    status, body = await _reboot(SILENT)
    assert (status, body["error"]) == (503, "The agent actor did not answer in time")
