"""The demo's own MQTT broker on loopback: mosquitto where it is installed, amqtt in process elsewhere."""

import asyncio
import contextlib
import ctypes
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Literal

import psutil

Kind = Literal["mosquitto", "amqtt"]

HOST = "127.0.0.1"
ATTEMPTS = 3
"""A port that was free may be taken before the broker listens on it."""
STARTED_WITHIN = 5.0
STOPPED_WITHIN = 2.0
PR_SET_PDEATHSIG = 1


class NoBroker(Exception):
    """No broker could be started; the message says what to do about it."""


class EmbeddedBroker:
    """An MQTT 3.1.1 broker without accounts that only this machine can reach.

    `kind` is the broker in use, chosen when constructed without one. Raises `NoBroker` when there is none.
    """

    def __init__(self, kind: Kind | None = None) -> None:
        self.kind: Kind = kind or _installed()
        self._broker: _Mosquitto | _Amqtt = _Mosquitto() if self.kind == "mosquitto" else _Amqtt()

    async def start(self) -> int:
        """Returns the port on 127.0.0.1 that answers from now on. Raises `NoBroker`."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                port = _free_port()
                await self._broker.start(port)
                return port
            except NoBroker:
                await self._broker.stop()
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    async def stop(self) -> None:
        """End the broker and hang up on its clients; does nothing when it does not run."""
        await self._broker.stop()


def _mosquitto() -> str | None:
    # Debian keeps it in /usr/sbin, which is not on everybody's PATH.
    return shutil.which("mosquitto", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin")


def _installed() -> Kind:
    if _mosquitto():
        return "mosquitto"
    if find_spec("amqtt"):
        return "amqtt"
    raise NoBroker(
        "the demo needs an MQTT broker: install mosquitto (apt-get install mosquitto)"
        " or the demo extra (pip install 'callboard[demo]')"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class _Mosquitto:
    """mosquitto as a child process that dies with this process, however that ends."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    async def start(self, port: int) -> None:
        binary = _mosquitto()
        if binary is None:
            raise NoBroker("mosquitto is not installed")
        self._folder = tempfile.TemporaryDirectory(prefix="callboard-broker-")
        config, log = _write_files(Path(self._folder.name), port)
        with log:
            self._process = await asyncio.create_subprocess_exec(
                binary,
                "-c",
                config,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C at the terminal is the agent's to handle, not the broker's
                preexec_fn=_die_with(os.getpid()),
            )
        if not await _listens(self._process, port):
            raise NoBroker(f"mosquitto does not listen on {HOST}:{port}: {_last_line(Path(log.name))}")

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOPPED_WITHIN)
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _write_files(folder: Path, port: int) -> tuple[str, BinaryIO]:
    """The path of the broker's configuration and its log, open for writing."""
    config = folder / "mosquitto.conf"
    config.write_text(_configuration(port))
    return str(config), (folder / "mosquitto.log").open("wb")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "no output")


def _configuration(port: int) -> str:
    lines = [
        f"listener {port} {HOST}",
        "allow_anonymous true",
        "persistence false",
        "set_tcp_nodelay true",  # mosquitto's acknowledgements otherwise wait for Nagle: 30 times slower
        "log_dest stderr",
        "log_type error",
        "log_type warning",
    ]
    if os.geteuid() == 0:
        # Changing to another user would clear the parent-death signal.
        lines.append("user root")
    return "\n".join(lines) + "\n"


def _die_with(parent: int) -> Callable[[], None]:
    """What a child calls before exec so that the kernel kills it when its parent dies, even of SIGKILL."""
    libc = ctypes.CDLL(None)  # loaded here: between fork and exec nothing should take locks

    def before_exec() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return before_exec


async def _listens(process: asyncio.subprocess.Process, port: int) -> bool:
    """Wait until this very process listens: somebody else's broker on the port must not pass for ours."""
    deadline = time.monotonic() + STARTED_WITHIN
    while process.returncode is None and time.monotonic() < deadline:
        with contextlib.suppress(psutil.Error):  # it may end at any moment; the loop's head sees that
            sockets = psutil.Process(process.pid).net_connections("tcp4")
            if any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in sockets):
                return True
        await asyncio.sleep(0.02)
    return False


class _Amqtt:
    """amqtt in this process's loop: slower, and MQTT 3.1.1 only."""

    def __init__(self) -> None:
        self._broker: Any = None

    async def start(self, port: int) -> None:
        # It logs every packet and, as errors with tracebacks, every client that hangs up.
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            from amqtt.broker import Broker
            from amqtt.errors import BrokerError
        except ImportError as error:
            raise NoBroker("amqtt is not installed: pip install 'callboard[demo]'") from error
        broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        try:
            await broker.start()
        except BrokerError as error:
            raise NoBroker(f"amqtt does not listen on {HOST}:{port}: {error}") from error
        self._broker = broker

    async def stop(self) -> None:
        broker, self._broker = self._broker, None
        if broker is not None:
            await broker.shutdown()
