"""Values and objects as they are given on the command line."""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from api.cli.exits import USAGE, CommandError
from api.printable import one_line
from conf.secret_forms import names_secret

_NEXT = re.compile(r",(?=[A-Za-z_][A-Za-z0-9_]*=)")
LARGEST = 64 << 20
"""Bytes of a file that is sent whole."""


def value_of(text: str) -> Any:
    """JSON, or else a text."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def fields_of(pairs: Iterable[str], what: str) -> dict[str, Any]:
    """An object of `key=value`, where `key=@FILE` is the text in a file, without the end of its last line.
    Raises `CommandError`, also for a secret that is an argument: other users of the machine see those."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise CommandError(f"{what}: {one_line(pair)!r} is not KEY=VALUE", USAGE)
        if text.startswith("@"):
            found[key] = content_of(Path(text[1:]), what).rstrip("\r\n")
        elif text and names_secret(key):
            raise CommandError(f"{what}: {key} is a secret: put it into a file, and say {key}=@FILE", USAGE)
        else:
            found[key] = value_of(text)
    return found


def content_of(path: Path, what: str) -> str:
    """A file's text, or that of standard input for `-`. Raises `CommandError`."""
    try:
        raw = sys.stdin.buffer.read(LARGEST + 1) if str(path) == "-" else _read(path)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise CommandError(f"{what}: {path}: cannot be read: {error.strerror}", USAGE) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{what}: {path}: is not UTF-8", USAGE) from error
    if len(raw) > LARGEST:
        raise CommandError(f"{what}: {path}: has more than {LARGEST >> 20} MB", USAGE)
    return text


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST + 1)


def document_of(path: Path, what: str) -> Any:
    """The JSON in a file, or in standard input for `-`. Raises `CommandError`."""
    try:
        return json.loads(content_of(path, what))
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{what}: {path}: is not JSON: {one_line(str(error))}", USAGE) from error


def object_of(text: str, what: str) -> dict[str, Any]:
    """A JSON object, or `key=value` with commas between: `name=speed,register=holding:0,scale=0.1`."""
    if not text.lstrip().startswith("{"):
        return fields_of(_NEXT.split(text), what)
    found = value_of(text)
    if not isinstance(found, dict):
        raise CommandError(f"{what}: {one_line(text)!r} is not a JSON object", USAGE)
    return found
