"""Which installations can exchange themselves, and what is looked at before one does."""

import os
import shutil
import signal
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from actors.update import installation, startup, venv_updater
from actors.update.installation import find_updater
from actors.update.layout import Layout
from actors.update.updater import NotUpdatable, Prepared, UpdateFailed
from actors.update.venv_updater import VenvUpdater
from conf.settings import load
from storage import migrations
from storage.database import open_database

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sync", lambda: None)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "root")
    for name in ("1.0.0-1", "2.0.0-1"):
        (layout.versions / name / "bin").mkdir(parents=True)
        layout.finish(name)
    layout.point_at("1.0.0-1")
    return layout


def settings(folder: Path, **update: Any) -> Any:
    overrides = {"storage.data_dir": folder / "data", "update.min_free_mb": 1}
    return load(None, {}, overrides | {f"update.{name}": value for name, value in update.items()})


def updater(layout: Layout, **update: Any) -> VenvUpdater:
    return VenvUpdater(layout, "1.0.0-1", settings(layout.root, **update))


def hint(monkeypatch: pytest.MonkeyPatch, folder: Path, **update: Any) -> str:
    found = find_updater(settings(folder, **update))
    assert isinstance(found, NotUpdatable)
    return found.hint


# Which


def test_a_version_that_its_launcher_has_started_can(layout, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(layout.versions / "1.0.0-1"))
    assert "was not started by" in hint(monkeypatch, layout.root)
    assert "was not started by" in hint(monkeypatch, layout.root, launcher="/usr/bin/callboard")
    link = layout.root.with_name("link")
    link.symlink_to(layout.root)
    for launcher in (link / "bin" / "callboard", layout.launcher):
        found = find_updater(settings(layout.root, launcher=launcher))
        assert isinstance(found, VenvUpdater)
    assert found.launcher == layout.launcher


def test_others_cannot_and_are_told_how_else(tmp_path, monkeypatch):
    assert "editable mode" in hint(monkeypatch, tmp_path)
    monkeypatch.setattr(installation, "_editable_source", lambda: None)
    monkeypatch.setattr(installation, "_CONTAINERS", (tmp_path,))
    assert "container" in hint(monkeypatch, tmp_path)
    monkeypatch.setattr(installation, "_CONTAINERS", ())
    assert "docs/updating.rst" in hint(monkeypatch, tmp_path)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert "package manager" in hint(monkeypatch, tmp_path)


def test_half_a_version_is_none(layout, monkeypatch):
    (layout.versions / "1.0.0-1" / "complete").unlink()
    monkeypatch.setattr(sys, "prefix", str(layout.versions / "1.0.0-1"))
    assert Layout.around(layout.versions / "1.0.0-1") is None


# Before


def test_room_on_the_disk_is_looked_at_first(layout, monkeypatch):
    """A disk that fills up in the middle of an update is how most of them end badly."""
    updater(layout).check()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, 7_000_000))
    with pytest.raises(UpdateFailed, match="7 MB are free, and 500 MB must be"):
        updater(layout, min_free_mb=500).check()


def test_a_folder_that_cannot_be_written_is_told(layout, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != layout.versions)
    with pytest.raises(UpdateFailed, match="cannot be written by the user that runs the agent"):
        updater(layout).check()


def test_nothing_is_updated_that_is_on_trial_or_on_its_way_out(layout):
    layout.point_at("2.0.0-1")
    with pytest.raises(UpdateFailed, match="Another version has been switched to"):
        updater(layout).check()
    layout.begin_trial("2.0.0-1", "1.0.0-1", 60, frozenset())
    with pytest.raises(UpdateFailed, match="itself on trial"):
        updater(layout).check()


# Switching, and after


def test_the_database_is_copied_before_a_version_that_would_upgrade_it(layout):
    one = updater(layout)
    path = settings(layout.root).database_path
    open_database(path).close()
    one.switch(Prepared("2.0.0-1", "2.0.0", tuple(migrations.names())), frozenset())
    assert not list(path.parent.glob("*.before-*"))
    one.switch(Prepared("2.0.0-1", "2.0.0", (*migrations.names(), "9998_a", "9999_b")), frozenset())
    assert [file.name for file in path.parent.glob("*.before-*")] == ["agent.sqlite.before-9998_a"]
    assert layout.trial().to == "2.0.0-1"


