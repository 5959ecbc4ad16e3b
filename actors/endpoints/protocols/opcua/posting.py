"""Requests whose parameters are bytes already, beside those that the library encodes."""

import asyncio
import struct
from typing import Any, Final

from asyncua import ua
from asyncua.client.ua_client import UASocketProtocol
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import nodeid_to_binary, struct_from_binary

from storage.timestamps import unix_ms

INTERNALS: Final = ("_request_id", "_request_handle", "_callbackmap", "_connection")
"""What of the library's protocol is used that it does not promise."""
_EPOCH = 116_444_736_000_000_000  # of Unix, in ticks of 100 ns since 1601
_HEADER = struct.Struct("<qIIiI3x")
"""Timestamp, handle, no diagnostics, no audit entry (a null string), time-out; no additional header."""


class Service:
    """One that requests are posted of."""

    def __init__(self, name: str) -> None:
        self.request: type[Any] = getattr(ua, f"{name}Request")
        number = getattr(ua.ObjectIds, f"{name}Request_Encoding_DefaultBinary")
        self.encoding = struct.pack("<BBH", 1, 0, number)


class PostingProtocol(UASocketProtocol):  # type: ignore[misc]
    """Where the library is not as it was, `post` takes the long way, through its own requests."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.direct = all(hasattr(self, name) for name in INTERNALS)

    def post(self, service: Service, parameters: bytes, within: float) -> "asyncio.Future[Any]":
        """The body of the answer, undecoded, whenever it comes; `within` is what the server is told. Raises
        `ConnectionError` when there is no connection."""
        if self.transport is None:
            raise ConnectionError("Connection is not open")
        if not self.direct:
            return asyncio.ensure_future(self._by_library(service, parameters, within))
        self.revolve_security_token()
        self._request_id += 1
        self._request_handle += 1
        token = nodeid_to_binary(self.authentication_token)
        ticks = unix_ms() * 10_000 + _EPOCH
        header = _HEADER.pack(ticks, self._request_handle, 0, -1, int(within * 1000))
        message = self._connection.message_to_binary(
            b"".join((service.encoding, token, header, parameters)), request_id=self._request_id
        )
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._callbackmap[self._request_id] = answer
        self.transport.write(message)
        return answer

    async def _by_library(self, service: Service, parameters: bytes, within: float) -> Any:
        header = nodeid_to_binary(ua.NodeId()) + _HEADER.pack(_EPOCH, 0, 0, -1, 0)
        request = struct_from_binary(service.request, Buffer(service.encoding + header + parameters))
        return await self.send_request(request, within)
