"""What a container may use, and what it uses: psutil shows the machine around it."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

UNLIMITED = 1 << 60
"""Bytes from which on version 1 of control groups means that there is no limit."""

_MARKS = (".dockerenv", "run/.containerenv", "run/secrets/kubernetes.io")


class Usage(msgspec.Struct, frozen=True):
    """Limits of the container, and what all processes in it take; None: there is no limit, or nobody says.

    `memory_used` is without the file cache that the kernel can take back, as `docker stats` has it; `cpus` is
    how many processors' time it may have, `cpu_seconds` what it has had.
    """

    memory_limit: int | None = None
    memory_used: int | None = None
    cpus: float | None = None
    cpu_seconds: float | None = None


def read(root: Path = Path("/")) -> Usage:
    """Of the container that this process is in; nothing outside of containers, where a limit is a service's
    and the machine has what it has. Blocks, for as long as reading a dozen small files takes."""
    base = root / "sys/fs/cgroup"
    own = _own_groups(root) if any((root / mark).exists() for mark in _MARKS) else {}
    if (base / "cgroup.controllers").exists():
        folders = list(_folders(base, own.get("", "/")))
        memory = _memory(folders, "memory.max", "memory.current", "inactive_file")
        return Usage(*memory, *_cpu_v2(folders))
    memory = _memory(
        list(_folders(base / "memory", own.get("memory", "/"))),
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    )
    return Usage(*memory, *_cpu_v1(list(_folders(base / "cpu", own.get("cpu", "/"))), base / "cpuacct"))


def _own_groups(root: Path) -> dict[str, str]:
    """The group of this process by controller; that of version 2 has no name. They say something only where
    the container sees the machine's groups: where it has a view of its own, its group is the topmost."""
    found: dict[str, str] = {}
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        found |= {name: path for name in controllers.split(",")}
    return found


def _folders(base: Path, own: str) -> Iterator[Path]:
    """The group's folder and those above it: each of them limits it."""
    parts = [part for part in own.split("/") if part]
    if ".." in parts:  # a group outside of what can be seen
        parts = []
    for length in range(len(parts), -1, -1):
        yield base.joinpath(*parts[:length])


def _memory(folders: list[Path], limit: str, used: str, cache: str) -> tuple[int | None, int | None]:
    """The lowest limit, and what is used of it."""
    limits = [(found, folder) for folder in folders if (found := _number(folder / limit)) is not None]
    limits = [(found, folder) for found, folder in limits if 0 < found < UNLIMITED]
    if not limits:
        return None, None
    lowest, folder = min(limits, key=lambda one: one[0])
    taken = _number(folder / used)
    if taken is None:
        return lowest, None
    return lowest, max(0, taken - (_entry(folder / "memory.stat", cache) or 0))


def _cpu_v2(folders: list[Path]) -> tuple[float | None, float | None]:
    shares = []
    for folder in folders:
        quota, _, period = (_text(folder / "cpu.max") or "").strip().partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            shares.append((int(quota) / int(period), folder))
    if not shares:
        return None, None
    lowest, folder = min(shares, key=lambda one: one[0])
    used = _entry(folder / "cpu.stat", "usage_usec")
    return lowest, None if used is None else used / 1e6


def _cpu_v1(folders: list[Path], accounts: Path) -> tuple[float | None, float | None]:
    shares = []
    for folder in folders:
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota is not None and quota > 0 and period:
            shares.append((quota / period, folder))
    if not shares:
        return None, None
    lowest, folder = min(shares, key=lambda one: one[0])
    own = folder.relative_to(folders[-1])
    for place in (folder, accounts / own):
        used = _number(place / "cpuacct.usage")
        if used is not None:
            return lowest, used / 1e9
    return lowest, None


def _text(file: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        return file.read_text("ascii", "replace")
    return None


def _number(file: Path) -> int | None:
    """None for "max", too."""
    text = (_text(file) or "").strip()
    return int(text) if text.removeprefix("-").isdigit() else None


def _entry(file: Path, name: str) -> int | None:
    """Of a file with a name and a number in each line."""
    for line in (_text(file) or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return None
