"""Signed update commands (spec 06 section 10)."""

import hashlib
import hmac
from datetime import datetime
from typing import Final, Literal

import msgspec

FUTURE_MS: Final = 300_000
"""How far ahead of this machine's clock that of a signer may be."""

AGE_MS: Final = 86_400_000
"""How old a command may be that does not say when it expires."""


class Signed(msgspec.Struct, frozen=True):
    """The parts of a command as its sender wrote them: the signature is over their text. Times are Unix ms
    or ISO 8601."""

    version: str
    force: bool | None
    issued_at: int | str | None
    expires_at: int | str | None
    scheduled_time: int | str | None
    file: str | None
    signature: str | None


class BadSignature(Exception):
    """`sort` tells a command without signature from one whose signature is no good."""

    def __init__(self, sort: Literal["unsigned", "forbidden"], message: str, hint: str) -> None:
        super().__init__(message)
        self.sort = sort
        self.hint = hint


def signature(secret: str, command: Signed) -> str:
    """Hex HMAC-SHA256 over `update|version|issued_at|expires_at|scheduled_time|force`, absent ones empty; a
    `file`, which only this agent knows, comes after them."""
    force = "" if command.force is None else str(command.force).lower()
    parts = ["update", command.version, command.issued_at, command.expires_at, command.scheduled_time, force]
    if command.file is not None:
        parts.append(command.file)
    text = "|".join("" if part is None else str(part) for part in parts)
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def check(secret: str, command: Signed, now: int, latest: int | None) -> int:
    """When it was issued, in Unix ms; `latest` is when the one accepted last was, which is not accepted
    again. Raises `BadSignature`."""
    if not command.signature or command.issued_at is None:
        raise BadSignature(
            "unsigned", "The update is not signed", "Send signature and issued_at (docs/updating.rst)"
        )
    expected = signature(secret, command)
    if not hmac.compare_digest(expected.encode(), command.signature.strip().lower().encode()):
        raise BadSignature("forbidden", "The signature is wrong", "Sign with the agent's update secret")
    issued, expires = unix_ms_of(command.issued_at), unix_ms_of(command.expires_at)
    clock = "Sign a new command; compare the clocks of signer and agent"
    if issued is None or (command.expires_at is not None and expires is None):
        raise BadSignature("forbidden", "Its times cannot be read", "Unix ms or ISO 8601")
    if issued > now + FUTURE_MS:
        raise BadSignature("forbidden", "The command comes from the future", clock)
    if now >= (issued + AGE_MS if expires is None else expires):
        raise BadSignature("forbidden", "The command has expired", clock)
    if latest is not None and issued <= latest:
        raise BadSignature("forbidden", "The command, or a later one, was given before", clock)
    return issued


def unix_ms_of(time: int | str | None) -> int | None:
    """Of Unix ms, also as digits, or ISO 8601, with UTC where it names no zone; None when it is neither."""
    if isinstance(time, str) and time.isascii() and time.isdigit() and len(time) <= 16:
        return int(time)
    if not isinstance(time, str):
        return time
    try:
        moment = datetime.fromisoformat(time)
        if moment.tzinfo is None:
            moment = datetime.fromisoformat(f"{time}+00:00")
        return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
