"""Names of hosts for aiohttp, found as for every other connection."""

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from actors.connections import dialing


class Names(AbstractResolver):
    """In the order to try them."""

    def __init__(self, avoid: dialing.Address | None = None) -> None:
        self._avoid = avoid

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=address[1],
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, address in await dialing.addresses(host, port, self._avoid)
        ]

    async def close(self) -> None:
        """There is nothing to close."""
