"""A change costs what it changes, however much there is beside it."""

from typing import Any

from fake_field import Field, Stage, until
from publishing_rig import Rig, Sites
from test_endpoint_supervisor import Agent, field, stage

from actors.endpoints.adapter import AT_ONCE
from actors.endpoints.messages import (
    AddEndpoint,
    ChangeEndpoint,
    EndpointChanged,
    EndpointsImported,
    ImportEndpoints,
    RemoveEndpoint,
)
from actors.publish.messages import RemoveSubscription, SubscriptionRemoved

__all__ = ["field", "stage"]  # fixtures

MANY = 200
IDLE = {"mode": "idle"}
"""An endpoint whose actor handles nothing but what it is told."""


def handled(base: Any) -> dict[str, int]:
    """How many messages each actor has handled."""
    return {path: cell.handled for path, cell in base.mailboxes.items() if hasattr(cell, "handled")}


def told(base: Any, before: dict[str, int], below: str) -> dict[str, int]:
    """What the actors below a path have been told since, those that were told nothing left out."""
    after = handled(base)
    return {
        path: count - before.get(path, 0)
        for path, count in after.items()
        if path.startswith(below) and count != before.get(path, 0)
    }


async def test_a_change_of_one_subscription_of_many_is_told_to_it_and_to_nobody_else(
    rig: Rig, sites: Sites
) -> None:
    one = await rig.add_destination("one", "a")
    two = await rig.add_destination("two", "b")
    ids = [(await rig.add_subscription(one.id, topics=[f"sensors/line-{n}/#"])).id for n in range(MANY)]
    await rig.routed()
    subscriptions = f"{rig.destination(one.id).addressDetails}/"
    before = handled(rig.base)
    await rig.change_subscription(ids[7], topics=["sensors/other/#"])
    await rig.routed()
    changed = f"{subscriptions}subscription-{ids[7]}"
    assert told(rig.base, before, subscriptions) == {changed: 1}
    assert told(rig.base, before, rig.router.addressDetails)[rig.router.addressDetails] <= 3
    await rig.ask(RemoveSubscription(ids[8]), SubscriptionRemoved)
    await rig.until(lambda: rig.node(one.id) and len(rig.node(one.id).children) == MANY - 1)
    removed = f"{subscriptions}subscription-{ids[8]}"
    assert set(told(rig.base, before, subscriptions)) <= {changed, removed}
    before = handled(rig.base)
    await rig.change_destination(two.id, name="renamed")
    await rig.routed()
    assert told(rig.base, before, subscriptions) == {}


async def test_the_router_looks_at_no_other_observer_when_one_changes(
    rig: Rig, sites: Sites, monkeypatch: Any
) -> None:
    one = await rig.add_destination("one", "a")
    ids = [(await rig.add_subscription(one.id, topics=[f"sensors/line-{n}/#"])).id for n in range(MANY)]
    for n in range(5):
        rig.poll(1, endpoint=f"line-{n}")
    await rig.routed()
    looks: list[Any] = []
    from actors.readings import router

    select = router.select
    monkeypatch.setattr(router, "select", lambda *args: looks.append(args) or select(*args))
    await rig.change_subscription(ids[0], topics=["sensors/line-4/#"])
    assert looks == []
    for _ in range(3):
        rig.poll(2, endpoint="line-4")
    rig.poll(2, endpoint="line-0")
    await rig.until(lambda: len([number for number in sites["a"].numbers if number == 2]) == 6)
    assert len(looks) == 2  # once a source, when it next says something


async def test_a_change_of_one_endpoint_of_many_is_told_to_it_and_to_nobody_else(
    stage: Stage, field: Field, tmp_path: Any
) -> None:
    agent = await Agent(stage, tmp_path).running()
    for n in range(30):
        await agent.added(f"plc-{n}", connection=IDLE)
    adapter = f"{agent.endpoints.addressDetails}/fake"
    await until(lambda: not stage.base._ready)
    before = handled(stage.base)
    rows = (await agent.rows())[0:1]
    changed = await agent.ask(ChangeEndpoint("plc-3", poll_interval=60_000))
    assert isinstance(changed, EndpointChanged)
    await until(lambda: told(stage.base, before, adapter))
    assert told(stage.base, before, adapter) == {adapter: 1, f"{adapter}/plc-3": 1}
    before = handled(stage.base)
    await agent.ask(ChangeEndpoint("plc-4", enabled=False))
    await agent.ask(RemoveEndpoint(rows[0].uuid))
    await agent.added("another", connection=IDLE)
    await until(lambda: f"{adapter}/another" in told(stage.base, before, adapter))
    assert told(stage.base, before, adapter) == {adapter: 3, f"{adapter}/another": 1}


async def test_an_adapter_that_begins_is_told_of_all_its_endpoints_at_once_and_begins_them_in_portions(
    stage: Stage, field: Field, tmp_path: Any
) -> None:
    agent = await Agent(stage, tmp_path).running()
    added = [AddEndpoint(f"plc-{n}", "fake", {"device": "d"} | IDLE) for n in range(MANY)]
    before = handled(stage.base)
    assert await agent.ask(ImportEndpoints(added)) == EndpointsImported(MANY)
    adapter = f"{agent.endpoints.addressDetails}/fake"
    await until(lambda: len(told(stage.base, before, adapter)) == MANY + 1)
    portions = -(-MANY // AT_ONCE)
    assert told(stage.base, before, adapter)[adapter] == 2 + portions - 1  # start, all, and going on
    before = handled(stage.base)
    stage.base.crash(stage.base.mailboxes[adapter], RuntimeError("a defect"))
    await until(lambda: stage.base.mailboxes[adapter].handled >= before[adapter] + 1 + portions)
    assert told(stage.base, before, f"{adapter}/") == {}  # nobody's start is another one
