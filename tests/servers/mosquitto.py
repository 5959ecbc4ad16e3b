"""A real MQTT broker for tests: Debian's mosquitto."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from servers.certificates import Authority
from servers.namespaces import Namespace

_BINARY = shutil.which("mosquitto", path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")


class Mosquitto:
    """One broker, at `address` in `namespace` if any, that keeps its files in `directory` and nothing across
    restarts.

    Without `username` anybody may connect. With `tls` the port speaks TLS only: `ca_pem` verifies the
    broker's certificate (for localhost and 127.0.0.1), and `authority` can issue client certificates,
    which `client_certificates` demands. With `websocket` it speaks MQTT over websockets, at any path.
    `plain_port` speaks MQTT over TCP in any case, to the same people. `options` are further lines of
    mosquitto.conf.
    """

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
        client_certificates: bool = False,
        websocket: bool = False,
        options: tuple[str, ...] = (),
        address: str = "127.0.0.1",
        namespace: Namespace | None = None,
    ) -> None:
        if _BINARY is None:
            raise RuntimeError("These tests need a real MQTT broker: apt-get install mosquitto")
        self.port = port if port is not None else free_port()
        self.plain_port = free_port() if tls or websocket else self.port
        self.address = address
        self._namespace = namespace
        self.authority = Authority() if tls else None
        self.ca_pem = self.authority.pem if self.authority else None
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._kept: list[socket.socket] = []
        self._log = directory / f"mosquitto-{self.port}.log"
        self._configuration = directory / f"mosquitto-{self.port}.conf"
        directory.mkdir(parents=True, exist_ok=True)
        lines = [
            # Else small packets of the broker wait for acknowledgements of the ones before.
            "set_tcp_nodelay true",
            f"listener {self.port} {address}",
            *(["protocol websockets"] if websocket else []),
            "persistence false",
            # A subscriber of a test that is slower than the publisher must still get everything.
            "max_queued_messages 0",
            # Before its start as root mosquitto becomes another user, who could not read these files.
            *(["user root"] if os.geteuid() == 0 else []),
            *self._access(username, password),
            *self._tls(client_certificates),
            *options,
            *([f"listener {self.plain_port} {address}"] if self.plain_port != self.port else []),
        ]
        self._configuration.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """Start the broker and wait until it accepts connections."""
        assert _BINARY is not None
        self._let_go()
        command: list[str] = [_BINARY, "-c", str(self._configuration)]
        if self._namespace is not None:
            command = self._namespace.command(*command)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"mosquitto did not start: {self._log.read_text()}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Let the broker end by itself (SIGTERM), and keep its ports for its return; does nothing when it
        is not running."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None
            if self._namespace is None:
                self._kept = [reserved(port) for port in {self.port, self.plain_port}]

    def kill(self) -> None:
        """End the broker at once (SIGKILL); does nothing when it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._let_go()

    def _let_go(self) -> None:
        for kept in self._kept:
            kept.close()
        self._kept.clear()

    def _accepts(self) -> bool:
        try:
            for port in {self.port, self.plain_port}:
                with socket.socket() if self._namespace is None else self._namespace.socket() as client:
                    client.settimeout(1)
                    client.connect((self.address, port))
        except OSError:
            return False
        return True

    def _access(self, username: str | None, password: str | None) -> list[str]:
        if username is None:
            return ["allow_anonymous true"]
        file = self._directory / f"mosquitto-{self.port}.passwords"
        command = ["mosquitto_passwd", "-b", "-c", str(file), username, password or ""]
        subprocess.run(command, check=True, capture_output=True)
        return ["allow_anonymous false", f"password_file {file}"]

    def _tls(self, client_certificates: bool) -> list[str]:
        if self.authority is None:
            return []
        certificate, key = self.authority.issue()
        files = {"cafile": self.authority.pem, "certfile": certificate, "keyfile": key}
        lines = [f"require_certificate {'true' if client_certificates else 'false'}"]
        for option, pem in files.items():
            path = self._directory / f"mosquitto-{self.port}.{option}.pem"
            path.write_text(pem)
            lines.append(f"{option} {path}")
        return lines


def reserved(port: int) -> socket.socket:
    """Nobody else gets the port until it is closed; connecting to it is refused."""
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", port))
    return kept


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
