"""The part of the fake agent that updates it and shuts its machine down."""

from actors.power.messages import ShutdownAnswered, ShutDownMachine
from actors.update.messages import ReportUpdate, UpdateAgent, UpdateAnswered, UpdateReported


class FakeUpdates:
    def on_UpdateAgent(self, message: UpdateAgent) -> UpdateAnswered:
        return UpdateAnswered("triggered", message.command.version.strip())

    def on_ReportUpdate(self, message: ReportUpdate) -> UpdateReported:
        return UpdateReported("idle", "0.1.0", None, None, None, ())

    def on_ShutDownMachine(self, message: ShutDownMachine) -> ShutdownAnswered:
        return ShutdownAnswered()
