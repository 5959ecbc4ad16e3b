"""An agent for tests that only add endpoints to it: one a module, without endpoints before each test."""

from collections.abc import Iterator

import pytest
from servers.agent import AgentProcess


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("agent") / "data") as agent:
        yield agent
        assert agent.stop() == 0
    assert "Traceback" not in agent.log.read_text()


@pytest.fixture
def agent(process: AgentProcess) -> Iterator[AgentProcess]:
    yield process
    process.delete("/v1/endpoints")
