"""How the API spells points in time."""

from datetime import UTC, datetime


def iso(ms: int | None) -> str | None:
    """Unix ms as ISO-8601 UTC with milliseconds (`2024-01-15T10:30:00.000Z`); None stays None."""
    if ms is None:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
