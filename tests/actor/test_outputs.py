"""Options, baselines and events of drift detection, from request to disk."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from outputs_rig import CREATED, LEARNING, START, OutputsRig
from puppets import until
from shelf import Gate, fill_disk
from wall_clock import YEAR, WallClock

from actors.outputs import detector as detector_module
from actors.outputs.messages import (
    BaselinesRemoved,
    ChangeDriftOptions,
    ListDriftEvents,
    ListOutputs,
    OutputsChanged,
    OutputsListed,
    RemoveBaselines,
)
from actors.outputs.outputs import PROTOCOLS
from actors.state.messages import Transact
from actors.system.failure import Failed
from storage.timestamps import iso, unix_ms


@pytest.fixture
async def rig(tmp_path: Path) -> Any:
    async with OutputsRig(tmp_path) as running:
        yield running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_module, "SAVE_INTERVAL", 0.02)


def stored(rig: OutputsRig, table: str) -> int:
    with closing(sqlite3.connect(rig.path)) as connection:
        count: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return count


# Outputs


async def test_every_protocol_has_an_output(rig: OutputsRig) -> None:
    listed = await rig.ask(ListOutputs(), OutputsListed)
    assert [(row.id, row.protocol) for row in listed.outputs] == [
        (1, "modbus"),
        (2, "opcua"),
        (3, "snmp"),
        (4, "mqtt"),
        (5, "bacnet"),
    ]
    assert {
        row.drift_options is None and row.created_at == row.updated_at == CREATED for row in listed.outputs
    }
    assert [row.buffer_capacity for row in listed.outputs] == [131_072, 1_048_576, 131_072, 131_072, 131_072]
    assert listed.detectors == {protocol: rig.address(protocol) for protocol in PROTOCOLS}


async def test_options_are_merged(rig: OutputsRig) -> None:
    await rig.change(enabled=False, colour="red")
    (row,) = await rig.change(windowMs=5)
    assert row.drift_options == {"enabled": False, "colour": "red", "windowMs": 5}
    assert row.updated_at > row.created_at == CREATED
    assert await rig.listed() == row
    assert (await rig.listed("opcua")).drift_options is None


async def test_options_are_cleared(rig: OutputsRig) -> None:
    await rig.change(enabled=False)
    (row,) = (await rig.ask(ChangeDriftOptions("modbus", None), OutputsChanged)).outputs
    assert row.drift_options is None
    assert rig.detector().options.enabled


async def test_all_protocols_can_be_changed_together(rig: OutputsRig) -> None:
    await rig.change("opcua", windowMs=5)
    rows = await rig.change(None, enabled=False)
    assert {row.protocol: row.drift_options for row in rows} == {
        **{protocol: {"enabled": False} for protocol in PROTOCOLS},
        "opcua": {"windowMs": 5, "enabled": False},
    }


async def test_changes_that_come_together_are_all_kept(rig: OutputsRig) -> None:
    gate = Gate()
    rig.base.tell(rig.store, Transact("gate", gate))
    asked = [rig.base.ask(rig.outputs, ChangeDriftOptions("modbus", {name: 1}), 5) for name in "abc"]
    gate.open()
    for answer in asked:
        assert isinstance(await answer, OutputsChanged)
    assert (await rig.listed()).drift_options == {"a": 1, "b": 1, "c": 1}


async def test_an_unknown_protocol_is_refused(rig: OutputsRig) -> None:
    refused = await rig.refused(ChangeDriftOptions("profinet", {}))
    assert (refused.kind, refused.message) == ("not_found", "Protocol output not found: profinet")


async def test_a_wrong_option_is_refused_and_changes_nothing(rig: OutputsRig) -> None:
    refused = await rig.refused(ChangeDriftOptions("modbus", {"enabled": False, "windowMs": "long"}))
    assert (refused.kind, refused.field) == ("invalid", "drift_options.windowMs")
    assert (await rig.listed()).drift_options is None
    assert rig.detector().options.enabled


async def test_options_that_cannot_be_stored_change_nothing(rig: OutputsRig) -> None:
    await rig.transact(fill_disk)
    refused = await rig.refused(ChangeDriftOptions(None, {"enabled": False, "filling": "x" * 100_000}))
    assert refused.kind == "unavailable"
    assert (await rig.listed()).drift_options is None
    assert rig.detector().options.enabled


async def test_options_stay_over_a_restart(tmp_path: Path) -> None:
    async with OutputsRig(tmp_path) as rig:
        await rig.change(enabled=False)
    async with OutputsRig(tmp_path) as rig:
        assert (await rig.listed()).drift_options == {"enabled": False}
        assert not rig.detector().options.enabled


@pytest.mark.parametrize("name", ["outputs", "modbus"])
async def test_options_stay_when_an_actor_crashes(rig: OutputsRig, name: str) -> None:
    await rig.change(enabled=False)
    await rig.crash(rig.outputs if name == "outputs" else rig.address())
    assert (await rig.listed()).drift_options == {"enabled": False}
    assert not rig.detector().options.enabled


async def test_detectors_go_on_while_their_parent_restarts(rig: OutputsRig) -> None:
    before = rig.detector()
    await rig.crash(rig.outputs)
    assert rig.detector() is before


# Watching


async def test_drift_is_published_and_stored(rig: OutputsRig) -> None:
    await rig.learn()
    await rig.poll(3, load=1)
    (sent,) = rig.published
    assert sent.topic == "events/drift/modbus"
    assert sent.body == {
        "type": "schema-drift",
        "drift_type": "missing-field",
        "severity": "critical",
        "protocol": "modbus",
        "device": "press",
        "device_uuid": "uuid-of-press",
        "field": "reading:speed",
        "expected_type": "number",
        "detected_at": iso(START + 8000),
    }
    (event,) = await rig.events()
    assert (event.drift_type, event.field, event.detected_at) == (
        "missing-field",
        "reading:speed",
        iso(START + 8000),
    )


async def test_types_that_are_not_alerted_on_are_stored_only(rig: OutputsRig) -> None:
    await rig.learn()
    await rig.poll(1, speed=1, load="heavy", heat=1)
    assert [sent.body["drift_type"] for sent in rig.published] == ["type-drift"]
    assert [event.drift_type for event in await rig.events()] == ["new-field", "type-drift"]
    assert (await rig.events())[1].observed_types == ["string"]


async def test_which_types_are_alerted_on_can_be_chosen(rig: OutputsRig) -> None:
    await rig.learn()
    await rig.change(alertOnDriftTypes=["rename-candidate"])
    await rig.poll(3, speed1=1, load=1)
    (sent,) = rig.published
    assert sent.body["drift_type"] == "rename-candidate"
    assert sent.body["rename_candidate_from"] == "reading:speed"
    assert sent.body["rename_candidate_to"] == "reading:speed1"
    assert sent.body["rename_similarity"] == 0.833


async def test_devices_are_watched_each_by_itself(rig: OutputsRig) -> None:
    await rig.learn("press", "saw")
    await rig.poll(3, "saw", load=1)
    assert [(event.device, event.device_uuid) for event in await rig.events()] == [("saw", "uuid-of-saw")]


async def test_events_are_filtered_by_protocol(rig: OutputsRig) -> None:
    await rig.learn()
    await rig.poll(3, load=1)
    assert await rig.events("opcua") == []
    assert len(await rig.events("modbus")) == 1


async def test_a_disabled_detector_does_nothing(rig: OutputsRig) -> None:
    await rig.learn()
    await rig.change(enabled=False)
    await rig.poll(20, load=1)
    assert (await rig.baselines())["press"].batches == LEARNING
    await rig.change(enabled=True)
    await rig.poll(2, load=1)
    assert await rig.events() == []
    await rig.poll(1, load=1)
    assert len(await rig.events()) == 1


async def test_a_change_of_options_applies_at_once(rig: OutputsRig) -> None:
    await rig.learn()
    await rig.change(consecutiveMissingThreshold=100)
    await rig.poll(20, load=1)
    await rig.change(consecutiveMissingThreshold=10)
    await rig.poll(1, load=1)
    assert len(await rig.events()) == 1


async def test_only_a_sample_of_many_changes_is_logged(
    rig: OutputsRig, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.learn()
    await rig.change(logSampleSize=2)
    await rig.poll(1, speed=1, load=1, a=1, b=1, c=1)
    assert [record.getMessage() for record in caplog.records] == [
        "schema drift: modbus press: reading:a is new",
        "schema drift: modbus press: reading:b is new",
        "schema drift: modbus press: 1 changes more",
    ]
    assert len(await rig.events()) == 3


async def test_the_longest_silent_device_gives_way(rig: OutputsRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_module, "MAX_DEVICES", 2)
    await rig.learn("press", "saw")
    await rig.poll(1, "press", speed=1, load=1)
    await rig.poll(1, "drill", speed=1)
    assert set(await rig.baselines()) == {"press", "drill"}


# Baselines


async def test_baselines_are_listed(rig: OutputsRig) -> None:
    await rig.learn("saw", "press")
    await rig.poll(3, load=1)
    await rig.poll(1, load="x")
    rows = await rig.baselines()
    assert list(rows) == ["press", "saw"]
    press = rows["press"]
    assert (press.protocol, press.device_uuid, press.batches, press.learning) == (
        "modbus",
        "uuid-of-press",
        9,
        False,
    )
    assert press.last_seen == iso(rig.now)
    speed, load = press.fields
    assert (speed.field, speed.types, speed.presence, speed.batches) == (
        "reading:speed",
        ["number"],
        0.556,
        5,
    )
    assert (speed.expected, speed.missing, speed.retired) == (True, True, False)
    assert (load.field, load.types, load.presence) == ("reading:load", ["number", "string"], 1.0)


async def test_a_baseline_that_is_removed_is_learnt_anew(rig: OutputsRig) -> None:
    await rig.learn("press", "saw")
    for device, kept in (("saw", {"press"}), ("uuid-of-press", set())):
        removed = await rig.ask(RemoveBaselines(device), BaselinesRemoved, rig.address())
        assert removed.removed == 1
        assert set(await rig.baselines()) == kept
    await rig.poll(LEARNING, load=1)
    assert not (await rig.baselines())["press"].learning
    assert await rig.events() == []


async def test_all_baselines_of_a_protocol_can_be_removed(rig: OutputsRig) -> None:
    await rig.learn("press", "saw")
    removed = await rig.ask(RemoveBaselines(), BaselinesRemoved, rig.address())
    assert (removed.removed, await rig.baselines()) == (2, {})
    removed = await rig.ask(RemoveBaselines(), BaselinesRemoved, rig.address())
    assert removed.removed == 0


async def test_the_baseline_of_an_unknown_device_is_not_found(rig: OutputsRig) -> None:
    refused = await rig.refused(RemoveBaselines("saw"), rig.address())
    assert (refused.kind, refused.message) == ("not_found", "Baseline not found: saw")


async def test_a_removal_that_cannot_be_stored_changes_nothing(
    rig: OutputsRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.learn()
    monkeypatch.setattr(detector_module.stored, "remove", _fail)
    refused = await rig.refused(RemoveBaselines(), rig.address())
    assert (refused.kind, refused.message) == ("unavailable", "no room")
    assert set(await rig.baselines()) == {"press"}


async def test_who_waits_for_a_detector_or_its_parent_that_crashes_is_told(rig: OutputsRig) -> None:
    await rig.learn()
    gate = Gate()
    held = asyncio.ensure_future(rig.transact(gate))
    await asyncio.to_thread(gate.entered.wait)
    removal = asyncio.ensure_future(rig.refused(RemoveBaselines(), rig.address()))
    listing = asyncio.ensure_future(rig.refused(ListDriftEvents("modbus", 1)))
    await rig.listed()
    await rig.baselines()
    rig.base.crash(rig.base.mailboxes[rig.address().addressDetails], RuntimeError("boom"))
    rig.base.crash(rig.base.mailboxes[rig.outputs.addressDetails], RuntimeError("boom"))
    assert await removal == Failed("unavailable", "Interrupted: look whether they were removed")
    assert await listing == Failed("unavailable", "Interrupted")
    gate.open()
    await held


def _fail(*_: Any) -> None:
    raise OSError("no room")


# Storing


async def test_baselines_stay_over_a_restart(tmp_path: Path) -> None:
    rig = OutputsRig(tmp_path)
    await rig.start()
    await rig.learn()
    await rig.poll(7, speed=1, load=1)
    before = (await rig.baselines())["press"]
    await rig.stop()
    await rig.start()
    after = (await rig.baselines())["press"]
    assert (after.batches, after.learning, after.fields) == (12, False, before.fields)
    await rig.poll(3, load=1)
    assert len(await rig.events()) == 1
    await rig.stop()


async def test_baselines_are_stored_now_and_then(tmp_path: Path, quick: None) -> None:
    async with OutputsRig(tmp_path) as rig:
        await rig.learn("press", "saw")
        await until(lambda: stored(rig, "drift_baselines") == 2)
        await until(lambda: not any(watch.changed for watch in rig.detector().watches.values()))
    async with OutputsRig(tmp_path) as rig:
        assert not (await rig.baselines())["press"].learning


async def test_many_baselines_are_stored_a_few_at_a_time(
    rig: OutputsRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector_module, "AT_ONCE", 2)
    sizes: list[int] = []
    save = detector_module.stored.save

    def count_and_save(database: Any, protocol: str, rows: list[Any]) -> None:
        sizes.append(len(rows))
        save(database, protocol, rows)

    monkeypatch.setattr(detector_module.stored, "save", count_and_save)
    await rig.learn(*"abcde")
    rig.base.deliver(rig.address(), detector_module.SaveDue(), rig.address())
    await until(lambda: stored(rig, "drift_baselines") == 5)
    assert sizes == [2, 2, 1]


async def test_a_removed_baseline_does_not_come_back(tmp_path: Path, quick: None) -> None:
    rig = OutputsRig(tmp_path)
    await rig.start()
    await rig.learn("press", "saw")
    await until(lambda: stored(rig, "drift_baselines") == 2)
    await rig.ask(RemoveBaselines("saw"), BaselinesRemoved, rig.address())
    assert stored(rig, "drift_baselines") == 1
    await rig.stop()
    await rig.start()
    assert set(await rig.baselines()) == {"press"}
    await rig.stop()


async def test_a_full_disk_is_logged_once_and_tried_again(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[None] = []

    def fail(*_: Any) -> None:
        tried.append(None)
        raise OSError("no room")

    async with OutputsRig(tmp_path) as rig:
        await rig.learn()
        with monkeypatch.context() as patch:
            patch.setattr(detector_module.stored, "save", fail)
            patch.setattr(detector_module.stored, "add_events", fail)
            await rig.poll(3, load=1)
            await until(lambda: len(tried) > 6)
            assert rig.detector().health == "degraded: no room"
        await until(lambda: stored(rig, "drift_baselines") == 1 and stored(rig, "drift_events") == 1)
        await until(lambda: rig.detector().health == "1 devices")
        texts = [record.getMessage() for record in caplog.records]
        assert texts.count("modbus: baselines and drift events cannot be stored: no room") == 1


async def test_a_baseline_that_cannot_be_read_is_learnt_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = OutputsRig(tmp_path)
    await rig.start()
    await rig.learn()
    await rig.stop()
    with closing(sqlite3.connect(rig.path)) as connection, connection:
        connection.execute("UPDATE drift_baselines SET body = '{}}'")
    await rig.start()
    assert (await rig.baselines())["press"].learning
    assert "press: what is usual is learnt anew" in caplog.text
    await rig.stop()


async def test_a_detector_that_crashes_goes_on_with_what_it_knew(rig: OutputsRig) -> None:
    await rig.learn()
    await rig.crash(rig.address())
    await until(lambda: rig.detector().loaded)
    assert not (await rig.baselines())["press"].learning
    await rig.poll(3, load=1)
    assert len(await rig.events()) == 1


async def test_nothing_is_watched_before_the_baselines_are_loaded(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = OutputsRig(tmp_path)
    await rig.start()
    await rig.learn()
    await rig.stop()
    gate, load = Gate(), detector_module.stored.load

    def wait_and_load(database: Any, protocol: str) -> Any:
        gate(database)
        return load(database, protocol)

    monkeypatch.setattr(detector_module.stored, "load", wait_and_load)
    await rig.start(loaded=False)
    await rig.poll(20, load=1)
    assert await rig.baselines() == {}
    refused = await rig.refused(RemoveBaselines(), rig.address())
    assert refused.kind == "unavailable"
    assert rig.detector().health == "waits for its baselines"
    gate.open()
    await until(lambda: rig.detector().loaded)
    assert (await rig.baselines())["press"].batches == LEARNING
    await rig.stop()


async def test_baselines_that_cannot_be_loaded_are_asked_for_again(
    rig: OutputsRig, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.learn()
    with monkeypatch.context() as patch:
        patch.setattr(detector_module.stored, "load", _fail)
        await rig.crash(rig.address())
        await until(lambda: rig.detector().health == "degraded: no room")
    await until(lambda: rig.detector().loaded)
    assert set(await rig.baselines()) == {"press"}


@pytest.mark.parametrize("jump", [10 * YEAR, -10 * YEAR, 7200.0, -7200.0])
async def test_a_clock_that_is_set_neither_brings_an_alert_forward_nor_puts_it_off(
    rig: OutputsRig, wall_clock: WallClock, jump: float
) -> None:
    """https://github.com/influxdata/telegraf/issues/13403"""
    rig.now = unix_ms()
    await rig.learn()
    await rig.change(windowMs=3_600_000)
    await rig.poll(2, load=1)
    wall_clock.jump(jump)
    rig.now += round(1000 * jump)
    await rig.poll(5, load=1)
    assert await rig.events() == []
    rig.now += 3_600_000
    await rig.poll(1, load=1)
    [event] = await rig.events()
    assert (event.drift_type, event.detected_at) == ("missing-field", iso(rig.now))
