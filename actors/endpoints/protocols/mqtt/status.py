"""Messages that say whether a device is there (spec 03 section 5): last wills, and what they are taken back
by."""

from typing import Any

from . import paths
from .codecs import Unreadable, auto
from .connection import Status

ONLINE = frozenset(
    {"online", "on", "up", "alive", "connected", "available", "true", "1", "yes", "birth", "running"}
)
OFFLINE = frozenset(
    {
        "offline",
        "off",
        "down",
        "dead",
        "disconnected",
        "unavailable",
        "false",
        "0",
        "no",
        "death",
        "lost",
        "lwt",
    }
)
_KEYS = ("status", "state", "online", "connected", "availability", "value")


def read(payload: bytes, status: Status) -> bool | None:
    """Whether the device is online; None when the payload does not say. An empty one, by which a retained
    message is removed, says nothing."""
    try:
        said: Any = auto(payload)
    except Unreadable:
        return None
    if isinstance(said, dict):
        said = _said(said, status)
    word = str(said).strip().lower() if isinstance(said, str | int | float) else ""
    if status.online or status.offline:
        return _configured(word, status)
    return True if word in ONLINE else False if word in OFFLINE else None


def _said(document: dict[str, Any], status: Status) -> Any:
    if status.field:
        return paths.find(document, status.field)
    return next((document[key] for key in _KEYS if key in document), None)


def _configured(word: str, status: Status) -> bool | None:
    """Where only one of both is configured, the usual words are the other."""
    if word in status.online:
        return True
    if word in status.offline:
        return False
    if not status.online and word in ONLINE:
        return True
    return False if not status.offline and word in OFFLINE else None
