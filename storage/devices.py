"""Devices: what an endpoint talks to; they go when their endpoint goes.

The oldest of an endpoint is its own, which came with it and has its name. The others the configuration
names, or they were found.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid4, uuid5

import msgspec

from storage.database import Database
from storage.errors import Duplicate, MissingParent
from storage.timestamps import now

_COLUMNS: Final = "uuid, endpoint_id, name, protocol, enabled, identifier, metadata, created_at, updated_at"


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


class FurtherDevice(msgspec.Struct, frozen=True):
    """A device that an endpoint has besides its own; of the endpoint with that id."""

    endpoint_id: int
    uuid: str
    identifier: str
    name: str


class RefusedDevice(msgspec.Struct, frozen=True):
    device: FurtherDevice
    reason: str


class KeptDevices(msgspec.Struct, frozen=True):
    """What became of devices that were found: those of endpoints that are no more are in neither."""

    devices: list[Device]
    refused: list[RefusedDevice]


def uuid_of(endpoint_uuid: str, identifier: str) -> str:
    """Of a device whose configuration gives it none: the same in every life."""
    return str(uuid5(NAMESPACE_URL, f"callboard:device:{endpoint_uuid}:{identifier}"))


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


def keep(database: Database, found: Iterable[FurtherDevice], most: int) -> KeptDevices:
    """Add the devices that there are not, and take over new names of the others: all that can be, in one
    transaction. An endpoint has no more than `most`."""
    kept: list[Device] = []
    refused: list[RefusedDevice] = []
    with database.db.atomic():
        for one in found:
            outcome = _keep(database, one, most)
            if isinstance(outcome, Device):
                kept.append(outcome)
            elif outcome is not None:
                refused.append(RefusedDevice(one, outcome))
    return KeptDevices(kept, refused)


def _keep(database: Database, found: FurtherDevice, most: int) -> Device | str | None:
    """The device as it is now, or why it is not kept; None when its endpoint is no more."""
    there = _of_uuid(database, found.uuid)
    if there is not None:
        if there.endpoint_id != found.endpoint_id:
            return f"its uuid {found.uuid} is that of device {there.name!r} of another endpoint"
        if (there.name, there.identifier) != (found.name, found.identifier):
            database.db.execute(
                "UPDATE devices SET name = ?, identifier = ?, updated_at = ? WHERE uuid = ?",
                [found.name, found.identifier, now(), found.uuid],
            )
            there = _of_uuid(database, found.uuid)
        return there
    query = "SELECT protocol, enabled FROM devices WHERE endpoint_id = ? ORDER BY id LIMIT 1"
    own = database.db.execute(query, [found.endpoint_id]).fetchone()
    if own is None:
        return None
    query = "SELECT count(*) FROM devices WHERE endpoint_id = ?"
    if database.db.execute(query, [found.endpoint_id]).fetchone()[0] >= most:
        return f"its endpoint has {most} devices, which is as many as are kept"
    protocol, enabled = own
    return insert(
        database,
        found.endpoint_id,
        found.name,
        protocol,
        found.identifier,
        enabled=bool(enabled),
        uuid=found.uuid,
    )


def remove(database: Database, uuid: str) -> int:
    """How many were removed: none if there is no such device."""
    return database.db.execute("DELETE FROM devices WHERE uuid = ?", [uuid]).rowcount


def load(database: Database) -> list[Device]:
    """Every device, oldest first."""
    with closing(database.db.execute(f"SELECT {_COLUMNS} FROM devices ORDER BY id")) as cursor:
        return [_read(stored) for stored in cursor]


def of_endpoint(database: Database, endpoint_id: int) -> list[Device]:
    """Its own first."""
    query = f"SELECT {_COLUMNS} FROM devices WHERE endpoint_id = ? ORDER BY id"
    return [_read(stored) for stored in database.db.execute(query, [endpoint_id]).fetchall()]


def identify(database: Database, uuid: str, identifier: str) -> None:
    """What tells the device apart on its connection, from now on."""
    database.db.execute(
        "UPDATE devices SET identifier = ?, updated_at = ? WHERE uuid = ?", [identifier, now(), uuid]
    )


def _of_uuid(database: Database, uuid: str) -> Device | None:
    found = database.db.execute(f"SELECT {_COLUMNS} FROM devices WHERE uuid = ?", [uuid]).fetchone()
    return None if found is None else _read(found)


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
