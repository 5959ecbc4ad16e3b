"""What a request brings of secrets: while it is served they appear in no text, stored or not."""

import csv
from collections.abc import Iterable
from contextlib import suppress
from io import StringIO
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl

import msgspec

from api.decoding import FORM
from api.errors import ApiError, Error
from conf import redaction
from conf.secret_forms import may_hold, names_secret, secrets_in

MOST: Final = 5000
"""Secrets of one request, of a PEM text each line."""

MOST_CHARACTERS: Final = 1024 * 1024
"""Of all of them; each is looked for in some twenty spellings."""


class Entrusted:
    """Holds the secrets of one request, from `look` to the end of the `with`. What is stored of them is then
    held by its row; a login that failed, or a configuration that was only tried, leaves nothing: clients
    could have any word masked else."""

    def __init__(self) -> None:
        self._holds = False

    def __enter__(self) -> Self:
        return self

    def look(self, raw: bytes, media_type: str) -> None:
        """A body, before anything else is made of it; what is no form and no table is taken for JSON."""
        if not may_hold(raw):
            return
        given = _READERS.get(media_type, _json)(raw)
        secrets: list[str] = []
        with suppress(RecursionError):  # nested deeper than anybody reads
            secrets = _bounded(secrets_in(given))
        self._holds = True
        redaction.keep(self, secrets)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._holds:
            redaction.drop(self)


def _bounded(secrets: Iterable[str]) -> list[str]:
    """Raises `ApiError` for more than anybody has: to look for them takes memory, and time, of all others."""
    found: set[str] = set()
    size = 0
    for part in (part for secret in secrets for part in redaction.parts(secret)):
        if part not in found:
            found.add(part)
            size += len(part)
        if len(found) > MOST or size > MOST_CHARACTERS:
            why = f"A body may bring {MOST} secrets at most; send it in parts"
            raise ApiError(413, Error("Payload too large", why))
    return list(found)


def _json(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def _form(raw: bytes) -> Any:
    try:
        return dict(parse_qsl(raw.decode(), max_num_fields=1000))
    except ValueError:
        return None


def _table(raw: bytes) -> Any:
    """Its cells by their titles, of the columns that may hold secrets."""
    text = raw.decode("utf-8-sig", "replace")
    title = text.partition("\n")[0]
    try:
        rows = csv.reader(StringIO(text), delimiter=max(",;\t", key=title.count))
        titles = next(rows, [])
        chosen = [at for at, name in enumerate(titles) if _may_hold_one(name)]
        return [{titles[at]: row[at] for at in chosen if at < len(row)} for row in rows] if chosen else None
    except csv.Error:
        return None


def _may_hold_one(title: str) -> bool:
    return names_secret(title) or title.lower().endswith(("url", "headers"))


_READERS: Final = {FORM: _form, "text/csv": _table}
