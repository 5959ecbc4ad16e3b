"""Disks of the tests' own: small ones, and slow ones."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SLOW = Path(__file__).with_name("slow_disk.c")


class SmallDisk:
    """A file system of its own at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Leave no byte free, until `make_room`."""
        with self._filler.open("ab", buffering=0) as filler:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        filler.write(b"x" * size)
                except OSError:
                    pass

    def make_room(self) -> None:
        self._filler.unlink()

    def become(self, how: str) -> None:
        """`ro` or `rw`."""
        _run("mount", "-o", f"remount,{how}", str(self.path))


@contextmanager
def small_disk(path: Path, megabytes: int = 4) -> Iterator[SmallDisk]:
    """Mounted in memory, which takes root."""
    path.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path))
    try:
        yield SmallDisk(path)
    finally:
        _run("umount", "-l", str(path))


def slow_disk(folder: Path, milliseconds: int) -> dict[str, str]:
    """The environment in which every sync takes so much longer."""
    library = folder / "slow_disk.so"
    _run("gcc", "-shared", "-fPIC", "-o", str(library), str(_SLOW), "-ldl")
    return {"LD_PRELOAD": str(library), "SLOW_DISK_MS": str(milliseconds)}


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
