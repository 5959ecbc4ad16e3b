"""Bodies of requests in gzip, for a server that takes it."""

import asyncio
import zlib

SMALLEST = 500
"""Bytes from which on it is worth it."""
OFF_LOOP = 65_536
"""Bytes that take long enough to be packed in a thread."""

_LEVEL = 1
_WITH_HEADER = 31
# What a server may say that does not know it, and takes it for something else.
_MAYBE = (400, 422, 501)


class Gzip:
    """Of one server: whether it takes gzip shows when it does, or when it takes the same body as it is."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._taken = False

    async def packed(self, body: bytes) -> bytes | None:
        """None when it is to be sent as it is."""
        if not self._wanted or len(body) < SMALLEST:
            return None
        return await asyncio.to_thread(_pack, body) if len(body) > OFF_LOOP else _pack(body)

    def refused(self, status: int, written: bool) -> bool:
        """Whether the answer to a packed body may be due to that: the body is to be sent as it is."""
        self._taken = self._taken or written
        return status == 415 or (status in _MAYBE and not self._taken)

    def plain(self, written: bool) -> bool:
        """What became of the same body as it is; whether the server turns out not to take gzip."""
        if written:
            self._wanted = False
        return written


def _pack(body: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WITH_HEADER)
    return packer.compress(body) + packer.flush()
