"""What is kept of discovery besides its rules: their states, the history of runs, who was found by whom.

Times are Unix ms. A rule that is not the operator's (`first-boot`, `light`, `full`) is kept by that name in
the place of a uuid. Functions run in the caller's transaction if there is one, else each in its own.
"""

from collections.abc import Collection, Iterable
from typing import Any, Final, Literal
from uuid import uuid4

import msgspec

from storage import target_state
from storage.database import Database
from storage.errors import MissingRow
from storage.target_state import Row

RULE: Final = "discovery_rule"
"""`target_state.kind` of a rule."""
OWN: Final = ("first-boot", "light", "full")
"""What stands in the place of a uuid for rules that are not the operator's."""
RUNS: Final = 100
"""Of each rule, that are kept."""
MANUAL: Final = "manual"
"""Whose scans those are that no rule has made."""
KEEP_MANUAL_MS: Final = 30 * 86_400_000
"""Nobody removes what is kept of them, as with a rule."""
STALE_MS: Final = 7 * 86_400_000
INTERRUPTED: Final = "interrupted: what ran it has ended meanwhile"

Trigger = Literal["manual", "scheduled", "first_boot"]
Status = Literal["idle", "running", "ok", "error"]


class RuleState(msgspec.Struct, frozen=True):
    """`last_result` is `found`, `saved`, `skipped` and, where there was one, `error`. `attempts` are runs
    that began and have not ended, in a row."""

    rule_uuid: str
    status: Status = "idle"
    last_run_at: int | None = None
    next_run_at: int | None = None
    last_result: dict[str, Any] | None = None
    attempts: int = 0


class Run(msgspec.Struct, frozen=True):
    """A run of a rule; one that is `running` in the database was interrupted."""

    uuid: str
    rule_uuid: str
    rule_name: str
    protocol: str
    trigger: Trigger
    started_at: int
    finished_at: int | None = None
    duration_ms: int | None = None
    status: Literal["running", "ok", "error"] = "running"
    found: int = 0
    saved: int = 0
    skipped: int = 0
    pruned: int = 0
    error: str | None = None
    id: int = 0


class Sighting(msgspec.Struct, frozen=True):
    """A device that a scan of one `scope` has found: `missed` counts the whole scans of it that have not,
    since."""

    fingerprint: str
    name: str
    first_seen_at: int
    last_seen_at: int
    missed: int = 0


class Seen(msgspec.Struct, frozen=True):
    """What a scan has found of a rule's scope, by fingerprint, and who was missing."""

    scope: str
    found: dict[str, str]
    """Names by fingerprint"""
    missed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    """To be forgotten."""
    hidden: tuple[str, ...] = ()
    """Who may be there, and was not found for trouble in the way."""


class Stored(msgspec.Struct, frozen=True):
    """What there was when the agent ended; whatever was running is told as interrupted."""

    rules: list[Row]
    states: dict[str, RuleState]


_CUT_SHORT: Final = "UPDATE discovery_runs SET status = 'error', error = ? WHERE status = 'running'"


def new_uuid() -> str:
    return str(uuid4())


def load(database: Database, first: bool = True) -> Stored:
    """All rules and states. At the `first` time in a process, runs that its predecessor has not ended are
    closed."""
    with database.db.atomic():
        if first:
            database.db.execute(_CUT_SHORT, [INTERRUPTED])
        rows = database.db.execute(
            "SELECT rule_uuid, status, last_run_at, next_run_at, last_result, attempts FROM discovery_states"
        ).fetchall()
    return Stored(target_state.load(database, (RULE,)), {row[0]: _state(row) for row in rows})


def _state(row: tuple[Any, ...]) -> RuleState:
    uuid, status, last_run_at, next_run_at, last_result, attempts = row
    result = None if last_result is None else msgspec.json.decode(last_result)
    if status == "running":
        status, result = "error", {"found": 0, "saved": 0, "skipped": 0, "error": INTERRUPTED}
    return RuleState(uuid, status, last_run_at, next_run_at, result, attempts)


def open_rule(database: Database, rule_uuid: str) -> RuleState:
    """How it stands. Runs that somebody has begun, and not ended, were cut short."""
    with database.db.atomic():
        database.db.execute(f"{_CUT_SHORT} AND rule_uuid = ?", [INTERRUPTED, rule_uuid])
        row = database.db.execute(
            "SELECT rule_uuid, status, last_run_at, next_run_at, last_result, attempts FROM discovery_states"
            " WHERE rule_uuid = ?",
            [rule_uuid],
        ).fetchone()
        return RuleState(rule_uuid) if row is None else save_state(database, _state(row))


def save_state(database: Database, state: RuleState) -> RuleState:
    """Keep it; what was kept."""
    result = None if state.last_result is None else msgspec.json.encode(state.last_result).decode()
    database.db.execute(
        "INSERT OR REPLACE INTO discovery_states"
        " (rule_uuid, status, last_run_at, next_run_at, last_result, attempts) VALUES (?, ?, ?, ?, ?, ?)",
        [state.rule_uuid, state.status, state.last_run_at, state.next_run_at, result, state.attempts],
    )
    return state


_RUN: Final = (
    *("uuid", "rule_uuid", "rule_name", "protocol", "trigger", "started_at", "finished_at", "duration_ms"),
    *("status", "found", "saved", "skipped", "pruned", "error"),
)


