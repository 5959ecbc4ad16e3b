"""Encryption at rest: AES-256-GCM under a key in a file of its own (spec 06 section 8)."""

import logging
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.set_aside import set_aside

logger = logging.getLogger(__name__)

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
FORMAT: Final = b"\x01"


class Undecipherable(Exception):
    """The bytes were not encrypted under this key and context, or were altered since."""


class Secrets:
    """Encrypts and decrypts; the result is format byte, nonce, ciphertext with tag."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def encrypt(self, plain: bytes, context: bytes) -> bytes:
        """`context` is not stored; decryption needs the same, which ties the bytes to their row."""
        nonce = os.urandom(NONCE_BYTES)
        return FORMAT + nonce + self._cipher.encrypt(nonce, plain, context)

    def decrypt(self, sealed: bytes, context: bytes) -> bytes:
        """Raises `Undecipherable`."""
        nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        if sealed[:1] != FORMAT or len(nonce) < NONCE_BYTES:
            raise Undecipherable("unknown format")
        try:
            return self._cipher.decrypt(nonce, ciphertext, context)
        except InvalidTag as error:
            raise Undecipherable("wrong key, wrong context or altered") from error


def load_or_create(path: Path) -> Secrets:
    """The key in `path`, made on first use; raises OSError.

    A file that holds no key is set aside: what was encrypted is lost with it, the agent is not.
    """
    if path.exists():
        key = path.read_bytes()
        if len(key) == KEY_BYTES:
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
            return Secrets(key)
        kept = set_aside(path)
        logger.error("%s holds no key: moved to %s; what it encrypted cannot be read", path, kept)
    return Secrets(_create(path))


def _create(path: Path) -> bytes:
    """Written beside and renamed, so that a crash leaves the whole key or none."""
    key = AESGCM.generate_key(KEY_BYTES * 8)
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(descriptor)
    draft.rename(path)
    sync_folder(path.parent)
    return key


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
