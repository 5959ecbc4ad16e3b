"""Tags and the scalar values that they announce (ASHRAE 135, clause 20.2)."""

import struct
from collections.abc import Callable
from typing import Any, Final

(
    NULL,
    BOOLEAN,
    UNSIGNED,
    SIGNED,
    REAL,
    DOUBLE,
    OCTETS,
    CHARACTERS,
    BITS,
    ENUMERATED,
    DATE,
    TIME,
    OBJECT,
) = range(13)
"""Numbers of application tags."""

_CONTEXT: Final = 0x08
_EXTENDED: Final = 5
_OPENING, _CLOSING = 6, 7
_LONGEST_NUMBER: Final = 8
"""Octets of the largest integer that a reading can have."""
_DEEPEST: Final = 16

_FOUR_BITS: Final = [tuple(number >> place & 1 for place in (3, 2, 1, 0)) for number in range(16)]
_REAL: Final = struct.Struct(">f")
_DOUBLE: Final = struct.Struct(">d")

Tagged = tuple[int, Any]
"""The application tag's number, and the value: None (null), bool, int, float, bytes, str, tuples of 0 and 1
(bits) and of four octets (date, time). Object identifiers are the number that they are on the wire."""


class Malformed(ValueError):
    """What came is not what the standard says."""


class Elsewhere(Malformed):
    """It is about something else than was asked for."""


def opening(number: int) -> bytes:
    return bytes((number << 4 | _CONTEXT | _OPENING,))


def closing(number: int) -> bytes:
    return bytes((number << 4 | _CONTEXT | _CLOSING,))


def context_unsigned(number: int, value: int) -> bytes:
    """A context tag, below 15, with a number in as few octets as will do."""
    octets = value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")
    return bytes((number << 4 | _CONTEXT | len(octets),)) + octets


def context_object(number: int, kind: int, instance: int) -> bytes:
    return bytes((number << 4 | _CONTEXT | 4,)) + (kind << 22 | instance).to_bytes(4, "big")


def read_context_unsigned(data: bytes, at: int, number: int) -> tuple[int, int]:
    """Its value, and where it ends. Raises `Malformed`, `IndexError`."""
    first = data[at]
    size = first & 7
    if first >> 4 != number or not first & _CONTEXT or not 1 <= size <= 4:
        raise Malformed(f"context tag {number} expected")
    end = at + 1 + size
    if end > len(data):
        raise Malformed("cut off")
    return int.from_bytes(data[at + 1 : end], "big"), end


def read_tag(data: bytes, at: int) -> tuple[int, bool, int, int]:
    """Number, whether it is a context tag, length (of a boolean: its value; -1 opens, -2 closes), and
    where the content begins. Raises `Malformed`, `IndexError`."""
    first = data[at]
    number, context, length = first >> 4, bool(first & _CONTEXT), first & 7
    at += 1
    if number == 15:
        number = data[at]
        at += 1
    if length < _EXTENDED:
        return number, context, length, at
    if length > _EXTENDED:
        if not context:
            raise Malformed("an application tag opens nothing")
        return number, True, -1 if length == _OPENING else -2, at
    length = data[at]
    at += 1
    if length == 254:
        return number, context, data[at] << 8 | data[at + 1], at + 2
    if length == 255:
        if at + 4 > len(data):
            raise Malformed("cut off")
        return number, context, int.from_bytes(data[at : at + 4], "big"), at + 4
    return number, context, length, at


def read_value(data: bytes, at: int) -> tuple[int, Any, int]:
    """One value with its application tag: the tag's number, the value, and where it ends. Raises `Malformed`,
    `IndexError`."""
    first = data[at]
    if first == 0x44:  # by far the most frequent
        end = at + 5
        if end > len(data):
            raise Malformed("cut off")
        return REAL, _REAL.unpack_from(data, at + 1)[0], end
    if first == 0x82 and data[at + 1] == 4:  # and status flags
        return BITS, _FOUR_BITS[data[at + 2] >> 4], at + 3
    number, context, length, at = read_tag(data, at)
    if context or number > OBJECT:
        raise Malformed("not a value of a known type")
    if number == BOOLEAN:
        if length > 1:
            raise Malformed("a boolean is 0 or 1")
        return BOOLEAN, bool(length), at
    end = at + length
    if end > len(data):
        raise Malformed("cut off")
    return number, _READERS[number](data[at:end]), end


