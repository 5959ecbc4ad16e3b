"""Servers of the tests that are written for Node."""

import hashlib
import os
from pathlib import Path

_HERE = Path(__file__).parent


def node_command(folder: str, program: str) -> tuple[list[str], dict[str, str]]:
    """What runs that program of `tests/servers/<folder>`, and the environment with the packages that it
    needs, as `tests/install-servers.sh` has installed them."""
    home = _home(folder)
    environment = os.environ | {"NODE_PATH": str(home / "node_modules")}
    return [str(home / "node"), str(_HERE / folder / program)], environment


def _home(folder: str) -> Path:
    locked = hashlib.sha256((_HERE / folder / "package-lock.json").read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "callboard" / f"{folder.replace('_', '-')}-{locked}"
    if not (home / "complete").exists():
        raise RuntimeError(f"These tests need what tests/servers/{folder} does: make servers")
    return home
