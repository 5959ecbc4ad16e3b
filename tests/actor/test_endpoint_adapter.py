import logging

import msgspec
import pytest
from fake_field import Field, Stage, staged, until
from thespian.actors import ActorAddress

from actors.endpoints.adapter import (
    AT_ONCE,
    Adapter,
    EndEndpoints,
    KeepEndpoints,
    ReportWanted,
    RunAdapter,
)
from actors.endpoints.endpoint import RunEndpoint
from actors.endpoints.messages import ReportHealth
from actors.system import tree
from actors.system.actor import Actor
from actors.system.addresses import child_address


@pytest.fixture
def field() -> Field:
    return Field()


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, field: Field):
    async with staged(monkeypatch, field) as stage:
        yield stage


class Keeper(Actor):
    """Stands for the parent of the adapter, which it tells what to run when it asks."""

    def receiveMsg_list(self, message: list[RunEndpoint], sender: ActorAddress) -> None:
        self.wanted = message
        self.spawn(Adapter, "fake", RunAdapter("fake"))

    def receiveMsg_ReportWanted(self, message: ReportWanted, sender: ActorAddress) -> None:
        self.send(sender, KeepEndpoints(tuple(self.wanted), only=True))


def run(stage: Stage, *names: str) -> ActorAddress:
    keeper = stage.base.spawn(None, Keeper, "keeper", [stage.start_of(name) for name in names])
    return child_address(keeper, "fake")


def tell(stage: Stage, adapter: ActorAddress, message: KeepEndpoints | EndEndpoints) -> None:
    stage.base.deliver(adapter, message, ActorAddress("/keeper"))


def keep(stage: Stage, adapter: ActorAddress, *starts: RunEndpoint) -> None:
    tell(stage, adapter, KeepEndpoints(starts))


def children(stage: Stage, adapter) -> dict[str, object]:
    dumped = tree.dump(stage.base.mailboxes[adapter.addressDetails])
    return {child.name: child for child in dumped.root.children}


def seen(stage: Stage) -> set[str]:
    return {batch.source.endpoint for batch in stage.batches}


async def test_every_endpoint_has_an_actor_under_its_name(stage):
    adapter = run(stage, "one", "two / three")
    await until(lambda: seen(stage) == {"one", "two / three"})
    assert set(children(stage, adapter)) == {"one", "two / three"}
    report = await stage.ask(child_address(adapter, "two / three"), ReportHealth())
    assert report.device == "two / three"


async def test_an_endpoint_that_is_added_starts_and_the_others_go_on(stage, field):
    adapter = run(stage, "one")
    await until(lambda: seen(stage) == {"one"})
    keep(stage, adapter, stage.start_of("two"))
    await until(lambda: seen(stage) == {"one", "two"})
    assert (field["one"].connects, field["one"].closed) == (1, 0)


async def test_an_endpoint_that_is_removed_ends_and_its_connection_is_closed(stage, field):
    adapter = run(stage, "one", "two")
    await until(lambda: len(seen(stage)) == 2)
    tell(stage, adapter, EndEndpoints(("two",)))
    await until(lambda: field["two"].closed == 1)
    assert set(children(stage, adapter)) == {"one"}
    reads = field["two"].reads
    one = field["one"].reads
    await until(lambda: field["one"].reads >= one + 5)
    assert field["two"].reads == reads


async def test_only_an_endpoint_that_changed_is_told(stage, field):
    adapter = run(stage, "one", "two")
    await until(lambda: len(seen(stage)) == 2)
    field["new"].values = [42]
    keep(stage, adapter, stage.start_of("one"), stage.start_of("two", connection={"device": "new"}))
    await stage.batch(lambda batch: batch.values == [42])
    assert (field["one"].connects, field["one"].closed) == (1, 0)
    assert field["two"].closed == 1


async def test_a_name_that_is_removed_and_added_again_runs_anew(stage, field):
    adapter = run(stage, "one")
    await until(lambda: stage.batches)
    tell(stage, adapter, EndEndpoints(("one",)))
    keep(stage, adapter, stage.start_of("one", uuid="another"))
    batch = await stage.batch(lambda batch: batch.source.endpoint_uuid == "another")
    assert batch.source.endpoint == "one"
    assert field["one"].closed == 1


