"""Options of a data point that few have."""

from functools import lru_cache
from typing import Literal

import msgspec

WriteFunction = Literal["auto", "single", "multiple"]


class Extra(msgspec.Struct, frozen=True):
    """What few data points say; points that say the same share one."""

    bit: int | None = None
    """The value is this bit of the number, 0 the least significant, and a boolean."""
    mask: int | None = None
    """The value is the number's bits in this mask, moved down by `shift`."""
    shift: int = 0
    high_byte: bool = False
    """An 8-bit value is the high byte of its register, not the low one."""
    length: int | None = None
    """The value is a list of so many values."""
    values: tuple[tuple[int, str], ...] = ()
    """Texts that stand for numbers."""
    least: float | None = None
    most: float | None = None
    """Limits of the scaled value."""
    no_value: frozenset[int] = frozenset()
    """The bits, as an unsigned number, that say that there is no value."""
    no_value_is_nan: bool = False
    """So does a float that is not a number."""
    write_function: WriteFunction = "auto"


NO_EXTRA = Extra()


@lru_cache(maxsize=1024)
def shared(extra: Extra) -> Extra:
    """The one of those that are equal."""
    return extra
