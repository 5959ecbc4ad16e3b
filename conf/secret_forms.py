"""How a secret is spelled: in configurations, where it is found by the name of its field, and in texts."""

import binascii
import html
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import quote_plus, unquote, urlsplit

SECRET_NAME: Final = re.compile(
    r"pass(word|wd|phrase|code)|secret|token|jwt|credential|connection[_-]?string"
    r"|communit(y|ies)$"
    r"|(private|priv|api|shared|access|client|tls|ssl|auth|master|account|user)[_-]?key([_-]?pem)?$|^key$",
    re.IGNORECASE,
)
"""Names of fields that hold one."""

_HARMLESS: Final = re.compile(r"content-|accept|user-agent|host$|cache-|date$", re.IGNORECASE)
_PAIR: Final = re.compile(r"(?:^|;)\s*[A-Za-z]*(?:Key|Signature|Password|Secret|Token)\s*=([^;]+)")
_SCHEME: Final = re.compile(r"(?:bearer|basic|token|apikey|sharedaccesssignature)\s+(\S.*)", re.IGNORECASE)
_TOKEN: Final = 6  # characters of an encoded secret that do not depend on what stands before it


_HINTS: Final = (
    *(b"pass", b"secret", b"token", b"key", b"jwt", b"credential", b"communit", b"headers"),
    *(b"@", b"://", b"\\"),  # a backslash may spell anything
)


def may_hold(document: bytes) -> bool:
    """Whether JSON, or a form, may have something for `secrets_in`: to look for that costs a hundred times
    more."""
    lower = document.lower()
    return any(hint in lower for hint in _HINTS)


class Form(NamedTuple):
    """`token` says that what stands around it, of the same alphabet, belongs to it."""

    text: str
    token: bool = False


def forms(secret: str) -> Iterator[Form]:
    """How a text may spell it: as it is, escaped in a literal, in JSON or on a page, as a form, in base64 or
    hex. URLs are decoded by who looks: what is encoded in them differs."""
    plain = secret.encode("utf-8", "surrogatepass")
    yield Form(secret)
    for text in (
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        repr(plain)[2:-1],
    ):
        yield Form(text)
        yield Form(repr(text)[1:-1])
        yield Form(json.dumps(text)[1:-1])
    yield Form(html.escape(secret))
    yield Form(html.escape(secret, quote=False))
    yield Form(quote_plus(plain))
    for before in range(3):
        encoded = b64encode(bytes(before) + plain).decode()
        core = encoded[-(-before * 8 // 6) : (before + len(plain)) * 8 // 6]
        if len(core) >= _TOKEN:
            yield Form(core, token=True)
            yield Form(core.replace("+", "-").replace("/", "_"), token=True)
    if len(plain) >= _TOKEN:
        yield Form(plain.hex(), token=True)
        yield Form(plain.hex().upper(), token=True)


@lru_cache(maxsize=4096)
def names_secret(name: str) -> bool:
    """Whether a field of that name holds one."""
    return SECRET_NAME.search(name) is not None


def secrets_in(given: Any, name: str = "", secret: bool = False) -> Iterator[str]:
    """The values of fields that are named like a secret, at any depth, and what URLs hold of secrets."""
    if isinstance(given, dict):
        headers = name.lower().endswith("headers")
        for key, value in ((str(key), value) for key, value in given.items()):
            told = secret or names_secret(key) or (headers and _HARMLESS.match(key) is None)
            yield from secrets_in(value, key, told)
    elif isinstance(given, list | tuple):
        for value in given:
            yield from secrets_in(value, name, secret)
    elif isinstance(given, str) and given:
        yield from _in_text(given, secret)


def _in_text(text: str, secret: bool) -> Iterator[str]:
    if "://" in text or "@" in text:
        yield from _in_url(text)
    if not secret:
        return
    yield text
    for pair in _PAIR.finditer(text):
        yield pair[1].strip()
    scheme = _SCHEME.fullmatch(text)
    if scheme:
        yield scheme[1]
        yield from _in_basic(scheme[1])


def _in_basic(text: str) -> Iterator[str]:
    try:
        _, _, password = b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return
    if password:
        yield password


def _in_url(text: str) -> Iterator[str]:
    """The password, and what stands in the query: it is shown to nobody either."""
    address = text if "://" in text else f"//{text}"
    try:
        parts = urlsplit(address)
    except ValueError:
        return
    _, colon, password = parts.netloc.rpartition("@")[0].partition(":")
    if colon and password:
        yield password
        yield unquote(password)
    for pair in parts.query.split("&"):
        name, _, value = pair.partition("=")
        if len(value) >= 8 or SECRET_NAME.search(name):
            yield value
            yield unquote(value)
