"""Devices: what an endpoint talks to; they go when their endpoint goes."""

import sqlite3
from typing import Any
from uuid import uuid4

import msgspec

from storage.database import Database
from storage.errors import Duplicate, MissingParent
from storage.timestamps import now


class Device(msgspec.Struct, frozen=True):
    """`identifier` names it on its bus (Modbus: the slave id); times are ISO-8601 UTC."""

    uuid: str
    endpoint_id: int
    name: str
    protocol: str
    enabled: bool
    identifier: str
    metadata: dict[str, Any] | None
    created_at: str
    updated_at: str


def insert(
    database: Database,
    endpoint_id: int,
    name: str,
    protocol: str,
    identifier: str,
    metadata: dict[str, Any] | None = None,
    enabled: bool = True,
    uuid: str | None = None,
) -> Device:
    """Raises `MissingParent`, `Duplicate` (of the uuid). `metadata` is stored in clear."""
    time = now()
    device = Device(
        uuid or str(uuid4()), endpoint_id, name, protocol, enabled, identifier, metadata, time, time
    )
    packed = None if metadata is None else msgspec.json.encode(metadata).decode()
    try:
        database.db.execute(
            "INSERT INTO devices"
            " (uuid, endpoint_id, name, protocol, enabled, identifier, metadata, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [device.uuid, endpoint_id, name, protocol, enabled, identifier, packed, time, time],
        )
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            raise MissingParent(endpoint_id) from error
        raise Duplicate("device", name, "uuid") from error
    return device


def load(database: Database) -> list[Device]:
    """Every device, oldest first."""
    return [
        Device(
            uuid,
            endpoint_id,
            name,
            protocol,
            bool(enabled),
            identifier,
            None if metadata is None else msgspec.json.decode(metadata, type=dict[str, Any]),
            created_at,
            updated_at,
        )
        for (
            uuid,
            endpoint_id,
            name,
            protocol,
            enabled,
            identifier,
            metadata,
            created_at,
            updated_at,
        ) in database.db.execute(
            "SELECT uuid, endpoint_id, name, protocol, enabled, identifier, metadata, created_at, updated_at"
            " FROM devices ORDER BY id"
        )
    ]


def set_enabled(database: Database, endpoint_id: int, enabled: bool) -> None:
    """Enable or disable every device of an endpoint."""
    database.db.execute(
        "UPDATE devices SET enabled = ?, updated_at = ? WHERE endpoint_id = ? AND enabled <> ?",
        [enabled, now(), endpoint_id, enabled],
    )
