"""The folder that the agent keeps its data in, and the disk below it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from pwd import getpwuid

from api.cli.amounts import size
from api.cli.doctor.findings import Finding, ok, problem, warning

LITTLE_BYTES = 500_000_000
TINY_BYTES = 50_000_000
LITTLE_INODES = 10_000


def check_directory(folder: Path) -> Iterator[Finding]:
    check = "data directory"
    try:
        found = folder.stat()
    except FileNotFoundError:
        if _can_be_made(folder):
            yield warning(
                check, f"{folder} is not there; an agent makes it", "start an agent, or look for a typo"
            )
        else:
            text = f"{folder} is not there and cannot be made by {_user(os.geteuid())}"
            yield problem(check, text, f"make it, and give it to the user of the agent: install -d {folder}")
        return
    except OSError as error:
        yield problem(check, f"{folder}: {error.strerror}", "run doctor as the user of the agent")
        return
    if not stat.S_ISDIR(found.st_mode):
        yield problem(check, f"{folder} is not a folder", "move it away, or set another DATA_DIR")
    elif os.statvfs(folder).f_flag & os.ST_RDONLY:
        yield problem(
            check, f"{folder} is on a read-only file system", "mount it for writing; dmesg may say why"
        )
    elif not os.access(folder, os.W_OK | os.X_OK):
        text = f"{_user(os.geteuid())} cannot write to {folder}, which is {_user(found.st_uid)}'s"
        yield problem(check, text, "run doctor as the user of the agent, or give the folder to that user")
    elif found.st_mode & stat.S_IWOTH:
        yield warning(check, f"everybody can write to {folder}", f"chmod o-w {folder}")
    else:
        yield ok(check, f"{folder}, {_user(found.st_uid)}'s")


def check_key(folder: Path, database: Path) -> Iterator[Finding]:
    check = "master key"
    file = folder / ".master.key"
    try:
        found = file.stat()
    except FileNotFoundError:
        if database.exists():
            text = f"{file} is not there: what the database holds encrypted cannot be read"
            yield problem(check, text, "restore the file that goes with the database from a backup")
        return
    except OSError as error:
        yield problem(check, f"{file}: {error.strerror}", "run doctor as the user of the agent")
        return
    mode = stat.S_IMODE(found.st_mode)
    if found.st_size != 32:
        yield problem(check, f"{file} holds no key ({found.st_size} bytes)", "restore it from a backup")
    elif mode & 0o077:
        yield warning(check, f"{file} can be read by others (mode {mode:o})", f"chmod 600 {file}")
    elif found.st_uid != folder.stat().st_uid:
        text = f"{file} is {_user(found.st_uid)}'s, and the folder {_user(folder.stat().st_uid)}'s"
        yield warning(check, text, "give both to the user that runs the agent")
    else:
        yield ok(check, f"{file}, mode {mode:o}")


def holder(folder: Path) -> int | None:
    """The process that holds the folder's lock, None when nobody does. Locking it for a moment to find out
    would keep an agent from starting in that moment."""
    try:
        inode = (folder / "agent.lock").stat()
        locks = Path("/proc/locks").read_text()
    except OSError:
        return None
    device = f"{os.major(inode.st_dev):02x}:{os.minor(inode.st_dev):02x}:{inode.st_ino}"
    for line in locks.splitlines():
        words = line.split()
        if len(words) > 5 and "FLOCK" in words and device in words:
            return int(words[4])
    return None


def check_lock(folder: Path) -> Iterator[Finding]:
    pid = holder(folder)
    if pid is None:
        yield ok("lock", "no agent runs on this folder")
    else:
        yield ok("lock", f"held by process {pid}{_command_of(pid)}")


def check_space(folder: Path) -> Iterator[Finding]:
    """Of the file system that the folder is on, or will be."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    found = os.statvfs(there)
    free, whole = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    text = f"{size(free)} of {size(whole)} are free at {there}"
    if free < TINY_BYTES:
        yield problem(
            "disk", f"{text}: readings cannot be stored", "delete something, or give it a larger disk"
        )
    elif free < min(LITTLE_BYTES, whole // 10):
        yield warning("disk", text, "make room: an outage of a destination needs it, and so does an update")
    else:
        yield ok("disk", text)
    if found.f_files and found.f_favail < LITTLE_INODES:
        text = f"{found.f_favail} of {found.f_files} inodes are free: no files can be made without"
        yield warning(
            "inodes", text, "look for a folder with very many small files: du --inodes -x / | sort -n"
        )


def _can_be_made(folder: Path) -> bool:
    above = next(one for one in folder.absolute().parents if one.exists())
    return above.is_dir() and os.access(above, os.W_OK | os.X_OK)


def _user(uid: int) -> str:
    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _command_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    text = b" ".join(words[:3]).decode(errors="replace").strip()
    return f" ({text if len(text) <= 80 else f'{text[:77]}...'})"
