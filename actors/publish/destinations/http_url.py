"""URLs of `http` and `https` as `config_json` may hold them."""

import re
import string
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from conf.hosts import host_name

_UNUSABLE = re.compile(r"[\s\x00-\x1f\x7f\\]")


def read(value: Any) -> Any:
    """A URL with a query, perhaps; raises `ValueError`. Errors do not repeat it: it may hold a password."""
    if not isinstance(value, str):
        return value
    try:
        parts = urlsplit(value)
        usable = parts.port != 0 and not _UNUSABLE.search(value)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("is not a valid URL") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password")
    if parts.fragment:
        raise ValueError("must not have a fragment")
    query = f"?{_ascii(parts.query)}" if parts.query else ""
    return f"{parts.scheme}://{_location(parts)}{_ascii(parts.path) or '/'}{query}"


def read_base(value: Any) -> Any:
    """One that paths are put behind: no query, and no slash at its end; raises `ValueError`."""
    url = read(value)
    if isinstance(url, str) and "?" in url:
        raise ValueError("must not have a query")
    return url.rstrip("/") if isinstance(url, str) else url


def where(url: str) -> str:
    """The server's host and port."""
    parts = urlsplit(url)
    return parts.netloc if parts.port else f"{parts.netloc}:{443 if is_tls(url) else 80}"


def is_tls(url: str) -> bool:
    return url.startswith("https:")


def _ascii(text: str) -> str:
    """Letters that a URL has no room for in UTF-8; what is encoded already stays as it is."""
    return quote(text, safe=string.printable)


def _location(parts: SplitResult) -> str:
    """Host and port. Raises `ValueError` for a host that is none."""
    try:
        host = host_name(parts.hostname or "")
    except ValueError as error:
        raise ValueError(f"is not valid: its host {error}") from None
    host = f"[{host}]" if ":" in host else host
    return host if parts.port is None else f"{host}:{parts.port}"
