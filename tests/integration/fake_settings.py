"""A double of the settings' keeper: the plain core, without a store."""

from actors.settings.messages import ChangeSettings, ReportSettings, SettingsReported
from actors.system.failure import Refusal
from conf.runtime_patch import Stored, patched, shown
from conf.schema import Invalid


class FakeSettings:
    stored = Stored()

    def on_ReportSettings(self, message: ReportSettings) -> SettingsReported:
        return SettingsReported(shown(self.stored, "info"))

    def on_ChangeSettings(self, message: ChangeSettings) -> SettingsReported:
        try:
            self.stored = patched(self.stored, message.patch)
        except Invalid as error:
            raise Refusal(error.message, error.field) from error
        return self.on_ReportSettings(ReportSettings())
