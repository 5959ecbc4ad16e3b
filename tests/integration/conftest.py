"""An agent for tests that only add endpoints to it: one a module, without endpoints before each test. And the
loops on which tests run: of a server whatever differs from loop to loop is tried on that of the agent too."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from servers.agent import AgentProcess

from actors.system.asyncio_base import new_loop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.stem.startswith("test_http_server"):
        factories["agent"] = new_loop
    return factories


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
