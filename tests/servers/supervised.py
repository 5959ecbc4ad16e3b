"""Wheels of callboard in versions that never were, and an agent that a service manager keeps running."""

import base64
import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from actors.update.layout import Layout
from servers.agent import AgentApi
from servers.mosquitto import free_port

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("actors", "api", "conf", "storage")
_SITE = "callboard-test-site"

Changes = Mapping[str, Callable[[str], str]]
"""What becomes of the text of a file of callboard, by its path."""


def write_site_wheel(folder: Path) -> None:
    """In the place of all that callboard depends on: a link to what the tests have installed."""
    lines = sysconfig.get_path("purelib") + "\n"
    _write_wheel(folder, _SITE, "1.0", {"callboard_test_site.pth": lines}, (), "")


def write_wheel(folder: Path, version: str, changes: Changes | None = None) -> Path:
    """This source tree as that version, changed."""
    files = {}
    for package in _PACKAGES:
        for path in sorted((_ROOT / package).rglob("*")):
            if path.suffix in (".py", ".sh", ".toml") and "__pycache__" not in path.parts:
                name = path.relative_to(_ROOT).as_posix()
                text = path.read_text("utf-8")
                files[name] = changes[name](text) if changes and name in changes else text
    entry = "[console_scripts]\ncallboard = api.cli.command:main\n"
    return _write_wheel(folder, "callboard", version, files, (_SITE,), entry)


def _write_wheel(
    folder: Path, name: str, version: str, files: dict[str, str], needs: tuple[str, ...], entry: str
) -> Path:
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    needed = "".join(f"Requires-Dist: {one}\n" for one in needs)
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if entry:
        files[f"{info}/entry_points.txt"] = entry
    record = "".join(f"{path},{_digest(text)},{len(text.encode())}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def install_first(root: Path, wheels: Path, version: str) -> Layout:
    """As docs/updating.rst says, but for where packages come from."""
    environment = root / "versions" / f"{version}-1"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--find-links", wheels, f"callboard=={version}"], check=True)
    subprocess.run([python, "-I", "-m", "actors.update.layout"], check=True, capture_output=True)
    return Layout(root)


def unpack_beside(layout: Layout, wheel: Path) -> str:
    """The wheel as a complete version, made without pip in a fraction of the time; returns its name."""
    version = wheel.name.split("-")[1]
    environment = layout.room_for(version)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "callboard_test_site.pth").write_text(sysconfig.get_path("purelib") + "\n")
    program = environment / "bin" / "callboard"
    start = "import sys\nfrom api.cli.command import main\nsys.exit(main())\n"
    program.write_text(f"#!{environment / 'bin' / 'python'}\n{start}")
    program.chmod(0o755)
    layout.finish(environment.name)
    return environment.name


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class SupervisedAgent(AgentApi):
    """`<root>/bin/callboard run`, started anew whenever it ends, as by `Restart=always`. A context
    manager."""

    def __init__(self, layout: Layout, data_dir: Path, config: Path, **env: str) -> None:
        self.port = free_port()
        super().__init__(f"http://127.0.0.1:{self.port}")
        self.data_dir = data_dir
        self.log = data_dir.with_name(f"{data_dir.name}.log")
        self.starts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._command = [layout.launcher, "run", "--data-dir", str(data_dir), "--config", str(config)]
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "DEVICE_API_HOST": "127.0.0.1",
            "DEVICE_API_PORT": str(self.port),
            **env,
        }
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_running)

    def _keep_running(self) -> None:
        while not self._stopping.is_set():
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment,
                    preexec_fn=_end_with_parent,
                    start_new_session=True,
                )
            self.starts += 1
            self.process.wait()

    def until(self, holds: Callable[[], Any], seconds: float = 120.0) -> Any:
        """What `holds` says once that is true; the agent may be away meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                found = holds()
            except (OSError, RuntimeError, KeyError, TypeError):
                found = None
            if found:
                return found
            time.sleep(0.02)
        raise TimeoutError(self.log.read_text()[-4000:])

    def state(self) -> tuple[str, str]:
        """What runs, and the state of the updater."""
        status = self.get("/v1/update/status")
        return status["current"], status["state"]

    def kill(self) -> None:
        """And what it has left behind, as a service manager does."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGKILL)
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()

    def __enter__(self) -> Self:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        self.until(self.ready)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(25)
            finally:
                self.process.kill()
        self._thread.join(30)
