"""A master key under a passphrase: scrypt makes a key of it, AES-256-GCM encrypts the master key."""

import hashlib
import hmac
import os
import unicodedata
from typing import Final

import msgspec

from storage.errors import StorageError
from storage.secrets import Secrets, Undecipherable

SHORTEST: Final = 8
LONGEST: Final = 1024
"""Characters: what it costs to compose accents grows with the square of their number."""

COST: Final = 2**15
"""Of scrypt, with blocks of 8: 32 MB for a tenth of a second, and 1 s on a small board."""

DEAREST: Final = 2**17
"""Who uploads a backup does not say how much memory the agent takes."""

_CONTEXT: Final = b"callboard: master key of a backup"


class WrongPassphrase(StorageError):
    def __init__(self) -> None:
        super().__init__("The passphrase is not that with which the backup was made", "unreadable")
        self.args = ()


class Wrapped(msgspec.Struct, frozen=True):
    """A master key that only the passphrase opens."""

    salt: bytes
    cost: int
    sealed: bytes


def wrap(key: bytes, passphrase: str) -> Wrapped:
    salt = os.urandom(16)
    return Wrapped(salt, COST, Secrets(_derived(passphrase, salt, COST)).encrypt(key, _CONTEXT))


def unwrap(wrapped: Wrapped, passphrase: str) -> bytes:
    """The master key. Raises `WrongPassphrase`, and `StorageError` for what nobody has wrapped."""
    if wrapped.cost not in range(2, DEAREST + 1) or wrapped.cost & (wrapped.cost - 1):
        raise StorageError("its key is wrapped in a way that is not known", "corrupt")
    try:
        return Secrets(_derived(passphrase, wrapped.salt, wrapped.cost)).decrypt(wrapped.sealed, _CONTEXT)
    except Undecipherable as error:
        raise WrongPassphrase() from error


def key_id(key: bytes) -> str:
    """Tells keys apart, and nothing of a key."""
    return hmac.digest(key, b"callboard: which key this is", hashlib.sha256)[:16].hex()


def _derived(passphrase: str, salt: bytes, cost: int) -> bytes:
    """The same for what looks the same, however a keyboard has composed it."""
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt  # 1 MB, that few agents ever need

    typed = unicodedata.normalize("NFC", passphrase).encode()
    return Scrypt(salt=salt, length=32, n=cost, r=8, p=1).derive(typed)
