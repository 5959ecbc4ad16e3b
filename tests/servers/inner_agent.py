"""An agent that lives in a network namespace of the tests, and is asked from outside."""

from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.request import HTTPHandler, ProxyHandler, build_opener

from servers.agent import AgentProcess
from servers.namespaces import Namespace


class InnerAgent(AgentProcess):
    """Its API is on 127.0.0.1 of that namespace."""

    def __init__(self, namespace: Namespace, data_dir: Path, config: Path | None = None, **env: str) -> None:
        super().__init__(data_dir, config, **env)
        self._before = tuple(namespace.command())
        self._opener = build_opener(ProxyHandler({}), _Inside(namespace))


class _Inside(HTTPHandler):
    def __init__(self, namespace: Namespace) -> None:
        super().__init__()
        self._namespace = namespace

    def http_open(self, req: Any) -> Any:
        return self.do_open(self._connection, req)

    def _connection(self, host: str, **options: Any) -> HTTPConnection:
        connection = HTTPConnection(host, **options)
        connection._create_connection = self._connected  # type: ignore[attr-defined]
        return connection

    def _connected(self, address: tuple[str, int], timeout: Any = None, source: Any = None) -> Any:
        made = self._namespace.socket()
        try:
            made.settimeout(timeout if isinstance(timeout, int | float) else None)
            made.connect(address)
        except BaseException:
            made.close()
            raise
        return made
