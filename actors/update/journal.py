"""An actor that says what happens, and keeps it in a file."""

import asyncio
import logging
from pathlib import Path
from typing import Final

import msgspec
from thespian.actors import ActorAddress

from actors.subsystems.descriptor import SubsystemActor
from actors.update import steps
from actors.update.history import History, UpdateEvent
from actors.update.steps import HistorySaved
from storage.timestamps import unix_ms

log = logging.getLogger(__name__)

_BAD: Final = ("update_failed", "update_failed_verified")


class Journal(SubsystemActor):
    """Each change of `history` is written to `file`: one at a time, whatever comes meanwhile after it."""

    file: Path

    def __init__(self) -> None:
        self.history = History()
        self._unsaved = False
        self._saving = False

    def tell(self, event: str, version: str, detail: str | None = None) -> None:
        log.log(
            logging.ERROR if event in _BAD else logging.INFO,
            "%s %s%s",
            event.replace("_", " "),
            version,
            f": {detail}" if detail else "",
        )
        self.change(events=self.history.plus(UpdateEvent(unix_ms(), event, version, detail)).events)

    def change(self, **changes: object) -> None:
        """Of fields of the history."""
        self.history = msgspec.structs.replace(self.history, **changes)
        self._unsaved = True
        if not self._saving:
            self._write()

    def _write(self) -> None:
        self._unsaved, self._saving = False, True
        saving = asyncio.to_thread(steps.save, self.file, self.history)
        self.release(saving, self.myAddress, within=None)

    def receiveMsg_HistorySaved(self, message: HistorySaved, sender: ActorAddress) -> None:
        self._saving = False
        if self._unsaved:
            self._write()
        else:
            self.saved(message.done)

    def saved(self, done: bool) -> None:
        """All that was told has been written, or not, for the disk did not take it. Override."""
