"""What the process does about updates before the actor system is there, and after it."""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Final

from actors.update.layout import Layout, version_in
from conf.settings import Settings
from storage import going_back

log = logging.getLogger(__name__)

HANDS_OVER: Final = signal.SIGHUP
"""Of the signals that stop the agent the one by which it stops itself, to go on as another version."""


class _Process:
    """What becomes of this process; `environment` is that which a successor gets: what this one was told of
    its service manager included."""

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.successor: Path | None = None
        self.told_to_end = False


_process = _Process()


def settle(settings: Settings) -> None:
    """Before the database is opened: after a version was taken back, the database is made one that this
    version knows, if the other has upgraded it."""
    _process.environment = dict(os.environ)
    launcher = settings.update.launcher
    taken_back = None if launcher is None else Layout(launcher.parent.parent).taken_back()
    if taken_back is None:
        return
    failed = version_in(taken_back.failed)
    log.error("the update to %s was taken back: %s", failed, taken_back.reason)
    try:
        went_back = going_back.go_back(settings.database_path, settings.storage.data_dir)
    except Exception as error:  # noqa: BLE001 - opening the database says what is wrong, and what to do
        log.error("the database could not be brought back: %s", error)
        return
    if went_back is not None:
        log.warning("%s", went_back)


def hand_over_to(launcher: Path) -> None:
    """Stop in order, as on any signal; `take_over` then starts what the launcher chooses. Nothing where the
    process is to end anyway: the next start does so."""
    if not _process.told_to_end:
        _process.successor = launcher
        os.kill(os.getpid(), HANDS_OVER)


def signalled(number: int) -> None:
    """Whoever sends another signal, before or meanwhile, wants the process to end."""
    if number != HANDS_OVER or _process.successor is None:
        _process.told_to_end, _process.successor = True, None


def hands_over() -> bool:
    """Whether this process goes on as another version: then a service manager is not told that it ends, for
    it would end that."""
    return _process.successor is not None


def take_over() -> None:
    """When everything is in safety: this process becomes the version that was switched to, under the same
    number, so that whoever watches it sees no end. Returns where there is none."""
    launcher, _process.successor = _process.successor, None
    if launcher is None:
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    try:
        os.execve(launcher, [str(launcher), *sys.argv[1:]], _process.environment)
    except OSError as error:
        log.error("%s could not be started, the next start does so: %s", launcher, error)
