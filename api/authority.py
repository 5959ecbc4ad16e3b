"""Hosts and ports as HTTP spells them: in `Host` and in the addresses of pages (RFC 9110 section 7.2)."""

import ipaddress
import re

import msgspec

WEB_PORTS = frozenset({80, 443})

_PORT = r"(:(?P<port>[0-9]{0,5}))?"
_NAMED = re.compile(rf"(?P<host>[a-z0-9_-]+(\.[a-z0-9_-]+)*)\.?{_PORT}")
_BRACKETED = re.compile(rf"\[(?P<host>[0-9a-f:.]+)(%(25)?[a-z0-9._~-]+)?\]{_PORT}")
_PAGE = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]*)([/?#].*)?", re.IGNORECASE | re.DOTALL)


class Authority(msgspec.Struct, frozen=True):
    """`host` is a name in lower case without a trailing dot, or, with `is_address`, an IP address without
    brackets and zone; `port` is None when none was given."""

    host: str
    port: int | None
    is_address: bool


def parse(text: str) -> Authority | None:
    """The value of a `Host` header; None for what no client means: user names, lists, other letters."""
    lower = text.lower() if text.isascii() else ""
    found = _NAMED.fullmatch(lower) or _BRACKETED.fullmatch(lower)
    if found is None:
        return None
    host, port = found["host"], int(found["port"]) if found["port"] else None
    try:
        return Authority(str(ipaddress.ip_address(host)), port, is_address=True)
    except ValueError:
        return None if ":" in host else Authority(host, port, is_address=False)


def of_page(address: str) -> Authority | None:
    """Where a page came from, by its `Origin` or its whole address, the port given or that of the
    scheme; None for what is no page of the web."""
    found = _PAGE.fullmatch(address)
    authority = parse(found["authority"]) if found else None
    if found is None or authority is None or authority.port is not None:
        return authority
    default = 443 if found["scheme"].lower() == "https" else 80
    return msgspec.structs.replace(authority, port=default)


def is_same_origin(page: Authority, host: Authority) -> bool:
    """Whether `page` was served under the `Host` value `host`, whichever scheme a proxy gave it."""
    ports = WEB_PORTS if host.port is None else {host.port}
    return page.host == host.host and page.port in ports
