"""What becomes of endpoints when a scan has found devices, or has not."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from discovery_rig import DiscoveryRig, discovering
from puppets import until

from actors.discovery.messages import Discovered, RuleRan
from actors.endpoints import adopting
from actors.endpoints.discovering import At
from actors.endpoints.messages import ChangeEndpoint, EndpointChanged, EndpointsRemoved, RemoveEndpoint
from storage import discovery as stored
from storage import endpoints as stored_endpoints


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    async with discovering(monkeypatch, tmp_path) as rig:
        yield rig


def saved(ran: RuleRan | Discovered) -> Any:
    found = ran.result.saved if isinstance(ran, RuleRan) else ran.saved
    assert found is not None
    return found


def connection(row: Any) -> dict[str, Any]:
    return msgspec.json.decode(row.connection)


async def test_the_template_says_what_new_endpoints_get(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2", metadata={"vendor": "Acme"})
    template = {
        "connection": {"password": "swordfish"},
        "poll_interval": 2000,
        "data_points": [{"name": "load"}],
        "metadata": {"area": "hall 1"},
    }
    rule = await rig.add_rule(target_json=template, auto_enable=True)

    await rig.run_rule(rule.uuid)

    [row] = (await rig.rows()).values()
    assert connection(row) == {"host": "10.0.0.2", "port": 502, "password": "swordfish"}
    assert (row.enabled, row.poll_interval) == (True, 2000)
    assert msgspec.json.decode(row.data_points) == [{"name": "load"}]
    metadata = msgspec.json.decode(row.metadata)
    assert (metadata["vendor"], metadata["area"]) == ("Acme", "hall 1")
    assert metadata["discovery"]["owner"] == rule.uuid
    assert "swordfish" not in str(metadata)


async def test_equal_names_are_made_unique_and_names_are_fit_to_be_seen(rig: DiscoveryRig):
    await rig.add("PLC", "10.9.9.9")
    rig.plant.put("10.0.0.2", name="PLC")
    rig.plant.put("10.0.0.3", name="PLC")
    rig.plant.put("10.0.0.4", name="\x1b[31m\n ")
    rig.plant.put("10.0.0.5", name="x" * 5000)
    rule = await rig.add_rule()

    added = saved(await rig.run_rule(rule.uuid)).added

    prints = {host: device.fingerprint[:8] for host, device in rig.plant.devices.items()}
    assert set(added[:2]) == {f"PLC-{prints['10.0.0.2']}", f"PLC-{prints['10.0.0.3']}"}
    assert all(name.isprintable() and 0 < len(name) <= 150 for name in added)
    assert len(await rig.rows()) == 5


async def test_a_second_run_adds_nothing_and_keeps_what_somebody_has_switched(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")
    rule = await rig.add_rule(auto_enable=True)
    await rig.run_rule(rule.uuid)
    [row] = (await rig.rows()).values()
    await rig.ask(ChangeEndpoint(row.uuid, enabled=False), EndpointChanged, rig.endpoints)

    second = saved(await rig.run_rule(rule.uuid))

    assert (second.added, second.changed, second.kept) == ((), (), (row.name,))
    [row] = (await rig.rows()).values()
    assert row.enabled is False


async def test_a_device_that_has_moved_is_followed(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2", "fake:serial-7")
    rule = await rig.add_rule()
    await rig.run_rule(rule.uuid)
    del rig.plant.devices["10.0.0.2"]
    rig.plant.put("10.0.0.5", "fake:serial-7")

    second = saved(await rig.run_rule(rule.uuid))

    assert second.changed == ("Device at 10.0.0.2",)
    [row] = (await rig.rows()).values()
    assert connection(row)["host"] == "10.0.0.5"
    del rig.plant.devices["10.0.0.5"]
    rig.plant.put("10.0.0.6", "fake:serial-7")
    assert saved(await rig.run_rule(rule.uuid)).changed == ("Device at 10.0.0.2",)


async def test_a_copy_that_takes_a_fingerprint_is_known_by_where_it_is(rig: DiscoveryRig):
    """As OPC UA servers with one application URI do while the other one is switched off."""
    rig.plant.put("10.0.0.2", "fake:uri")
    rule = await rig.add_rule()
    await rig.run_rule(rule.uuid)
    rig.plant.put("10.0.0.2", "fake:uri@2")
    rig.plant.put("10.0.0.3", "fake:uri@3")
    second = saved(await rig.run_rule(rule.uuid))
    assert (second.kept, second.added) == (("Device at 10.0.0.2",), ("Device at 10.0.0.3",))

    del rig.plant.devices["10.0.0.2"]
    rig.plant.put("10.0.0.3", "fake:uri")
    ran = [await rig.run_rule(rule.uuid) for _ in range(3)]

    assert [device.endpoint for device in ran[0].result.devices] == ["Device at 10.0.0.3"]
    assert [(saved(one).kept, saved(one).removed) for one in ran] == [(("Device at 10.0.0.3",), ())] * 3
    rows = await rig.rows()
    assert [connection(row)["host"] for row in rows.values()] == ["10.0.0.2", "10.0.0.3"]


async def test_devices_that_have_swapped_their_addresses_are_followed(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2", "fake:a")
    rig.plant.put("10.0.0.3", "fake:b")
    rule = await rig.add_rule()
    await rig.run_rule(rule.uuid)
    rig.plant.put("10.0.0.2", "fake:b")
    rig.plant.put("10.0.0.3", "fake:a")

    await rig.run_rule(rule.uuid)

    rows = await rig.rows()
    assert connection(rows["Device at 10.0.0.2"])["host"] == "10.0.0.3"
    assert connection(rows["Device at 10.0.0.3"])["host"] == "10.0.0.2"


async def test_a_device_that_answers_in_several_places_is_one_and_stays_where_it_is(rig: DiscoveryRig):
    for host in ("10.0.0.2", "10.0.0.3", "10.0.0.4"):
        rig.plant.put(host, "fake:serial-7", name="router")
    rule = await rig.add_rule()
    found = await rig.run_rule(rule.uuid)
    assert found.result.run.found == 1
    [row] = (await rig.rows()).values()

    for _ in range(3):
        rig.plant.devices = dict(reversed(rig.plant.devices.items()))
        rig.plant.order.append(lambda hosts: tuple(reversed(hosts)))
        assert saved(await rig.run_rule(rule.uuid)).kept == ("router",)
        [now] = (await rig.rows()).values()
        assert now.connection == row.connection
    del rig.plant.devices[connection(row)["host"]]
    assert saved(await rig.run_rule(rule.uuid)).changed == ("router",)


async def test_an_endpoint_keeps_its_name_whatever_its_device_is_called(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2", name="before")
    rule = await rig.add_rule()
    await rig.run_rule(rule.uuid)
    rig.plant.put("10.0.0.2", name="after")

    assert saved(await rig.run_rule(rule.uuid)).kept == ("before",)


async def edit(rig: DiscoveryRig, row: Any, **changes: Any) -> None:
    """As the target state of the cloud may, or an import."""
    await rig.transact(stored_endpoints.change_endpoint, row.id, changes)
    await rig.crash("/agent/endpoints")
    await rig.rows()


async def test_a_connection_that_somebody_has_edited_stays(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2", "fake:serial-7")
    rule = await rig.add_rule()
    await rig.run_rule(rule.uuid)
    [row] = (await rig.rows()).values()
    await edit(rig, row, connection={"host": "10.0.0.2", "port": 1502})
    del rig.plant.devices["10.0.0.2"]
    rig.plant.put("10.0.0.5", "fake:serial-7")

    assert saved(await rig.run_rule(rule.uuid)).kept == (row.name,)

    [row] = (await rig.rows()).values()
    assert connection(row) == {"host": "10.0.0.2", "port": 1502}


async def test_an_endpoint_without_points_gets_those_that_are_found(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2", data_points=())
    rule = await rig.add_rule()
    await rig.run_rule(rule.uuid)
    rig.plant.put("10.0.0.2", data_points=({"name": "level"},))

    assert len(saved(await rig.run_rule(rule.uuid)).changed) == 1
    rig.plant.put("10.0.0.2", data_points=({"name": "other"},))
    assert len(saved(await rig.run_rule(rule.uuid)).kept) == 1

    [row] = (await rig.rows()).values()
    assert msgspec.json.decode(row.data_points) == [{"name": "level"}]


async def test_an_endpoint_that_knew_the_fingerprint_is_left_alone(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")
    fingerprint = rig.plant.devices["10.0.0.2"].fingerprint
    await rig.add("mine", "10.0.0.77", fingerprint=fingerprint)
    rule = await rig.add_rule()

    assert saved(await rig.run_rule(rule.uuid)).changed == ("mine",)  # it had no points
    assert saved(await rig.run_rule(rule.uuid)).kept == ("mine",)

    mine = (await rig.rows())["mine"]
    assert connection(mine) == {"host": "10.0.0.77"}
    assert msgspec.json.decode(mine.data_points) == [{"name": "speed"}]
    assert msgspec.json.decode(mine.metadata) is None
    del rig.plant.devices["10.0.0.2"]
    rig.plant.put("10.0.0.3")
    for _ in range(3):
        await rig.run_rule(rule.uuid)
    assert "mine" in await rig.rows()


async def test_what_no_endpoint_can_be_made_of_is_told_and_costs_no_other(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2", connection={"port": "many"})
    rig.plant.put("10.0.0.3")
    rule = await rig.add_rule()

    found = saved(await rig.run_rule(rule.uuid))

    assert found.added == ("Device at 10.0.0.3",)
    assert list(found.refused) == ["Device at 10.0.0.2"]


async def test_a_rule_makes_no_more_endpoints_than_may_be(rig: DiscoveryRig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(adopting, "MOST", 3)
    rule = await rig.add_rule()
    for host in ("10.0.0.2", "10.0.0.3"):
        rig.plant.put(host)
    await rig.run_rule(rule.uuid)
    await rig.add("mine", "10.9.9.9")
    for host in ("10.0.0.4", "10.0.0.5", "10.0.0.6"):
        rig.plant.put(host)

    found = saved(await rig.run_rule(rule.uuid))

    assert len(found.added) == 1
    assert list(found.refused.values()) == ["3 endpoints were made in that name already"] * 2
    assert len(await rig.rows()) == 4


# Pruning


async def test_a_device_missing_in_two_whole_runs_is_removed(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")
    rig.plant.put("10.0.0.3")
    rule = await rig.add_rule()
    await rig.run_rule(rule.uuid)
    del rig.plant.devices["10.0.0.3"]

    first = await rig.run_rule(rule.uuid)
    rehearsed = await rig.run_rule(rule.uuid, dry_run=True)
    second = await rig.run_rule(rule.uuid)

    assert (first.result.pruned, rehearsed.result.pruned, second.result.pruned) == (0, 1, 1)
    assert saved(second).removed == ("Device at 10.0.0.3",)
    assert list(await rig.rows()) == ["Device at 10.0.0.2"]
    assert [run.pruned for run in await rig.runs()] == [1, 0, 0, 0]
    third = await rig.run_rule(rule.uuid)
    assert third.result.pruned == 0


async def test_a_host_that_was_named_and_where_nobody_is_keeps_no_device_that_is_gone(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")
    rig.plant.put("10.0.0.3")
    rule = await rig.add_rule()
    await rig.run_rule(rule.uuid)
    del rig.plant.devices["10.0.0.3"]
    rig.plant.troubles = {"10.0.0.3": "connection refused"}
    rig.plant.silent = {"10.0.0.3"}

    runs = [await rig.run_rule(rule.uuid) for _ in range(2)]

    assert [(run.result.run.troubles, run.result.pruned) for run in runs] == [(1, 0), (1, 1)]
    assert list(await rig.rows()) == ["Device at 10.0.0.2"]


async def pruned_with(rig: DiscoveryRig, at: At | None, **changes: Any) -> list[int]:
    """By each of three runs in which 10.0.0.3 is gone, and there is trouble at 10.0.0.4."""
    rig.plant.put("10.0.0.2")
    rig.plant.put("10.0.0.3", **changes)
    rule = await rig.add_rule()
    await rig.run_rule(rule.uuid)
    del rig.plant.devices["10.0.0.3"]
    rig.plant.troubles = {"10.0.0.4": "it hangs up"}
    rig.plant.places = {"10.0.0.4": at}
    return [(await rig.run_rule(rule.uuid)).result.pruned for _ in range(3)]


@pytest.mark.parametrize("at", [At("10.0.0.4"), At("10.0.0.4", 502), At("10.0.0.3", 503), At("plc-1")])
async def test_trouble_somewhere_else_keeps_no_device_that_is_gone(rig: DiscoveryRig, at: At):
    assert await pruned_with(rig, at) == [0, 1, 0]


@pytest.mark.parametrize("at", [At("10.0.0.3"), At("10.0.0.3", 502), None])
async def test_trouble_where_a_device_was_or_may_be_keeps_it(rig: DiscoveryRig, at: At | None):
    assert await pruned_with(rig, at) == [0, 0, 0]


async def test_trouble_that_may_be_at_the_name_of_a_device_keeps_it(rig: DiscoveryRig):
    """The rule's template, or somebody, has said a name that no run looks up."""
    assert await pruned_with(rig, At("10.0.0.4"), connection={"host": "plc-1.example"}) == [0, 0, 0]


