"""Two OPC UA servers of different authors, node-opcua's and asyncua's, with one and the same plant.

Each is a process of its own that is asked by JSON lines and ends with this one, however this one ends. In
namespace 2 of both: `s=Counter.<n>`, Doubles that go up by one at each tick, all at the same source time; and
`NODES`, of every type.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from servers.mosquitto import free_port, reserved
from servers.namespaces import Namespace
from servers.node import node_command
from servers.opcua_certificates import Identity
from servers.told_process import ToldProcess
from servers.told_program import module_command

Kind = Literal["node", "asyncua"]
KINDS: tuple[Kind, ...] = ("asyncua", "node")
POLICIES = (
    "Basic128Rsa15",
    "Basic256",
    "Basic256Sha256",
    "Aes128_Sha256_RsaOaep",
    "Aes256_Sha256_RsaPss",
)
MODES = ("Sign", "SignAndEncrypt")
EVERYTHING = (("None", "None"), *((policy, mode) for policy in POLICIES for mode in MODES))
UNSECURED = (("None", "None"),)


SCALARS: dict[str, Any] = {
    "Boolean": True,
    "SByte": -5,
    "Byte": 250,
    "Int16": -3000,
    "UInt16": 60_000,
    "Int32": -70_000,
    "UInt32": 4_000_000_000,
    "Int64": -5_000_000_000,
    "UInt64": 5_000_000_000,
    "Float": 1.5,
    "Double": 2.25,
    "String": "Käse",
    "DateTime": 1_700_000_000_000,
    "Guid": "6f0d2a5e-8c4b-4a57-8e61-0c2d7b9a4f10",
    "ByteString": "00ff10",
    "LocalizedText": "Pumpe",
    "QualifiedName": "Pump",
    "NodeId": "ns=2;s=Plant",
    "StatusCode": "BadTimeout",
}
"""One of each type; DateTime in Unix ms, ByteString in hex."""


def _entry(node: str, name: str, type: str, value: Any, writable: bool = True) -> dict[str, Any]:
    return {"node": f"ns=2;{node}", "name": name, "type": type, "value": value, "writable": writable}


NODES = [
    *(_entry(f"s=Type.{type}", f"Type{type}", type, value) for type, value in SCALARS.items()),
    _entry("s=Array.Boolean", "ArrayBoolean", "Boolean", [True, False]),
    _entry("s=Array.Int32", "ArrayInt32", "Int32", [1, 2, 3]),
    _entry("s=Array.Double", "ArrayDouble", "Double", [0.5, 1.5, 2.5, 3.5]),
    _entry("s=Array.String", "ArrayString", "String", ["a", "b"]),
    _entry("s=Matrix", "Matrix", "Double", [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
    _entry("s=Structure", "Structure", "Range", {"Low": -1.0, "High": 9.0}),
    _entry("s=Recipe", "Recipe", "Recipe", {"Name": "bread", "Temperature": 230.5, "Steps": [1, 2, 3]}),
    _entry("s=ReadOnly", "ReadOnly", "Double", 7.0, writable=False),
    _entry("i=1001", "Numeric", "Int32", 1),
    _entry("g=6f0d2a5e-8c4b-4a57-8e61-0c2d7b9a4f10", "ByGuid", "Int32", 2),
    _entry("b=AQID", "ByBytes", "Int32", 3),
    _entry('s=Odd;name=1 "x"', "Odd name", "Int32", 4),
]


class OpcUaServer(ToldProcess):
    """One server, at `address` in `namespace` if any, that keeps its files in `directory`, and its port and
    certificate always.

    Without `users` it knows no passwords; `anonymous` says whether anybody may come. `trusted` are the client
    certificates (PEM) that it takes, None all; `user_certificates` those that users come with.
    `advertised_host` is what its endpoints say instead of its address. `limits` are operation limits by their
    names (node-opcua keeps to them, asyncua only tells them). `token_lifetime_ms` is the most of a channel
    (of node-opcua's).
    """

    def __init__(
        self,
        directory: Path,
        kind: Kind = "node",
        *,
        security: tuple[tuple[str, str], ...] = UNSECURED,
        anonymous: bool = True,
        users: dict[str, str] | None = None,
        user_certificates: tuple[str, ...] = (),
        trusted: tuple[str, ...] | None = None,
        identity: Identity | None = None,
        variables: int = 10,
        interval_ms: int = 1000,
        limits: dict[str, int] | None = None,
        nodes: list[dict[str, Any]] | None = None,
        advertised_host: str | None = None,
        token_lifetime_ms: int = 0,
        max_session_timeout_ms: int = 0,
        path: str = "",
        port: int | None = None,
        address: str = "127.0.0.1",
        namespace: Namespace | None = None,
    ) -> None:
        self.kind = kind
        self.address = address
        self._namespace = namespace
        self.port = port if port is not None else free_port()
        self.identity = identity or Identity("plant", uri="urn:callboard:test:plant")
        self._directory = directory / f"opcua-{self.port}"
        super().__init__(f"{kind}'s server", directory / f"opcua-{self.port}.log")
        self._kept: list[Any] = []
        self._path = path
        self.config: dict[str, Any] = {
            "address": address,
            "port": self.port,
            "path": path,
            "security": security,
            "anonymous": anonymous,
            "users": users or {},
            "userCertificates": user_certificates,
            "trusted": trusted,
            "variables": variables,
            "intervalMs": interval_ms,
            "limits": limits or {},
            "nodes": NODES if nodes is None else nodes,
            "advertisedHost": advertised_host,
            "tokenLifetimeMs": token_lifetime_ms,
            "maxSessionTimeoutMs": max_session_timeout_ms,
        }

    @property
    def url(self) -> str:
        return f"opc.tcp://{self.address}:{self.port}{self._path}"

    def start(self) -> None:
        """Start it and wait until it serves."""
        self._let_go()
        command, environment = _command(self.kind)
        if self._namespace is not None:
            command = self._namespace.command(*command)
        self.begin(command, self.config | self._files(), environment)

    def restart(self) -> None:
        self.kill()
        self.start()

    def ask(self, do: str, **arguments: Any) -> Any:
        """Have it do something, a method of the server's `Plant`; raises RuntimeError with what went wrong.
        `write(node, type, value, status, source_ms)`, `read(node)`, `add(node, name, type, value)`,
        `remove(node)`, `rate(interval_ms)` (0: only `step`), `step()`, `delete_subscriptions()`,
        `close_sessions()`, `counts()`, `service_level(level)`, `alarm(name, active, severity, acked)`."""
        return super().ask(do, **arguments)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._let_go()

    def _ended(self) -> None:
        """Its port is kept for its return."""
        super()._ended()
        self._kept = [] if self._namespace else [reserved(self.port)]

    def _let_go(self) -> None:
        for kept in self._kept:
            kept.close()
        self._kept.clear()

    def _files(self) -> dict[str, Any]:
        """What it is that is in files for the one and in the configuration for the other."""
        self._directory.mkdir(parents=True, exist_ok=True)
        certificate, key = self._directory / "certificate.pem", self._directory / "key.pem"
        certificate.write_text(self.identity.chain_pem)
        key.write_text(self.identity.key_pem)
        trusted = self.config["trusted"]
        return {
            "directory": str(self._directory),
            "applicationUri": self.identity.uri,
            "certificate": self.identity.pem,
            "key": self.identity.key_pem,
            "certificateFile": str(certificate),
            "keyFile": str(key),
            "trustedDer": None if trusted is None else [_der(pem) for pem in trusted],
            "userCertificatesDer": [_der(pem) for pem in self.config["userCertificates"]],
        }


def _command(kind: Kind) -> tuple[list[str], Mapping[str, str]]:
    if kind == "asyncua":
        return module_command("opcua_asyncua")
    return node_command("opcua_node", "server.js")


def _der(pem: str) -> str:
    der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    return base64.b64encode(der).decode()
