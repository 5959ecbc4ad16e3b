"""Which hosts a scan may touch: addresses, host names, networks and ranges, and never more than those."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import msgspec

from actors.system.failure import Refusal
from conf.hosts import host_name, is_address

MOST = 1024
"""Hosts of a run."""

_Address = IPv4Address | IPv6Address


class Targets(msgspec.Struct, frozen=True):
    """Each once, in the order in which they were given: addresses, and names as the network knows them."""

    hosts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.hosts)

    def __iter__(self) -> Iterator[str]:
        return iter(self.hosts)

    def __contains__(self, host: object) -> bool:
        return host in self.hosts


def read_targets(given: str | Iterable[str], path: str) -> Targets:
    """The hosts that texts name, each several of them between commas: `10.0.0.5`, `plc-1.example`,
    `10.0.0.0/24` (without the addresses of the network itself and of its broadcast), `10.0.0.5-10.0.0.20`,
    `10.0.0.5-20`.

    Raises `Refusal` on `path` for what is none of them, for addresses that no single host has (multicast,
    broadcast, unspecified), and for more than `MOST` hosts.
    """
    texts = [given] if isinstance(given, str) else list(given)
    hosts: dict[str, None] = {}
    for text in texts:
        for part in text.split(","):
            part = part.strip()
            if not part:
                continue
            for host in _hosts(part, path):
                hosts[host] = None
                if len(hosts) > MOST:
                    raise _too_many(path)
    if not hosts:
        raise Refusal("names no host", path)
    return Targets(tuple(hosts))


def _hosts(text: str, path: str) -> Iterator[str]:
    if "/" in text:
        return _of_network(text, path)
    first, hyphen, last = text.partition("-")
    if hyphen and is_address(first) and (is_address(last) or last.isdecimal()):
        return _of_range(first.strip(), last.strip(), path)
    if text.startswith("-"):
        raise Refusal(f"{text} is no host", path)
    try:
        host = host_name(text)
    except ValueError as error:
        raise Refusal(f"{text} {error}", path) from None
    if is_address(host):
        return iter((_single(ip_address(host), path),))
    return iter((host,))


def _of_network(text: str, path: str) -> Iterator[str]:
    try:
        network: IPv4Network | IPv6Network = ip_network(text, strict=False)
    except ValueError:
        raise Refusal(f"{text} is not a network such as 10.0.1.0/24", path) from None
    if network.num_addresses > MOST + 2:
        raise _too_many(path)
    return (_single(address, path) for address in network.hosts())


def _of_range(first: str, last: str, path: str) -> Iterator[str]:
    try:
        start = ip_address(first)
        end = ip_address(first.rpartition(".")[0] + "." + last if last.isdecimal() else last)
    except ValueError:
        raise Refusal(
            f"{first}-{last} is not a range of addresses such as 10.0.1.5-10.0.1.20", path
        ) from None
    if type(start) is not type(end) or int(end) < int(start):
        raise Refusal(f"{first}-{last} ends before it starts", path)
    if int(end) - int(start) >= MOST:
        raise _too_many(path)
    kind = type(start)
    return (_single(kind(number), path) for number in range(int(start), int(end) + 1))


def _single(address: _Address, path: str) -> str:
    """One of IPv4 in the clothes of IPv6 is the host that it is without."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_multicast or address.is_unspecified or address == IPv4Address("255.255.255.255"):
        raise Refusal(f"{address} is not the address of a host", path)
    return str(address)


def _too_many(path: str) -> Refusal:
    return Refusal(f"names more than {MOST} hosts", path)
