"""Servers that answer to multicast DNS (part 12, annex C). The library is imported with the first search."""

import asyncio
from collections.abc import Iterable
from ipaddress import ip_address, ip_interface
from typing import Any, Final

from . import told
from .discovery import LISTENING, Place

SERVICE: Final = "_opcua-tcp._tcp.local."
MOST: Final = 256
_ASKED_FOR_MS: Final = 1500
"""Where a server is, once its name is known."""

interfaces: list[str] | None = None
"""Addresses of this machine to ask from; None: all."""


async def listen() -> list[Place]:
    """Where servers say that they are, on the networks that this machine is on itself: an address elsewhere
    is left out. Raises `OSError` where there is no multicast."""
    from zeroconf import InterfaceChoice, IPVersion
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

    zeroconf = AsyncZeroconf(interfaces=interfaces or InterfaceChoice.All, ip_version=IPVersion.V4Only)
    names: dict[str, None] = {}

    def heard(zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
        if len(names) < MOST:
            names[name] = None

    try:
        browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[heard])
        await asyncio.sleep(LISTENING)
        await browser.async_cancel()
        infos = []
        for name in names:
            try:
                infos.append(AsyncServiceInfo(SERVICE, name))
            except Exception:  # noqa: BLE001 - whatever the library says of a stranger's name
                continue
        await asyncio.gather(
            *(info.async_request(zeroconf.zeroconf, _ASKED_FOR_MS) for info in infos), return_exceptions=True
        )
        return [place for info in infos for place in _places(info)]
    finally:
        await zeroconf.async_close()


def _places(info: Any) -> Iterable[Place]:
    """The first address of a server that is on a network of this machine's."""
    port = info.port or 0
    path = told.path(_text((info.properties or {}).get(b"path")))
    for address in info.parsed_addresses()[:16]:
        if 0 < port < 65_536 and is_near(address):
            yield Place(address, port, path, told=True)
            return


def _text(octets: bytes | None) -> str:
    given = (octets or b"").decode(errors="replace")
    return given if given.startswith("/") or not given else f"/{given}"


def is_near(address: str) -> bool:
    """Whether it is on a network that this machine is on."""
    import ifaddr

    there = ip_address(address)
    for adapter in ifaddr.get_adapters():
        for one in adapter.ips:
            own = one.ip if isinstance(one.ip, str) else one.ip[0]
            if there in ip_interface(f"{own}/{one.network_prefix}").network:
                return True
    return False
