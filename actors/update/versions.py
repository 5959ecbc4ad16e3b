"""What may follow what."""

import re
from typing import Final

from actors.system.failure import Refusal

LATEST: Final = "latest"

_SHAPE: Final = re.compile(r"[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}(?:[-.+]?[0-9A-Za-z][0-9A-Za-z.-]{0,40})?\Z")


def wanted_version(text: str) -> str:
    """`latest`, or a version `x.y.z` with an optional tag as Python packages spell it. Raises `Refusal`."""
    from packaging.version import InvalidVersion, Version

    trimmed = text.strip()
    if not trimmed:
        raise Refusal("version is required (string)", "version")
    if trimmed == LATEST:
        return LATEST
    try:
        if _SHAPE.match(trimmed) is None:
            raise InvalidVersion
        return str(Version(trimmed))
    except InvalidVersion:
        shown = trimmed if len(trimmed) <= 60 else f"{trimmed[:57]}..."
        raise Refusal(f"version must be x.y.z, x.y.z-tag or latest, not {shown!r}", "version") from None


def is_older(version: str, than: str) -> bool:
    """False where one of them cannot be read."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version) < Version(than)
    except InvalidVersion:
        return False


def is_same(version: str, other: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version) == Version(other)
    except InvalidVersion:
        return version == other
