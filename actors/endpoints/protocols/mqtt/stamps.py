"""Times that payloads say (spec 03 section 5), as Unix ms."""

import re
from datetime import UTC, datetime, tzinfo
from typing import Any

SECONDS_BELOW = 1e12
"""A number below it counts seconds, from it on ms."""
_MICROSECONDS_FROM = 1e14
_NANOSECONDS_FROM = 1e17

EARLIEST = 946_684_800_000
"""The year 2000: a clock that says less was never set."""
NOW_AT_LEAST = 1_577_836_800_000
"""The year 2020: where it is earlier, this host's own clock is wrong, and tells nothing of another."""
AHEAD_MS = 86_400_000
"""So far ahead of this host another may be: it may be this one that is behind."""
AHEAD_LOCAL_MS = 300_000
"""The same of a text without an offset, which may be of a zone that nobody has configured."""

_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{0,20})?", re.ASCII)
_COLONLESS = re.compile(r"([+-][0-9]{2})([0-9]{2})$", re.ASCII)
_OFFSET = re.compile(r"([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)\s*$", re.ASCII)
_FRACTION = re.compile(r"([.,])([0-9]+)", re.ASCII)
_LONGEST = 64


def read(said: Any, zone: tzinfo = UTC) -> int | None:
    """Unix ms of a number (s, ms, us or ns, told by its size) or a text (the same, or ISO 8601; without an
    offset it is of `zone`); None when it is no time at all."""
    if isinstance(said, str):
        text = said.strip()
        if len(text) > _LONGEST:
            return None
        if _NUMBER.fullmatch(text) is None:
            return _iso(text, zone)
        said = float(text)
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    size = abs(said)
    if not size < 1e20:  # neither is NaN
        return None
    if size < SECONDS_BELOW:
        return round(said * 1000)
    if size >= _NANOSECONDS_FROM:
        return int(said // 1_000_000)
    if size >= _MICROSECONDS_FROM:
        return int(said // 1000)
    return int(said)


def _iso(text: str, zone: tzinfo) -> int | None:
    if len(text) < 8 or not text[:4].isdigit():
        return None
    # What `fromisoformat` does not take: more digits than microseconds have, and a zone without a colon.
    text = _FRACTION.sub(lambda found: f".{found[2][:6]}", text, count=1)
    text = _COLONLESS.sub(r"\1:\2", text) if "T" in text or " " in text else text
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            found = found.replace(tzinfo=zone)
        return round(found.timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        return None


def plausible(time: int, arrival: int, said: Any = None) -> bool:
    """Whether a reading that arrived then can be of that time, which was `said` so."""
    if time < EARLIEST:
        return False
    ahead = time - arrival
    return ahead <= AHEAD_LOCAL_MS or arrival < NOW_AT_LEAST or (ahead <= AHEAD_MS and not _is_local(said))


def _is_local(said: Any) -> bool:
    return isinstance(said, str) and "T" in said.upper().replace(" ", "T") and _OFFSET.search(said) is None
