"""The keeper of the settings that the API changes."""

import logging
from typing import Any, Final

import msgspec
from thespian.actors import ActorAddress

from actors.settings.log_level import log_from
from actors.settings.messages import ChangeSettings, ReportSettings, SettingsReported
from actors.state.keeper import Keeper
from actors.state.rows import summary, understand
from actors.subsystems.messages import Check, SettingsStated, SubsystemChecked
from actors.system.failure import Refusal
from conf import runtime_patch
from conf.runtime_patch import Stored
from conf.schema import Invalid
from storage import target_state
from storage.target_state import Row

log = logging.getLogger(__name__)

KIND: Final = "settings"
NAME: Final = "settings"
"""Of the one row."""


class RunSettings(msgspec.Struct, frozen=True):
    """Start. `log_level` is that of files and environment, and so are those in `otherwise`, by their names
    here."""

    store: ActorAddress
    log_level: str
    otherwise: dict[str, Any] = {}


class SettingsKeeper(Keeper):
    """Tells the root what the settings are, in each life and after each change; and what it has to tell comes
    before it says that it has started. Of what is stored and cannot be understood the defaults count; it is
    kept as it is until a client sets it anew."""

    CHANGES = (ChangeSettings,)
    REQUESTS = (*CHANGES, ReportSettings)

    def receiveMsg_RunSettings(self, message: RunSettings, sender: ActorAddress) -> None:
        self.store = message.store
        self.log_level = message.log_level
        self.otherwise = message.otherwise
        self.begin()

    def load(self) -> tuple[Any, ...]:
        return target_state.load, (KIND,)

    def take(self, stored: list[Row]) -> None:
        self.id: int | None = None
        self.stored = Stored()
        self.errors: dict[str, str] = {}
        for row in stored:
            if row.name == NAME:
                self._understand(row)
            else:
                self.errors[row.name or f"row {row.id}"] = "is not known to this version"
        self._state()

    def _understand(self, row: Row) -> None:
        kept = understand(row, Stored)
        self.id = row.id
        self.stored = kept.body or Stored()
        if kept.error is not None:
            self.errors[NAME] = kept.error
            log.error("the stored settings cannot be used, and count as not set: %s", kept.error)
        if strange := runtime_patch.unknown(self.stored):
            log.warning("these settings are not known and mean nothing: %s", ", ".join(strange[:5]))

    def _state(self) -> None:
        settings, faults = runtime_patch.settings(self.stored)
        self.faults = faults
        log_from(settings.logging.level or self.log_level)
        self.send(self._parent, SettingsStated(settings))

    def checked(self) -> SubsystemChecked:
        broken = summary("settings", self.errors | self.faults)
        return SubsystemChecked(checks=[Check("settings-rows", False, last_error=broken)] if broken else [])

    def receiveMsg_ReportSettings(self, message: ReportSettings, sender: ActorAddress) -> None:
        self.send(sender, self._reported())

    def _reported(self) -> SettingsReported:
        return SettingsReported(runtime_patch.shown(self.stored, self.log_level, self.otherwise))

    def receiveMsg_ChangeSettings(self, message: ChangeSettings, sender: ActorAddress) -> None:
        try:
            wanted = runtime_patch.patched(self.stored, message.patch)
        except Invalid as error:
            raise Refusal(error.message, error.field) from error
        unusable = NAME in self.errors and bool(message.patch)
        if wanted == self.stored and not unusable:
            self.send(sender, self._reported())  # nothing is written for what is so already
            return

        def changed(row: Row) -> SettingsReported:
            log.info("settings changed: %s", "; ".join(runtime_patch.changes(self.stored, wanted)) or "none")
            self.id = row.id
            self.stored = wanted
            self.errors.pop(NAME, None)
            self._state()
            return self._reported()

        body = msgspec.to_builtins(wanted)
        if self.id is None:
            self.transact(sender, changed, target_state.insert, KIND, NAME, body)
        else:
            self.transact(sender, changed, target_state.update, self.id, body)
