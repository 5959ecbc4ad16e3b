"""The keeper of the settings on a real store; its parent keeps what it is told."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from puppets import SECONDS, SOON, until
from shelf import Gate, configured, fill_disk
from thespian.actors import ActorAddress

from actors.settings.messages import ChangeSettings, ReportSettings, SettingsReported
from actors.settings.settings import KIND, NAME, RunSettings, SettingsKeeper
from actors.state.messages import StoreOpened, Transact, Transacted
from actors.state.store import Store
from actors.subsystems.messages import CheckSubsystem, SettingsStated, SubsystemChecked, SubsystemStarted
from actors.system.actor import Actor
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.failure import Failed
from conf.runtime import RuntimeSettings
from storage import target_state
from storage.database import Database


class RunRoot(msgspec.Struct, frozen=True):
    told: list[Any]
    path: Path
    level: str


class Root(Actor):
    """Parent of a store and of the settings."""

    def receiveMsg_RunRoot(self, message: RunRoot, sender: ActorAddress) -> None:
        self.told = message.told
        store = self.spawn(Store, "store", configured(message.path), SOON)
        self.spawn(SettingsKeeper, "settings", RunSettings(store, message.level), SOON)

    def receiveMsg_StoreOpened(self, message: StoreOpened, sender: ActorAddress) -> None:
        pass

    def receiveMsg_SettingsStated(self, message: SettingsStated, sender: ActorAddress) -> None:
        self.told.append(message.settings)

    def receiveMsg_SubsystemStarted(self, message: SubsystemStarted, sender: ActorAddress) -> None:
        if sender.addressDetails.endswith("settings"):
            self.told.append("started")


class Rig:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "agent.sqlite"
        self.told: list[Any] = []
        self.keeper, self.store = ActorAddress("/root/settings"), ActorAddress("/root/store")

    async def start(self, level: str = "info") -> None:
        self.base = AsyncioSystemBase()
        self.told.clear()
        self.base.spawn(None, Root, "root", RunRoot(self.told, self.path, level))
        await until(lambda: "started" in self.told)

    async def end(self) -> None:
        self.base.shutdown()
        await self.base.released()

    async def ask(self, message: Any, expected: type[Any]) -> Any:
        answer = await self.base.ask(self.keeper, message, SECONDS)
        assert isinstance(answer, expected), answer
        return answer

    async def change(self, **patch: Any) -> dict[str, Any]:
        settings: dict[str, Any] = (await self.ask(ChangeSettings(patch), SettingsReported)).settings
        return settings

    async def listed(self) -> dict[str, Any]:
        settings: dict[str, Any] = (await self.ask(ReportSettings(), SettingsReported)).settings
        return settings

    async def transact(self, call: Any, *args: Any) -> Any:
        answer = await self.base.ask(self.store, Transact("test", call, args), SECONDS)
        assert isinstance(answer, Transacted)
        assert answer.error is None, answer.error
        return answer.result

    async def rows(self) -> list[dict[str, Any]]:
        return [row.body for row in await self.transact(target_state.load, (KIND,))]

    async def broken(self) -> str | None:
        checked = await self.ask(CheckSubsystem(), SubsystemChecked)
        return next((one.last_error for one in checked.checks if one.name == "settings-rows"), None)

    def latest(self) -> RuntimeSettings:
        return next(told for told in reversed(self.told) if isinstance(told, RuntimeSettings))


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    await rig.start()
    yield rig
    await rig.end()


async def test_the_root_is_told_the_settings_before_it_is_told_of_the_start(rig):
    assert rig.told == [RuntimeSettings(), "started"]
    assert await rig.rows() == []


async def test_a_change_is_on_disk_and_told_when_it_is_answered_and_there_after_a_restart(rig):
    shown = await rig.change(logging={"level": "debug"}, intervals={"stateReportMs": 5000})
    assert (shown["logging"]["level"], shown["intervals"]["stateReportMs"]) == ("debug", 5000)
    assert rig.latest().intervals.agent.report_interval_ms == 5000
    (body,) = await rig.rows()
    assert body["values"] == {"logging.level": "debug", "intervals.agent.reportIntervalMs": 5000}
    await rig.end()
    await rig.start()
    assert await rig.listed() == shown
    assert rig.told[0].logging.level == "debug"
    await rig.change(logging=None, intervals=None)
    assert (await rig.rows())[0]["values"] == {}


async def test_what_is_changed_is_logged_without_what_is_in_objects(rig, caplog):
    await rig.change(logging={"maxLogs": 50, "level": "info"}, anomalyDetection={"token": "s3cret"})
    await rig.change(logging={"maxLogs": None}, features={"discovery": False})
    told = [record.getMessage() for record in caplog.records if record.name == "actors.settings.settings"]
    assert told == [
        'settings changed: logging.maxLogs: 50; logging.level: "info"; anomalyDetection: changed',
        "settings changed: logging.maxLogs: as by default; features.discovery: false",
    ]


async def test_a_change_that_changes_nothing_is_not_written(rig):
    await rig.change(logging={"maxLogs": 50})
    before = await rig.transact(target_state.load, (KIND,))
    told = len(rig.told)
    assert await rig.change(logging={"maxLogs": 50}) == await rig.change() == await rig.listed()
    assert await rig.transact(target_state.load, (KIND,)) == before
    assert len(rig.told) == told


async def test_a_refused_change_changes_nothing_and_names_the_setting(rig):
    refused = await rig.ask(
        ChangeSettings({"logging": {"maxLogs": 50}, "features": {"discovery": "yes"}}), Failed
    )
    assert refused == Failed("invalid", "features.discovery must be true or false", "features.discovery")
    assert await rig.rows() == []
    assert rig.latest() == RuntimeSettings()


async def test_changes_at_the_same_time_lose_nothing_of_each_other(rig):
    changes = [rig.change(anomalyDetection={f"key-{number}": number}) for number in range(50)]
    await asyncio.gather(*changes, rig.change(logging={"maxLogs": 77}))
    assert rig.latest().anomaly_detection == {f"key-{number}": number for number in range(50)}
    assert rig.latest().logging.max_logs == 77
    (body,) = await rig.rows()
    assert body["values"]["anomalyDetection"] == rig.latest().anomaly_detection


async def test_what_cannot_be_stored_changes_nothing(rig):
    await rig.transact(fill_disk)
    patch = {"anomalyDetection": {"a": "x" * 100_000}, "logging": {"level": "error"}}
    failed = await rig.ask(ChangeSettings(patch), Failed)
    assert failed.kind == "unavailable"
    assert rig.latest() == RuntimeSettings()
    assert logging.getLogger().level == logging.INFO
    assert (await rig.listed())["logging"]["level"] == "info"


async def test_the_next_life_finds_a_change_that_was_under_way(rig):
    gate = Gate()
    held = asyncio.ensure_future(rig.transact(gate))
    await asyncio.to_thread(gate.entered.wait)
    changing = asyncio.ensure_future(
        rig.base.ask(rig.keeper, ChangeSettings({"logging": {"maxLogs": 99}}), 5)
    )
    cell: Any = rig.base.mailboxes["/root/settings"]
    await until(lambda: cell.instance._changing is not None)
    rig.base.crash(cell, RuntimeError("boom"))
    gate.open()
    await held
    assert isinstance(await changing, Failed)
    await until(lambda: rig.latest().logging.max_logs == 99)
    assert (await rig.listed())["logging"]["maxLogs"] == 99


# The level of the log


async def test_the_level_of_the_log_changes_at_once_and_libraries_are_never_debugged(rig):
    chatty, other = logging.getLogger("gmqtt"), logging.getLogger("library")
    chatty.setLevel(logging.ERROR)
    for level, number in (("debug", 10), ("warn", 30), ("error", 40), ("info", 20)):
        await rig.change(logging={"level": level})
        assert logging.getLogger("actors.agent").getEffectiveLevel() == number
        assert other.getEffectiveLevel() == max(number, logging.INFO)
        assert chatty.getEffectiveLevel() == logging.ERROR


async def test_without_a_level_that_of_files_and_environment_counts(rig):
    await rig.change(logging={"level": "debug"})
    await rig.end()
    await rig.start(level="error")
    assert (await rig.listed())["logging"]["level"] == "debug"
    assert (await rig.change(logging={"level": None}))["logging"]["level"] == "error"
    assert logging.getLogger().level == logging.ERROR


# Rows that cannot be understood


def _spoil(database: Database) -> None:
    database.db.execute("UPDATE target_state SET body = X'00' WHERE kind = 'settings'")


async def _restarted(rig: Rig) -> None:
    await rig.end()
    await rig.start()


async def test_a_row_that_cannot_be_read_counts_as_not_set_and_stays_until_a_client_sets_something(rig):
    await rig.change(logging={"maxLogs": 50})
    await rig.transact(_spoil)
    await _restarted(rig)
    assert rig.latest() == RuntimeSettings()
    assert (await rig.broken()).startswith("1 settings cannot be used: settings: ")
    await rig.change()
    assert (await rig.transact(target_state.load, (KIND,)))[0].error is not None
    await rig.change(logging={"maxLogs": None})
    assert await rig.broken() is None
    await rig.change(logging={"maxLogs": 60})
    await _restarted(rig)
    assert rig.latest().logging.max_logs == 60
    assert await rig.broken() is None


@pytest.mark.parametrize("body", [{"values": []}, {"values": {}, "names": {"a": 1}}])
async def test_a_row_of_another_shape_is_treated_the_same_way(rig, body):
    await rig.transact(target_state.insert, KIND, NAME, body)
    await _restarted(rig)
    assert rig.latest() == RuntimeSettings()
    assert "its stored configuration cannot be understood" in (await rig.broken())
    assert await rig.rows() == [body]
    await rig.change(logging={"maxLogs": 60})
    assert (await rig.rows())[0]["values"] == {"logging.maxLogs": 60}
    assert await rig.broken() is None


async def test_of_a_stored_value_that_is_not_allowed_the_default_counts_and_the_others_are_used(rig, caplog):
    values = {"logging.maxLogs": -1, "logging.warp": 9, "features.discovery": False}
    await rig.transact(target_state.insert, KIND, NAME, {"values": values})
    await rig.transact(target_state.insert, KIND, "of another version", {})
    await _restarted(rig)
    assert rig.latest().logging.max_logs == 1000
    assert rig.latest().features.discovery is False
    broken = await rig.broken()
    assert "logging.maxLogs must be an integer from 10 to 100000" in broken
    assert "of another version: is not known to this version" in broken
    assert "these settings are not known and mean nothing: logging.warp" in caplog.text
    await rig.change(logging={"level": "warn"})
    assert (await rig.rows())[0]["values"] == values | {"logging.level": "warn"}
    await rig.change(logging={"maxLogs": 60})
    assert "logging.maxLogs" not in (await rig.broken())