async def test_a_crash_of_one_endpoint_leaves_its_siblings_alone(stage, field, caplog):
    adapter = run(stage, "one", "two")
    await until(lambda: len(seen(stage)) == 2)
    field["two"].fault = ZeroDivisionError("a defect")
    await until(lambda: children(stage, adapter)["two"].restarts >= 2)
    found = children(stage, adapter)
    assert found["two"].last_error == "ZeroDivisionError: a defect"
    assert (found["one"].restarts, found["one"].health, found["one"].last_error) == (0, "connected", None)
    assert (field["one"].connects, field["one"].closed) == (1, 0)
    field["two"].fault = None
    after = len(stage.batches)
    await stage.batch(lambda batch: batch.source.endpoint == "two" and batch.values == [1], after=after)
    assert children(stage, adapter)["two"].state == "running"


async def test_an_endpoint_changed_while_it_restarts_begins_with_the_change(stage, field, caplog):
    adapter = run(stage, "one")
    await until(lambda: stage.batches)
    field["one"].fault = ZeroDivisionError("a defect")
    await until(lambda: children(stage, adapter)["one"].state == "restarting")
    field["new"].values = [42]
    keep(stage, adapter, stage.start_of("one", connection={"device": "new"}))
    await stage.batch(lambda batch: batch.values == [42])


async def test_a_crash_of_the_adapter_costs_its_endpoints_nothing(stage, field, caplog):
    caplog.set_level(logging.CRITICAL)
    adapter = run(stage, "one", "two")
    await until(lambda: len(seen(stage)) == 2)
    tell(stage, adapter, EndEndpoints(None))  # type: ignore[arg-type]
    await until(lambda: stage.base.mailboxes[adapter.addressDetails].crashes.restarts == 1)
    stage.batches.clear()
    await until(lambda: seen(stage) == {"one", "two"})
    assert (field["one"].closed, field["two"].closed) == (0, 0)


async def test_an_endpoint_that_gave_up_shows_until_the_next_change(stage, field, caplog):
    adapter = run(stage, "one")
    await until(lambda: stage.batches)
    cell = stage.base.mailboxes[child_address(adapter, "one").addressDetails]
    cell.crashes.policy = msgspec.structs.replace(cell.crashes.policy, max_restarts=0)
    stage.base.crash(cell, RuntimeError("boom"))

    def state():
        return tree.dump(stage.base.mailboxes[adapter.addressDetails]).root

    assert state().state == "degraded"
    assert children(stage, adapter)["one"].state == "gave up"
    keep(stage, adapter, stage.start_of("one"))
    await until(lambda: state().state == "running" and children(stage, adapter)["one"].state == "running")


async def test_an_adapter_that_begins_anew_comes_back_with_all_that_was_changed_meanwhile(
    stage, field, caplog
):
    caplog.set_level(logging.CRITICAL)
    adapter = run(stage, "one", "two")
    await until(lambda: len(seen(stage)) == 2)
    cell = stage.base.mailboxes[adapter.addressDetails]
    stage.base.crash(cell, RuntimeError("a defect"))
    keeper = stage.base.mailboxes["/keeper"].instance
    keeper.wanted = [stage.start_of("two"), stage.start_of("three")]
    tell(stage, adapter, EndEndpoints(("one",)))
    keep(stage, adapter, stage.start_of("three"))
    await until(lambda: set(children(stage, adapter)) == {"two", "three"})
    await until(lambda: "three" in seen(stage))
    assert (field["two"].connects, field["two"].closed) == (1, 0)


async def test_an_endpoint_that_ends_before_its_turn_never_begins(stage, field):
    adapter = run(stage)
    await until(lambda: adapter.addressDetails in stage.base.mailboxes)
    keep(stage, adapter, *(stage.start_of(f"d{n}") for n in range(3 * AT_ONCE)))
    tell(stage, adapter, EndEndpoints((f"d{3 * AT_ONCE - 1}",)))
    await until(lambda: len(children(stage, adapter)) == 3 * AT_ONCE - 1)
    await until(lambda: len(seen(stage)) == 3 * AT_ONCE - 1)
    assert f"d{3 * AT_ONCE - 1}" not in field.devices
