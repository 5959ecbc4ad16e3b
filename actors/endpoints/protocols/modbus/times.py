"""Points in time as devices keep them, read as ISO 8601 text in UTC.

`unix_time`: seconds since 1970-01-01 UTC in 32 bits, `UNIX_TS` of the Siemens SENTRON PAC2200 (equipment
manual L1V30820585, appendix A.1).
`sunspec_time`: seconds since 2000-01-01 UTC in 32 bits, `Tms` of SunSpec model 122.
`s7_dt`: DATE_AND_TIME of SIMATIC S7, 8 bytes of decimal digits: year (90 to 99 are 1990 to 1999, 00 to 89 are
2000 to 2089), month, day, hour, minute, second, then three digits of milliseconds and one of the weekday.
`s7_dtl`: DTL of SIMATIC S7 (S7-1200 system manual, data types), 12 bytes: year in two, month, day, weekday,
hour, minute, second, nanoseconds in four.
The clock of an S7 knows no time zone; it is taken for UTC.
"""

import re
import struct
from datetime import UTC, datetime, timedelta

_EPOCHS = {"unix_time": datetime(1970, 1, 1, tzinfo=UTC), "sunspec_time": datetime(2000, 1, 1, tzinfo=UTC)}
_DTL = struct.Struct(">H6BI")
_DTL_YEARS = range(1970, 2555)
_DT_YEARS = range(1990, 2090)
_NANOSECONDS = re.compile(r"[.,][0-9]{6}([0-9]{1,3})", re.ASCII)
"""Those of a text that `datetime` leaves out."""


def text_of_time(kind: str, data: bytes) -> str:
    """Bytes, the most significant first, as `2024-05-01T12:30:00Z`, with a fraction of 3 or 9 digits if there
    is any. Raises `ValueError` when they are no time."""
    if kind in _EPOCHS:
        return _text(_EPOCHS[kind] + timedelta(seconds=int.from_bytes(data, "big")), 0)
    if kind == "s7_dt":
        digits = data.hex()[:15]
        if not digits.isdigit():
            raise ValueError(f"{digits} is not made of decimal digits")
        year, month, day, hour, minute, second = (int(digits[at : at + 2]) for at in range(0, 12, 2))
        year += 1900 if year >= 90 else 2000
        nanoseconds = int(digits[12:]) * 1_000_000
    else:
        year, month, day, _, hour, minute, second, nanoseconds = _DTL.unpack(data)
        if year not in _DTL_YEARS or nanoseconds >= 1_000_000_000:
            raise ValueError("the year or the nanoseconds are out of range")
    return _text(datetime(year, month, day, hour, minute, second, tzinfo=UTC), nanoseconds)


def bytes_of_time(kind: str, text: str) -> bytes:
    """The bytes of a time in ISO 8601, UTC unless it says otherwise. Raises `ValueError`."""
    time = datetime.fromisoformat(text.strip())
    try:
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        if kind in _EPOCHS:
            return ((time - _EPOCHS[kind]) // timedelta(seconds=1)).to_bytes(4, "big")
    except OverflowError as error:
        raise ValueError(f"{text} is not a time that fits") from error
    weekday = time.isoweekday() % 7 + 1
    fields = (time.month, time.day, time.hour, time.minute, time.second)
    if kind == "s7_dtl" and time.year in _DTL_YEARS:
        month, day, *clock = fields
        finer = _NANOSECONDS.search(text)
        nanoseconds = time.microsecond * 1000 + (int(finer[1].ljust(3, "0")) if finer else 0)
        return _DTL.pack(time.year, month, day, weekday, *clock, nanoseconds)
    if kind == "s7_dt" and time.year in _DT_YEARS:
        digits = "".join(f"{field:02}" for field in (time.year % 100, *fields))
        return bytes.fromhex(f"{digits}{time.microsecond // 1000:03}{weekday}")
    raise ValueError(f"the year {time.year} does not fit")


def _text(time: datetime, nanoseconds: int) -> str:
    fraction = ""
    if nanoseconds:
        fraction = f".{nanoseconds:09}".removesuffix("000000")
    return f"{time:%Y-%m-%dT%H:%M:%S}{fraction}Z"
