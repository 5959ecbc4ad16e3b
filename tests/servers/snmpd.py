"""Debian's snmpd, Net-SNMP's agent, with values that a test sets: those below `BASE` are kept in a file, from
which a process of the agent's reads them whenever it is asked."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from actors.endpoints.protocols.snmp import oids, pdus
from actors.endpoints.protocols.snmp.ber import OCTETS, integer, sequence, tlv
from actors.endpoints.protocols.snmp.client import CommunityClient, decode
from servers.namespaces import Namespace
from servers.udp_relay import free_udp_port

BASE = "1.3.6.1.4.1.8072.9999"
FIXED = "1.3.6.1.4.1.8072.9998"
USERS = {
    "plain": {"securityLevel": "noAuthNoPriv"},
    "md5": {"authProtocol": "md5", "authKey": "md5 secret 1"},
    "sha": {"authProtocol": "sha", "authKey": "sha secret 1"},
    "sha224": {"authProtocol": "sha224", "authKey": "sha224 secret"},
    "sha384": {"authProtocol": "sha384", "authKey": "sha384 secret"},
    "sha512": {"authProtocol": "sha512", "authKey": "sha512 secret"},
    "des": {
        "authProtocol": "md5",
        "authKey": "des secret 1",
        "privProtocol": "des",
        "privKey": "des private",
    },
    "aes": {
        "authProtocol": "sha256",
        "authKey": "aes secret 1",
        "privProtocol": "aes",
        "privKey": "aes private",
    },
    "aes192": {
        "authProtocol": "sha",
        "authKey": "aes192 secret",
        "privProtocol": "aes192",
        "privKey": "aes192 private",
    },
    "aes256": {
        "authProtocol": "sha",
        "authKey": "aes256 secret",
        "privProtocol": "aes256",
        "privKey": "aes256 private",
    },
}
"""What an endpoint's `connection` says of each user, beside the name."""

_DIGESTS = {"sha": "SHA", "md5": "MD5"} | {f"sha{bits}": f"SHA-{bits}" for bits in (224, 256, 384, 512)}
_CIPHERS = {"des": "DES", "aes": "AES", "aes192": "AES-192", "aes256": "AES-256"}
_UP_WITHIN = 10.0


class Snmpd:
    """On a free port of 127.0.0.1, or that of `address` in `namespace` if any. The community `public` reads,
    `private` writes too; users read and write. Below `BASE` are `values`: by what follows it (`1.0`), a type
    of snmpd's (`integer`, `counter`, `counter64`, `gauge`, `timeticks`, `string`, `octet`, `ipaddress`,
    `objectid`) and a text."""

    def __init__(
        self,
        directory: Path,
        address: str = "127.0.0.1",
        port: int | None = None,
        namespace: Namespace | None = None,
    ) -> None:
        self.port = port or free_udp_port()
        self._address = address
        self._namespace = namespace
        self._directory = directory / f"snmpd-{address}-{self.port}"
        self._state = self._directory / "values.json"
        self._process: subprocess.Popen[bytes] | None = None
        self.values: dict[str, tuple[str, str]] = {}
        self.integers: dict[str, int] = {}
        """What it has from its start, below `FIXED`; anybody who may write can set those."""

    def set(self, **values: Any) -> None:
        """Of names that are numbers with underscores: `_1_0=("integer", 5)`."""
        self.values |= {
            name.strip("_").replace("_", "."): (kind, str(value)) for name, (kind, value) in values.items()
        }
        self._keep()

    def replace(self, values: dict[str, tuple[str, Any]]) -> None:
        self.values = {name: (kind, str(value)) for name, (kind, value) in values.items()}
        self._keep()

    def _keep(self) -> None:
        (self._directory / "kept").mkdir(parents=True, exist_ok=True)
        draft = self._state.with_suffix(".new")
        draft.write_text(json.dumps(self.values))
        os.replace(draft, self._state)

    @property
    def written(self) -> list[tuple[str, str, str]]:
        """What was set, in order: name below `BASE`, type, value."""
        log = self._directory / "written.jsonl"
        return [tuple(json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []

    def __enter__(self) -> Self:
        self._keep()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return self._process is not None

    async def write(self, numbers: dict[str, int]) -> None:
        """Into `integers`, while it runs."""
        names = [oids.parse(f"{FIXED}.{name}") for name in numbers]
        request = pdus.request(pdus.SET, names, [integer(number) for number in numbers.values()])
        client = self._client()
        try:
            reply = await client.ask(request)
        finally:
            client.close()
        if reply.status:
            raise RuntimeError(f"snmpd refuses to set {numbers}: {reply.status}")

    def ask(self, name: str) -> int | None:
        """One of `integers`; None while it does not run."""
        request = pdus.request(pdus.GET, [oids.parse(f"{FIXED}.{name}")])
        head = integer(1) + tlv(OCTETS, b"public")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(1.0)
            asking.connect(("127.0.0.1", self.port))
            try:
                asking.send(sequence(head + request.encode(0x01000000)))
                [value] = pdus.values(decode(asking.recv(65_535), head), request.asked) or []
            except OSError:
                return None
        return int.from_bytes(value.raw, "big", signed=True)

    def _client(self) -> CommunityClient:
        where = (socket.AF_INET, socket.SOCK_DGRAM, 0, "", ("127.0.0.1", self.port))
        return CommunityClient(where, 1.0, 3, 1, "private")

    def start(self) -> None:
        """Also after a stop: then it has been started anew, and says so."""
        (self._directory / "kept").mkdir(parents=True, exist_ok=True)
        configuration = self._directory / "snmpd.conf"
        configuration.write_text("\n".join(self._lines()) + "\n")
        program = shutil.which("snmpd", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
        assert program is not None, "run tests/install-servers.sh"
        environment = os.environ | {"SNMP_PERSISTENT_DIR": str(self._directory / "kept"), "MIBS": ""}
        command = [program, "-C", "-c", str(configuration), "-f", "-Lf", str(self._directory / "log"), "-r"]
        self._process = subprocess.Popen(
            command if self._namespace is None else self._namespace.command(*command),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + _UP_WITHIN
        wanted = f":{self.port:04X}"
        while time.monotonic() < until:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            sockets = Path(f"/proc/{self._process.pid}/net/udp").read_text().splitlines()[1:]
            if any(line.split()[1].endswith(wanted) for line in sockets):
                return
            time.sleep(0.01)
        raise RuntimeError(f"snmpd has not started: {(self._directory / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _lines(self) -> list[str]:
        lines = [
            f"agentaddress udp:{self._address}:{self.port}",
            "sysName callboard-test",
            "sysDescr a device of the tests",
            "sysObjectID 1.3.6.1.4.1.8072.9999.42",
            "rocommunity public",
            "rwcommunity private",
        ]
        for name, said in USERS.items():
            words = ["createUser", name]
            if "authProtocol" in said:
                words += [_DIGESTS[said["authProtocol"]], f'"{said["authKey"]}"']
            if "privProtocol" in said:
                words += [_CIPHERS[said["privProtocol"]], f'"{said["privKey"]}"']
            level = "priv" if "privProtocol" in said else "auth" if "authProtocol" in said else "noauth"
            lines += [" ".join(words), f"rwuser {name} {level}"]
        for name, number in self.integers.items():
            lines.append(f"override -rw .{FIXED}.{name} integer {number}")
        script = Path(__file__).with_name("snmpd_values.py")
        lines.append(f"pass_persist .{BASE} {sys.executable} {script} {BASE} {self._directory}")
        return lines
