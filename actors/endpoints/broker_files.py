"""Mosquitto's password file and ACL file: what is in them, and how they are replaced (mosquitto.conf(5),
mosquitto_passwd(1)).

The agent's users are between two lines that say so, at the end of each file; every other line is somebody
else's, and stays as it is.
"""

import contextlib
import hmac
import os
import stat
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from hashlib import blake2b, pbkdf2_hmac
from pathlib import Path

import msgspec

from actors.endpoints.accounts import Account

BEGIN = "# begin of callboard's users: do not change"
END = "# end of callboard's users: add lines above their begin"
ITERATIONS = 101  # what mosquitto_passwd uses
SALT_BYTES = 12
HASH_BYTES = 64
MODE = 0o640
PART = ".part"  # of a file that is being written
MAX_ITERATIONS = 10_000_000
"""A line of somebody else's may ask for any number."""


class Files(msgspec.Struct, frozen=True):
    passwords: Path
    acl: Path

    @property
    def mark(self) -> Path:
        """Is there from before the first of them is replaced until the broker has read them."""
        return self.passwords.with_name(f".{self.passwords.name}.reload")


class Hashes:
    """Hashes of passwords, so that one that has not changed keeps its salt. What is kept is no password."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._known: dict[str, tuple[bytes, str]] = {}

    def of(self, account: Account, stored: str | None) -> str:
        """The hash for the password file; `stored` is what is there."""
        if account.hashed is not None:
            return account.hashed
        password = account.password or ""
        mark = blake2b(password.encode(), key=self._key).digest()
        known = self._known.get(account.username)
        if known is not None and known[0] == mark:
            return known[1]
        line = stored if stored is not None and fits(stored, password) else hashed(password)
        self._known[account.username] = (mark, line)
        return line

    def keep_only(self, names: Iterable[str]) -> None:
        for gone in self._known.keys() - set(names):
            del self._known[gone]


def hashed(password: str) -> str:
    """As mosquitto_passwd writes it: `$7$<iterations>$<salt>$<PBKDF2-SHA512>`."""
    salt = os.urandom(SALT_BYTES)
    return f"$7${ITERATIONS}${_text(salt)}${_text(_derived(password, salt, ITERATIONS))}"


def fits(line: str, password: str) -> bool:
    """Whether a hash of that form is the password's."""
    parts = line.split("$")
    if len(parts) != 5 or parts[:2] != ["", "7"]:
        return False
    try:
        iterations, salt, expected = int(parts[2]), b64decode(parts[3]), b64decode(parts[4])
    except ValueError:
        return False
    if not 1 <= iterations <= MAX_ITERATIONS or len(expected) != HASH_BYTES:
        return False
    return hmac.compare_digest(_derived(password, salt, iterations), expected)


def _derived(password: str, salt: bytes, iterations: int) -> bytes:
    return pbkdf2_hmac("sha512", password.encode(), salt, iterations, HASH_BYTES)


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()


def bring_in_line(
    files: Files, accounts: Sequence[Account], superuser: Account | None, hashes: Hashes
) -> tuple[bool, list[str]]:
    """See that the files have these users; takes its time. Whether a file was replaced, and what is in the
    way of single users, as sentences. Raises OSError when nothing of that could be done, or not all of it:
    then it is to be done again."""
    passwords, acl = _read(files.passwords), _read(files.acl)
    others = dict(_passwords(_foreign(passwords)))
    own = dict(_passwords(_block(passwords)))
    faults: list[str] = []
    allowed: list[Account] = []
    lines: list[str] = []
    for account in (*([superuser] if superuser is not None else []), *accounts):
        name = account.username
        if name not in others:
            lines.append(f"{name}:{hashes.of(account, own.get(name))}")
        elif not _is_the_same(others[name], account):
            faults.append(f"the user {name} is in {files.passwords} with another password")
            continue
        allowed.append(account)
    hashes.keep_only(one.username for one in allowed)
    rights = [line for one in allowed for line in _rights(one)]
    new = [(files.passwords, passwords, _with(passwords, lines)), (files.acl, acl, _with(acl, rights))]
    changed = [(path, text) for path, before, text in new if before != text]
    if changed:
        files.mark.touch(MODE)
    for path, text in changed:
        _replace(path, text)
    return bool(changed), faults


def _is_the_same(line: str, account: Account) -> bool:
    if account.hashed is not None:
        return hmac.compare_digest(line.encode("utf-8", "surrogateescape"), account.hashed.encode())
    return fits(line, account.password or "")


def _rights(account: Account) -> list[str]:
    return [f"user {account.username}", *(f"topic {access} {topic}" for access, topic in account.topics), ""]


def _read(path: Path) -> str | None:
    """None when there is no such file. What is no UTF-8 is somebody else's, and comes back as it was, as do
    the ends of lines."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def _parts(text: str | None) -> tuple[list[str], list[str]]:
    """The lines of others, and those of the agent. A begin without an end goes to the file's end."""
    foreign: list[str] = []
    block: list[str] = []
    inside = False
    for line in (text or "").split("\n"):
        if line.rstrip("\r") == BEGIN:
            inside = True
        elif line.rstrip("\r") == END:
            inside = False
        else:
            (block if inside else foreign).append(line)
    while foreign and not foreign[-1].rstrip("\r"):
        foreign.pop()
    return foreign, block


def _foreign(text: str | None) -> list[str]:
    return _parts(text)[0]


def _block(text: str | None) -> list[str]:
    return _parts(text)[1]


def _with(text: str | None, lines: Sequence[str]) -> str:
    return "\n".join([*_foreign(text), BEGIN, *lines, END, ""])


def _passwords(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        if not line.startswith("#"):
            name, colon, hash = line.rstrip("\r").partition(":")
            if colon:
                yield name, hash


def _replace(path: Path, text: str) -> None:
    """At once, as somebody finds it or not at all, and for the same readers as before."""
    real = path.resolve()
    prefix = f".{real.name}."
    for left in real.parent.iterdir():  # by an agent that was killed here
        if left.name.startswith(prefix) and left.name.endswith(PART):
            left.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=PART, dir=real.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            _same_readers(real, file.fileno())
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, real)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    folder = os.open(real.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _same_readers(real: Path, new: int) -> None:
    """Owner, group and mode of the file that is replaced; of a new one those of its folder. Raises
    PermissionError where the broker might not be able to read it any more."""
    try:
        before = real.stat()
        mode, is_new = stat.S_IMODE(before.st_mode), False
    except FileNotFoundError:
        before, mode, is_new = real.parent.stat(), MODE, True
    os.fchmod(new, mode)
    now = os.fstat(new)
    if (now.st_uid, now.st_gid) == (before.st_uid, before.st_gid):
        return
    try:
        os.fchown(new, before.st_uid, before.st_gid)
    except PermissionError:
        if is_new:
            return
        if now.st_gid != before.st_gid:
            os.fchown(new, -1, before.st_gid)
        if now.st_uid != before.st_uid and not mode & stat.S_IRGRP:
            raise
    os.fchmod(new, mode)  # changing the owner takes bits away
