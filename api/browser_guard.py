"""The guard against what other web sites make a browser send, for modes that ask for no key.

A browser carries requests of any page it shows to any machine it can reach, this one included. Two
things tell them. A site whose name was made to resolve to this machine (DNS rebinding) counts as one
with the agent for the browser, but its name is in `Host`. Any other site shows in `Origin`, in
`Sec-Fetch-Site` or in `Referer`; it could not read the answer, but its request would be carried out.
Programs send none of these three, and are not affected.
"""

import re
import socket
from collections.abc import Collection

from multidict import MultiMapping

from api.authority import Authority, is_same_origin, of_page, parse
from api.errors import ApiError, Error

READS = frozenset({"GET", "HEAD", "OPTIONS"})
FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
SETTING = "allowed_hosts under [api] (API_ALLOWED_HOSTS)"

_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*://(?P<authority>[^/?#]*)", re.IGNORECASE)


def check_browser(
    method: str, target: str, headers: MultiMapping[str], allowed: Collection[Authority]
) -> None:
    """Raise `ApiError` (403) for a request that another web site may have led here.

    `target` is the request target as it was sent, `allowed` are the hosts of the setting.
    """
    host = _reached_as(target, headers, allowed)
    if _is_of_another_site(method, host, headers, allowed):
        raise _forbidden(
            "Requests from other web sites are refused",
            f"Add the host of the page to {SETTING}, or set API_SECURITY_MODE=API_KEY and API_KEY",
        )


def check_page(method: str, target: str, headers: MultiMapping[str], allowed: Collection[Authority]) -> None:
    """Raise `ApiError` (403) for a request of a page of another web site; whatever name it calls this machine
    by, for requests that carry what a browser keeps for that name alone."""
    absolute = _ABSOLUTE.match(target)
    host = parse((absolute["authority"] if absolute else _header(headers, "Host")) or "")
    if _is_of_another_site(method, host, headers, allowed):
        raise _forbidden(
            "Requests from other web sites are refused", f"Add the host of the page to {SETTING}"
        )


def own_names() -> frozenset[str]:
    """The name of this machine: whole, its first label, and that as multicast DNS publishes it."""
    name = socket.gethostname().lower()
    label = name.partition(".")[0]
    return frozenset({name, label, f"{label}.local"})


def _reached_as(target: str, headers: MultiMapping[str], allowed: Collection[Authority]) -> Authority | None:
    """The host that the client means; None when it names none, as HTTP/1.0 may.

    A target with a host counts before the `Host` header (RFC 9112 section 3.2.2); both must be good.
    """
    absolute = _ABSOLUTE.match(target)
    spelled = [absolute["authority"] if absolute else None, _header(headers, "Host")]
    hosts = [_own(text, allowed) for text in spelled if text is not None]
    return hosts[0] if hosts else None


def _own(text: str, allowed: Collection[Authority]) -> Authority:
    host = parse(text)
    if host is None:
        raise _forbidden("The Host header is not a host", "Call it by a name or an IP address")
    if not _is_own(host, allowed):
        raise _forbidden(
            f"{host.host} is not known as a name of this machine",
            f"Call it by its IP address or as localhost, add the name to {SETTING}, "
            "or set API_SECURITY_MODE=API_KEY and API_KEY",
        )
    return host


def _is_own(host: Authority, allowed: Collection[Authority]) -> bool:
    """Whether no foreign name server can have led the client here: an IP address was not looked up,
    and names under `localhost` are not for name servers to answer (RFC 6761 section 6.3)."""
    return (
        host.is_address
        or host.host == "localhost"
        or host.host.endswith(".localhost")
        or any(host.host == one.host for one in allowed)
        or host.host in own_names()
    )


def _is_of_another_site(
    method: str, host: Authority | None, headers: MultiMapping[str], allowed: Collection[Authority]
) -> bool:
    """By the first of the headers that says something: `Origin`, `Sec-Fetch-Site`, `Referer`.

    `Origin: null` says nothing: pages that hide their address send it for requests to themselves, too.
    """
    origin, site = _header(headers, "Origin"), _header(headers, "Sec-Fetch-Site")
    if origin is not None and origin != "null":
        return not _is_trusted(origin, host, allowed)
    if site is not None:
        own = site == "same-origin" or (site == "none" and origin is None)
        return not own and not _is_followed_link(method, headers)
    if origin is not None:
        return True
    if method in READS:
        return False  # `Referer` comes with links that people follow, and no page can read the answer
    referer = _header(headers, "Referer")
    return _is_form_of_old_browser(headers) if referer is None else not _is_trusted(referer, host, allowed)


def _is_trusted(address: str, host: Authority | None, allowed: Collection[Authority]) -> bool:
    """Whether a page at `address` is the agent's own or one of a host of the setting."""
    page = of_page(address)
    if page is None:
        return False
    return (host is not None and is_same_origin(page, host)) or any(
        page.host == one.host and one.port in (None, page.port) for one in allowed
    )


def _is_followed_link(method: str, headers: MultiMapping[str]) -> bool:
    """Whether the answer is shown to a person, in a window of its own, and to no page."""
    return (
        method in READS
        and _header(headers, "Sec-Fetch-Mode") == "navigate"
        and _header(headers, "Sec-Fetch-Dest") == "document"
    )


def _is_form_of_old_browser(headers: MultiMapping[str]) -> bool:
    """Whether it is a form of a browser too old to say from where; of these signs programs show only some."""
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return (
        media_type in FORMS
        and headers.get("User-Agent", "").startswith(("Mozilla/", "Opera/"))
        and "text/html" in headers.get("Accept", "")
    )


def _header(headers: MultiMapping[str], name: str) -> str | None:
    """A header's value, which no browser sends twice: several make one that is not good for anything."""
    values = headers.getall(name, [])
    return ", ".join(values) if values else None


def _forbidden(message: str, hint: str) -> ApiError:
    return ApiError(403, Error("Forbidden", message, hint=hint))
