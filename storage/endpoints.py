"""Endpoints with their devices, changed together: all of a call is stored or nothing."""

from collections.abc import Iterable
from functools import lru_cache
from sys import intern
from typing import Any, Final

import msgspec
from msgspec import Raw

from storage import devices, target_state
from storage.database import Database
from storage.devices import Device
from storage.target_state import Row

ENDPOINT: Final = "endpoint"
"""`target_state.kind` of an endpoint; `body["enabled"]` is its switch."""

NULL: Final = Raw(b"null")


class Body(msgspec.Struct, frozen=True):
    """What the target state keeps of an endpoint besides its name. What only its protocol understands stays
    JSON: as objects it would take eight times the memory."""

    protocol: str
    connection: Raw
    """an object"""
    poll_interval: int
    enabled: bool
    data_points: Raw = NULL
    """an array of objects, or null"""
    metadata: Raw = NULL
    """an object, or null"""
    fingerprint: str | None = None


class _Shape(msgspec.Struct, frozen=True):
    """The same, looked into as far as is said above."""

    protocol: str
    connection: dict[str, Any]
    poll_interval: int
    enabled: bool
    data_points: list[dict[str, Any]] | None = None
    metadata: dict[str, Any] | None = None
    fingerprint: str | None = None


class Packed(msgspec.Struct, frozen=True):
    """A row of an endpoint; `body` is None when it cannot be understood, and `error` says why."""

    id: int
    uuid: str
    name: str
    created_at: str
    updated_at: str
    body: Body | None
    error: str | None = None


class NewDevice(msgspec.Struct, frozen=True):
    """A device that a configuration names; without a `uuid` it gets one made of its endpoint's and the
    identifier."""

    identifier: str
    name: str
    uuid: str | None = None


class NewEndpoint(msgspec.Struct, frozen=True):
    """`identifier` is its own device's; `devices` are further ones."""

    name: str
    body: dict[str, Any]
    identifier: str
    protocol: str
    devices: tuple[NewDevice, ...] = ()


class ChangedEndpoint(msgspec.Struct, frozen=True):
    """`changes` are fields of its body; `identifier` its own device's from now on, None: as it was; `devices`
    are further ones that it has now, too."""

    id: int
    changes: dict[str, Any]
    identifier: str | None = None
    devices: tuple[NewDevice, ...] = ()


class Adopted(msgspec.Struct, frozen=True):
    """Endpoints with their devices, in the order in which they were given."""

    added: list[tuple[Packed, list[Device]]]
    changed: list[tuple[Packed, list[Device]]]
    removed: int


def pack(row: Row) -> Packed:
    """The row of an endpoint, in as little memory as it can be had."""
    body, error = None, row.error
    if error is None:
        text = msgspec.json.encode(row.body)
        try:
            msgspec.json.decode(text, type=_Shape)
            body = _alone(msgspec.json.decode(text, type=Body))
        except msgspec.ValidationError as bad:
            error = f"its stored configuration cannot be understood: {bad}"
    return Packed(row.id, row.uuid, row.name or "", row.created_at, row.updated_at, body, error)


def _alone(body: Body) -> Body:
    """Decoded, its parts are views of the whole; by themselves they can be shared, as data points often
    are."""
    return msgspec.structs.replace(
        body,
        protocol=intern(body.protocol),
        connection=body.connection.copy(),
        data_points=_shared(bytes(body.data_points)),
        metadata=_shared(bytes(body.metadata)),
    )


_shared = lru_cache(maxsize=256)(Raw)


def load(database: Database) -> tuple[list[Packed], list[Device]]:
    """Every endpoint, oldest first, and every device."""
    packed = [pack(row) for row in target_state.each(database, (ENDPOINT,))]
    return packed, devices.load(database)


def add_endpoint(
    database: Database,
    name: str,
    body: dict[str, Any],
    identifier: str,
    protocol: str,
    further: Iterable[NewDevice] = (),
    uuid: str | None = None,
) -> tuple[Row, list[Device]]:
    """A new endpoint and its devices, the one of the same name first; raises `Duplicate`."""
    enabled = bool(body.get("enabled", True))
    with database.db.atomic():
        row = target_state.insert(database, ENDPOINT, name, body, uuid=uuid)
        own = devices.insert(database, row.id, name, protocol, identifier, enabled=enabled)
        others = [
            devices.insert(
                database,
                row.id,
                one.name,
                protocol,
                one.identifier,
                enabled=enabled,
                uuid=one.uuid or devices.uuid_of(row.uuid, one.identifier),
            )
            for one in further
        ]
    return row, [own, *others]


def add_endpoints(database: Database, new: Iterable[NewEndpoint]) -> list[tuple[Packed, list[Device]]]:
    """All of them or none; raises `Duplicate`."""
    with database.db.atomic():
        added = (
            add_endpoint(database, one.name, one.body, one.identifier, one.protocol, one.devices)
            for one in new
        )
        return [(pack(row), found) for row, found in added]


def change_endpoint(database: Database, id: int, changes: dict[str, Any]) -> Row:
    """Replace these fields of the body; its devices are enabled or disabled with it.

    The fields that another change has just written stay. Raises `MissingRow`, `Unreadable`.
    """
    with database.db.atomic():
        row = target_state.update(database, id, target_state.get(database, id).body | changes)
        devices.set_enabled(database, id, bool(row.body.get("enabled", True)))
    return row


def adopt(
    database: Database,
    new: Iterable[NewEndpoint],
    changes: Iterable[ChangedEndpoint],
    removals: Iterable[int],
) -> Adopted:
    """All of it or nothing; raises `Duplicate`, `MissingRow`, `Unreadable`."""
    with database.db.atomic():
        removed = target_state.delete(database, removals)
        changed = [_change(database, one) for one in changes]
        return Adopted(add_endpoints(database, new), changed, removed)


def _change(database: Database, one: ChangedEndpoint) -> tuple[Packed, list[Device]]:
    row = change_endpoint(database, one.id, one.changes)
    own, *others = devices.of_endpoint(database, one.id)
    if one.identifier is not None and one.identifier != own.identifier:
        devices.identify(database, own.uuid, one.identifier)
    known = {other.uuid for other in others}
    for new in one.devices:
        uuid = new.uuid or devices.uuid_of(row.uuid, new.identifier)
        if uuid not in known:
            devices.insert(
                database,
                one.id,
                new.name,
                own.protocol,
                new.identifier,
                enabled=bool(row.body.get("enabled", True)),
                uuid=uuid,
            )
    return pack(row), devices.of_endpoint(database, one.id)
