"""The double's log."""

from actors.logs.entries import LogEntry
from actors.logs.messages import LogsReported, ReportLogs


class FakeLogs:
    def on_ReportLogs(self, message: ReportLogs) -> LogsReported:
        entry = LogEntry(1, 1_705_314_600_000, 0.0, "warn", "plc: lost", "actors.endpoints.endpoint", "_lost")
        entries = [entry] if message.chosen.matches(entry) and message.limit else []
        return LogsReported(entries, 1, 1)
