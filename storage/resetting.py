"""Deleting everything but who the agent is (spec 01 section 3)."""

import sqlite3
from typing import Final

from storage import migrations
from storage.backups import quoted, tables
from storage.connection import setting
from storage.database import Database

OVERWRITTEN: Final = 64 * 1024 * 1024
"""Bytes up to which what is deleted is overwritten too; of more than that the log would fill the disk."""


def empty(database: Database, token: int) -> None:
    """Delete the rows of every table; of the agent's own, its uuid stays.

    For a transaction of which nothing else is a part. `token` is found by `outcomes.is_done` once it is
    committed. Raises what SQLite raises.
    """
    live: sqlite3.Connection = database.db.conn
    size = setting(live, "page_count") * setting(live, "page_size")
    usual = setting(live, "secure_delete")
    if size <= OVERWRITTEN:
        live.execute("PRAGMA secure_delete=ON").fetchall()
    try:
        live.execute("PRAGMA defer_foreign_keys=ON")
        for table in tables(live):
            if table not in ("agent", migrations.TABLE):
                live.execute(f"DELETE FROM {quoted(table)}")
        live.execute("DELETE FROM sqlite_sequence")
        # What is empty is made anew when the agent is next asked who it is.
        live.execute("UPDATE agent SET name = '', type = '', created_at = '', updated_at = ''")
        live.execute(f"PRAGMA user_version={token}")
    finally:
        live.execute(f"PRAGMA secure_delete={'FAST' if usual == 2 else usual}").fetchall()
