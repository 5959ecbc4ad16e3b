"""What storage raises. All of it survives pickling, for it travels in messages."""

import sqlite3
from typing import Literal

Kind = Literal[
    "full",
    "busy",
    "locked",
    "corrupt",
    "newer",
    "unusable",
    "closed",
    "silent",
    "duplicate",
    "missing",
    "unreadable",
    "failed",
]

_KINDS: dict[int, Kind] = {
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_LOCKED: "busy",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
    sqlite3.SQLITE_CANTOPEN: "unusable",
    sqlite3.SQLITE_READONLY: "unusable",
    sqlite3.SQLITE_PERM: "unusable",
}


ADVICE: dict[Kind, str] = {
    "full": "make room on the disk",
    "busy": "end the other program that has it open",
    "unusable": "the user that runs the agent must be able to write this file and its folder",
    "failed": "check that the disk works and has room",
}
"""What to do about a database that cannot be opened."""


class StorageError(Exception):
    """Root of storage's errors; nothing of what was asked is stored.

    `kind`: full (disk or quota), busy (another program holds the database), locked (another agent
    runs on it), corrupt, newer (written by a newer version), unusable (folder or file cannot be
    written), closed (the writer has ended), silent (no answer), duplicate, missing, unreadable (a row),
    failed (anything else).
    """

    def __init__(self, message: str, kind: Kind = "failed") -> None:
        super().__init__(message, kind)
        self.message = message
        self.kind: Kind = kind

    def __str__(self) -> str:
        return self.message


class Duplicate(StorageError):
    """A row of this kind and name (or, if `field` says so, of this uuid) exists already."""

    def __init__(self, row_kind: str, name: str | None, field: Literal["name", "uuid"] = "name") -> None:
        super().__init__(f"{row_kind} {name!r} exists already (same {field})", "duplicate")
        self.row_kind = row_kind
        self.name = name
        self.field = field
        self.args = (row_kind, name, field)


class MissingParent(StorageError):
    """The row that this one belongs to (target_state.id) does not exist."""

    def __init__(self, parent_id: int | None) -> None:
        super().__init__(f"parent {parent_id} does not exist", "missing")
        self.parent_id = parent_id
        self.args = (parent_id,)


class MissingRow(StorageError):
    """The row (target_state.id) to change does not exist."""

    def __init__(self, row_id: int) -> None:
        super().__init__(f"row {row_id} does not exist", "missing")
        self.row_id = row_id
        self.args = (row_id,)


class Unreadable(StorageError):
    """A row (target_state.id) is there, but its body cannot be read; `why` is part of a sentence."""

    def __init__(self, row_id: int, row_kind: str, name: str | None, why: str) -> None:
        label = row_kind if name is None else f"{row_kind} {name!r}"
        super().__init__(f"{label} (row {row_id}) {why}; delete it or restore the key", "unreadable")
        self.row_id = row_id
        self.row_kind = row_kind
        self.name = name
        self.why = why
        self.args = (row_id, row_kind, name, why)


def kind_of(error: sqlite3.Error) -> Kind:
    """The kind of an error that SQLite reported."""
    # Extended codes carry the primary one in their low byte; errors of the driver itself have none.
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return "failed" if code is None else _KINDS.get(code & 0xFF, "failed")
