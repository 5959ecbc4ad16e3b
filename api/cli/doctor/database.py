"""The database, looked at without changing it."""

import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from api.cli.amounts import duration, moment, size
from api.cli.doctor.findings import Finding, ok, problem, warning
from storage import reading_only
from storage.timestamps import unix_ms

CHECK = "database"
LONG_LOG_BYTES = 256 * 1024 * 1024
LOOK_SECONDS = 10.0
BUSY_LOOK_SECONDS = 2.0
"""With an agent: while somebody reads, its log cannot be cut."""
CLOCK_SLACK_MS = 60_000


def check_database(path: Path, *, in_use: bool) -> Iterator[Finding]:
    try:
        length = path.stat().st_size
    except FileNotFoundError:
        yield ok(CHECK, f"{path} is not there yet; the first start makes it")
        return
    except OSError as error:
        yield problem(CHECK, f"{path}: {error.strerror}", "run doctor as the user of the agent")
        return
    if path.with_name(f"{path.name}.check").exists():
        text = f"SQLite has met damage in {path}; the next start checks it in full"
        yield problem(CHECK, text, "make a backup of the folder, then restart the agent and read its log")
    yield from _content(path, length, BUSY_LOOK_SECONDS if in_use else LOOK_SECONDS)
    yield from _log(path)


def _content(path: Path, length: int, seconds: float) -> Iterator[Finding]:
    text = f"{path}, {size(length)}"
    try:
        with reading_only.opened(path, seconds) as connection:
            newer = reading_only.schema(connection)
            yield from _schema(path, *newer)
            found = reading_only.damage(connection)
        if found:
            advice = "stop the agent, keep a copy of the folder, and restore a backup"
            yield problem(CHECK, f"{text}: damaged: {'; '.join(found)}", advice)
        else:
            yield ok(CHECK, f"{text}: sound")
    except reading_only.TooLong:
        advice = "stop the agent and ask again, if you suspect it to be damaged"
        yield warning(CHECK, f"{text}: not all of it could be checked in {seconds:.0f} s", advice)
    except sqlite3.DatabaseError as error:
        advice = "stop the agent, keep a copy of the folder, and restore a backup"
        yield problem(CHECK, f"{text}: {error}", advice)


def _schema(path: Path, pending: list[str], newer: list[str]) -> Iterator[Finding]:
    if newer:
        text = f"{path} was written by a newer version of the agent (has {newer[-1]})"
        yield problem("schema", text, "install that version, or restore the copy of before the upgrade")
    elif pending:
        yield ok("schema", f"{len(pending)} steps behind this version; the next start brings it up to date")
    else:
        yield ok("schema", "that of this version")


def _log(path: Path) -> Iterator[Finding]:
    log = path.with_name(f"{path.name}-wal")
    length = log.stat().st_size if log.exists() else 0
    if length > LONG_LOG_BYTES:
        text = f"the write-ahead log has grown to {size(length)}: some program keeps the database open"
        yield warning(
            "write-ahead log", text, f"look for who reads it: fuser -v {path}; or restart the agent"
        )
    else:
        yield ok("write-ahead log", size(length))


def check_last_write(path: Path) -> Iterator[Finding]:
    """A database of the future: the clock has been set back since it was written."""
    written = [
        file.stat().st_mtime * 1000
        for file in (path, path.with_name(f"{path.name}-wal"))
        if file.exists() and file.stat().st_size
    ]
    if not written:
        return
    ahead = max(written) - unix_ms()
    if ahead > CLOCK_SLACK_MS:
        when = datetime.fromtimestamp(max(written) / 1000).astimezone().isoformat()
        text = f"the database was written at {moment(when)}, which is {duration(ahead / 1000)} from now"
        advice = "set the clock right: readings are stamped with it, and outages are measured by it"
        yield problem("clock", text, advice)
    else:
        yield ok("clock", f"the database was last written {duration(max(0.0, -ahead) / 1000)} ago")
