"""Endpoints with their device, changed together: all of a call is stored or nothing."""

from typing import Any, Final

from storage import devices, target_state
from storage.database import Database
from storage.devices import Device
from storage.target_state import Row

ENDPOINT: Final = "endpoint"
"""`target_state.kind` of an endpoint; `body["enabled"]` is its switch."""


def load(database: Database) -> tuple[list[Row], list[Device]]:
    """Every endpoint, oldest first, and every device."""
    return target_state.load(database, (ENDPOINT,)), devices.load(database)


def add_endpoint(
    database: Database,
    name: str,
    body: dict[str, Any],
    identifier: str,
    protocol: str,
    uuid: str | None = None,
) -> tuple[Row, Device]:
    """A new endpoint and its device of the same name; raises `Duplicate`."""
    with database.db.atomic():
        row = target_state.insert(database, ENDPOINT, name, body, uuid=uuid)
        device = devices.insert(
            database, row.id, name, protocol, identifier, enabled=bool(body.get("enabled", True))
        )
    return row, device


def change_endpoint(database: Database, id: int, changes: dict[str, Any]) -> Row:
    """Replace these fields of the body; its devices are enabled or disabled with it.

    The fields that another change has just written stay. Raises `MissingRow`, `Unreadable`.
    """
    with database.db.atomic():
        row = target_state.update(database, id, target_state.get(database, id).body | changes)
        devices.set_enabled(database, id, bool(row.body.get("enabled", True)))
    return row
