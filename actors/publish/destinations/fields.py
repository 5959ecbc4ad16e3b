"""Fields that several destination types have in their `config_json`."""

from typing import Annotated, Any

from msgspec import Meta

from conf.annotations import reads
from conf.fields import NUMERAL, trimmed

ROOT = "config_json"
MAX_TEXT = 65_535
"""Bytes that MQTT has room for in a client id, user name, password or topic."""


def host_name(value: Any) -> Any:
    """A host name or address; raises `ValueError`."""
    if isinstance(value, str):
        if any(mark in value for mark in "/@?"):
            raise ValueError("must be a host name or address, not a URL")
        check_host(value)
    return value


def check_host(name: str) -> None:
    """Raises `ValueError` saying what it is not."""
    try:
        usable = bool(name.encode("idna"))
    except UnicodeError:
        usable = False
    if not usable:
        raise ValueError("names no valid host")


def limited(value: Any) -> Any:
    """A text that MQTT has room for; raises `ValueError`."""
    if isinstance(value, str) and len(value.encode()) > MAX_TEXT:
        raise ValueError(f"is longer than MQTT's {MAX_TEXT} bytes")
    return value


Host = Annotated[str, reads(trimmed, host_name)]
Limited = Annotated[str, reads(trimmed, limited)]
Port = Annotated[int, Meta(ge=1, le=65_535), NUMERAL]
