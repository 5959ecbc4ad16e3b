"""Time as the tables hold it."""

from datetime import UTC, datetime


def now() -> str:
    """The current time as ISO-8601 UTC with milliseconds, such as 2026-01-31T23:59:59.123Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
