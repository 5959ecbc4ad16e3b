"""Versions in virtual environments, side by side (`layout.py`), filled by pip."""

import asyncio
import importlib.util
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from actors.system.programs import ProgramEnded, run_program
from actors.update.layout import Layout, TakenBack, Trial
from actors.update.updater import PACKAGE, Prepared, Tell, UpdateFailed
from conf.settings import Settings
from storage import copies, migrations

NICE: Final = 10
CHECK_SECONDS: Final = 120.0
"""For what only imports: minutes on a slow card."""

MEGABYTE: Final = 1_000_000

_PASSED_ON: Final = frozenset(
    {
        *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    }
)
_ELSEWHERE: Final = frozenset(
    ["PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_PYTHON", "PIP_REQUIRE_VIRTUALENV"]
)
"""Options of pip that would have it install somewhere else, or not at all."""


class SelfTest(msgspec.Struct, frozen=True):
    """What `api.self_test` of the other version prints."""

    version: str
    migrations: tuple[str, ...]


class VenvUpdater:
    """An `Updater` for an installation in a `Layout`."""

    def __init__(self, layout: Layout, running: str, settings: Settings) -> None:
        self._layout = layout
        self._running = running
        self._settings = settings.update
        self._database = settings.database_path
        self._trial_seconds = -(-settings.update.trial_ms // 1000)
        self._scratch = layout.root / "scratch"
        """Beside the versions: /tmp is often a small disk in memory."""

    @property
    def launcher(self) -> Path:
        return self._layout.launcher

    def check(self) -> None:
        versions = self._layout.versions
        if not all(os.access(folder, os.W_OK | os.X_OK) for folder in (self._layout.root, versions)):
            raise UpdateFailed(f"{self._layout.root} cannot be written by the user that runs the agent")
        if self._layout.current != self._running:
            raise UpdateFailed("Another version has been switched to: restart the agent first")
        if self._layout.trial() is not None:
            raise UpdateFailed("The version that runs is itself on trial: wait until it is confirmed")
        free, needed = shutil.disk_usage(versions).free, self._settings.min_free_mb * MEGABYTE
        if free < needed:
            raise UpdateFailed(
                f"{versions}: {free // MEGABYTE} MB are free, and {self._settings.min_free_mb} MB must be"
            )

    async def latest(self, tell: Tell) -> str:
        report = self._scratch / "latest.json"
        wanted = ["--dry-run", "--ignore-installed", "--no-deps", "--report", str(report), PACKAGE]
        python = await self._python_with_pip(tell)
        ended = await self._pip(python, ["install", *wanted, *self._sources()], tell)
        if ended.code != 0:
            raise UpdateFailed(f"The newest version could not be asked for: pip {ended.why}")
        try:
            (found,) = msgspec.json.decode(await asyncio.to_thread(report.read_bytes))["install"]
            return str(found["metadata"]["version"])
        except (OSError, ValueError, KeyError) as error:
            raise UpdateFailed(f"The answer of pip cannot be understood: {error}") from error
        finally:
            await asyncio.to_thread(self._forget_scratch)

    async def prepare(self, version: str, wheel: Path | None, tell: Tell) -> Prepared:
        """Of one that is cancelled, what is there is removed when the agent starts next."""
        made = await asyncio.to_thread(self._layout.room_for, version)
        try:
            await self._install(made, version, wheel, tell)
            tested = await self._test(made, version, tell)
            return Prepared(made.name, version, tested.migrations)
        except (OSError, UpdateFailed) as error:
            await asyncio.to_thread(self._layout.remove, made.name)
            if isinstance(error, UpdateFailed):
                raise
            raise UpdateFailed(f"{made}: {error}") from error
        finally:
            await asyncio.to_thread(self._forget_scratch)

    async def _python_with_pip(self, tell: Tell) -> Path:
        """The own one, or one of a virtual environment in the scratch folder: those who install may have
        removed pip."""
        if importlib.util.find_spec("pip") is not None:
            return Path(sys.executable)
        asking = self._scratch / "asking"
        await self._make(asking, tell)
        return asking / "bin" / "python"

    async def _make(self, made: Path, tell: Tell) -> None:
        base = getattr(sys, "_base_executable", sys.executable)
        command = [base, "-I", "-m", "venv", str(made)]
        ended = await self._run(command, self._settings.install_timeout_ms / 1000, tell)
        if ended.code != 0:
            raise UpdateFailed(
                f"No virtual environment could be made (python3-venv missing?): it {ended.why}"
            )

    async def _install(self, made: Path, version: str, wheel: Path | None, tell: Tell) -> None:
        await self._make(made, tell)
        what = f"{PACKAGE}=={version}" if wheel is None else str(wheel)
        ended = await self._pip(made / "bin" / "python", ["install", what, *self._sources()], tell)
        if ended.code != 0:
            raise UpdateFailed(f"{PACKAGE} {version} could not be installed: pip {ended.why}")

    async def _test(self, made: Path, version: str, tell: Tell) -> SelfTest:
        """It says that it is the wanted version, and everything of it can be imported."""
        ended = await self._run([str(made / "bin" / "callboard"), "--version"], CHECK_SECONDS, tell)
        if ended.code != 0 or ended.output.strip() != f"{PACKAGE} {version}":
            raise UpdateFailed(f"What was installed is not {version}: `callboard --version` {ended.why}")
        command = [str(made / "bin" / "python"), "-I", "-m", "api.self_test"]
        ended = await self._run(command, CHECK_SECONDS, tell)
        if ended.code != 0:
            raise UpdateFailed(f"{version} does not work here, or cannot be gone back from: it {ended.why}")
        try:
            return msgspec.json.decode(ended.output.strip().rpartition("\n")[2], type=SelfTest)
        except ValueError as error:
            raise UpdateFailed(f"{version} says of itself what cannot be understood: {error}") from error

    def switch(self, to: Prepared, failing: frozenset[str]) -> None:
        try:
            self._copy_database(to)
            self._layout.finish(to.name)
            self._layout.begin_trial(self._running, to.name, self._trial_seconds, failing)
        except (OSError, sqlite3.Error) as error:
            raise UpdateFailed(f"It could not be switched to {to.version}: {error}") from error

    def _copy_database(self, to: Prepared) -> None:
        """Going back takes a copy of before; of a database that is big the upgrade makes none by itself."""
        known = set(migrations.names())
        added = [name for name in to.migrations if name not in known]
        if added and self._database.exists():
            copies.copy_before_update(self._database, added[0])

    def discard(self, prepared: Prepared) -> None:
        if self._layout.current != prepared.name:
            self._layout.remove(prepared.name)

    def trial(self) -> Trial | None:
        found = self._layout.trial()
        return found if found is not None and found.to == self._running else None

    def taken_back(self) -> TakenBack | None:
        return self._layout.taken_back()

    def forget_taken_back(self) -> None:
        taken_back = self._layout.taken_back()
        self._layout.forget_taken_back()
        if taken_back is not None and taken_back.failed not in (self._running, self._layout.current):
            self._layout.remove(taken_back.failed)

    def ail(self, what: str) -> None:
        self._layout.note_ailment(what)

    def stop(self, trial: Trial, orderly: bool) -> None:
        self._layout.note_stop(trial, orderly)

    def confirm(self, trial: Trial) -> bool:
        if not self._layout.confirm(trial):
            return False
        self._layout.prune(frozenset({trial.origin, trial.to}))
        return True

    def clean(self) -> None:
        self._forget_scratch()
        for path in self._layout.versions.iterdir():
            if not self._layout.complete(path.name) and path.name not in (
                self._running,
                self._layout.current,
            ):
                self._layout.remove(path.name)

    # pip

    def _sources(self) -> Iterator[str]:
        """Where packages come from: a folder and nothing else, or what `_environment` says."""
        if self._settings.wheels is not None:
            yield from ("--no-index", "--find-links", str(self._settings.wheels))

    async def _pip(self, python: Path, arguments: Sequence[str], tell: Tell) -> ProgramEnded:
        options = ["--no-input", "--disable-pip-version-check", "--no-cache-dir", "--no-color"]
        command = [str(python), "-I", "-m", "pip", *options, *arguments]
        return await self._run(command, self._settings.install_timeout_ms / 1000, tell)

    async def _run(self, command: Sequence[str], seconds: float, tell: Tell) -> ProgramEnded:
        try:
            await asyncio.to_thread(self._scratch.mkdir, mode=0o700, exist_ok=True)
        except OSError as error:
            raise UpdateFailed(f"{self._scratch}: {error}") from error
        environment = _environment(self._settings.index_url) | {"TMPDIR": str(self._scratch)}
        return await run_program(command, environment, seconds, self._scratch, tell, NICE)

    def _forget_scratch(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)


def _environment(index_url: str | None = None) -> dict[str, str]:
    """That of the machine's pip, and nothing of the agent's, which holds secrets. The address of an index may
    hold a password, which everybody would see among a program's arguments."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or (name.startswith("PIP_") and name not in _ELSEWHERE)
    }
    return passed if index_url is None else passed | {"PIP_INDEX_URL": index_url}
