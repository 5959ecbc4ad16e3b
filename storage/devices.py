"""Devices: what an endpoint talks to; they go when their endpoint goes."""

import sqlite3
from contextlib import closing
from typing import Any
from uuid import uuid4

import msgspec

from storage.database import Database
from storage.errors import Duplicate, MissingParent
from storage.timestamps import now


class Device(msgspec.Struct, frozen=True):
    """`identifier` names it on its bus (Modbus: the slave id); times are ISO-8601 UTC.

    `error` says, in a sentence for people, why the metadata cannot be read; they are None then.
    """

    uuid: str
    endpoint_id: int
    name: str
    protocol: str
    enabled: bool
    identifier: str
    metadata: dict[str, Any] | None
    created_at: str
    updated_at: str
    error: str | None = None


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
    query = (
        "SELECT uuid, endpoint_id, name, protocol, enabled, identifier, metadata, created_at, updated_at"
        " FROM devices ORDER BY id"
    )
    with closing(database.db.execute(query)) as cursor:
        return [_read(stored) for stored in cursor]


def _read(stored: tuple[Any, ...]) -> Device:
    uuid, endpoint_id, name, protocol, enabled, identifier, packed, created_at, updated_at = stored
    metadata, error = None, None
    try:
        if packed is not None:
            metadata = msgspec.json.decode(packed, type=dict[str, Any])
    except (msgspec.MsgspecError, TypeError) as bad:
        error = f"the metadata of device {name!r} cannot be read: {bad}"
    return Device(
        uuid,
        endpoint_id,
        name,
        protocol,
        bool(enabled),
        identifier,
        metadata,
        created_at,
        updated_at,
        error,
    )


def set_enabled(database: Database, endpoint_id: int, enabled: bool) -> None:
    """Enable or disable every device of an endpoint."""
    database.db.execute(
        "UPDATE devices SET enabled = ?, updated_at = ? WHERE endpoint_id = ? AND enabled <> ?",
        [enabled, now(), endpoint_id, enabled],
    )
