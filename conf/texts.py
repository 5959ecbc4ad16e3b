"""What texts may hold that go to other programs."""

import re
from typing import Any

_BROKEN = re.compile(r"[\0\ud800-\udfff]")
# Also the two line ends that only some programs take for such, and the code points that are no characters,
# for brokers close the connection over them (MQTT 3.1.1 section 1.5.3).
_CONTROLS = re.compile(
    r"[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    + "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(1, 17))
    + "]"
)


def is_broken_text(value: Any) -> bool:
    """Whether a string, or one in an array, holds what no database, wire or library takes: NUL, or half a
    surrogate pair."""
    if isinstance(value, str):
        return "\0" in value or (not value.isascii() and _BROKEN.search(value) is not None)
    return isinstance(value, list | tuple) and any(
        is_broken_text(one) for one in value if isinstance(one, str)
    )


def has_controls(text: str) -> bool:
    """Whether it holds what is no character to be seen, and may end a line, a header or a connection."""
    return not text.isprintable() and _CONTROLS.search(text) is not None


def without_controls(text: str) -> str:
    """With an underscore in the place of each of those."""
    return _CONTROLS.sub("_", text) if has_controls(text) else text
