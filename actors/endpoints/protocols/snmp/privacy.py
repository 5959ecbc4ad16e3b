"""Encrypting and decrypting of SNMPv3 (RFC 3414 section 8, RFC 3826): DES in CBC, AES in CFB mode."""

from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

try:
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
except ImportError:  # where it has not been moved yet
    from cryptography.hazmat.primitives.ciphers.modes import CFB

from .ber import Malformed

_BLOCK: Final = 8
_SALT: Final = 8


def encrypt(cipher: str, key: bytes, boots: int, time: int, salt: bytes, plain: bytes) -> bytes:
    """`salt` is used once: eight bytes, for DES the first four those of `boots`."""
    if cipher == "des":
        return _run(_des(key, salt).encryptor(), plain + bytes(-len(plain) % _BLOCK))
    return _run(_aes(key, boots, time, salt).encryptor(), plain)


def decrypt(cipher: str, key: bytes, boots: int, time: int, salt: bytes, encrypted: bytes) -> bytes:
    """Raises `Malformed`. What DES makes may have padding behind it."""
    if len(salt) != _SALT:
        raise Malformed("an encrypted message without the salt that it needs")
    if cipher != "des":
        return _run(_aes(key, boots, time, salt).decryptor(), encrypted)
    if not encrypted or len(encrypted) % _BLOCK:
        raise Malformed("an encrypted message that is no whole number of blocks")
    return _run(_des(key, salt).decryptor(), encrypted)


def _aes(key: bytes, boots: int, time: int, salt: bytes) -> "Cipher[CFB]":
    return Cipher(algorithms.AES(key), CFB(boots.to_bytes(4, "big") + time.to_bytes(4, "big") + salt))


def _des(key: bytes, salt: bytes) -> "Cipher[modes.CBC]":
    """Three times the same key: that is DES itself."""
    vector = bytes(one ^ other for one, other in zip(key[8:16], salt, strict=True))
    return Cipher(TripleDES(key[:8] * 3), modes.CBC(vector))


def _run(context: "object", data: bytes) -> bytes:
    return context.update(data) + context.finalize()  # type: ignore[attr-defined,no-any-return]
