"""The clock of a device, which says what its wall shows, and what that is in UTC."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from storage.timestamps import unix_ms

from . import kinds
from .asking import Asking, Refused

_UTC_OFFSET, _DAYLIGHT, _LOCAL_DATE, _LOCAL_TIME = 119, 24, 56, 57
_QUARTER: Final = timedelta(minutes=15)
_OFF: Final = timedelta(seconds=60)
"""How wrong a clock may be without anybody being told."""
_UNSPECIFIED: Final = 255


class DeviceTime(NamedTuple):
    """`ahead` is what the device's wall clock is ahead of UTC; `notes` are for people."""

    ahead: timedelta
    notes: tuple[str, ...]

    def ms(self, date: Any, time: Any) -> int | None:
        """Unix ms of one of the library's dates and times; None where parts of it are unspecified."""
        local = local_of(date, time)
        return None if local is None else round((local - self.ahead).timestamp() * 1000)

    def local(self, ms: int) -> datetime:
        """What its clock shows at that moment, said to be UTC."""
        return datetime.fromtimestamp(ms / 1000, UTC) + self.ahead


def local_of(date: Any, time: Any) -> datetime | None:
    try:
        year, month, day, _ = date
        hour, minute, second, hundredth = time
        if _UNSPECIFIED in (year, month, day, hour, minute):
            return None
        second = 0 if second == _UNSPECIFIED else second
        hundredth = 0 if hundredth == _UNSPECIFIED else hundredth
        return datetime(1900 + year, month, day, hour, minute, second, 10_000 * hundredth, UTC)
    except (TypeError, ValueError):
        return None


async def device_time(asking: Asking, instance: int) -> DeviceTime:
    """What the device says of its time zone and its clock. Raises `NoConnection`."""
    offset = await _read(asking, instance, _UTC_OFFSET)
    daylight = await _read(asking, instance, _DAYLIGHT)
    date = await _read(asking, instance, _LOCAL_DATE)
    time = await _read(asking, instance, _LOCAL_TIME)
    now = datetime.fromtimestamp(unix_ms() / 1000, UTC)
    shown = None if date is None or time is None else local_of(date, time)
    if isinstance(offset, int) and abs(offset) <= 900:
        # Minutes that UTC is ahead of standard time there (clause 12.11.25).
        ahead = timedelta(minutes=60 * (daylight is True) - offset)
        return DeviceTime(ahead, _clock(shown, ahead, now))
    if shown is None:
        return DeviceTime(
            timedelta(0), ("the device does not say its time zone: its times are taken for UTC",)
        )
    ahead = _QUARTER * round((shown - now) / _QUARTER)
    note = f"the device does not say its time zone: it is taken from its clock, {_hours(ahead)}"
    return DeviceTime(ahead, (note, *_clock(shown, ahead, now)))


def _clock(shown: datetime | None, ahead: timedelta, now: datetime) -> tuple[str, ...]:
    if shown is None:
        return ()
    off = shown - ahead - now
    if abs(off) <= _OFF:
        return ()
    side = "ahead" if off > timedelta(0) else "behind"
    return (f"the device's clock is {abs(off.total_seconds()):.0f} s {side}",)


def _hours(ahead: timedelta) -> str:
    minutes = round(ahead.total_seconds() / 60)
    return f"UTC{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


async def _read(asking: Asking, instance: int, prop: int) -> Any:
    try:
        return await asking.read(kinds.DEVICE, instance, prop)
    except Refused:
        return None