async def test_runs_that_say_nothing_for_certain_remove_nobody(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")
    rig.plant.put("10.0.0.3")
    rule = await rig.add_rule()
    await rig.run_rule(rule.uuid)
    gone = rig.plant.devices.pop("10.0.0.3")
    await rig.run_rule(rule.uuid)

    rig.plant.fault = OSError("no route")
    await rig.run_rule(rule.uuid)
    rig.plant.fault = None
    rig.plant.troubles = {"10.0.0.4": "it hangs up"}
    rig.plant.places = {"10.0.0.4": None}
    await rig.run_rule(rule.uuid)
    rig.plant.troubles = {}
    other = rig.plant.devices.pop("10.0.0.2")
    await rig.run_rule(rule.uuid)  # the cable is out
    rig.plant.devices["10.0.0.2"] = other

    assert len(await rig.rows()) == 2
    rig.plant.devices["10.0.0.3"] = gone
    await rig.run_rule(rule.uuid)
    del rig.plant.devices["10.0.0.3"]
    assert (await rig.run_rule(rule.uuid)).result.pruned == 0


async def test_who_is_connected_or_was_edited_or_is_not_the_rules_stays(rig: DiscoveryRig):
    for host in ("10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"):
        rig.plant.put(host)
    rig.plant.connected.add("10.0.0.3")
    rule = await rig.add_rule(auto_enable=True, target_json={"poll_interval": 50})
    await rig.run_rule(rule.uuid)
    rows = await rig.rows()
    edited = rows["Device at 10.0.0.4"]
    await rig.ask(ChangeEndpoint(edited.uuid, poll_interval=7000), EndpointChanged, rig.endpoints)
    for host in ("10.0.0.3", "10.0.0.4", "10.0.0.5"):
        del rig.plant.devices[host]
    await until(lambda: rig.plant.reads > 2)

    await rig.run_rule(rule.uuid)
    found = saved(await rig.run_rule(rule.uuid))

    assert found.removed == ("Device at 10.0.0.5",)
    assert found.spared == {
        "Device at 10.0.0.3": "it is connected",
        "Device at 10.0.0.4": "somebody has edited it",
    }


async def test_a_narrower_rule_does_not_miss_who_is_beyond_it(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")
    rig.plant.put("10.0.0.6")
    rule = await rig.add_rule()
    await rig.run_rule(rule.uuid)
    await rig.change_rule(rule.uuid, params_json={"network": "10.0.0.1-3"})

    pruned = [(await rig.run_rule(rule.uuid)).result.pruned for _ in range(4)]

    assert pruned == [0, 0, 0, 0]
    assert len(await rig.rows()) == 2


async def test_who_was_removed_by_hand_comes_back_while_the_rule_finds_it(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")
    rule = await rig.add_rule()
    await rig.run_rule(rule.uuid)
    [row] = (await rig.rows()).values()
    await rig.ask(RemoveEndpoint(row.uuid), EndpointsRemoved, rig.endpoints)

    assert saved(await rig.run_rule(rule.uuid)).added == (row.name,)


async def test_who_was_not_found_for_a_week_is_told(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")
    rig.plant.put("10.0.0.3")
    rule = await rig.add_rule()
    await rig.run_rule(rule.uuid)
    [row] = [one for name, one in (await rig.rows()).items() if "10.0.0.3" in name]
    await rig.ask(ChangeEndpoint(row.uuid, poll_interval=7000), EndpointChanged, rig.endpoints)
    del rig.plant.devices["10.0.0.3"]
    await rig.transact(_age, stored.STALE_MS + 60_000)

    await rig.run_rule(rule.uuid)

    await until(lambda: rig.rule(rule.uuid).stale)
    await until(lambda: rig.keeper().stands[rule.uuid].stale)
    [check] = rig.keeper().checked().checks
    assert (check.name, check.last_error) == ("discovery-stale", "not found for a week: Device at 10.0.0.3")


async def test_who_was_hidden_for_a_week_is_told_and_who_is_beyond_the_rule_is_not(rig: DiscoveryRig):
    for host in ("10.0.0.2", "10.0.0.3", "10.0.0.4"):
        rig.plant.put(host)
    rule = await rig.add_rule(params_json={"network": "10.0.0.2-4"})
    await rig.run_rule(rule.uuid)
    del rig.plant.devices["10.0.0.3"], rig.plant.devices["10.0.0.4"]
    rig.plant.troubles = {"10.0.0.3": "it hangs up"}
    await rig.transact(_age, stored.STALE_MS + 60_000)

    await rig.run_rule(rule.uuid)
    await until(lambda: len(rig.rule(rule.uuid).stale) == 2)
    await rig.change_rule(rule.uuid, params_json={"network": "10.0.0.2-3"})
    await rig.run_rule(rule.uuid)
    assert len(await rig.rows()) == 3
    await until(lambda: rig.rule(rule.uuid).stale == ())

    rig.plant.fault = OSError("no route")
    await rig.change_rule(rule.uuid, params_json={"network": "10.0.0.2-4"})
    await rig.run_rule(rule.uuid)
    rig.plant.fault = None
    await rig.run_rule(rule.uuid)
    await until(lambda: rig.rule(rule.uuid).stale == ("Device at 10.0.0.3",))


def _age(database: Any, ms: int) -> None:
    database.db.execute("UPDATE discovery_sightings SET last_seen_at = last_seen_at - ?", [ms])


# Scans that somebody asks for


async def test_a_scan_saves_when_it_is_asked_to(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")

    rehearsed = await rig.discover(save=True, dry_run=True)
    assert saved(rehearsed).added == ("Device at 10.0.0.2",)
    assert saved(rehearsed).dry_run
    assert await rig.rows() == {}

    found = await rig.discover(save=True)
    assert saved(found).added == ("Device at 10.0.0.2",)
    [row] = (await rig.rows()).values()
    assert row.enabled is False


async def test_a_saved_scan_prunes_when_it_is_asked_to_and_of_its_own_options(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")
    rig.plant.put("10.0.0.3")
    await rig.discover(save=True, prune=True)
    del rig.plant.devices["10.0.0.3"]

    assert (await rig.discover("10.0.0.2", save=True, prune=True)).pruned == 0
    assert (await rig.discover(save=True, prune=True)).pruned == 0
    assert (await rig.discover("10.0.0.2", save=True, prune=True)).pruned == 0
    assert (await rig.discover(prune=True)).pruned == 1
    assert len(await rig.rows()) == 2
    assert (await rig.discover(save=True, prune=True)).pruned == 1
    assert list(await rig.rows()) == ["Device at 10.0.0.2"]


async def test_endpoints_that_cannot_store_are_told(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")
    rule = await rig.add_rule()
    await rig.transact(lambda database: database.db.execute("ALTER TABLE devices RENAME TO away"))

    ran = await rig.run_rule(rule.uuid)

    assert ran.rule.status == "error"
    assert len(ran.result.devices) == 1
    assert "saving" in ran.result.errors
    await rig.transact(lambda database: database.db.execute("ALTER TABLE away RENAME TO devices"))
    assert (await rig.run_rule(rule.uuid)).rule.status == "ok"
    assert len(await rig.rows()) == 1
