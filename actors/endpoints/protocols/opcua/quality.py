"""Status codes to qualities (spec 03 section 3): Uncertain has a value and a code, Bad a code alone."""

from functools import lru_cache
from typing import Final

from asyncua.ua.status_codes import code_to_name_doc

GOOD_MASK: Final = 0xC000_0000
"""No bit of it is set in a Good status."""
UNCERTAIN: Final = 0x4000_0000
OVERFLOW: Final = 0x0480
"""Info type DataValue, and values of the item's queue were dropped before this one (part 4, 7.39.1)."""
_CODE = 0xFFFF_0000
NO_DATA: Final = "BadNoData"
TYPE_MISMATCH: Final = "BadTypeMismatch"


def is_uncertain(status: int) -> bool:
    return status & GOOD_MASK == UNCERTAIN


def is_bad(status: int) -> bool:
    """Severity 11 is reserved, and counts as Bad (part 4, 7.39.1)."""
    return bool(status & 0x8000_0000)


def has_overflown(status: int) -> bool:
    return status & OVERFLOW == OVERFLOW


@lru_cache(maxsize=1024)
def name_of(status: int) -> str:
    """`BadNodeIdUnknown`; of one that nobody has heard of its number, after its severity."""
    known = code_to_name_doc.get(status & _CODE)
    if known is not None:
        return str(known[0])
    severity = "Bad" if is_bad(status) else "Uncertain" if is_uncertain(status) else "Good"
    return f"{severity}_0x{status & _CODE:08X}"


def code_of(status: int) -> str | None:
    """The quality code of a reading; None when it is GOOD."""
    return None if not status & GOOD_MASK else name_of(status)
