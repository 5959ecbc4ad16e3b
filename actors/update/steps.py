"""The steps of an update, for threads and tasks of the actor: they raise nothing that is to be expected."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.system.failure import Failed, Refusal
from actors.update import history as histories
from actors.update.history import History, Order
from actors.update.installation import find_updater
from actors.update.layout import TakenBack, Trial
from actors.update.messages import UpdateAnswered
from actors.update.rules import Declined, compare, wheel_in
from actors.update.updater import NotUpdatable, Prepared, UpdateFailed, Updater
from actors.update.versions import LATEST
from conf.settings import Settings
from storage.timestamps import unix_ms

log = logging.getLogger(__name__)


class UpdatesFound(msgspec.Struct, frozen=True):
    """What there is at the start; `unable` says why there is no updater."""

    updater: Updater | None
    unable: str | None
    history: History
    taken_back: TakenBack | None = None
    trial: Trial | None = None


def look_around(settings: Settings, file: Path) -> UpdatesFound:
    history = histories.load(file)
    found = find_updater(settings)
    if isinstance(found, NotUpdatable):
        return UpdatesFound(None, found.hint, history)
    trial = found.trial()
    if trial is not None:
        quietly(found.stop, trial, False)  # it goes on after a soft restart
    else:
        quietly(found.clean)
    return UpdatesFound(found, None, history, found.taken_back(), trial)


class Standing(msgspec.Struct, frozen=True):
    """What a command is compared with; wheels that commands name lie in `files`."""

    running: str
    history: History
    interval_hours: int
    files: Path


class Judged(msgspec.Struct, frozen=True):
    """`order` is to be followed, with the wheel that it names, if there is one."""

    answer: UpdateAnswered | Failed
    order: Order | None = None
    wheel: Path | None = None
    sender: ActorAddress | None = None


def judge(updater: Updater, wanted: Order, standing: Standing) -> Judged:
    """What can be known before the answer."""
    try:
        wheel = None
        if wanted.file is not None:
            wheel, version = wheel_in(standing.files, wanted.file, wanted.version)
            wanted = msgspec.structs.replace(wanted, version=version)
        _compare(wanted.version, wanted, standing)
        quietly(updater.clean)
        updater.check()
    except Refusal as refusal:
        return Judged(refusal.failed())
    except Declined as declined:
        answer = UpdateAnswered(declined.outcome, wanted.version, declined.message, declined.hint)
        return Judged(answer)
    except UpdateFailed as error:
        return Judged(UpdateAnswered("conflict", wanted.version, f"Pre-flight failed: {error}"))
    outcome = UpdateAnswered("triggered", wanted.version)
    if wanted.at is not None:
        outcome = UpdateAnswered("scheduled", wanted.version, scheduled=wanted.at)
    return Judged(outcome, wanted, wheel)


def _compare(version: str, wanted: Order, standing: Standing) -> None:
    compare(version, standing.running, wanted.force, standing.history, unix_ms(), standing.interval_hours)


class PreparationOver(msgspec.Struct, frozen=True):
    """`why` there is nothing prepared."""

    version: str
    prepared: Prepared | None = None
    why: str | None = None
    skipped: bool = False


async def prepare(updater: Updater, wanted: Order, wheel: Path | None, standing: Standing) -> PreparationOver:
    version = wanted.version
    try:
        if version == LATEST:
            version = await updater.latest(_said)
            _compare(version, wanted, standing)
        return PreparationOver(version, await updater.prepare(version, wheel, _said))
    except UpdateFailed as error:
        return PreparationOver(version, why=str(error))
    except Declined as declined:
        return PreparationOver(version, why=declined.message, skipped=declined.outcome == "skipped")


def _said(line: str) -> None:
    log.debug("pip: %s", line)


class SwitchOver(msgspec.Struct, frozen=True):
    """`why` it was not done."""

    version: str
    why: str | None = None


def switch(updater: Updater, prepared: Prepared, failing: frozenset[str]) -> SwitchOver:
    try:
        updater.switch(prepared, failing)
    except UpdateFailed as error:
        updater.discard(prepared)
        return SwitchOver(prepared.version, str(error))
    return SwitchOver(prepared.version)


class TrialOver(msgspec.Struct, frozen=True):
    """`why` it is not over yet."""

    confirmed: bool
    why: str | None = None


def confirm(updater: Updater, trial: Trial) -> TrialOver:
    try:
        return TrialOver(updater.confirm(trial))
    except OSError as error:
        return TrialOver(False, str(error))


class HistorySaved(msgspec.Struct, frozen=True):
    """`done` is False when the disk did not take it."""

    done: bool


def save(file: Path, history: History) -> HistorySaved:
    return HistorySaved(quietly(histories.save, file, history))


def quietly(call: Callable[..., Any], *arguments: Any) -> bool:
    """Whether it was done: what is told of updates is no reason not to run."""
    try:
        call(*arguments)
    except OSError as error:
        log.warning("%s", error)
        return False
    return True
