"""Keys of SNMPv3's user-based security (RFC 3414, 3826, 7860).

AES-192 and -256 may need a longer key than there is: it is made as in Blumenthal's draft, or as Cisco does.
"""

import hashlib
import hmac
from functools import lru_cache
from typing import Final, NamedTuple

_PASSWORD_BYTES = 1_048_576


class Digest(NamedTuple):
    """`kept` is how many bytes of an HMAC a message carries."""

    hash: str
    kept: int


DIGESTS: Final = {
    "md5": Digest("md5", 12),
    "sha": Digest("sha1", 12),
    "sha224": Digest("sha224", 16),
    "sha256": Digest("sha256", 24),
    "sha384": Digest("sha384", 32),
    "sha512": Digest("sha512", 48),
}
"""By `authProtocol`."""

KEY_BYTES: Final = {"des": 16, "aes": 16, "aes192": 24, "aes256": 32, "aes192c": 24, "aes256c": 32}
"""By `privProtocol`; of DES half of it is what the initial vector begins from."""


class Keys(NamedTuple):
    """Of a user on one engine."""

    auth: bytes
    priv: bytes


@lru_cache(maxsize=64)
def master(digest: str, password: str) -> bytes:
    """Of a password: takes some milliseconds, so that it is no pleasure to guess. `digest` is a key of
    `DIGESTS`."""
    return _stretched(DIGESTS[digest].hash, password.encode())


def localized(digest: str, key: bytes, engine: bytes) -> bytes:
    return hashlib.new(DIGESTS[digest].hash, key + engine + key, usedforsecurity=False).digest()


@lru_cache(maxsize=2048)
def keys(digest: str, auth: bytes, priv: bytes, cipher: str | None, engine: bytes) -> Keys:
    """Of the master keys `auth` and `priv` on that engine."""
    own = localized(digest, auth, engine)
    if cipher is None:
        return Keys(own, b"")
    lengthen = _reeder if cipher.endswith("c") else _blumenthal
    key = lengthen(digest, localized(digest, priv, engine), engine, KEY_BYTES[cipher])
    return Keys(own, key[: KEY_BYTES[cipher]])


def signature(digest: str, key: bytes, message: bytes) -> bytes:
    found = DIGESTS[digest]
    return hmac.digest(key, message, found.hash)[: found.kept]


def _stretched(name: str, password: bytes) -> bytes:
    repeated = password * (_PASSWORD_BYTES // len(password) + 1)
    return hashlib.new(name, repeated[:_PASSWORD_BYTES], usedforsecurity=False).digest()


def _blumenthal(digest: str, key: bytes, engine: bytes, size: int) -> bytes:
    while len(key) < size:
        key += hashlib.new(DIGESTS[digest].hash, key, usedforsecurity=False).digest()
    return key


def _reeder(digest: str, key: bytes, engine: bytes, size: int) -> bytes:
    """What Cisco's devices do: the key so far stands for a password."""
    name = DIGESTS[digest].hash
    last = key
    while len(key) < size:
        last = localized(digest, _stretched(name, last), engine)
        key += last
    return key
