"""HTTP's `Retry-After` (RFC 9110 section 10.2.3)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from storage.timestamps import unix_ms

LATEST = 3600.0
"""Seconds; a wrong clock, here or there, must not stop anything for years."""


def seconds(headers: Mapping[str, str]) -> float:
    """For how long the sender of these headers asks to be left alone: so many seconds, or until a date, which
    is compared with the sender's own (`Date`), for that is the clock it goes by."""
    wanted = headers.get("Retry-After")
    if wanted is None:
        return 0.0
    if wanted.isascii() and wanted.isdigit():
        return min(float(wanted), LATEST)
    until = _date(wanted)
    if until is None:
        return 0.0
    now = _date(headers.get("Date", "")) or datetime.fromtimestamp(unix_ms() / 1000, UTC)
    return min(max((until - now).total_seconds(), 0.0), LATEST)


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found.replace(tzinfo=found.tzinfo or UTC)
