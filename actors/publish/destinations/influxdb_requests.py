"""Writes by InfluxDB's own library, influxdb-client 1.50, over the session of all HTTP requests here."""

import io
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.service.write_service import WriteService

from actors.publish.destinations.influxdb_config import Config
from actors.publish.destinations.posting import Requesting


class _Streaming:
    """The session as the library uses it, which takes bytes alone; aiohttp writes a stream piece by piece."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, *, data: bytes, **others: Any) -> aiohttp.ClientResponse:
        return await self._session.request(data=io.BytesIO(data), **others)


def requesting(config: Config, context: ssl.SSLContext, session: aiohttp.ClientSession) -> Requesting:
    """Requests of `POST /api/v2/write`."""
    client = InfluxDBClientAsync(
        config.url,
        token=config.token,
        org=config.org,
        # What answers in the server's place must not get the token.
        allow_redirects=False,
        ssl_context=context,  # not used, but the library would read the system's authorities
        client_session_type=lambda **_: _Streaming(session),
    )
    service = WriteService(client.api_client)

    async def request(body: bytes, headers: Mapping[str, str], _method: str) -> aiohttp.ClientResponse:
        encoding = headers.get("Content-Encoding")
        # Not preloaded: the library would put the headers and all of the body into an exception.
        response: aiohttp.ClientResponse = await service.post_write_async(
            config.org,
            config.bucket,
            body,
            precision=config.precision,
            _preload_content=False,
            **({} if encoding is None else {"content_encoding": encoding}),
        )
        return response

    return request
