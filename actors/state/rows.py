"""Stored rows and what they say, each by itself: one that cannot be understood is no matter of the others."""

from typing import Any, Generic, TypeVar

import msgspec

from storage.target_state import Row

B = TypeVar("B", bound=msgspec.Struct)


class Kept(msgspec.Struct, Generic[B], frozen=True):
    """A row; `body` is None when it cannot be understood, and `error` says why."""

    row: Row
    body: B | None
    error: str | None = None

    @property
    def known(self) -> B:
        """The body of a row that was understood."""
        assert self.body is not None
        return self.body


def understand(row: Row, body: type[B]) -> Kept[B]:
    """Read a row's body as that type."""
    if row.error is not None:
        return Kept(row, None, row.error)
    try:
        return Kept(row, msgspec.convert(row.body, body))
    except msgspec.ValidationError as error:
        return Kept(row, None, f"its stored configuration cannot be understood: {error}")


def summary(what: str, errors: dict[str, str]) -> Any:
    """One line about rows that cannot be used, by name; None when there are none."""
    if not errors:
        return None
    shown = [f"{name}: {error}" for name, error in list(errors.items())[:5]]
    more = f" and {len(errors) - 5} more" if len(errors) > 5 else ""
    return f"{len(errors)} {what} cannot be used: {'; '.join(shown)}{more}"
