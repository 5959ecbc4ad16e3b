"""A Docker engine of the tests' own, and the agent's image built on it from nothing but local files.

Its data and sockets lie in a folder that goes with it; the firewall and forwarding of this machine stay as
they are, so containers reach it, and it them, and nobody the outside. Who is not root uses the engine that is
there.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil

from servers.wheels import wheels

START_SECONDS = 60.0
ROOMY = 8 * 2**30
_ROOT = Path(__file__).parents[2]
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/sbin"])


class Engine:
    """`docker ...` on one engine."""

    def __init__(self, host: str | None) -> None:
        self._environment = {"PATH": _PATH} | ({"DOCKER_HOST": host} if host else {})

    def run(self, *arguments: str, check: bool = True, seconds: float = 60) -> str:
        """What it prints. Raises RuntimeError with what it says for any exit code but 0."""
        done = subprocess.run(
            ["docker", *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"docker {' '.join(arguments)}: {done.stdout[-4000:]}")
        return done.stdout.strip()

    @property
    def up(self) -> bool:
        return "Server" in self.run("version", check=False)

    def inspect(self, what: str) -> Any:
        return msgspec.json.decode(self.run("inspect", what))[0]

    def build_agent(self, folder: Path) -> str:
        """The tag of the agent's image, built in `folder` as the Dockerfile says but for its base, which is
        Debian with Python, and the package index, which is a folder of wheels."""
        for name in ("Dockerfile", ".dockerignore", "setup.cfg", "pyproject.toml", "README.rst", "LICENSE"):
            shutil.copy(_ROOT / name, folder / name)
        for name in ("actors", "api", "conf", "storage"):
            shutil.copytree(_ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(wheels(), folder / "wheels", ignore=shutil.ignore_patterns("callboard-*"))
        self.run("import", "-c", 'CMD ["bash"]', str(base_image()), "callboard-base")
        arguments = ("--build-arg", "BASE=callboard-base", "--build-arg", "PIP_NO_INDEX=1")
        self.run("build", "--network=host", *arguments, "-t", "callboard-test", str(folder), seconds=300)
        return "callboard-test"


def base_image() -> Path:
    """The file system that tests/install-servers.sh has made."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = sorted((cache / "callboard").glob("debian-python-*.tar"))
    if not found:
        raise RuntimeError("there is no base image: run tests/install-servers.sh as root")
    return found[-1]


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """`folder` is of a short name, for a socket's has at most 107 bytes."""
    if os.geteuid() != 0:
        found = Engine(None)
        if not found.up:
            raise RuntimeError("root starts an engine for the tests; others need one that they may use")
        yield found
        return
    with _in_memory(folder):
        yield from _own_engine(folder)


@contextmanager
def _in_memory(folder: Path) -> Iterator[None]:
    """Images of hundreds of megabytes come and go: where there is room a disk need not see them."""
    if psutil.virtual_memory().available < ROOMY:
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def _own_engine(folder: Path) -> Iterator[Engine]:
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(_command(folder), env={"PATH": _PATH}, stdout=log, stderr=log)
    found = Engine(f"unix://{folder}/docker.sock")
    try:
        deadline = time.monotonic() + START_SECONDS
        while not found.up:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no engine: {(folder / 'dockerd.log').read_text()[-4000:]}")
            time.sleep(0.05)
        yield found
        for container in found.run("ps", "-aq").split():
            found.run("rm", "-f", "-v", container)
        for network in found.run("network", "ls", "-q", "-f", "type=custom").split():
            found.run("network", "rm", network)
    finally:
        process.terminate()
        process.wait(START_SECONDS)
        for mounted in (folder / "exec" / "netns").glob("*"):
            subprocess.run(["umount", "-l", str(mounted)], check=False)


def _command(folder: Path) -> list[str]:
    """It ends with whoever runs the tests."""
    return [
        *("setpriv", "--pdeathsig", "TERM", "dockerd"),
        *("--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")),
        *("--pidfile", str(folder / "pid"), "-H", f"unix://{folder}/docker.sock"),
        *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none"),
    ]