def skip(data: bytes, at: int, number: int) -> int:
    """Where what is inside of an opening tag of that number ends: the place of its closing tag. Raises
    `Malformed`, `IndexError`."""
    open_tags = [number]
    while True:
        place = at
        found, context, length, at = read_tag(data, at)
        if length == -1:
            open_tags.append(found)
            if len(open_tags) > _DEEPEST:
                raise Malformed("too deep")
        elif length == -2:
            if open_tags.pop() != found:
                raise Malformed("a closing tag without its opening tag")
            if not open_tags:
                return place
        elif context or found != BOOLEAN:
            at += length


def _null(content: bytes) -> None:
    if content:
        raise Malformed("null has no content")


def _unsigned(content: bytes) -> int:
    if not 1 <= len(content) <= _LONGEST_NUMBER:
        raise Malformed("a number of no or too many octets")
    return int.from_bytes(content, "big")


def _signed(content: bytes) -> int:
    if not 1 <= len(content) <= _LONGEST_NUMBER:
        raise Malformed("a number of no or too many octets")
    return int.from_bytes(content, "big", signed=True)


def _real(content: bytes) -> float:
    if len(content) != _REAL.size:
        raise Malformed("a real has 4 octets")
    return float(_REAL.unpack(content)[0])


def _double(content: bytes) -> float:
    if len(content) != _DOUBLE.size:
        raise Malformed("a double has 8 octets")
    return float(_DOUBLE.unpack(content)[0])


_CHARSETS: Final = {0: "utf-8", 3: "utf-32-be", 4: "utf-16-be", 5: "latin-1"}
_JIS: Final = 2
_CODE_PAGES: Final = 1


def _characters(content: bytes) -> str:
    """Many a device says UTF-8 and sends what its maker's Windows had."""
    if not content:
        raise Malformed("characters without a character set")
    charset, octets = content[0], content[1:]
    if charset == _CODE_PAGES:
        return _code_page(octets)
    if charset == _JIS:
        return _decoded(octets, "shift_jis")
    try:
        return octets.decode(_CHARSETS.get(charset, "utf-8"))
    except UnicodeDecodeError:
        if charset in _CHARSETS and charset != 0:
            raise Malformed("characters that are none of their set") from None
        return octets.decode("latin-1")


def _code_page(octets: bytes) -> str:
    """The number of a code page in two octets, and the characters; 850 is what is said most."""
    if len(octets) < 2:
        raise Malformed("characters without their code page")
    return _decoded(octets[2:], f"cp{octets[0] << 8 | octets[1]}")


def _decoded(octets: bytes, encoding: str) -> str:
    try:
        return octets.decode(encoding)
    except (LookupError, ValueError):
        return octets.decode("latin-1")


def _bits(content: bytes) -> tuple[int, ...]:
    if not content or content[0] > 7 or (content[0] and len(content) == 1):
        raise Malformed("bits of an odd number")
    size = 8 * (len(content) - 1) - content[0]
    number = int.from_bytes(content[1:], "big") >> content[0]
    return tuple(number >> place & 1 for place in range(size - 1, -1, -1))


def _four(content: bytes) -> tuple[int, ...]:
    if len(content) != 4:
        raise Malformed("a date or a time of other than 4 octets")
    return tuple(content)


def _object(content: bytes) -> int:
    if len(content) != 4:
        raise Malformed("an object identifier has 4 octets")
    return int.from_bytes(content, "big")


_READERS: Final[tuple[Callable[[bytes], Any], ...]] = (
    _null,
    bool,
    _unsigned,
    _signed,
    _real,
    _double,
    bytes,
    _characters,
    _bits,
    _unsigned,
    _four,
    _four,
    _object,
)
