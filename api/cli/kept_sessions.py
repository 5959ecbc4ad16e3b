"""Sessions that `callboard login` keeps between commands, in a file that only its owner can read."""

import contextlib
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from api.cli.event_stream import say
from api.cli.exits import USAGE, CommandError
from storage.timestamps import unix_ms


def kept_cookie(origin: str) -> str | None:
    """The session with the agent at `origin`; None when there is none or it is over, and when others can read
    the file or have written it, which is said."""
    try:
        entry = _read(_file()).get(origin)
    except CommandError as error:
        say(str(error))
        return None
    if not isinstance(entry, dict) or not isinstance(token := entry.get("token"), str):
        return None
    expires_at = entry.get("expires_at")
    return token if isinstance(expires_at, int) and expires_at > unix_ms() and token.isalnum() else None


def keep(origin: str, token: str, user: str, seconds: int) -> Path:
    """Returns the file."""
    file = _file()
    entry = {"token": token, "user": user, "expires_at": unix_ms() + seconds * 1000}
    _write(file, {**_still_good(_read(file)), origin: entry})
    return file


def forget(origin: str) -> bool:
    """Whether there was a session."""
    file = _file()
    entries = _read(file)
    known = entries.pop(origin, None) is not None
    if known:
        _write(file, _still_good(entries))
    return known


def _file() -> Path:
    """Where it is gone after a logout from the machine, if there is such a place."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        return Path(runtime) / "callboard" / "sessions.json"
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    if not os.path.isabs(state):  # this user has no home
        state = os.path.join(tempfile.gettempdir(), f"callboard-{os.geteuid()}")
    return Path(state) / "callboard" / "sessions.json"


def _still_good(entries: dict[str, Any]) -> dict[str, Any]:
    now = unix_ms()
    return {
        origin: entry
        for origin, entry in entries.items()
        if isinstance(entry, dict) and isinstance(entry.get("expires_at"), int) and entry["expires_at"] > now
    }


def _read(file: Path) -> dict[str, Any]:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}", USAGE) from error
    with os.fdopen(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise CommandError(f"{file}: others can read or write it, so it is not used; delete it", USAGE)
        try:
            entries = json.loads(opened.read())
        except (ValueError, RecursionError):  # half a file is no file
            return {}
    return entries if isinstance(entries, dict) else {}


def _write(file: Path, entries: dict[str, Any]) -> None:
    """Beside it and renamed; a new file is never open to others, whatever the umask."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=".sessions-")
        try:
            with os.fdopen(descriptor, "w") as opened:
                json.dump(entries, opened)
            os.replace(draft, file)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise
    except OSError as error:
        raise CommandError(f"{file}: cannot be written: {error.strerror}", USAGE) from error
