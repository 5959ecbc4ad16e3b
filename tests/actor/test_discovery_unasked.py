"""Scans that nobody has asked for: of a new agent, and again and again."""

import asyncio
from pathlib import Path

import pytest
from discovery_rig import DiscoveryRig, discovering
from puppets import until

from actors.discovery.unasked import FIRST_BOOT, FULL, LIGHT, Unasked
from storage import discovery as stored


async def run_now(rig: DiscoveryRig, name: str) -> None:
    await until(lambda: rig.rule(name) is not None and rig.rule(name).state is not None)
    rule = rig.rule(name)
    assert rule.schedule.due_at is not None
    scans = rig.plant.ended
    rule.schedule.due_at = 0
    rule._look_later()
    await until(lambda: rig.plant.ended == scans + 1)
    await until(lambda: rule.run_under_way is None and not rule.unsaved)


async def test_the_first_boot_looks_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    async with discovering(monkeypatch, tmp_path, ENABLE_FIRST_BOOT_DISCOVERY="true") as rig:
        rig.plant.configured = ("10.0.0.2", "10.0.0.3")
        rig.plant.put("10.0.0.2")

        await run_now(rig, FIRST_BOOT)

        [row] = (await rig.rows()).values()
        assert row.enabled is False
        [run] = await rig.runs()
        assert (run.trigger, run.rule_name, run.status, run.saved) == ("first_boot", "first boot", "ok", 1)
        assert rig.plant.validated == [True]
        assert await rig.rules() == []
        await rig.stop()
        await rig.start()
        await until(lambda: rig.rule(FIRST_BOOT) is not None and rig.rule(FIRST_BOOT).state is not None)
        assert rig.rule(FIRST_BOOT).schedule.due_at is None


async def test_a_first_boot_that_is_cut_short_is_resumed_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    async with discovering(monkeypatch, tmp_path, ENABLE_FIRST_BOOT_DISCOVERY="true") as rig:
        rig.plant.configured = ("10.0.0.2",)
        rig.plant.gate.clear()
        for cut_short in range(1, 4):
            await until(lambda: rig.rule(FIRST_BOOT) is not None and rig.rule(FIRST_BOOT).state is not None)
            rule = rig.rule(FIRST_BOOT)
            rule.schedule.due_at = 0
            rule._look_later()
            await until(lambda expected=cut_short: rig.plant.scans == expected)
            await rig.kill()
            await rig.start()
        await until(lambda: rig.rule(FIRST_BOOT) is not None and rig.rule(FIRST_BOOT).state is not None)

        assert rig.rule(FIRST_BOOT).schedule.due_at is None
        assert {run.error for run in await rig.runs()} == {stored.INTERRUPTED}


async def test_light_scans_look_and_full_ones_read_and_remove(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    async with discovering(monkeypatch, tmp_path, ENABLE_PERIODIC_DISCOVERY="true") as rig:
        rig.plant.configured = ("10.0.0.2", "10.0.0.3")
        rig.plant.put("10.0.0.2")
        rig.plant.put("10.0.0.3")
        await run_now(rig, FULL)
        del rig.plant.devices["10.0.0.3"]

        for _ in range(3):
            await run_now(rig, LIGHT)
        assert len(await rig.rows()) == 2
        for _ in range(2):
            await run_now(rig, FULL)

        assert list(await rig.rows()) == ["Device at 10.0.0.2"]
        assert rig.plant.validated == [True, False, False, False, True, True]


async def test_settings_change_what_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    async with discovering(monkeypatch, tmp_path, ENABLE_PERIODIC_DISCOVERY="true") as rig:
        await until(lambda: rig.rule(LIGHT) is not None and rig.rule(LIGHT).state is not None)
        keeper = rig.keeper()
        changed = keeper.config.__class__(
            keeper.config.store, keeper.config.endpoints, rig.settings, Unasked(True, 600_000, 86_400_000)
        )
        rig.base.tell(rig.discovery, changed)
        await until(lambda: rig.rule(LIGHT).interval == 600_000)

        off = changed.__class__(changed.store, changed.endpoints, rig.settings, Unasked(False, 1, 1))
        rig.base.tell(rig.discovery, off)

        await until(lambda: rig.rule(LIGHT) is None and rig.rule(FULL) is None)


async def test_nothing_is_begun_where_nothing_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    async with discovering(monkeypatch, tmp_path) as rig:
        await asyncio.sleep(0.05)
        assert rig.keeper().running_children() == []
