"""What the log is asked, and what it tells those who follow it."""

from typing import ClassVar

import msgspec

from actors.logs.entries import LogEntry, LogFilter


class ReportLogs(msgspec.Struct, frozen=True):
    """To `logs`: the newest `limit` entries that the filter matches, of those after number `after`; replies
    `LogsReported`."""

    chosen: LogFilter
    limit: int
    after: int | None = None


class LogsReported(msgspec.Struct, frozen=True):
    """`entries` are oldest first, `total` is how many are in memory; no entry after `newest` has been looked
    at."""

    entries: list[LogEntry]
    total: int
    newest: int


class CountLogs(msgspec.Struct, frozen=True):
    """To `logs`; replies `LogsCounted`."""


class LogsCounted(msgspec.Struct, frozen=True):
    """Entries by their level, since the start of the process."""

    counts: dict[str, int]


class FollowLogs(msgspec.Struct, frozen=True):
    """To `logs`: the sender gets `LogsAdded` from now on, as the only one."""


class UnfollowLogs(msgspec.Struct, frozen=True):
    """To `logs`: nobody follows it any more."""


class LogsAdded(msgspec.Struct, frozen=True):
    """What has been logged since the last of these, oldest first; so many `lost` before them could not
    wait."""

    TELEMETRY: ClassVar = True

    entries: list[LogEntry]
    lost: int = 0
