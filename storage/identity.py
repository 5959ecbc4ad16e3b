"""Who this agent is (spec 06 section 2)."""

import logging
from typing import Final
from uuid import uuid4

import msgspec

from storage.database import Database
from storage.timestamps import now

logger = logging.getLogger(__name__)

DEFAULT_TYPE: Final = "standalone"


class Identity(msgspec.Struct, frozen=True):
    """`created_at` is ISO-8601 UTC, the first start."""

    uuid: str
    name: str
    type: str
    created_at: str


def load_or_create(database: Database, uuid: str | None, name: str | None, type: str | None) -> Identity:
    """The stored identity, made at the first start; arguments are what is configured.

    The uuid stays what it first was: readings and registrations hang on it. Name and type follow
    the configuration and otherwise stay. What the stored row lacks is made anew.
    """
    with database.db.atomic():
        stored = _load(database)
        if stored is None:
            return _create(database, uuid or str(uuid4()), name, type)
        kept = stored.uuid or uuid or str(uuid4())
        if not stored.uuid:
            logger.error("the stored identity has lost its uuid: this agent is now %s", kept)
        elif uuid is not None and uuid != stored.uuid:
            logger.warning(
                "configured uuid %s ignored, this agent has been %s since its first start", uuid, stored.uuid
            )
        wanted = msgspec.structs.replace(
            stored,
            uuid=kept,
            name=name or stored.name or _default_name(kept),
            type=type or stored.type or DEFAULT_TYPE,
            created_at=stored.created_at or now(),
        )
        if wanted != stored:
            database.db.execute(
                "UPDATE agent SET uuid = ?, name = ?, type = ?, created_at = ?, updated_at = ?",
                [wanted.uuid, wanted.name, wanted.type, wanted.created_at, now()],
            )
        return wanted


def _load(database: Database) -> Identity | None:
    """What is not text reads as empty."""
    row = database.db.execute("SELECT uuid, name, type, created_at FROM agent").fetchone()
    if row is None:
        return None
    return Identity(*(value.strip() if isinstance(value, str) else "" for value in row))


def _create(database: Database, uuid: str, name: str | None, type: str | None) -> Identity:
    created = Identity(uuid, name or _default_name(uuid), type or DEFAULT_TYPE, now())
    database.db.execute(
        "INSERT INTO agent (id, uuid, name, type, created_at, updated_at) VALUES (1, ?, ?, ?, ?, ?)",
        [created.uuid, created.name, created.type, created.created_at, created.created_at],
    )
    return created


def _default_name(uuid: str) -> str:
    return f"agent-{uuid[:8]}"
