"""Hashing passwords, and what can be one.

Argon2id with 19 MiB, two passes and one lane (the least that OWASP's cheat sheet for storing passwords has):
30 ms on a server, some 150 ms on a small ARM board. The library is imported when the first password comes.
"""

import asyncio
import ctypes
import secrets
import unicodedata
from base64 import b64encode
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from actors.system.failure import Refusal

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LEAST: Final = 6
"""Characters (the reference's rule)."""
MOST: Final = 1024

PASSES, KIBIBYTES, LANES = 2, 19_456, 1

DEAREST: Final = 8
"""How many times the cost a hash may have that was made elsewhere."""

_M_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 1 << 20


def check_password(password: str, field: str = "password") -> None:
    """Raises `Refusal`."""
    if len(password) < LEAST:
        raise Refusal(f"{field} must be at least {LEAST} characters", field)
    if len(password) > MOST:
        raise Refusal(f"{field} must be at most {MOST} characters", field)


def prepared(password: str) -> bytes:
    """The same for whichever keyboard it came from (RFC 8265 section 4.2: NFC). Of at most `MOST` characters:
    what a long text of accents costs grows with the square of its length."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


class Verdict(NamedTuple):
    """`anew` is the hash to keep from now on, where the old one was made with other parameters."""

    matches: bool
    anew: str | None = None


class Hasher:
    """Hashes in threads, at most `AT_ONCE` of them."""

    AT_ONCE: Final = 2

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(self.AT_ONCE)

    async def make(self, password: str) -> str:
        """The hash to keep of it."""
        async with self._turns:
            return await asyncio.to_thread(_make, prepared(password))

    async def check(self, kept: str | None, password: str) -> Verdict:
        """Whether it is the password of that hash. None matches nothing, and takes as long to say so; so does
        what is too long for a password."""
        if len(password) > MOST:
            kept, password = None, password[:MOST]
        async with self._turns:
            return await asyncio.to_thread(_check, kept, prepared(password))


def _make(password: bytes) -> str:
    """Raises `Refusal` when there is no memory for it."""
    from argon2.exceptions import HashingError

    try:
        return _library().hash(password)
    except HashingError as error:
        raise _no_memory(error) from error


def _check(kept: str | None, password: bytes) -> Verdict:
    """Raises `Refusal` when there is no memory for it."""
    from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

    hasher = _library()
    try:
        if kept is not None and not _is_affordable(kept):
            return Verdict(matches=False)
        hasher.verify(kept or _nobodys(), password)
    except (VerifyMismatchError, InvalidHashError, UnicodeError):
        return Verdict(matches=False)
    except VerificationError as error:
        if "emory" in str(error):
            raise _no_memory(error) from error
        return Verdict(matches=False)  # what is kept is no whole hash
    if kept is None or not hasher.check_needs_rehash(kept):
        return Verdict(matches=kept is not None)
    return Verdict(True, _make(password))


def _is_affordable(kept: str) -> bool:
    """A restored backup has the hashes that somebody has uploaded, and they say what they cost. Raises what
    the library raises for what is no hash."""
    from argon2 import extract_parameters

    found = extract_parameters(kept)
    return found.memory_cost <= DEAREST * KIBIBYTES and found.time_cost * found.memory_cost <= (
        DEAREST * PASSES * KIBIBYTES
    )


def _no_memory(error: Exception) -> Refusal:
    return Refusal(f"The password cannot be hashed: {error}", kind="unavailable")


@cache
def _library() -> "PasswordHasher":
    from argon2 import PasswordHasher

    _give_memory_back()
    return PasswordHasher(time_cost=PASSES, memory_cost=KIBIBYTES, parallelism=LANES)


@cache
def _nobodys() -> str:
    """A hash that no password is known for."""
    salt, digest = (b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (16, 32))
    return f"$argon2id$v=19$m={KIBIBYTES},t={PASSES},p={LANES}${salt}${digest}"


def _give_memory_back() -> None:
    """What glibc has once freed of a size it keeps from then on, for each thread that asked for it: without
    this the 19 MiB of a hash stay with the process, several times over."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