def begin_run(database: Database, run: Run, state: RuleState) -> None:
    """It is under way; older ones than the latest of its rule go. Raises `MissingRow` when the rule was
    removed meanwhile."""
    with database.db.atomic():
        if run.rule_uuid not in OWN and not _has_rule(database, run.rule_uuid):
            raise MissingRow(0)
        save_state(database, state)
        values = [getattr(run, name) for name in _RUN]
        marks = ", ".join("?" * len(_RUN))
        database.db.execute(
            f"INSERT OR REPLACE INTO discovery_runs ({', '.join(_RUN)}) VALUES ({marks})", values
        )
        database.db.execute(
            "DELETE FROM discovery_runs WHERE rule_uuid = ? AND id NOT IN"
            " (SELECT id FROM discovery_runs WHERE rule_uuid = ? ORDER BY id DESC LIMIT ?)",
            [run.rule_uuid, run.rule_uuid, RUNS],
        )


def _has_rule(database: Database, uuid: str) -> bool:
    found = database.db.execute("SELECT 1 FROM target_state WHERE kind = ? AND uuid = ?", [RULE, uuid])
    return found.fetchone() is not None


def end_run(
    database: Database, run: Run, state: RuleState, owner: str, seen: Collection[Seen] = ()
) -> list[str]:
    """It has ended. One that was removed meanwhile, with its rule, stays away; so does the rule's state.

    Returns the names of devices that the owner's scans of those scopes have missed, or that trouble has
    hidden, and that were not found for a week."""
    with database.db.atomic():
        found = database.db.execute("SELECT id FROM discovery_runs WHERE uuid = ?", [run.uuid]).fetchone()
        if found is None:
            return []
        sets = ", ".join(f"{name} = ?" for name in _RUN)
        values = [getattr(run, name) for name in _RUN]
        database.db.execute(f"UPDATE discovery_runs SET {sets} WHERE id = ?", [*values, found[0]])
        save_state(database, state)
        save_seen(database, owner, seen, run.started_at)
        return sorted(
            name for one in seen for name in _stale(database, owner, one, run.started_at - STALE_MS)
        )


def _stale(database: Database, owner: str, seen: Seen, before: int) -> list[str]:
    rows = database.db.execute(
        "SELECT fingerprint, name, missed FROM discovery_sightings"
        " WHERE rule_uuid = ? AND scope = ? AND last_seen_at < ?",
        [owner, seen.scope, before],
    )
    return [name for fingerprint, name, missed in rows if missed or fingerprint in seen.hidden]


def save_seen(database: Database, owner: str, seen: Collection[Seen], at: int) -> None:
    """Who was found then, who was missing, who is to be forgotten. The `owner` is a rule, or whose scans
    these are instead."""
    with database.db.atomic():
        for one in seen:
            _save_seen(database, owner, one, at)
        if owner == MANUAL:
            forgotten = "DELETE FROM discovery_sightings WHERE rule_uuid = ? AND last_seen_at < ?"
            database.db.execute(forgotten, [owner, at - KEEP_MANUAL_MS])


def _save_seen(database: Database, rule_uuid: str, seen: Seen, at: int) -> None:
    for fingerprint, name in seen.found.items():
        database.db.execute(
            "INSERT INTO discovery_sightings"
            " (rule_uuid, fingerprint, scope, name, first_seen_at, last_seen_at, missed)"
            " VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (rule_uuid, fingerprint) DO UPDATE SET"
            " scope = excluded.scope, name = excluded.name, last_seen_at = excluded.last_seen_at,"
            " missed = 0",
            [rule_uuid, fingerprint, seen.scope, name, at, at],
        )
    for fingerprint in seen.missed:
        database.db.execute(
            "UPDATE discovery_sightings SET missed = missed + 1"
            " WHERE rule_uuid = ? AND fingerprint = ? AND scope = ?",
            [rule_uuid, fingerprint, seen.scope],
        )
    for fingerprint in seen.gone:
        database.db.execute(
            "DELETE FROM discovery_sightings WHERE rule_uuid = ? AND fingerprint = ?",
            [rule_uuid, fingerprint],
        )


def sightings(database: Database, owner: str, scopes: Iterable[str]) -> dict[str, list[Sighting]]:
    """Whom the owner's scans of those scopes have found, by fingerprint."""
    query = (
        "SELECT fingerprint, name, first_seen_at, last_seen_at, missed FROM discovery_sightings"
        " WHERE rule_uuid = ? AND scope = ? ORDER BY fingerprint"
    )
    return {scope: [Sighting(*row) for row in database.db.execute(query, [owner, scope])] for scope in scopes}


def runs(database: Database, rule_uuid: str | None, limit: int) -> list[Run]:
    """The latest, of one rule or of all, newest first."""
    chosen, values = ("", []) if rule_uuid is None else (" WHERE rule_uuid = ?", [rule_uuid])
    rows = database.db.execute(
        f"SELECT {', '.join(_RUN)}, id FROM discovery_runs{chosen} ORDER BY id DESC LIMIT ?", [*values, limit]
    )
    return [Run(*row) for row in rows]


def add_rule(database: Database, body: dict[str, Any], next_run_at: int | None) -> tuple[Row, RuleState]:
    with database.db.atomic():
        row = target_state.insert(database, RULE, None, body)
        return row, save_state(database, RuleState(row.uuid, next_run_at=next_run_at))


def change_rule(database: Database, id: int, body: dict[str, Any]) -> Row:
    """Raises `MissingRow`."""
    return target_state.update(database, id, body)


def remove_rules(database: Database, rules: Collection[tuple[int, str]]) -> int:
    """Ids with uuids: the rules with all that is kept of them."""
    with database.db.atomic():
        forget(database, [uuid for _, uuid in rules])
        return target_state.delete(database, [id for id, _ in rules])


def forget(database: Database, rule_uuids: Iterable[str]) -> None:
    """Everything but the rules themselves."""
    with database.db.atomic():
        for uuid in rule_uuids:
            for table in ("discovery_runs", "discovery_sightings", "discovery_states"):
                database.db.execute(f"DELETE FROM {table} WHERE rule_uuid = ?", [uuid])
