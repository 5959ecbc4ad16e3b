"""A value in a cell of a spreadsheet, and back.

A cell that begins with an apostrophe is the text after it, as spreadsheets have it. So a text that one of
them would take for a formula, or that would be read as something else, comes back as it was. An empty cell is
no value. Everything else in a cell is JSON where it can be, and text where it cannot.
"""

import re
from typing import Any, Final

import msgspec

_MARK: Final = "'"
_RISKY: Final = ("=", "+", "-", "@", "\t", "\r", _MARK)
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_COMMA_NUMBER: Final = re.compile(r"[+-]?\d+,\d+")


def write(value: Any, text_only: bool) -> str:
    """The cell of a value of JSON's types; `text_only` where it is read as text whatever it looks like. Null
    counts as absent."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return msgspec.json.encode(value).decode()
    alike = not text_only and not isinstance(_guessed(value, False), str)
    odd = value == "" or value != value.strip() or value.startswith(_RISKY)
    return f"{_MARK}{value}" if alike or odd else value


def read(cell: str, text_only: bool, comma: bool = False) -> Any:
    """The value of a cell, None if it is empty; `comma` says that numbers may have a decimal comma."""
    if cell.startswith(_MARK):
        return cell[1:]
    text = cell.strip()
    if not text:
        return None
    return text if text_only else _guessed(text, comma)


def _guessed(text: str, comma: bool) -> Any:
    """Text is what nothing else is, a JSON string in quotes among it."""
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    if comma and _COMMA_NUMBER.fullmatch(text):
        text = text.replace(",", ".")
    if text[:1] == '"':
        return text
    try:
        return msgspec.json.decode(text.removeprefix("+"))
    except (msgspec.DecodeError, RecursionError):
        return text
