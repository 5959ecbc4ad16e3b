"""Browsing by protocols that other packages bring, in the supervisor that all protocols share."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_field import Field, Stage, staged
from test_endpoint_supervisor import Agent

from actors.endpoints import third_party
from actors.endpoints.messages import BrowseDevice
from actors.endpoints.protocol import Browsed, BrowsedNode, BrowseRequest
from actors.system.failure import Failed


@pytest.fixture
def field() -> Field:
    return Field()


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, field: Field) -> AsyncIterator[Stage]:
    async with staged(monkeypatch, field) as stage:
        yield stage


def brings(field: Field, answer: Any) -> None:
    async def browse(session: Any, request: BrowseRequest) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    protocol = msgspec.structs.replace(field.protocol, browse=browse)
    field.protocol = third_party.guarded(protocol, "callboard-fake 1.0")


ASK = BrowseDevice("fake", {"device": "plc"}, BrowseRequest(None, 1, 10))


@pytest.mark.parametrize(
    "answer",
    [
        KeyError("odd"),
        None,
        [],
        Browsed(None),
        Browsed([None]),
        Browsed([BrowsedNode(5, "a", "variable")]),
        Browsed([BrowsedNode("a", "\ud800", "variable")]),
        Browsed([BrowsedNode("a", "a", "variable", data_point={"a": object()})]),
    ],
    ids=range(8),
)
async def test_an_answer_that_cannot_be_costs_nobody_else_anything(
    stage: Stage, field: Field, tmp_path: Path, answer: Any
) -> None:
    brings(field, answer)
    agent = await Agent(stage, tmp_path).running()
    reply = await agent.ask(ASK)
    assert isinstance(reply, Failed)
    assert reply.kind == "internal"
    assert agent.tree().restarts == 0


async def test_more_nodes_than_were_asked_for_are_not_taken(
    stage: Stage, field: Field, tmp_path: Path
) -> None:
    brings(field, Browsed([BrowsedNode(str(number), "a", "variable") for number in range(20)]))
    agent = await Agent(stage, tmp_path).running()
    reply = await agent.ask(ASK)
    assert isinstance(reply, Browsed)
    assert (len(reply.nodes), reply.complete) == (10, False)


async def test_a_session_that_fails_unexpectedly_costs_nobody_else_anything(
    stage: Stage, field: Field, tmp_path: Path
) -> None:
    brings(field, Browsed([]))
    field["plc"].fault = KeyError("odd")
    agent = await Agent(stage, tmp_path).running()
    reply = await agent.ask(ASK)
    assert isinstance(reply, Failed)
    assert agent.tree().restarts == 0
