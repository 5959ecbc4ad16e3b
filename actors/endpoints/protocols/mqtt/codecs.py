"""Payloads as documents: JSON, texts, and binary forms. What comes out is what JSON has: objects, arrays,
texts, numbers, booleans, null."""

import json
import re
import struct
from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from collections.abc import Callable
from functools import cache
from math import isfinite
from typing import Any

import msgspec

from . import quality

AUTO = "auto"
_NUMBERS = {
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float16": "e",
    "float32": "f",
    "float64": "d",
}
_ENDS = {"le": "<", "be": ">"}
BINARY = {
    **{kind: f">{form}" for kind, form in _NUMBERS.items() if kind.endswith("int8")},
    **{
        f"{kind}{end}": sign + form
        for kind, form in _NUMBERS.items()
        if not kind.endswith("int8")
        for end, sign in _ENDS.items()
    },
}
"""Encodings of one number, by name, as `struct` has them."""
_WRAPPED = ("hex", "base64")
_WHOLE = ("auto", "json", "text", "hex", "base64", "cbor", "msgpack", *BINARY)
NAMES = ", ".join(_WHOLE)
"""For people: what there is."""
DEPTH = 64
"""Levels of nesting in CBOR and MessagePack."""

_NO_NUMBERS = re.compile(r'"(?:[^"\\]|\\.)*"|([+-]?\b(?:nan|inf(?:inity)?)\b)', re.ASCII | re.IGNORECASE)
"""Texts of JSON, and what C and others write for what is no number."""
_BOM = b"\xef\xbb\xbf"
_NO_NUMBER = re.compile(rb"[+-]?(nan|inf(inity)?)", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_JSON = msgspec.json.Decoder()
_NO_DOCUMENT = (RecursionError, ValueError, TypeError, OverflowError)


class Unreadable(Exception):
    """No document; `code` is a quality code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


Codec = Callable[[bytes], Any]
"""Raises `Unreadable`."""


def is_codec(name: str) -> bool:
    """Whether there is such an encoding: one of `NAMES`, or `hex:` or `base64:` before one of a number."""
    outer, colon, inner = name.partition(":")
    return name in _WHOLE if not colon else outer in _WRAPPED and inner in BINARY


@cache
def codec(name: str, at: int | None = None) -> Codec:
    """The one of that name; a number begins at the byte `at`, None: it is all that there is."""
    outer, colon, inner = name.partition(":")
    if colon:
        number = _number(inner, at)
        unwrap = _from_hex if outer == "hex" else _from_base64
        return lambda payload: number(unwrap(payload))
    if name in BINARY:
        return _number(name, at)
    return _CODECS[name]


def auto(payload: bytes) -> Any:
    """JSON, else a text (spec 03 section 5). What begins as JSON's objects and arrays do and is none is no
    text either."""
    try:
        return _JSON.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        if not payload.strip():
            raise Unreadable(quality.EMPTY) from None
        stripped = payload.removeprefix(_BOM).lstrip()
        if stripped[:1] in b"{[" or payload.startswith(_BOM) or _odd(stripped):
            return _lenient(stripped)
        return _text(payload)


def as_json(payload: bytes) -> Any:
    try:
        return _JSON.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        if not payload.strip():
            raise Unreadable(quality.EMPTY) from None
        return _lenient(payload.removeprefix(_BOM))


def _odd(payload: bytes) -> bool:
    """What Python's and other encoders call JSON's numbers."""
    return _NO_NUMBER.fullmatch(payload.strip()) is not None or _is_huge(payload)


def _is_huge(payload: bytes) -> bool:
    return payload[:1].isdigit() and b"e" in payload.lower() and len(payload) < 64


def _lenient(payload: bytes) -> Any:
    """With NaN and infinities, which are no JSON and are sent all the same: they cost their own value
    alone."""
    if _NO_NUMBER.fullmatch(payload.strip()) is not None:
        return float(payload.strip())
    try:
        return _loads(payload.decode())
    except RecursionError:
        raise Unreadable(quality.MALFORMED) from None
    except ValueError:
        if payload[:1] not in b"{[":
            return _text(payload)
    try:
        return _loads(_NO_NUMBERS.sub(_spelled, payload.decode()))
    except (ValueError, RecursionError) as error:
        raise Unreadable(quality.MALFORMED) from error


def _loads(text: str) -> Any:
    """Half of a character that takes two is none, and nobody could send it on. Raises `ValueError`."""
    found = json.loads(text)
    if "\\u" in text and _SURROGATE.search(json.dumps(found, ensure_ascii=False)):
        raise ValueError("half of a character")
    return found


def _spelled(found: re.Match[str]) -> str:
    """As Python spells what is no number; texts stay as they are."""
    word = found[1]
    if word is None:
        return found[0]
    return "NaN" if word.lstrip("+-")[0].lower() == "n" else "Infinity"


def _text(payload: bytes) -> str:
    try:
        text = payload.removeprefix(_BOM).decode().strip()
    except UnicodeDecodeError as error:
        raise Unreadable(quality.MALFORMED) from error
    if not text or "\0" in text.rstrip("\0"):
        raise Unreadable(quality.MALFORMED if text else quality.EMPTY)
    return text.rstrip("\0")


def _number(name: str, at: int | None) -> Codec:
    form = struct.Struct(BINARY[name])

    def decode(payload: bytes) -> Any:
        if not payload:
            raise Unreadable(quality.EMPTY)
        if (at is None and len(payload) != form.size) or len(payload) < (at or 0) + form.size:
            raise Unreadable(quality.MALFORMED)
        return form.unpack_from(payload, at or 0)[0]

    return decode


def encode_number(name: str, value: Any) -> bytes:
    """What `codec` of that name reads. Raises `ValueError`."""
    form = BINARY[name.rpartition(":")[2]]
    try:
        octets = struct.pack(form, value)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{value!r} is no {name}") from error
    if name.startswith("hex:"):
        return octets.hex().encode()
    return b64encode(octets) if name.startswith("base64:") else octets


def _from_hex(payload: bytes) -> bytes:
    try:
        return bytes.fromhex(payload.decode("ascii").strip().removeprefix("0x"))
    except ValueError as error:
        raise Unreadable(quality.MALFORMED) from error


def _from_base64(payload: bytes) -> bytes:
    try:
        return b64decode(payload.strip(), validate=True)
    except (NoBase64, ValueError) as error:
        raise Unreadable(quality.MALFORMED) from error


def _hex(payload: bytes) -> str:
    return _filled(payload).hex()


def _base64(payload: bytes) -> str:
    return b64encode(_filled(payload)).decode()


def _cbor(payload: bytes) -> Any:
    import cbor2

    try:
        return _Plain(len(payload)).of(cbor2.loads(_filled(payload)))
    except (cbor2.CBORDecodeError, MemoryError, *_NO_DOCUMENT) as error:
        raise Unreadable(quality.MALFORMED) from error


def _msgpack(payload: bytes) -> Any:
    try:
        return _Plain(len(payload)).of(msgspec.msgpack.decode(_filled(payload)))
    except (msgspec.DecodeError, *_NO_DOCUMENT) as error:
        raise Unreadable(quality.MALFORMED) from error


def _filled(payload: bytes) -> bytes:
    if not payload:
        raise Unreadable(quality.EMPTY)
    return payload


class _Plain:
    """As JSON has it: names are texts, bytes are hex, times are ISO 8601. Of at most as many values as the
    payload has bytes: CBOR lets one stand for many, and those for many more."""

    def __init__(self, most: int) -> None:
        self._left = most

    def of(self, value: Any, depth: int = 0) -> Any:
        self._left -= 1
        if depth > DEPTH or self._left < 0:
            raise Unreadable(quality.MALFORMED)
        match value:
            case dict():
                return {_name(key): self.of(item, depth + 1) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self.of(item, depth + 1) for item in value]
            case bytes() | bytearray():
                return bytes(value).hex()
            case str():
                return _whole(value)
            case None | bool() | int() | float():
                return value
        if hasattr(value, "isoformat"):
            return value.isoformat()
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return _whole(str(value))
        return number if isfinite(number) else None


def _name(key: Any) -> str:
    return _whole(key if isinstance(key, str) else str(key))


def _whole(text: str) -> str:
    if _SURROGATE.search(text):
        raise ValueError("half of a character")
    return text


_CODECS: dict[str, Codec] = {
    "auto": auto,
    "json": as_json,
    "text": _text,
    "hex": _hex,
    "base64": _base64,
    "cbor": _cbor,
    "msgpack": _msgpack,
}
