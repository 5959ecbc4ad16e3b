"""Schema drift: what devices' fields usually are, changes of that, and the options of each protocol."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from storage import target_state, timestamps
from storage.database import Database
from storage.target_state import Row

OUTPUT: Final = "protocol-output"
"""`target_state.kind` of a protocol's output: named like the protocol, it holds its `drift_options`."""

EVENTS: Final = 1000
"""How many events of a protocol are kept; the oldest give way."""

ABANDONED: Final = 30 * 86_400
"""Seconds that the baseline of a device that is not configured is kept."""


class StoredBaseline(msgspec.Struct, frozen=True):
    """`body` is the detector's."""

    device_uuid: str
    device: str
    body: bytes


class DriftEvent(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One change of a device's fields (spec 02 section 11). `detected_at` is ISO-8601; what does not apply is
    UNSET."""

    drift_type: str
    severity: str
    protocol: str
    device: str
    device_uuid: str
    field: str
    detected_at: str
    expected_type: str | UnsetType = UNSET
    observed_types: list[str] | UnsetType = UNSET
    rename_candidate_from: str | UnsetType = UNSET
    rename_candidate_to: str | UnsetType = UNSET
    rename_similarity: float | UnsetType = UNSET


class StoredDriftEvent(DriftEvent, frozen=True, omit_defaults=True, kw_only=True):
    id: int


_ISO: Final = "%Y-%m-%dT%H:%M:%fZ"
"""Times as `timestamps` spells them, to SQLite's `strftime`."""

_COLUMNS: Final = (
    "id",
    "protocol",
    "device_uuid",
    "device",
    "drift_type",
    "field",
    "severity",
    "detected_at",
)
_DETAILS: Final = (
    "expected_type",
    "observed_types",
    "rename_candidate_from",
    "rename_candidate_to",
    "rename_similarity",
)
"""What the column `details` holds, as JSON."""


# Baselines


def load(database: Database, protocol: str) -> list[StoredBaseline]:
    """Every baseline of a protocol, but for devices that are no more: those are removed.

    Their time is counted up to when one was last stored: a clock that says something else altogether now may
    be wrong.
    """
    latest = database.db.execute("SELECT max(updated_at) FROM drift_baselines").fetchone()[0]
    before = timestamps.iso(timestamps.unix_ms() - 1000 * ABANDONED)
    with database.db.atomic():
        database.db.execute(
            "DELETE FROM drift_baselines WHERE protocol = ?1 AND updated_at < ?2"
            f" AND updated_at < strftime('{_ISO}', ?3, '-{ABANDONED} seconds')"
            " AND device_uuid NOT IN (SELECT uuid FROM devices)",
            [protocol, before, latest],
        )
    query = "SELECT device_uuid, device, body FROM drift_baselines WHERE protocol = ? ORDER BY device_uuid"
    with closing(database.db.execute(query, [protocol])) as cursor:
        return [StoredBaseline(*values) for values in cursor]


def save(database: Database, protocol: str, baselines: Iterable[StoredBaseline]) -> None:
    """Insert or replace, all or nothing."""
    now = timestamps.now()
    with database.db.atomic():
        database.db.conn.executemany(
            "INSERT INTO drift_baselines (protocol, device_uuid, device, body, updated_at)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (protocol, device_uuid) DO UPDATE"
            " SET device = excluded.device, body = excluded.body, updated_at = excluded.updated_at",
            [(protocol, one.device_uuid, one.device, one.body, now) for one in baselines],
        )


def remove(database: Database, protocol: str, device_uuids: Sequence[str]) -> None:
    """The baselines of these devices, if there are any."""
    with database.db.atomic():
        database.db.conn.executemany(
            "DELETE FROM drift_baselines WHERE protocol = ? AND device_uuid = ?",
            [(protocol, uuid) for uuid in device_uuids],
        )


# Events


def add_events(database: Database, protocol: str, events: Sequence[DriftEvent]) -> None:
    """Keep the newest `EVENTS` of the protocol. Repeating a call changes nothing."""
    with database.db.atomic():
        database.db.conn.executemany(
            "INSERT INTO drift_events"
            " (protocol, device_uuid, device, drift_type, field, severity, detected_at, details)"
            " SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE NOT EXISTS ("
            " SELECT 1 FROM drift_events WHERE protocol = ?1 AND device_uuid = ?2 AND drift_type = ?4"
            " AND field = ?5 AND detected_at = ?7)",
            [_columns(event) for event in events[-EVENTS:]],
        )
        database.db.conn.execute(
            "DELETE FROM drift_events WHERE protocol = ?1 AND id <="
            " (SELECT id FROM drift_events WHERE protocol = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            [protocol, EVENTS],
        )


def _columns(event: DriftEvent) -> tuple[str, ...]:
    details = {name: getattr(event, name) for name in _DETAILS if getattr(event, name) is not UNSET}
    return (
        event.protocol,
        event.device_uuid,
        event.device,
        event.drift_type,
        event.field,
        event.severity,
        event.detected_at,
        msgspec.json.encode(details).decode(),
    )


def newest(database: Database, protocol: str | None, limit: int) -> list[StoredDriftEvent]:
    """At most `limit` events, of one protocol or of all, the latest first."""
    query = (
        f"SELECT {', '.join(_COLUMNS)}, details FROM drift_events"
        " WHERE ?1 IS NULL OR protocol = ?1 ORDER BY id DESC LIMIT ?2"
    )
    with closing(database.db.execute(query, [protocol, limit])) as cursor:
        return [_event(values) for values in cursor]


def _event(values: tuple[Any, ...]) -> StoredDriftEvent:
    """Details that cannot be read are left out, the event is not."""
    *columns, details = values
    named = dict(zip(_COLUMNS, columns, strict=True))
    try:
        return msgspec.convert(named | msgspec.json.decode(details, type=dict[str, Any]), StoredDriftEvent)
    except (msgspec.MsgspecError, TypeError):
        return StoredDriftEvent(**named)


# Options


def change_options(
    database: Database, protocols: Sequence[str], put: dict[str, Any] | None, drop: Iterable[str] = ()
) -> list[Row]:
    """Merge `put` into the options of each protocol after dropping the keys `drop`; None clears them.

    Raises `Unreadable`, and changes nothing, when one's options cannot be read, unless they are cleared.
    """
    with database.db.atomic():
        return [_change(database, protocol, put, drop) for protocol in protocols]


def _change(database: Database, protocol: str, put: dict[str, Any] | None, drop: Iterable[str]) -> Row:
    found = database.db.execute(
        "SELECT id FROM target_state WHERE kind = ? AND name = ?", [OUTPUT, protocol]
    ).fetchone()
    options = None
    if put is not None:
        body = target_state.get(database, found[0]).body if found else {}
        stored = body.get("drift_options") or {}
        options = {key: value for key, value in stored.items() if key not in drop} | put
    changed = {"drift_options": options}
    if found is None:
        return target_state.insert(database, OUTPUT, protocol, changed)
    return target_state.update(database, found[0], changed)
