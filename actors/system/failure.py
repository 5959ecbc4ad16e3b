"""The one negative reply, and what is said of exceptions; neither repeats a secret."""

from typing import Literal

import msgspec

from conf.redaction import clean

TEXT = 500
"""Characters of an exception's text that are kept."""

Kind = Literal["invalid", "not_found", "conflict", "read_only", "unavailable", "unsupported", "internal"]


class Failed(msgspec.Struct, frozen=True):
    """A request was refused and nothing was changed.

    `kind` decides the HTTP status (one table in `api/errors.py`); `field` names the offending
    field as the client spelled it (`data_points[2].register`), when there is one.
    """

    kind: Kind
    message: str
    field: str | None = None


class Refusal(Exception):
    """Raised by plain functions on input that cannot be accepted; an actor answers it as `Failed`."""

    kind: Kind = "invalid"

    def __init__(self, message: str, field: str | None = None, kind: Kind | None = None) -> None:
        self.message = clean(message)
        super().__init__(self.message)
        self.field = field
        if kind is not None:
            self.kind = kind

    def failed(self) -> Failed:
        return Failed(self.kind, self.message, self.field)


def described(error: BaseException) -> str:
    """Class and text of an exception for people, on one line; an exception that cannot say its text is named
    all the same."""
    try:
        text = " ".join(clean(str(error)).split())
    except Exception:  # noqa: BLE001 - `__str__` is anybody's code
        text = "(its text cannot be had)"
    return f"{type(error).__name__}: {text[:TEXT]}"