def test_without_room_for_that_copy_it_is_not_switched_to(layout, monkeypatch):
    one = updater(layout)
    path = settings(layout.root).database_path
    open_database(path).close()

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(venv_updater.copies, "copy_before_update", full)
    with pytest.raises(UpdateFailed, match="No space left"):
        one.switch(Prepared("2.0.0-1", "2.0.0", ("9999_b",)), frozenset())
    assert (layout.current, layout.trial()) == ("1.0.0-1", None)


def test_what_goes_is_neither_what_runs_nor_what_it_goes_back_to(layout):
    for name in ("0.8.0-1", "0.9.0-1"):
        (layout.versions / name).mkdir()
        layout.finish(name)
    (layout.versions / "2.5.0-1").mkdir()
    layout.begin_trial("1.0.0-1", "2.0.0-1", 60, frozenset())
    new = VenvUpdater(layout, "2.0.0-1", settings(layout.root))
    new.clean()  # on trial nothing complete goes
    assert {path.name for path in layout.versions.iterdir()} == {"0.8.0-1", "0.9.0-1", "1.0.0-1", "2.0.0-1"}
    assert new.confirm(new.trial())
    assert {path.name for path in layout.versions.iterdir()} == {"1.0.0-1", "2.0.0-1"}


def test_pip_gets_nothing_of_the_agents_environment(monkeypatch):
    for name in ("API_KEY", "PYTHONPATH", "UPDATE_COMMAND_SECRET", "PIP_TARGET", "LD_PRELOAD"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.example/simple")
    given = venv_updater._environment()
    assert not {"API_KEY", "PYTHONPATH", "UPDATE_COMMAND_SECRET", "PIP_TARGET", "LD_PRELOAD"} & given.keys()
    assert given["PIP_INDEX_URL"] == "https://packages.example/simple"
    assert given["PATH"] == os.environ["PATH"]


def test_packages_come_from_where_the_configuration_says(layout):
    assert list(updater(layout)._sources()) == []
    assert venv_updater._environment("https://x/simple")["PIP_INDEX_URL"] == "https://x/simple"
    assert list(updater(layout, wheels="/w", index_url="https://x")._sources()) == [
        "--no-index",
        "--find-links",
        "/w",
    ]


# The process


def test_a_process_that_hands_nothing_over_ends(layout, monkeypatch):
    monkeypatch.setattr(os, "execve", lambda *arguments: pytest.fail("it went on"))
    startup.settle(settings(layout.root))
    startup.settle(settings(layout.root, launcher=layout.launcher))
    assert not startup.hands_over()
    startup.take_over()


def test_one_that_does_becomes_what_the_launcher_chooses(layout, monkeypatch, caplog):
    taken: list[Any] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: taken.append((pid == os.getpid(), number)))
    monkeypatch.setattr(os, "execve", lambda *arguments: taken.append(arguments))
    monkeypatch.setattr(sys, "argv", ["callboard", "run", "--config", "x"])
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    startup.settle(settings(layout.root))
    monkeypatch.delenv("NOTIFY_SOCKET")
    startup.hand_over_to(layout.launcher)
    assert startup.hands_over()
    startup.take_over()
    (ours, _), (program, arguments, environment) = taken
    assert ours
    assert (program, arguments) == (layout.launcher, [str(layout.launcher), "run", "--config", "x"])
    assert environment["NOTIFY_SOCKET"] == "/run/notify"
    assert not startup.hands_over()


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "_process", startup._Process())


def test_a_stop_from_outside_before_or_meanwhile_is_one(layout, monkeypatch):
    """`systemctl stop` while it stops to be updated: nobody wants another process then."""
    monkeypatch.setattr(os, "kill", lambda pid, number: startup.signalled(number))
    startup.hand_over_to(layout.launcher)
    assert startup.hands_over()
    startup.signalled(signal.SIGTERM)
    assert not startup.hands_over()
    startup.hand_over_to(layout.launcher)
    assert not startup.hands_over()


def test_a_version_that_was_taken_back_makes_room(layout):
    layout.begin_trial("1.0.0-1", "2.0.0-1", 60, frozenset())
    layout.point_at("1.0.0-1")
    (layout.root / "rolled-back").write_text("from=2.0.0-1\nto=1.0.0-1\nreason=so\n")
    one = updater(layout)
    assert one.taken_back().reason == "so"
    one.forget_taken_back()
    assert one.taken_back() is None
    assert [path.name for path in layout.versions.iterdir()] == ["1.0.0-1"]


def test_a_launcher_that_cannot_be_run_is_left_to_the_next_start(layout, monkeypatch, caplog):
    monkeypatch.setattr(os, "kill", lambda pid, number: None)
    startup.hand_over_to(layout.root / "none")
    startup.take_over()
    assert "could not be started" in caplog.text
