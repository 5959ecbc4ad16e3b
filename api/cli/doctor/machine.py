"""The machine: its clock, what it allows, and what it keeps an agent to."""

import ctypes
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from api.cli.amounts import size
from api.cli.doctor.findings import Finding, ok, problem, warning
from storage.timestamps import unix_ms

FEW_DESCRIPTORS = 1024
LITTLE_MEMORY = 128 * 1024 * 1024
SANE_YEARS = range(2024, 2100)
UNSYNCHRONISED = 0x40
"""`STA_UNSYNC` of adjtimex(2)."""


def check_clock() -> Iterator[Finding]:
    year = datetime.fromtimestamp(unix_ms() / 1000, UTC).year
    if year not in SANE_YEARS:
        text = f"it is the year {year} here: certificates are not valid, and readings have wrong times"
        yield problem(
            "clock", text, "set the clock, and have it kept right by NTP; look for an empty battery"
        )
        return
    synchronised = _is_synchronised()
    if synchronised is False:
        text = "nobody keeps it right, as far as the kernel knows"
        yield warning("clock", text, "switch NTP on: timedatectl set-ntp true, or install chrony")
    elif synchronised:
        yield ok("clock", "kept right")


def _is_synchronised() -> bool | None:
    """What the kernel was told by whoever sets the clock; None when it cannot be asked."""
    try:
        asked = ctypes.create_string_buffer(512)  # a struct timex, which is smaller
        state = ctypes.CDLL(None, use_errno=True).adjtimex(asked)
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    # struct timex: modes (with padding), offset, freq, maxerror and esterror, each a long; then status.
    status = ctypes.c_int.from_buffer(asked, 5 * ctypes.sizeof(ctypes.c_long)).value
    return not status & UNSYNCHRONISED


def check_descriptors(pid: int | None) -> Iterator[Finding]:
    """Of the agent, or of what is started from here."""
    soft, hard = _descriptors_of(pid) if pid else resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else 1_000_000
    if most <= FEW_DESCRIPTORS:
        text = f"at most {most} open files and connections"
        yield warning("descriptors", text, "for hundreds of devices set LimitNOFILE=65536 in the service")
    else:
        yield ok("descriptors", f"{soft} open files and connections, up to {most}")


def _descriptors_of(pid: int) -> tuple[int, int]:
    try:
        return resource.prlimit(pid, resource.RLIMIT_NOFILE)
    except OSError:
        return resource.getrlimit(resource.RLIMIT_NOFILE)


def check_memory() -> Iterator[Finding]:
    """What the control group of this process allows, and whether it has killed for it."""
    group = _control_group()
    limit = _number(group / "memory.max") if group else None
    available = _available_memory()
    if limit is not None and limit < LITTLE_MEMORY:
        text = f"a control group allows {size(limit)}"
        yield warning(
            "memory", text, f"allow {size(LITTLE_MEMORY)} or more (MemoryMax=, docker run --memory)"
        )
    elif available is not None and available < LITTLE_MEMORY // 2:
        yield warning("memory", f"{size(available)} are available", "look for who takes it: top -o %MEM")
    else:
        yield ok("memory", f"{size(available)} are available" + (f", limit {size(limit)}" if limit else ""))
    killed = _killed(group) if group else 0
    if killed:
        text = f"the kernel has ended {killed} processes here for want of memory"
        yield warning("memory", text, "allow more memory, or look at `callboard memory`")


def _control_group() -> Path | None:
    try:
        line = next(
            one for one in Path("/proc/self/cgroup").read_text().splitlines() if one.startswith("0::")
        )
    except (OSError, StopIteration):
        return None
    group = Path("/sys/fs/cgroup") / line.removeprefix("0::/")
    return group if group.is_dir() else None


def _number(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _killed(group: Path) -> int:
    try:
        pairs = dict(line.split() for line in (group / "memory.events").read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(pairs.get("oom_kill", 0))


def _available_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(one.split()[1] for one in lines if one.startswith("MemAvailable:")))
    except (OSError, StopIteration, ValueError):
        return None


def check_service() -> Iterator[Finding]:
    """What systemd says about the unit, where there is systemd and the unit."""
    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        return
    names = "LoadState,ActiveState,SubState,Result,NRestarts,WatchdogUSec,UnitFileState"
    asked = subprocess.run(
        ["systemctl", "show", "callboard.service", f"--property={names}"],
        capture_output=True,
        text=True,
        timeout=3,
        check=False,
        stdin=subprocess.DEVNULL,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
    )
    unit = dict(line.split("=", 1) for line in asked.stdout.splitlines() if "=" in line)
    if unit.get("LoadState") != "loaded":
        return
    yield from _service(unit)


def _service(unit: dict[str, str]) -> Iterator[Finding]:
    check = "service"
    state = f"{unit.get('ActiveState')} ({unit.get('SubState')})"
    if unit.get("ActiveState") == "failed":
        text = f"{state}: {unit.get('Result')}"
        yield problem(check, text, "journalctl -u callboard -n 50; then systemctl restart callboard")
    elif unit.get("ActiveState") != "active":
        yield warning(check, state, "systemctl start callboard")
    elif unit.get("UnitFileState") == "disabled":
        yield warning(check, f"{state}, but not started at boot", "systemctl enable callboard")
    else:
        yield ok(check, state)
    restarts = unit.get("NRestarts", "0")
    if restarts.isdecimal() and int(restarts) > 3:
        text = f"systemd has started it anew {restarts} times"
        yield warning(check, text, "journalctl -u callboard | grep -E 'ERROR|Main process exited'")
    if unit.get("WatchdogUSec") in ("0", "infinity"):
        text = "no watchdog: an agent that hangs is not restarted"
        yield warning(check, text, "set WatchdogSec= in the unit, as conf/callboard.service has it")
