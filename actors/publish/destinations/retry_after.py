"""For how long a server asks to be left alone (RFC 9110 section 10.2.3). Plain."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER = 3600.0
"""Seconds; a wrong clock, here or there, must not stop publishing for years."""


def retry_after(header: str | None, date: str | None) -> float:
    """Seconds, of the header `Retry-After`, which has seconds or a date. A date is compared with the answer's
    own `date`, so that the clock here does not matter; with the clock here when there is none."""
    if header is None:
        return 0.0
    if header.isascii() and header.isdigit():
        return min(float(header), MAX_RETRY_AFTER)
    until = _moment(header)
    if until is None:
        return 0.0
    seconds = (until - (_moment(date) or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _moment(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return found.replace(tzinfo=found.tzinfo or UTC)
