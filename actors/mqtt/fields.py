"""Fields that configurations of whatever speaks MQTT have in common."""

from typing import Annotated, Any

from msgspec import Meta

from conf.annotations import reads
from conf.fields import NUMERAL, one_line, trimmed

MAX_TEXT = 65_535
"""Bytes that MQTT has room for in a client id, user name, password or topic."""


def limited(value: Any) -> Any:
    """A text that MQTT has room for; raises `ValueError`."""
    if isinstance(value, str) and len(value.encode()) > MAX_TEXT:
        raise ValueError(f"is longer than MQTT's {MAX_TEXT} bytes")
    return value


Limited = Annotated[str, reads(trimmed, one_line, limited)]
"""Of what goes into MQTT's packet of connecting; brokers end the connection over control characters."""

Port = Annotated[int, Meta(ge=1, le=65_535), NUMERAL]
