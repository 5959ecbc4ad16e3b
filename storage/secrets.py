"""Encryption at rest: AES-256-GCM under a key in a file of its own (spec 06 section 8)."""

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from storage.errors import StorageError
from storage.set_aside import set_aside

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
FORMAT: Final = b"\x01"


class Undecipherable(Exception):
    """The bytes were not encrypted under this key and context, or were altered since."""


class Secrets:
    """Encrypts and decrypts; the result is format byte, nonce, ciphertext with tag.

    The library takes 7 MB of memory, so it is imported when there is something to encrypt.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    @cached_property
    def _cipher(self) -> "AESGCM":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._key)

    def encrypt(self, plain: bytes, context: bytes) -> bytes:
        """`context` is not stored; decryption needs the same, which ties the bytes to their row."""
        nonce = os.urandom(NONCE_BYTES)
        return FORMAT + nonce + self._cipher.encrypt(nonce, plain, context)

    def decrypt(self, sealed: bytes, context: bytes) -> bytes:
        """Raises `Undecipherable`."""
        from cryptography.exceptions import InvalidTag

        nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        if sealed[:1] != FORMAT or len(nonce) < NONCE_BYTES:
            raise Undecipherable("unknown format")
        try:
            return self._cipher.decrypt(nonce, ciphertext, context)
        except InvalidTag as error:
            raise Undecipherable("wrong key, wrong context or altered") from error


class KeyFile:
    """The key and where it is. `set_aside` is where a file that held no key was moved; what that encrypted
    cannot be read."""

    def __init__(self, path: Path, key: bytes, set_aside: Path | None = None) -> None:
        self.path = path
        self.secrets = Secrets(key)
        self.set_aside = set_aside
        self._key = key
        self._seen = _look_of(path)

    def state(self) -> Literal["here", "gone", "another"]:
        """Whether its file still holds the key. Raises OSError when nobody can say."""
        seen = _look_of(self.path)
        if seen == self._seen and seen is not None:
            return "here"
        if seen is None:
            return "gone"
        if self.path.read_bytes() != self._key:
            return "another"
        self._seen = seen
        return "here"

    def write_anew(self) -> None:
        """Write a file that is gone. Raises OSError, FileExistsError when another one has come."""
        draft = _write_draft(self.path, self._key)
        try:
            os.link(draft, self.path)
        finally:
            draft.unlink()
        sync_folder(self.path.parent)


def load_or_create(path: Path) -> KeyFile:
    """The key in `path`, made on first use.

    Raises `StorageError`, and leaves everything as it is, when there is something that cannot be read or
    that others can read; OSError when no key can be written.
    """
    key = _read(path)
    if key is None:
        return KeyFile(path, _create(path))
    if len(key) != KEY_BYTES:
        kept = set_aside(path)
        return KeyFile(path, _create(path), kept)
    _close_to_others(path)
    return KeyFile(path, key)


def read_key(path: Path) -> bytes:
    """The key in `path`. Raises `StorageError` when there is none."""
    key = _read(path)
    if key is None or len(key) != KEY_BYTES:
        raise _unusable(path, "holds no key")
    return key


def _look_of(path: Path) -> tuple[int, ...] | None:
    """Changes with the file; None when there is none."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path) -> bytes | None:
    """None when there is nothing of that name; a link to nothing is not nothing: its disk may be away."""
    if not os.path.lexists(path):
        return None
    if path.exists() and not path.is_file():
        raise _unusable(path, "is not a file: move it away")
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"cannot be read ({error.strerror}): make it readable for the user that runs the agent"
        raise _unusable(path, message) from error


def _close_to_others(path: Path) -> None:
    mode = path.stat().st_mode & 0o777
    if not mode & 0o077:
        return
    try:
        path.chmod(0o600)
    except OSError as error:
        message = f"is open to other users (mode {mode:o}) and cannot be closed ({error.strerror}): chmod 600"
        raise _unusable(path, message) from error


def _unusable(path: Path, what: str) -> StorageError:
    return StorageError(f"the key file {path} {what}", "unusable")


def _create(path: Path) -> bytes:
    """Written beside and renamed, so that a crash leaves the whole key or none."""
    key = os.urandom(KEY_BYTES)
    _write_draft(path, key).rename(path)
    sync_folder(path.parent)
    return key


def _write_draft(path: Path, key: bytes) -> Path:
    """The key in a file of another name."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(descriptor)
    return draft


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
