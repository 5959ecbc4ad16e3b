"""Rules: stored, scheduled, run, and told about."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from discovery_rig import DiscoveryRig, discovering
from puppets import until
from wall_clock import YEAR, WallClock

from actors.discovery.messages import (
    AddRule,
    CancelRun,
    ChangeRule,
    ListRuns,
    RemoveRule,
    RuleRemoved,
    RunCancelled,
    RunRuleNow,
)
from actors.discovery.unasked import Unasked
from actors.system.clock import running_ms
from conf.redaction import MASK
from storage import discovery as stored
from storage.timestamps import unix_ms


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    async with discovering(monkeypatch, tmp_path) as rig:
        yield rig


async def due_now(rig: DiscoveryRig, uuid: str) -> None:
    """As if its time had come."""
    await until(lambda: rig.rule(uuid) is not None and rig.rule(uuid).state is not None)
    rule = rig.rule(uuid)
    rule.schedule.due_at = 0
    rule._look_later()


async def test_a_rule_is_answered_as_it_was_sent_with_its_defaults(rig: DiscoveryRig):
    rule = await rig.add_rule(name="Network Scan")

    assert (rule.name, rule.protocol, rule.interval_seconds) == ("Network Scan", "fake", 3600)
    assert (rule.enabled, rule.auto_enable, rule.target_json) == (True, False, None)
    assert rule.params_json == {"network": "10.0.0.0/29"}
    assert (rule.status, rule.last_run_at, rule.last_result_json) == ("idle", None, None)
    assert rule.next_run_at is not None
    assert rule.next_run_at > unix_ms()
    assert [one.uuid for one in await rig.rules()] == [rule.uuid]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": " "}, "name"),
        ({"protocol": "fkae"}, "protocol"),
        ({"interval_seconds": 59}, "interval_seconds"),
        ({"interval_seconds": 0}, "interval_seconds"),
        ({"params_json": {"network": "10.0.0.0/8"}}, "params_json.network"),
        ({"params_json": {"ports": [1]}}, "params_json.ports"),
        ({"target_json": {"pollInterval": 1}}, "target_json.poll_interval"),
        ({"target_json": {"data_points": [{"nmae": "speed"}]}}, "target_json.data_points[0].nmae"),
        ({"target_json": {"connection": {"prot": 1}}}, "target_json.connection.prot"),
        ({"target_json": {"colour": "red"}}, "target_json.colour"),
        ({"target_json": {"metadata": {"discovery": {}}}}, "target_json.metadata.discovery"),
    ],
)
async def test_what_is_not_right_is_refused_with_its_field(rig: DiscoveryRig, given: Any, field: str):
    fields = {"name": "scan", "protocol": "fake"} | given

    failed = await rig.refused(AddRule(**fields))

    assert (failed.kind, failed.field) == ("invalid", field)
    assert await rig.rules() == []


async def test_a_rule_that_is_run_saves_what_it_finds_and_notes_it(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")
    rig.plant.put("10.0.0.3")
    await rig.add("known", "10.0.0.3")
    rule = await rig.add_rule()

    ran = await rig.run_rule(rule.uuid)

    assert ran.result.saved is not None
    assert ran.result.saved.added == ("Device at 10.0.0.2",)
    assert ran.result.saved.kept == ("known",)
    assert (ran.rule.status, ran.rule.last_result_json) == ("ok", {"found": 2, "saved": 1, "skipped": 1})
    assert ran.result.pruned == 0
    row = (await rig.rows())["Device at 10.0.0.2"]
    assert (row.enabled, row.fingerprint) == (False, rig.plant.devices["10.0.0.2"].fingerprint)
    [run] = await rig.runs(rule.uuid)
    assert (run.status, run.trigger, run.found, run.saved, run.skipped) == ("ok", "manual", 2, 1, 1)
    assert run.id == 1
    assert run.duration_ms is not None


async def test_a_rule_runs_when_it_is_due_and_is_due_again(rig: DiscoveryRig):
    rule = await rig.add_rule()

    await due_now(rig, rule.uuid)

    await until(lambda: rig.plant.scans == 1)
    await until(lambda: rig.rule(rule.uuid).run_under_way is None)
    [run] = await rig.runs()
    assert run.trigger == "scheduled"
    [listed] = await rig.rules()
    assert listed.next_run_at is not None
    assert 3_590_000 < listed.next_run_at - unix_ms() <= 3_700_000


async def test_how_many_were_asked_and_in_trouble_is_known_until_the_agent_ends(rig: DiscoveryRig):
    rule = await rig.add_rule()
    rig.plant.troubles = {"10.0.0.4": "it hangs up"}
    await rig.run_rule(rule.uuid)
    await until(lambda: rig.rule(rule.uuid).state.status == "ok")

    for listed in (await rig.runs(rule.uuid), await rig.runs()):
        assert [(run.planned, run.probed, run.troubles) for run in listed] == [(6, 6, 1)]


async def test_one_run_at_a_time(rig: DiscoveryRig):
    rule = await rig.add_rule()
    rig.plant.gate.clear()
    running = asyncio.create_task(rig.run_rule(rule.uuid))
    await until(lambda: rig.plant.asked)

    assert (await rig.refused(RunRuleNow(rule.uuid))).kind == "conflict"
    assert [one.status for one in await rig.rules()] == ["running"]
    [run] = await rig.runs(rule.uuid)
    assert (run.status, run.planned) == ("running", 6)

    rig.plant.gate.set()
    assert (await running).rule.status == "ok"


async def test_the_run_of_a_rule_goes_on_when_the_requester_leaves(rig: DiscoveryRig):
    rule = await rig.add_rule()
    rig.plant.put("10.0.0.2")
    rig.plant.gate.clear()
    running = asyncio.create_task(rig.run_rule(rule.uuid))
    await until(lambda: rig.plant.asked)

    running.cancel()
    await asyncio.sleep(0.6)
    rig.plant.gate.set()

    await until(lambda: rig.rule(rule.uuid).state.status == "ok")
    assert list(await rig.rows()) == ["Device at 10.0.0.2"]


async def test_the_run_of_a_rule_is_ended_when_somebody_says_so(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")
    rule = await rig.add_rule()
    rig.plant.gate.clear()
    running = asyncio.create_task(rig.run_rule(rule.uuid))
    await until(lambda: rig.plant.asked)
    [run] = await rig.runs(rule.uuid)

    await rig.ask(CancelRun(run.uuid), RunCancelled)

    ran = await running
    assert (ran.result.run.error, ran.rule.status) == ("cancelled", "error")
    [run] = await rig.runs(rule.uuid)
    assert (run.status, run.error) == ("error", "cancelled")
    rig.plant.gate.set()
    assert (await rig.run_rule(rule.uuid)).rule.status == "ok"


async def test_a_changed_interval_and_a_rule_enabled_anew_are_due_anew(rig: DiscoveryRig):
    rule = await rig.add_rule()
    await rig.run_rule(rule.uuid)

    shorter = await rig.change_rule(rule.uuid, interval_seconds=600)
    off = await rig.change_rule(rule.uuid, enabled=False)
    on = await rig.change_rule(rule.uuid, enabled=True)

    now = unix_ms()
    assert shorter.next_run_at is not None
    assert 590_000 < shorter.next_run_at - now < 620_000
    assert off.next_run_at is None
    assert on.next_run_at is not None
    assert 590_000 < on.next_run_at - now < 620_000
    renamed = await rig.change_rule(rule.uuid, name="other")
    assert renamed.next_run_at is not None
    assert abs(renamed.next_run_at - on.next_run_at) < 1000
    failed = await rig.refused(ChangeRule(uuid=rule.uuid, interval_seconds=1))
    assert failed.field == "interval_seconds"
    assert (await rig.refused(ChangeRule(uuid="nobody"))).kind == "not_found"


async def test_a_rule_goes_with_its_history_and_its_run(rig: DiscoveryRig):
    rule = await rig.add_rule()
    rig.plant.put("10.0.0.2")
    await rig.run_rule(rule.uuid)
    rig.plant.gate.clear()
    running = asyncio.create_task(rig.base.ask(rig.discovery, RunRuleNow(rule.uuid), 5))
    await until(lambda: len(rig.plant.asked) > 6)

    await rig.ask(RemoveRule(rule.uuid), RuleRemoved)

    assert (await running).kind == "unavailable"
    await until(lambda: rig.plant.ended == 2)
    assert await rig.rules() == []
    assert await rig.runs() == []
    assert (await rig.refused(ListRuns(rule.uuid))).kind == "not_found"
    assert list(await rig.rows()) == ["Device at 10.0.0.2"]
    assert await rig.transact(stored.sightings, rule.uuid, []) == {}
    assert (await rig.refused(RemoveRule(rule.uuid))).kind == "not_found"


async def test_secrets_are_encrypted_and_what_is_sent_back_masked_stays(rig: DiscoveryRig):
    params = {"network": "10.0.0.1", "password": "swordfish-rule"}
    rule = await rig.add_rule(params_json=params)

    changed = await rig.change_rule(rule.uuid, params_json={"network": "10.0.0.2", "password": MASK})

    assert changed.params_json == {"network": "10.0.0.2", "password": "swordfish-rule"}
    await rig.stop()
    files = [file.read_bytes() for file in rig.path.parent.iterdir() if file.is_file()]
    assert not any(b"swordfish" in content for content in files)
    await rig.start()


async def test_history_is_capped(rig: DiscoveryRig):
    rule = await rig.add_rule()
    for number in range(stored.RUNS + 5):
        run = stored.Run(f"r-{number}", rule.uuid, "scan", "fake", "scheduled", number)
        await rig.transact(stored.begin_run, run, stored.RuleState(rule.uuid))

    runs = await rig.runs(rule.uuid, 1000)

    assert len(runs) == stored.RUNS
    assert runs[0].uuid == f"r-{stored.RUNS + 4}"
    assert len(await rig.runs(rule.uuid, 3)) == 3
    assert len(await rig.runs(rule.uuid, -1)) == 1


async def test_a_run_that_is_cut_short_is_told_as_such_and_the_rule_goes_on(rig: DiscoveryRig):
    rule = await rig.add_rule()
    rig.plant.gate.clear()
    asking = asyncio.create_task(rig.base.ask(rig.discovery, RunRuleNow(rule.uuid), 5))
    await until(lambda: rig.plant.asked)

    await rig.kill()
    asking.cancel()
    rig.plant.gate.set()
    await rig.start()

    [run] = await rig.runs(rule.uuid)
    assert (run.status, run.error) == ("error", stored.INTERRUPTED)
    await until(lambda: rig.rule(rule.uuid) and rig.rule(rule.uuid).state)
    [listed] = await rig.rules()
    assert listed.status == "error"
    assert listed.last_result_json is not None
    assert listed.last_result_json["error"] == stored.INTERRUPTED
    assert (await rig.run_rule(rule.uuid)).rule.status == "ok"


async def test_a_crash_of_the_rule_is_told_and_it_goes_on(rig: DiscoveryRig):
    rule = await rig.add_rule()
    rig.plant.gate.clear()
    asking = asyncio.create_task(rig.refused(RunRuleNow(rule.uuid)))
    await until(lambda: rig.plant.asked)

    await rig.crash(f"/agent/discovery/{rule.uuid}")

    assert (await asking).kind == "unavailable"
    await until(lambda: rig.plant.ended == 1)
    rig.plant.gate.set()
    await until(lambda: rig.rule(rule.uuid).state is not None)
    assert (await rig.run_rule(rule.uuid)).rule.status == "ok"
    assert [run.status for run in await rig.runs()] == ["ok", "error"]


async def test_a_crash_of_the_scan_is_an_error_of_the_rule(rig: DiscoveryRig):
    rule = await rig.add_rule()
    rig.plant.gate.clear()
    asking = asyncio.create_task(rig.refused(RunRuleNow(rule.uuid)))
    await until(lambda: rig.plant.asked)

    rig.base.crash(rig.base.mailboxes[rig.scans()[0]], RuntimeError("boom"))

    assert (await asking).kind == "internal"
    await until(lambda: rig.rule(rule.uuid).state.status == "error")
    assert [run.error for run in await rig.runs()] == ["the scan has crashed"]


async def test_a_crash_of_the_keeper_leaves_runs_alone(rig: DiscoveryRig):
    rule = await rig.add_rule()
    rig.plant.put("10.0.0.2")
    rig.plant.gate.clear()
    asking = asyncio.create_task(rig.run_rule(rule.uuid))
    await until(lambda: rig.plant.asked)

    await rig.crash("/agent/discovery")
    await until(lambda: rig.keeper().loaded)
    [listed] = await rig.rules()
    rig.plant.gate.set()

    assert listed.status in ("running", "error")
    assert (await asking).rule.status == "ok"
    assert [run.status for run in await rig.runs()] == ["ok"]


async def test_nothing_runs_by_itself_while_the_switch_is_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    async with discovering(monkeypatch, tmp_path) as rig:
        await rig.stop()
        rig.unasked = Unasked(False, 1, 1)
        await rig.start()
        rule = await rig.add_rule()
        assert rule.next_run_at is None
        await until(lambda: rig.rule(rule.uuid).state is not None)
        assert rig.rule(rule.uuid).schedule.due_at is None
        assert (await rig.run_rule(rule.uuid)).rule.status == "ok"
        await until(lambda: not rig.rule(rule.uuid).unsaved)
        assert rig.rule(rule.uuid).schedule.due_at is None


async def test_a_rule_whose_protocol_is_not_here_stays_and_says_why(rig: DiscoveryRig):
    rule = await rig.add_rule()
    rig.plant.unavailable = "the library fakelib is not installed"

    [listed] = await rig.rules()
    assert "fakelib" in (listed.error or "")
    ran = await rig.run_rule(rule.uuid)
    assert ran.rule.status == "error"
    assert "fakelib" in ran.result.errors["fake"]
    del rig.plants["fake"]
    [listed] = await rig.rules()
    assert listed.error == "Unknown protocol: fake"
    failed = await rig.refused(RunRuleNow(rule.uuid))
    assert failed.message.startswith("Unknown protocol: fake")
    await rig.ask(RemoveRule(rule.uuid), RuleRemoved)


async def test_many_rules_that_are_due_at_once_run_a_few_at_a_time(rig: DiscoveryRig):
    rig.plant.gate.clear()
    rules = [await rig.add_rule(name=f"rule {number}") for number in range(12)]

    for rule in rules:
        await due_now(rig, rule.uuid)

    await until(lambda: len([run for run in rig.keeper().under_way.values() if run[0].planned]) == 12)
    await until(lambda: rig.plant.scans == 4)
    await asyncio.sleep(0.1)
    assert rig.plant.scans == 4
    rig.plant.gate.set()
    await until(lambda: rig.plant.ended == 12)
    await until(lambda: all(rig.rule(rule.uuid).state.status == "ok" for rule in rules))


async def test_a_store_that_fails_is_told_and_tried_again(rig: DiscoveryRig):
    rule = await rig.add_rule()
    await rig.transact(lambda database: database.db.execute("ALTER TABLE discovery_runs RENAME TO away"))

    failed = await rig.refused(RunRuleNow(rule.uuid))

    assert failed.kind == "unavailable"
    assert rig.plant.scans == 0
    [listed] = await rig.rules()
    assert listed.status == "error"
    await rig.transact(lambda database: database.db.execute("ALTER TABLE away RENAME TO discovery_runs"))
    assert (await rig.run_rule(rule.uuid)).rule.status == "ok"


@pytest.mark.parametrize("jump", [10 * YEAR, -10 * YEAR, 3600.0, -3600.0])
async def test_a_clock_that_is_set_neither_runs_nor_puts_off_anything(
    rig: DiscoveryRig, wall_clock: WallClock, jump: float
):
    rule = await rig.add_rule()
    await rig.run_rule(rule.uuid)
    await until(lambda: not rig.rule(rule.uuid).unsaved)
    due = rig.rule(rule.uuid).schedule.due_at

    wall_clock.jump(jump)
    rig.rule(rule.uuid)._look_later()
    await asyncio.sleep(0.1)

    [listed] = await rig.rules()
    assert rig.rule(rule.uuid).schedule.due_at == due
    assert listed.next_run_at is not None
    assert 3_590_000 < listed.next_run_at - unix_ms() < 3_700_000
    assert rig.plant.scans == 1
    await rig.stop()
    await rig.start()
    await until(lambda: rig.rule(rule.uuid) is not None and rig.rule(rule.uuid).state is not None)
    assert 0 < rig.rule(rule.uuid).schedule.due_at - running_ms() < 3_700_000
    assert rig.plant.scans == 1


async def test_a_device_is_missed_by_runs_and_not_by_the_clock(rig: DiscoveryRig, wall_clock: WallClock):
    rig.plant.put("10.0.0.2")
    rig.plant.put("10.0.0.3")
    rule = await rig.add_rule()
    await rig.run_rule(rule.uuid)
    wall_clock.jump(YEAR)
    await rig.run_rule(rule.uuid)
    wall_clock.jump(-2 * YEAR)
    ran = await rig.run_rule(rule.uuid)

    assert ran.result.pruned == 0
    await until(lambda: not rig.rule(rule.uuid).unsaved)
    assert rig.rule(rule.uuid).stale == ()
    assert len(await rig.rows()) == 2
