"""A real InfluxDB, Debian's 1.6, behind what its version 1.8 does itself: `/api/v2/write` is its `/write`."""

import asyncio
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from servers.mosquitto import free_port

_BINARY = shutil.which("influxd")
_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{directory}/meta"
[data]
  dir = "{directory}/data"
  wal-dir = "{directory}/wal"
  max-values-per-tag = {values_per_tag}
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{http}"
  log-enabled = false
  max-body-size = {max_body}
"""


class InfluxDB1:
    """On free ports of 127.0.0.1, with a database `plant`; a context manager, on the loop that enters it."""

    def __init__(self, directory: Path, values_per_tag: int = 0, max_body: int = 0) -> None:
        if _BINARY is None:
            raise RuntimeError("These tests need a time series database: apt-get install influxdb")
        self.port = free_port()
        self.requests = 0
        """How many writes there were."""
        self._http = free_port()
        self._directory = directory
        self._config = directory / "influxdb.conf"
        self._config.write_text(
            _CONFIG.format(
                directory=directory,
                rpc=free_port(),
                http=self._http,
                values_per_tag=values_per_tag,
                max_body=max_body,
            )
        )

    def config_json(self, **others: Any) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}"
        return {"url": url, "org": "any", "bucket": "plant", "token": "any", **others}

    async def query(self, text: str) -> list[list[Any]]:
        """The rows of all series of the answer."""
        url = f"http://127.0.0.1:{self._http}/query"
        async with self._session.post(url, params={"db": "plant", "q": text, "epoch": "ms"}) as reply:
            found = await reply.json()
        return [
            row for each in found["results"] for series in each.get("series", ()) for row in series["values"]
        ]

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._start)
        self._session = aiohttp.ClientSession()
        await self.query("CREATE DATABASE plant")
        app = web.Application(client_max_size=2**30)
        app.router.add_post("/api/v2/write", self._write)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, access_log=None, auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()
        self._process.kill()
        await asyncio.to_thread(self._process.wait, 10)

    def _start(self) -> None:
        assert _BINARY is not None
        with (self._directory / "influxd.log").open("wb") as log:
            self._process = subprocess.Popen([_BINARY, "-config", str(self._config)], stdout=log, stderr=log)
        deadline = time.monotonic() + 15
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise RuntimeError("influxd did not start")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._http), 1):
                return True
        except OSError:
            return False

    async def _write(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests += bool(body)
        params = {"db": request.query["bucket"], "precision": request.query["precision"].replace("us", "u")}
        encoding = request.headers.get("Content-Encoding")
        headers = {"Content-Encoding": encoding} if encoding else {}
        url = f"http://127.0.0.1:{self._http}/write"
        async with self._session.post(url, params=params, data=body, headers=headers) as reply:
            text = await reply.text()
            return web.Response(status=reply.status, text=text, content_type=reply.content_type)
