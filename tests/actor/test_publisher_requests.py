"""What clients ask of the publisher (spec 01 sections 8 and 9)."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from publishing_rig import Rig, Sites

from actors.connections.connection import Transient
from actors.publish import destinations
from actors.publish.formats.compression import COMPRESSIONS
from actors.publish.messages import (
    AddDestination,
    AddSubscription,
    BuffersReported,
    ChangeDestination,
    ChangeSubscription,
    DestinationChanged,
    DestinationRemoved,
    DestinationsListed,
    DestinationTested,
    ListDestinations,
    ListSubscriptions,
    RemoveDestination,
    RemoveSubscription,
    ReportBuffers,
    SubscriptionsListed,
    TestDestination,
)
from actors.publish.publisher import Publisher
from actors.publish.rows import SubscriptionBody
from actors.system.failure import Failed
from storage import target_state

MASK = "********"


async def names(rig: Rig, **query: bool) -> list[str]:
    listed = await rig.ask(ListDestinations(**query), DestinationsListed)
    return [row.name for row in listed.destinations]


# Destinations


async def test_a_destination_is_shown_as_it_was_sent(rig: Rig) -> None:
    row = await rig.add_destination("one", "a", enabled=False)
    assert (row.id, row.name, row.type, row.config_json, row.enabled) == (
        1,
        "one",
        "fake",
        {"host": "a"},
        False,
    )
    assert (row.last_error, row.last_error_at) == (None, None)
    listed = await rig.ask(ListDestinations(), DestinationsListed)
    assert listed.destinations == [row]


async def test_disabled_ones_are_listed_unless_they_are_excluded(rig: Rig) -> None:
    await rig.add_destination("one")
    await rig.add_destination("two", enabled=False)
    assert await names(rig) == ["one", "two"]
    assert await names(rig, include_disabled=False) == ["one"]


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        (AddDestination(" ", "fake", {"host": "a"}), Failed("invalid", "name is required", "name")),
        (
            AddDestination("one", "fake", {"host": "a"}),
            Failed("conflict", "Destination already exists: one", "name"),
        ),
        (
            AddDestination("two", "ftp", {"host": "a"}),
            Failed("invalid", "Invalid type: ftp. Supported: fake, other", "type"),
        ),
        (AddDestination("two", "fake", None), Failed("invalid", "Host is required", "config_json.host")),
        (
            AddDestination("x" * 201, "fake", {"host": "a"}),
            Failed("invalid", "name is longer than 200 characters", "name"),
        ),
        (ChangeDestination(9), Failed("not_found", "Publisher not found: 9")),
        (RemoveDestination(9), Failed("not_found", "Destination not found: 9")),
        (
            ChangeDestination(2, name="one"),
            Failed("conflict", "Destination already exists: one", "name"),
        ),
        (
            ChangeDestination(1, config_json={}),
            Failed("invalid", "Host is required", "config_json.host"),
        ),
    ],
)
async def test_a_destination_is_refused_in_the_words_of_the_api(
    rig: Rig, message: Any, refusal: Failed
) -> None:
    await rig.add_destination("one")
    await rig.add_destination("other one")
    assert await rig.refused(message) == refusal
    assert await names(rig) == ["one", "other one"]


async def test_secrets_are_masked_and_a_mask_sent_back_keeps_the_stored_one(rig: Rig, sites: Sites) -> None:
    row = await rig.add_destination(config_json={"host": "a", "password": "geheim"})
    assert row.config_json == {"host": "a", "password": MASK}
    row = await rig.change_destination(row.id, config_json={"host": "b", "password": MASK})
    assert row.config_json == {"host": "b", "password": MASK}
    await rig.until(lambda: rig.health(row.id) == "connected")
    assert rig.instance(row.id).config.config == {"host": "b", "password": "geheim"}  # type: ignore[union-attr]
    listed = await rig.ask(ListDestinations(), DestinationsListed)
    assert "geheim" not in str(listed)


async def test_a_mask_without_a_stored_secret_is_refused(rig: Rig) -> None:
    await rig.add_destination()
    refusal = await rig.refused(ChangeDestination(1, config_json={"host": "a", "password": MASK}))
    assert (refusal.kind, refusal.field) == ("invalid", "config_json.password")


async def test_a_change_names_only_what_changes(rig: Rig) -> None:
    row = await rig.add_destination("one", "a", enabled=False)
    changed = await rig.change_destination(row.id, name="two")
    assert (changed.name, changed.config_json, changed.enabled) == ("two", {"host": "a"}, False)
    assert changed.created_at == row.created_at
    assert changed.updated_at >= row.updated_at


async def test_changes_at_the_same_time_all_count(rig: Rig) -> None:
    row = await rig.add_destination("one", "a")
    await asyncio.gather(
        rig.change_destination(row.id, name="two"),
        rig.change_destination(row.id, enabled=False),
        rig.change_destination(row.id, config_json={"host": "b"}),
    )
    listed = await rig.ask(ListDestinations(), DestinationsListed)
    (row,) = listed.destinations
    assert (row.name, row.enabled, row.config_json) == ("two", False, {"host": "b"})


async def test_of_two_of_the_same_name_at_the_same_time_one_is_refused(rig: Rig) -> None:
    message = AddDestination("one", "fake", {"host": "a"})
    answers = await asyncio.gather(*(rig.base.ask(rig.publisher, message, 5) for _ in range(2)))
    assert {type(answer) for answer in answers} == {DestinationChanged, Failed}
    assert await names(rig) == ["one"]


async def test_a_change_that_cannot_be_stored_changes_nothing(rig: Rig, sites: Sites) -> None:
    row = await rig.add_destination("one", "a")
    await rig.reported(row.id, lambda report: report.connected)
    (row,) = (await rig.ask(ListDestinations(), DestinationsListed)).destinations
    await rig.fill_disk()
    refusal = await rig.refused(ChangeDestination(row.id, config_json={"host": "b" * 9000}))
    assert refusal.kind == "unavailable"
    assert "full" in refusal.message
    listed = await rig.ask(ListDestinations(), DestinationsListed)
    assert listed.destinations == [row]


async def test_the_last_error_and_its_time_are_shown_and_stay_when_it_is_over(rig: Rig, sites: Sites) -> None:
    sites["a"].error = Transient("no route to host")
    row = await rig.add_destination()
    await rig.reported(row.id, lambda report: report.last_error == "no route to host")
    (shown,) = (await rig.ask(ListDestinations(), DestinationsListed)).destinations
    assert shown.last_error == "no route to host"
    assert shown.last_error_at is not None
    assert shown.last_error_at >= row.created_at
    sites["a"].error = None
    await rig.reported(row.id, lambda report: report.connected)
    (later,) = (await rig.ask(ListDestinations(), DestinationsListed)).destinations
    assert (later.last_error, later.last_error_at) == (shown.last_error, shown.last_error_at)


async def test_a_renamed_destination_is_reported_by_its_new_name_even_when_it_is_disabled(rig: Rig) -> None:
    row = await rig.add_destination("one", enabled=False)
    await rig.change_destination(row.id, name="two")
    assert (await rig.report(row.id)).destination == "two"


async def test_a_removed_destination_is_no_longer_reported(rig: Rig) -> None:
    id = await rig.begin()
    await rig.ask(RemoveDestination(id), DestinationRemoved)
    assert (await rig.ask(ReportBuffers(), BuffersReported)).outboxes == []
    assert (await rig.ask(ListSubscriptions(), SubscriptionsListed)).subscriptions == []
    assert (await rig.refused(RemoveDestination(id))).kind == "not_found"


async def test_trying_a_destination_stores_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    tested = await rig.ask(TestDestination("fake", {"host": "a"}), DestinationTested)
    assert tested == DestinationTested(True, message="a answers")
    tested = await rig.ask(TestDestination("ftp", None), DestinationTested)
    assert tested == DestinationTested(False, error='Connection test not supported for type "ftp"')
    assert await names(rig) == []


async def test_trying_a_destination_that_never_answers_ends(
    rig: Rig, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(destinations, "TEST_SECONDS", 0.1)
    sites["a"].hangs = {"test"}
    tested = await rig.ask(TestDestination("fake", {"host": "a"}), DestinationTested)
    assert tested == DestinationTested(False, error="No answer within 0.1 s")
    assert rig.base.mailboxes[rig.publisher.addressDetails].tasks == {}  # type: ignore[attr-defined]


# Subscriptions


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        (
            {"publish_destination_id": 9},
            Failed("not_found", "Destination not found: 9", "publish_destination_id"),
        ),
        (
            {"payload_format": "xml"},
            Failed("invalid", "Invalid payload_format: xml", "payload_format"),
        ),
        (
            {"compression": "zip"},
            Failed(
                "invalid",
                f"Invalid compression: zip. Supported: {', '.join(COMPRESSIONS)}",
                "compression",
            ),
        ),
        (
            {"route_json": None},
            Failed("invalid", "route_json.topic is required for external destinations", "route_json.topic"),
        ),
        (
            {"route_json": {"topic": "  "}},
            Failed("invalid", "route_json.topic is required for external destinations", "route_json.topic"),
        ),
    ],
)
async def test_a_subscription_is_refused_in_the_words_of_the_api(
    rig: Rig, fields: dict[str, Any], refusal: Failed
) -> None:
    await rig.begin()
    whole = {"publish_destination_id": 1, "route_json": {"topic": "t"}} | fields
    assert await rig.refused(AddSubscription(**whole)) == refusal
    assert await rig.refused(ChangeSubscription(2, **fields)) == refusal


async def test_a_subscription_that_is_not_there_is_not_found(rig: Rig) -> None:
    not_found = Failed("not_found", "Publish subscription not found: 5")
    assert await rig.refused(ChangeSubscription(5)) == not_found
    assert await rig.refused(RemoveSubscription(5)) == not_found


async def test_subscriptions_are_listed_by_destination_and_state(rig: Rig) -> None:
    await rig.begin("a", "one")
    two = await rig.add_destination("two", "b")
    added = await rig.add_subscription(two.id, topics=["sensors/#"], enabled=False)
    assert (added.topics, added.payload_format, added.enabled) == (["sensors/#"], "tags", False)

    async def listed(**query: Any) -> list[int]:
        rows = (await rig.ask(ListSubscriptions(**query), SubscriptionsListed)).subscriptions
        return [row.publish_destination_id for row in rows]

    assert await listed() == [1, two.id]
    assert await listed(publish_destination_id=two.id) == [two.id]
    assert await listed(include_disabled=False) == [1]


# Lives


async def test_a_restart_brings_back_what_was_configured(tmp_path: Path, sites: Sites) -> None:
    rig = Rig(tmp_path, sites)
    await rig.start()
    await rig.begin("a", "one", config_json={"host": "a", "password": "geheim"})
    await rig.stop()
    await rig.start()
    assert await names(rig) == ["one"]
    rig.poll(7)
    await rig.until(lambda: sites["a"].numbers == [7])
    await rig.end()


async def test_a_crash_of_the_publisher_forgets_no_change_since_the_start(
    rig: Rig, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.begin("a", "one")
    await rig.add_destination("two", "b")

    def explode(self: Publisher, message: ReportBuffers, sender: Any) -> None:
        raise RuntimeError("boom")

    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "receiveMsg_ReportBuffers", explode)
        patch.setattr("actors.system.actor._handlers", {})
        await rig.base.ask(rig.publisher, ReportBuffers(), 0.01)
    await rig.until(lambda: rig.health(1) == "connected" and rig.health(3) == "connected")
    assert await names(rig) == ["one", "two"]
    rig.poll(7)
    await rig.until(lambda: sites["a"].numbers == [7])


class Newer(msgspec.Struct):
    host: str
    password: str = ""


async def test_unknown_keys_are_refused_but_run_where_they_were_stored(
    rig: Rig, sites: Sites, caplog: pytest.LogCaptureFixture
) -> None:
    one = await rig.add_destination("one", config_json={"host": "a", "colour": "red"})
    route = {"topic": "plant", "buffer": 5}
    body = SubscriptionBody(["#"], route, "tags", None, True)
    row = (
        await rig.transact(target_state.insert, "subscription", None, msgspec.to_builtins(body), one.id)
    ).result
    sites.schema = Newer
    rig.base.crash(rig.base.mailboxes[rig.publisher.addressDetails], RuntimeError("boom"))
    await rig.until(lambda: rig.node(one.id) and rig.node(one.id).children)  # type: ignore[union-attr]
    await rig.routed()
    rig.poll(7)
    await rig.until(lambda: sites["a"].numbers == [7])
    told = [record.getMessage() for record in caplog.records if "not known" in record.getMessage()]
    assert told == [
        "destination one: these keys are not known and mean nothing: config_json.colour",
        f"subscription {row.id}: these keys are not known and mean nothing: route_json.buffer",
    ]
    await rig.change_destination(one.id, name="two")
    await rig.change_subscription(row.id, topics=["modbus"])
    for message, field in (
        (AddDestination("new", "fake", {"hots": "a"}), "config_json.hots"),
        (ChangeDestination(one.id, config_json={"host": "a", "colour": "red"}), "config_json.colour"),
        (AddSubscription(one.id, route_json=route), "route_json.buffer"),
        (ChangeSubscription(row.id, route_json=route), "route_json.buffer"),
    ):
        refused = await rig.ask(message, Failed)
        assert (refused.kind, refused.field) == ("invalid", field)
    tested = await rig.ask(TestDestination("fake", {"hots": "a"}), DestinationTested)
    assert tested == DestinationTested(False, error="hots is not known; did you mean host?")
    assert await names(rig) == ["two"]


@pytest.mark.parametrize("parent", [None, "another kind"])
async def test_a_stored_subscription_without_a_destination_is_listed_and_can_be_moved(
    rig: Rig, sites: Sites, parent: str | None
) -> None:
    one = await rig.add_destination()
    above = await rig.transact(target_state.insert, "endpoint", "plc", {}) if parent else None
    body = msgspec.to_builtins(SubscriptionBody(["#"], {"topic": "plant"}, "tags", None, True))
    parent_id = above and above.result.id
    stray = await rig.transact(target_state.insert, "subscription", None, body, parent_id)
    rig.base.crash(rig.base.mailboxes[rig.publisher.addressDetails], RuntimeError("boom"))
    (row,) = (await rig.ask(ListSubscriptions(), SubscriptionsListed)).subscriptions
    assert (row.id, row.publish_destination_id) == (stray.result.id, parent_id or 0)
    assert row.last_error == "its destination is missing in the database"
    await rig.change_subscription(row.id, publish_destination_id=one.id)
    await rig.until(lambda: rig.node(one.id) and rig.node(one.id).children)  # type: ignore[union-attr]
    await rig.routed()
    rig.poll(7)
    await rig.until(lambda: sites["a"].numbers == [7])
