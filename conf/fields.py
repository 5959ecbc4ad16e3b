"""Types of fields that are read leniently, and the readers that make them so (see `annotations`)."""

from math import isfinite
from typing import Annotated, Any, Final

from conf.annotations import allowed, reads
from conf.encodings import text_encoding
from conf.hosts import host_name
from conf.texts import has_controls

_INT64_DIGITS = 19


def kept(value: Any) -> Any:
    """A text as it is; an empty one counts as absent."""
    return None if value == "" else value


def trimmed(value: Any) -> Any:
    """A text without blanks around it; a blank one counts as absent, for forms send every field."""
    return value.strip() or None if isinstance(value, str) else value


def filled(value: Any) -> Any:
    """Anything but a blank text, which counts as absent."""
    return None if isinstance(value, str) and not value.strip() else value


def numeral(value: Any) -> Any:
    """Forms send numbers as text; a blank one counts as absent."""
    digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _INT64_DIGITS
    return int(value) if digits else filled(value)


def line_ends(value: Any) -> Any:
    """A literal `\\n` stands for a line end, so that PEM texts fit on one line."""
    return value.replace("\\n", "\n") if isinstance(value, str) else value


def lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def listed(value: Any) -> Any:
    """A list, also one that is a text separated by commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def finite(value: Any) -> Any:
    """Refuses infinities, NaN and integers that take more than 64 bits."""
    if isinstance(value, float) and not isfinite(value):
        raise ValueError
    if isinstance(value, int) and value.bit_length() > 64:
        raise ValueError
    return value


def host(value: Any) -> Any:
    """A host name or an address (see `hosts`)."""
    return host_name(value) if isinstance(value, str) else value


def encoding(value: Any) -> Any:
    """A text encoding, as Python calls it (see `encodings`)."""
    return text_encoding(value) if isinstance(value, str) else value


def one_line(value: Any) -> Any:
    """Refuses line ends and other control characters."""
    if isinstance(value, str) and has_controls(value):
        raise ValueError("must not hold line ends or other control characters")
    return value


def unused(value: Any) -> Any:
    """Counts as absent."""
    return None


Text = Annotated[str, reads(trimmed)]
Line = Annotated[str, reads(trimmed, one_line)]
Host = Annotated[str, reads(trimmed, host), allowed("a host name or an address")]
"""Of a host alone: no scheme, port, path or user."""

Encoding = Annotated[str, reads(encoding), allowed("the name of a text encoding such as ascii")]
Pem = Annotated[str, reads(trimmed, line_ends)]
Flag = Annotated[bool, reads(filled)]
Number = Annotated[int | float, reads(finite), allowed("a number")]
Strings = Annotated[tuple[str, ...], allowed("an array of strings")]

Unused = Annotated[Any, reads(unused)]
"""Of keys that clients send and that mean nothing here: `description: Unused = None`. Any value will do."""

NUMERAL: Final = reads(numeral)
"""Of integers that may come from a form."""
