"""What is wrong with an import, row by row."""

import msgspec
from msgspec import UNSET, UnsetType

from actors.system.failure import Kind
from api.errors import TITLE, ApiError

TOLD = 100
"""Faults that are told one by one."""


class RowFault(msgspec.Struct, frozen=True):
    """`row` counts from 1."""

    row: int
    error: str
    field: str | UnsetType = UNSET


class ImportErrors(msgspec.Struct, frozen=True):
    """Nothing was imported. `errors` are the first 100 faults; without them the body as a whole is wrong."""

    error: str
    message: str | UnsetType = UNSET
    field: str | UnsetType = UNSET
    errors: list[RowFault] | UnsetType = UNSET


class Fault(msgspec.Struct, frozen=True):
    """As `RowFault`, with the kind of the refusal."""

    row: int
    error: str
    field: str | None = None
    kind: Kind = "invalid"


class Faulty(Exception):
    """The file cannot be imported as it is."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


def refused(faults: list[Fault]) -> ApiError:
    """400; 409 when all that is wrong is that names are taken."""
    rows = len({fault.row for fault in faults})
    what = f"Nothing was imported: {rows} row{'s' if rows > 1 else ''} at fault"
    told = [
        RowFault(one.row, one.error, UNSET if one.field is None else one.field)
        for one in sorted(faults, key=lambda one: one.row)[:TOLD]
    ]
    if all(fault.kind == "conflict" for fault in faults):
        return ApiError(409, ImportErrors(what, errors=told))
    return ApiError(400, ImportErrors(TITLE[400], what, errors=told))
