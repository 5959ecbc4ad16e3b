"""What became of updates, kept in a file beside the database: versions before and after read it."""

import logging
import os
from pathlib import Path
from typing import Final

import msgspec

logger = logging.getLogger(__name__)

KEPT: Final = 100
"""Events."""

NOISE: Final = frozenset({"update_rejected", "preflight_failed", "update_skipped"})
NOISE_KEPT: Final = 20

LONGEST: Final = 1_000_000
"""Bytes of a file that is read."""


class UpdateEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """`event` is one of the reference's words (spec 06 section 10); `at` is Unix ms."""

    at: int
    event: str
    version: str
    detail: str | None = None


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command that may be followed. `at` is Unix ms of a later time, `issued` when it was signed."""

    version: str
    force: bool = False
    file: str | None = None
    at: int | None = None
    issued: int | None = None


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """The oldest first. `latest_issued` is when the latest signed command was, in Unix ms; `scheduled` is
    what is to be done later."""

    events: tuple[UpdateEvent, ...] = ()
    latest_issued: int | None = None
    scheduled: Order | None = None

    def plus(self, event: UpdateEvent) -> "History":
        """Refused commands, which anybody can send any number of, do not push out the others."""
        events = [*self.events, event]
        noise = [one for one in events if one.event in NOISE]
        forgotten = {id(one) for one in noise[:-NOISE_KEPT]}
        kept = tuple(one for one in events if id(one) not in forgotten)
        return msgspec.structs.replace(self, events=kept[-KEPT:])

    def last(self, *events: str, version: str | None = None) -> UpdateEvent | None:
        """The latest of those events."""
        found = (
            one
            for one in reversed(self.events)
            if one.event in events and (version is None or one.version == version)
        )
        return next(found, None)


def load(path: Path) -> History:
    """Empty where there is none that can be read."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(LONGEST), type=History)
    except FileNotFoundError:
        return History()
    except (OSError, ValueError) as error:
        logger.warning("%s: the history of updates is lost: %s", path, error)
        return History()


def save(path: Path, history: History) -> None:
    """Whole or not at all; raises OSError."""
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    with draft.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(history), indent=1))
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
