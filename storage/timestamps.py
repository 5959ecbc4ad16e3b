"""Time as the tables and the API spell it."""

from datetime import UTC, datetime


def now() -> str:
    """The current time as ISO-8601 UTC with milliseconds, such as 2026-01-31T23:59:59.123Z."""
    return _spelled(datetime.now(UTC))


def iso(ms: int | None) -> str | None:
    """Unix ms in the same spelling; None stays None."""
    return None if ms is None else _spelled(datetime.fromtimestamp(ms / 1000, UTC))


def _spelled(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
