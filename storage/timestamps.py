"""The wall clock, and time as the tables and the API spell it.

What is stamped is stamped by `unix_ms`. How long something has lasted is nobody's to work out from two
stamps: the clock may have been set in between (`actors.system.clock`).
"""

import time
from datetime import UTC, datetime

EARLIEST_MS, LATEST_MS = -62_135_510_400_000, 253_402_214_400_000
"""What calendars have, in whatever time zone: the years 1 to 9999 without their first and last day."""


def unix_ms() -> int:
    """The current time in Unix ms."""
    return time.time_ns() // 1_000_000


def now() -> str:
    """The current time as ISO-8601 UTC with milliseconds, such as 2026-01-31T23:59:59.123Z."""
    return _iso(unix_ms())


def iso(ms: int | None) -> str | None:
    """Unix ms in the same spelling, the nearest that there is; None stays None."""
    return None if ms is None else _iso(ms)


def _iso(ms: int) -> str:
    known = min(max(ms, EARLIEST_MS), LATEST_MS)
    spelled = datetime.fromtimestamp(known / 1000, UTC).isoformat(timespec="milliseconds")
    return spelled.replace("+00:00", "Z")
