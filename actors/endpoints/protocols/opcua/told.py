"""URLs as servers tell them: of hosts by names that only they know, and in spellings of all kinds."""

import re
from typing import Final

from conf.hosts import host_name, is_address

from .connection import PORT
from .discovery import Place

LONGEST: Final = 1024
_URL = re.compile(r"opc\.tcp://(?P<host>\[[^\]]*\][^/:]*|[^/:]*)(?::(?P<port>[0-9]{1,5}))?(?P<path>/.*)?")
_OWN_SUFFIXES = (".local",)
"""What multicast DNS puts behind names; some servers put it behind addresses, too."""
_OWN = frozenset({"127.0.0.1", "127.0.1.1", "0.0.0.0", "::1", "::"})


def place(text: str | None) -> Place | None:
    """Where a URL leads; None where it is no `opc.tcp`, or nothing that a URL can be."""
    if not text or len(text) > LONGEST or not text.isprintable() or " " in text:
        return None
    found = _URL.fullmatch(text.strip())
    if found is None:
        return None
    port = int(found["port"] or PORT)
    host = _host(found["host"])
    if host is None or not 0 < port < 65_536:
        return None
    return Place(host, port, path(found["path"]), told=True)


def _host(text: str) -> str | None:
    plain = text.replace("\\", "").lower().rstrip(".")
    address = plain.partition("]")[0].removeprefix("[") if plain.startswith("[") else plain
    for suffix in _OWN_SUFFIXES:
        shorter = address.removesuffix(suffix).rstrip(".")
        if shorter and is_address(shorter):
            address = shorter
    try:
        return host_name(address) if address else None
    except ValueError:
        return None


def path(text: str | None) -> str:
    """As it may stand in a URL; "" where it may not."""
    if not text or text == "/" or any(sign in text for sign in "?#@ ") or not text.isprintable():
        return ""
    return text


def is_itself(host: str) -> bool:
    """Whether it is what every machine calls itself."""
    if host == "localhost" or host.endswith((".localhost", "localhost.localdomain")):
        return True
    return host in _OWN
