"""How often the agent may restart itself for its memory: on file, so that it does not go round and round.

A machine's clock may be set between two starts: within one boot of the machine the time since then counts.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

import msgspec

from actors.system.clock import running_ms
from storage.timestamps import unix_ms

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
COOLDOWN_MS = 3_600_000
FILE = "memory-restarts.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Attempt(msgspec.Struct, frozen=True):
    """`at` is Unix ms, `running` ms since the machine was started, which `boot` names."""

    at: int
    running: int
    boot: str


def now() -> Attempt:
    boot = ""
    with suppress(OSError):
        boot = _BOOT.read_text("ascii").strip()
    return Attempt(unix_ms(), running_ms(), boot)


def load(folder: Path) -> list[Attempt]:
    """Those on record; none where there is no record that can be read."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=list[Attempt])[-MAX_ATTEMPTS:]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read: %s", folder / FILE, error)
        return []


def record(folder: Path, attempts: list[Attempt]) -> None:
    """On disk when it returns; raises OSError, and then there must be no restart."""
    file, new = folder / FILE, folder / f"{FILE}.new"
    with new.open("wb") as out:
        out.write(msgspec.json.encode(attempts[-MAX_ATTEMPTS:]))
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def age_ms(attempt: Attempt, at: Attempt) -> int:
    """How long ago it was; of one that the clock puts into the future, no time at all."""
    if attempt.boot and attempt.boot == at.boot:
        return max(0, at.running - attempt.running)
    return max(0, at.at - attempt.at)


def recent(attempts: list[Attempt], at: Attempt) -> list[Attempt]:
    """Those within the cool-down."""
    return [one for one in attempts if age_ms(one, at) < COOLDOWN_MS]
