"""The filter of system calls that conf/callboard.service asks systemd for, as a container engine takes it."""

import re
import subprocess
from pathlib import Path

import msgspec

_UNIT = Path(__file__).parents[2] / "conf" / "callboard.service"
EPERM = 1


def write_profile(path: Path) -> None:
    """Allows what the unit's `SystemCallFilter` does, and what systemd adds to it; all else is EPERM."""
    found = re.search(r"^SystemCallFilter=(.*)$", _UNIT.read_text(), re.MULTILINE)
    assert found is not None
    allowed = {"execve"}
    for group in ("@default", *found[1].split()):
        allowed |= _calls(group)
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "syscalls": [{"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"}],
    }
    path.write_bytes(msgspec.json.encode(profile))


def _calls(group: str) -> set[str]:
    """The names in a group, and in those that are part of it."""
    command = ["systemd-analyze", "syscall-filter", group]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    names = {line.strip() for line in said.splitlines()[1:]} - {""}
    found: set[str] = set()
    for name in names:
        if name.startswith("@"):
            found |= _calls(name)
        elif not name.startswith("#"):
            found.add(name)
    return found
