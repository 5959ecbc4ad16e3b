"""Encrypting and decrypting of SNMPv3 (RFC 3414 section 8, RFC 3826): DES in CBC, AES in CFB mode."""

from functools import lru_cache
from typing import Any, Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

try:
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
except ImportError:  # where it has not been moved yet
    from cryptography.hazmat.primitives.ciphers.modes import CFB

from .ber import Malformed

_BLOCK: Final = 8
_SALT: Final = 8


class Privacy:
    """By one key. Each message has a salt of eight bytes that no other has, for DES the first four those of
    `boots`."""

    def __init__(self, cipher: str, key: bytes) -> None:
        self._is_des = cipher == "des"
        self._vector = key[8:16]
        # Three times the same key: that is DES itself.
        self._algorithm: Any = TripleDES(key[:8] * 3) if self._is_des else algorithms.AES(key)

    def encrypt(self, boots: int, time: int, salt: bytes, plain: bytes) -> bytes:
        if self._is_des:
            plain += bytes(-len(plain) % _BLOCK)
        return _run(self._cipher(boots, time, salt).encryptor(), plain)

    def decrypt(self, boots: int, time: int, salt: bytes, encrypted: bytes) -> bytes:
        """Raises `Malformed`. What DES makes may have padding behind it."""
        if len(salt) != _SALT:
            raise Malformed("an encrypted message without the salt that it needs")
        if self._is_des and (not encrypted or len(encrypted) % _BLOCK):
            raise Malformed("an encrypted message that is no whole number of blocks")
        return _run(self._cipher(boots, time, salt).decryptor(), encrypted)

    def _cipher(self, boots: int, time: int, salt: bytes) -> "Cipher[Any]":
        if self._is_des:
            vector = bytes(one ^ other for one, other in zip(self._vector, salt, strict=True))
            return Cipher(self._algorithm, modes.CBC(vector))
        return Cipher(self._algorithm, CFB(boots.to_bytes(4, "big") + time.to_bytes(4, "big") + salt))


@lru_cache(maxsize=2048)
def privacy_of(cipher: str, key: bytes) -> Privacy:
    return Privacy(cipher, key)


def _run(context: Any, data: bytes) -> bytes:
    return context.update(data) + context.finalize()  # type: ignore[no-any-return]
