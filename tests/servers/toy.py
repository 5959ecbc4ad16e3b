"""A device that speaks the protocol of `toy_protocol`, and a place to install that protocol in."""

import asyncio
import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

from packages import install

from actors.endpoints.third_party import GROUP
from storage.timestamps import unix_ms

_SOURCE = Path(__file__).parents[1] / "toy_protocol"


def install_toy(directory: Path) -> Path:
    """The package as pip would install it there."""
    project = tomllib.loads((_SOURCE / "pyproject.toml").read_text())["project"]
    shutil.copytree(_SOURCE / "toy_protocol", directory / "toy_protocol")
    return install(directory, project["name"], project["entry-points"][GROUP])


class ToyDevice:
    """On `port` of 127.0.0.1. `refuses` is why it refuses to be written, `user` with `password` the only one
    that it lets in, if any."""

    def __init__(self, port: int, user: str | None = None, password: str | None = None) -> None:
        self.port = port
        self.login = (user, password)
        self.values: dict[str, Any] = {}
        self.written: list[tuple[str, Any]] = []
        self.refuses: str | None = None
        self._subscribers: dict[asyncio.StreamWriter, list[str]] = {}
        self._clients: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for client in list(self._clients):
                client.transport.abort()
            await self._server.wait_closed()
            self._server = None

    def set(self, **values: Any) -> None:
        """Its values change."""
        self.values |= values
        for writer, names in self._subscribers.items():
            self._tell(writer, {name: value for name, value in values.items() if name in names})

    def _tell(self, writer: asyncio.StreamWriter, changed: dict[str, Any]) -> None:
        if changed and not writer.is_closing():
            writer.write(json.dumps({"changed": changed, "at": unix_ms()}).encode() + b"\n")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            while line := await reader.readline():
                asked = json.loads(line)
                writer.write(json.dumps({"id": asked["id"], **self._answer(asked, writer)}).encode() + b"\n")
                if asked["do"] == "subscribe":
                    self._tell(writer, {name: self.values.get(name) for name in asked["names"]})
                await writer.drain()
        except (OSError, ValueError, asyncio.CancelledError):
            return
        finally:
            self._clients.discard(writer)
            self._subscribers.pop(writer, None)
            writer.close()

    def _answer(self, asked: dict[str, Any], writer: asyncio.StreamWriter) -> dict[str, Any]:
        match asked["do"]:
            case "hello":
                return {"welcome": self.login in ((None, None), (asked["user"], asked["password"]))}
            case "read":
                return {"values": [self.values.get(name) for name in asked["names"]]}
            case "subscribe":
                self._subscribers[writer] = asked["names"]
            case "browse":
                return {"names": sorted(self.values)}
            case "write" if self.refuses is not None:
                return {"refused": self.refuses}
            case "write":
                self.written.append((asked["name"], asked["value"]))
                self.set(**{asked["name"]: asked["value"]})
        return {}
