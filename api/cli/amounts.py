"""Amounts and times as people read them."""

from datetime import datetime
from typing import Any

_UNITS = ("B", "kB", "MB", "GB", "TB")


def size(count: Any) -> str:
    """Bytes in the unit that leaves one to three digits before the point; "-" for what is no number."""
    if isinstance(count, bool) or not isinstance(count, int | float):
        return "-"
    amount = float(count)
    for unit in _UNITS[:-1]:
        if abs(amount) < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} {_UNITS[-1]}"


def duration(seconds: Any) -> str:
    """The two largest units: "3 d 4 h", "2 min 5 s"; "-" for what is no number."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        return "-"
    rest = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        amount, rest = divmod(rest, length)
        if amount or (unit == "s" and not parts):
            parts.append(f"{amount} {unit}")
    return " ".join(parts[:2])


def moment(time: Any) -> str:
    """An ISO-8601 text or Unix ms as local date and time of day."""
    try:
        if isinstance(time, str):
            found = datetime.fromisoformat(time)
        elif isinstance(time, int | float) and not isinstance(time, bool):
            found = datetime.fromtimestamp(time / 1000).astimezone()
        else:
            return "-"
        return found.astimezone().isoformat(sep=" ", timespec="seconds")[:19]
    except (ValueError, OverflowError, OSError):
        return str(time)
