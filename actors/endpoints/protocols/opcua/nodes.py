"""Where a value is in a server's address space: node ids and browse paths, as clients spell them.

Nothing that does not fit the grammar here reaches the library.
"""

import base64
import binascii
import re
from typing import Final
from uuid import UUID

import msgspec

LONGEST: Final = 4096
"""Characters of a string identifier, a namespace's URI or a browse path (part 3, 8.2.4)."""
_MAX_NAMESPACE = 0xFFFF
_MAX_STEPS = 32
OBJECTS, ROOT = 85, 84
_UNDER_ROOT = frozenset({"Objects", "Types", "Views"})

Namespace = int | str
"""An index, or the URI that the server's NamespaceArray has one for."""

_NODE_ID = re.compile(
    r"(?:ns=(?P<ns>[0-9]{1,5});|nsu=(?P<nsu>[^;]+);)?(?P<kind>[isgb])=(?P<id>.+)", re.DOTALL
)
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NUMBERED = re.compile(r"(?P<ns>[0-9]{1,5}):(?P<name>.*)", re.DOTALL)
_RESERVED = frozenset("&/.<>:#!")
"""Characters that an ampersand goes before in a name (part 4, A.2)."""


class NodeRef(msgspec.Struct, frozen=True, gc=False):
    """A node id; the type of `identifier` tells which of the four kinds it is."""

    namespace: Namespace
    identifier: int | str | UUID | bytes

    def __str__(self) -> str:
        match self.identifier:
            case int():
                text = f"i={self.identifier}"
            case str():
                text = f"s={self.identifier}"
            case UUID():
                text = f"g={self.identifier}"
            case _:
                text = f"b={base64.b64encode(self.identifier).decode()}"
        return f"{_prefix(self.namespace)}{text}"


class BrowsePath(msgspec.Struct, frozen=True, gc=False):
    """Names from a node of namespace 0 on, each with the namespace that it is of."""

    start: int
    steps: tuple[tuple[Namespace, str], ...]

    def __str__(self) -> str:
        root = "/Objects" if self.start == OBJECTS else ""
        return root + "".join(f"/{_step(namespace, name)}" for namespace, name in self.steps)


def _prefix(namespace: Namespace) -> str:
    if isinstance(namespace, str):
        return f"nsu={namespace};"
    return f"ns={namespace};" if namespace else ""


def _step(namespace: Namespace, name: str) -> str:
    escaped = "".join(f"&{character}" if character in _RESERVED else character for character in name)
    if isinstance(namespace, str):
        return f"nsu={namespace};{escaped}"
    return f"{namespace}:{escaped}" if namespace else escaped


def parse_place(text: str) -> NodeRef | BrowsePath:
    """A browse path when it begins with a slash, else a node id. Raises `ValueError` saying what is wrong."""
    return parse_path(text) if text.startswith("/") else parse_node_id(text)


def parse_node_id(text: str) -> NodeRef:
    """`[ns=<index>;|nsu=<uri>;]` and one of `i=<number>`, `s=<text>`, `g=<guid>`, `b=<base64>`.

    Raises `ValueError` saying what is wrong."""
    _check_length(text)
    found = _NODE_ID.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{_shown(text)} is not a node id such as ns=2;s=Line.Speed, ns=2;i=1001 or nsu=<uri>;s=..."
        )
    return NodeRef(_namespace(found["ns"], found["nsu"]), _identifier(found["kind"], found["id"]))


def _identifier(kind: str, text: str) -> int | str | UUID | bytes:
    if kind == "s":
        return text
    if kind == "i":
        if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= 0xFFFF_FFFF):
            raise ValueError(f"i={_shown(text)} must be a number from 0 to 4294967295")
        return int(text)
    if kind == "g":
        if _GUID.fullmatch(text) is None:
            raise ValueError(f"g={_shown(text)} must be a GUID such as 09087e75-8e5e-499b-954f-f2a9603db28a")
        return UUID(text)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"b={_shown(text)} must be base64") from error


def parse_path(text: str) -> BrowsePath:
    """`/<name>/<name>...`, each name with `<index>:` or `nsu=<uri>;` before it unless it is of namespace 0.

    It begins at the root folder when its first name is one of those there, else in its folder Objects. A
    reserved character in a name has an ampersand before it. Raises `ValueError` saying what is wrong."""
    _check_length(text)
    steps: list[tuple[Namespace, str]] = []
    rest = text
    while rest:
        if not rest.startswith("/"):
            raise ValueError(f"the browse path {_shown(text)} must be names with a slash before each")
        step, rest = _take_step(rest[1:], text)
        steps.append(step)
        if len(steps) > _MAX_STEPS:
            raise ValueError(f"the browse path {_shown(text)} has more than {_MAX_STEPS} names")
    if not steps:
        raise ValueError("a browse path has a name at least")
    if steps[0] == (0, "Objects") and len(steps) > 1:
        return BrowsePath(OBJECTS, tuple(steps[1:]))
    start = ROOT if steps[0][0] == 0 and steps[0][1] in _UNDER_ROOT else OBJECTS
    return BrowsePath(start, tuple(steps))


def _take_step(rest: str, text: str) -> tuple[tuple[Namespace, str], str]:
    """The first name of `rest`, and what follows it."""
    namespace: Namespace = 0
    if rest.startswith("nsu="):
        uri, semicolon, rest = rest[4:].partition(";")
        if not semicolon or not uri:
            raise ValueError(f"nsu= in the browse path {_shown(text)} needs a URI and a semicolon after it")
        namespace = _namespace(None, uri)
    elif (numbered := _NUMBERED.match(rest)) is not None:
        namespace, rest = _namespace(numbered["ns"], None), numbered["name"]
    name: list[str] = []
    at = 0
    while at < len(rest) and rest[at] != "/":
        if rest[at] == "&":
            at += 1
            if at == len(rest):
                raise ValueError(f"the browse path {_shown(text)} ends in an ampersand")
        name.append(rest[at])
        at += 1
    if not name:
        raise ValueError(f"the browse path {_shown(text)} has an empty name")
    return (namespace, "".join(name)), rest[at:]


def _namespace(index: str | None, uri: str | None) -> Namespace:
    if uri is not None:
        return uri
    number = int(index or 0)
    if number > _MAX_NAMESPACE:
        raise ValueError(f"namespace {number} is above {_MAX_NAMESPACE}")
    return number


def _check_length(text: str) -> None:
    if len(text) > LONGEST:
        raise ValueError(f"must not be longer than {LONGEST} characters")
    if not text.isprintable():
        raise ValueError("must not hold control characters")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
