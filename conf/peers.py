"""Who counts as one client."""

import ipaddress


def peer_of(address: str) -> str | None:
    """What counts as one client: an IPv4 address, or the 64 bits that an IPv6 network has in common. None for
    this machine, on which one proxy may speak for all."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None  # not of a network
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found.is_loopback:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
