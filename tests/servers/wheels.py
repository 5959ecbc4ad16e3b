"""The agent and all that it needs as wheels, for installing it where no package index is reached."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]
SECONDS = 300


def wheels() -> Path:
    """A folder beside this Python's packages, filled once for each list of them; the agent's own wheel is
    of the sources as they are now."""
    named = hashlib.sha256((_ROOT / "setup.cfg").read_bytes()).hexdigest()[:12]
    folder = Path(sys.prefix) / f"wheels-{named}"
    with (Path(sys.prefix) / ".wheels-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            draft = folder.with_name("wheels-draft")
            shutil.rmtree(draft, ignore_errors=True)
            _wheel("--wheel-dir", str(draft), str(_ROOT), "setuptools>=77")
            draft.rename(folder)
        elif not _fresh(folder):
            _wheel("--no-deps", "--wheel-dir", str(folder), str(_ROOT))
    return folder


def _fresh(folder: Path) -> bool:
    (built,) = folder.glob("callboard-*.whl")
    sources = [path for part in ("actors", "api", "conf", "storage") for path in (_ROOT / part).rglob("*.*")]
    newest = max(path.stat().st_mtime for path in sources if "__pycache__" not in path.parts)
    return built.stat().st_mtime > newest


def _wheel(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"pip wheel: {done.stderr[-4000:]}")
