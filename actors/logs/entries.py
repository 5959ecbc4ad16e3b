"""Entries of the log: how they are kept, chosen and shown (spec 01 section 13)."""

import logging
import sys
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

Level = Literal["debug", "info", "warn", "error"]
SourceType = Literal["system", "container", "manager"]

LEVELS: Final[dict[Level, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_OVERHEAD: Final = 320
"""Bytes that an entry takes besides its texts."""
_MANAGER: Final = "actors.apps"
_OURS: Final = frozenset({"actors", "api", "conf", "storage"})


class About(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What else is known of who said it: `extra={"about": About(...)}` of a logging call."""

    source: SourceType | UnsetType = UNSET
    app_id: int | UnsetType = UNSET
    device_id: str | UnsetType = UNSET
    service_id: int | UnsetType = UNSET
    service_name: str | UnsetType = UNSET
    container_id: str | UnsetType = UNSET
    is_std_err: bool | UnsetType = UNSET


NOTHING: Final = About()


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """`number` grows from entry to entry, `timestamp` is Unix ms, `at` monotonic seconds; `actor` is the path
    of the actor whose handler or task said it."""

    number: int
    timestamp: int
    at: float
    level: Level
    message: str
    logger: str
    operation: str | None = None
    actor: str | None = None
    exception: str | None = None
    about: About = NOTHING

    @property
    def size(self) -> int:
        """Bytes of memory that it takes, all but exactly."""
        return _OVERHEAD + sys.getsizeof(self.message) + (len(self.exception) if self.exception else 0)

    @property
    def source(self) -> SourceType:
        return _source(self.logger) if self.about.source is UNSET else self.about.source


class LogSource(msgspec.Struct, frozen=True):
    type: SourceType
    name: str


class LogContext(msgspec.Struct, frozen=True, omit_defaults=True):
    component: str
    operation: str | UnsetType = UNSET
    logger: str | UnsetType = UNSET


class ShownEntry(About, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """An entry as clients and files have it. `source` says more here than in what it is made from."""

    id: str
    timestamp: int
    level: Level
    message: str
    source: LogSource  # type: ignore[assignment]
    component: str
    is_system: bool | UnsetType = UNSET
    actor: str | UnsetType = UNSET
    exception: str | UnsetType = UNSET
    context: LogContext


class LogFilter(msgspec.Struct, frozen=True):
    """Entries that match each field that is given. `since` is Unix ms, and excluded; `actor` is a path, of
    which those below count too; `text` is looked for in message and exception, whatever its case."""

    level: Level | None = None
    min_level: Level | None = None
    source: SourceType | None = None
    since: int | None = None
    text: str | None = None
    actor: str | None = None

    def matches(self, entry: LogEntry) -> bool:
        if self.level is not None and entry.level != self.level:
            return False
        if self.min_level is not None and LEVELS[entry.level] < LEVELS[self.min_level]:
            return False
        if self.since is not None and entry.timestamp <= self.since:
            return False
        if self.source is not None and entry.source != self.source:
            return False
        if self.actor is not None and not _is_below(entry.actor, self.actor):
            return False
        return self.text is None or _says(entry, self.text.casefold())


def level_name(number: int) -> Level:
    """Levels that others have invented are the one below."""
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warn"
    return "info" if number >= logging.INFO else "debug"


@lru_cache(maxsize=1024)
def component(logger: str) -> str:
    """The part of the agent that a logger belongs to, or the library: `endpoints` for
    `actors.endpoints.health`, the protocol or the destination where there is one."""
    names = logger.split(".")
    if names[0] not in _OURS:
        return names[0]
    if names[0] != "actors" or len(names) < 2:
        return names[0]
    if len(names) > 3 and names[2] in ("protocols", "destinations"):
        return names[3].partition("_")[0]
    return "container-manager" if names[1] == "apps" else names[1]


def shown(entry: LogEntry) -> ShownEntry:
    about: dict[str, Any] = {} if entry.about is NOTHING else msgspec.structs.asdict(entry.about)
    about.pop("source", None)
    part, kind = component(entry.logger), entry.source
    return ShownEntry(
        id=f"log-{entry.number}",
        timestamp=entry.timestamp,
        level=entry.level,
        message=entry.message,
        source=LogSource(kind, part),
        component=part,
        is_system=True if kind == "system" else UNSET,
        actor=_known(entry.actor),
        exception=_known(entry.exception),
        context=LogContext(part, _known(entry.operation), entry.logger),
        **about,
    )


def _known(text: str | None) -> str | UnsetType:
    return UNSET if text is None else text


def _source(logger: str) -> SourceType:
    return "manager" if logger.startswith(_MANAGER) else "system"


def _is_below(path: str | None, wanted: str) -> bool:
    return path is not None and (path == wanted or path.startswith(f"{wanted}/"))


def _says(entry: LogEntry, text: str) -> bool:
    return text in entry.message.casefold() or text in (entry.exception or "").casefold()
