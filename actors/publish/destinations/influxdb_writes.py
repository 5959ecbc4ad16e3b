"""Requests to InfluxDB's `POST /api/v2/write`, on influxdb-client 1.50, and what its answers mean."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from actors.connections import os_errors, retry_after
from actors.connections.certificates import untrusted
from actors.connections.connection import NoConnection, Permanent, Transient
from actors.publish.destinations.influxdb_config import Config, tls_context

if TYPE_CHECKING:
    from influxdb_client.service.write_service import WriteService

TIMED_OUT = "Connection timed out"
_SHOWN = 120
_READ = 4096
# 2.0 and others refuse a write of nothing, but only once they have accepted token, org and bucket.
_NO_POINTS = re.compile(r"requires points|no (points|lines|data)|(body|request|write) (is|was) empty", re.I)
_DROPPED = re.compile(r"\bdropped=(\d+)")
# Trouble with the access or the server; any other 4xx is about what was to be written.
_NOT_THE_CONTENT = (401, 403, 404, 408, 429)


class Answer(msgspec.Struct, frozen=True):
    """`body` is the beginning of it, without the token, should it be in there."""

    status: int
    body: str
    retry_after: float = 0.0

    @property
    def written(self) -> bool:
        """Not 200, which is what a proxy or a login page in the server's place says: InfluxDB has 204, and
        201 where it has left points out."""
        return 200 < self.status < 300

    @property
    def refuses_content(self) -> bool:
        return 400 <= self.status < 500 and self.status not in _NOT_THE_CONTENT

    @property
    def too_large(self) -> bool:
        return self.status == 413

    @property
    def dropped(self) -> int:
        """How many points the server says it has left out; 0 when it does not say."""
        found = _DROPPED.search(self.body)
        return int(found[1]) if found else 0

    @property
    def reason(self) -> str:
        """The server's own message where it has one."""
        try:
            message = msgspec.json.decode(self.body, type=_Error).message
        except msgspec.DecodeError:
            message = self.body
        return f"HTTP {self.status}: {_shown(message)}"

    @property
    def text(self) -> str:
        return f"HTTP {self.status}: {_shown(self.body)}"


class _Error(msgspec.Struct):
    message: str


class Writes:
    """One session; requests are made one after the other. See `open_writes`."""

    def __init__(self, config: Config, service: "WriteService") -> None:
        self._config = config
        self._service = service

    async def check_access(self) -> None:
        """Write nothing, to see whether points would be taken. Raises `Transient` or `Permanent`."""
        answer = await self.post(b"")
        if answer.status == 204 or (answer.status == 400 and _NO_POINTS.search(answer.body)):
            return
        raise self.failure(answer)

    async def post(self, lines: bytes) -> Answer:
        """The answer to whatever was asked. Raises `Transient` or `Permanent` when there is none."""
        config = self._config
        try:
            # Not preloaded: the library would put the headers and all of the body into an exception.
            response = await self._service.post_write_async(
                config.org, config.bucket, lines, precision=config.precision, _preload_content=False
            )
            async with response:
                body = await _beginning(response)
        except TimeoutError as error:
            raise Transient(TIMED_OUT) from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise self._untrusted(error) from error
        except aiohttp.ClientConnectorError as error:
            raise Transient(f"{os_errors.reason(error.os_error)} ({config.where})") from error
        except OSError as error:
            raise Transient(f"{os_errors.reason(error)} ({config.where})") from error
        except aiohttp.ServerDisconnectedError as error:
            raise Transient(f"{config.where} closed the connection") from error
        except aiohttp.ClientError as error:
            raise Transient(f"{config.where} does not speak HTTP: {type(error).__name__}") from error
        text = body.decode(errors="replace").replace(config.token, "***") or response.reason or ""
        return Answer(response.status, text, retry_after.seconds(response.headers))

    def failure(self, answer: Answer) -> Transient | Permanent:
        """What an answer says of the access or the server."""
        config = self._config
        match answer.status:
            case 401:
                return Permanent("Invalid or missing token")
            case 403:
                return Permanent("Token lacks write permission for this bucket")
            case 404:
                return Permanent(f'Org "{config.org}" or bucket "{config.bucket}" not found')
        return Transient(answer.text, answer.retry_after)

    def _untrusted(self, error: aiohttp.ClientConnectorCertificateError) -> NoConnection:
        cause = error.certificate_error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return untrusted(self._config.where, cause)
        return Permanent(f"The certificate of {self._config.where} is not trusted: {cause}")


@contextlib.asynccontextmanager
async def open_writes(config: Config) -> AsyncIterator[Writes]:
    """A session, without any connection yet."""
    client_type, service_type, context = await asyncio.to_thread(_prepare, config)
    client = client_type(
        config.url,
        token=config.token,
        org=config.org,
        timeout=round(config.timeout * 1000),
        ssl_context=context,
        connection_pool_maxsize=1,
        # What answers in the server's place must not get the token.
        allow_redirects=False,
        client_session_kwargs={"trust_env": False},
    )
    try:
        yield Writes(config, service_type(client.api_client))
    finally:
        await client.close()


def _prepare(config: Config) -> tuple[Any, Any, ssl.SSLContext]:
    """In a thread: the library's import takes half a second."""
    from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
    from influxdb_client.service.write_service import WriteService

    return InfluxDBClientAsync, WriteService, tls_context(config)


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    while len(body) < _READ and (more := await response.content.read(_READ - len(body))):
        body += more
    return body


def _shown(text: str) -> str:
    return " ".join(text.split())[:_SHOWN]
