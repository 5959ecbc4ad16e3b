"""Who made a device (function 43/14, Modbus Application Protocol 1.1b3, section 6.21)."""

from collections.abc import Awaitable, Callable

from .exchange import Answer
from .frames import IDENTIFY, Request

Ask = Callable[[Request], Awaitable[Answer]]

_TYPE, _BASIC, _REGULAR, _FIRST = 14, 1, 2, 0
_HEAD = 6
_MOST_REPLIES = 4
_MOST_TEXT = 64
NAMES = {0: "vendor", 1: "productCode", 2: "revision"}
_ALL_NAMES = {**NAMES, 4: "productName", 5: "modelName", 6: "application"}


def asking(unit: int, category: int = _BASIC, first: int = _FIRST) -> Request:
    """The request for the objects of a category: by default the three that every device has which has any."""
    return Request(IDENTIFY, unit, bytes((_TYPE, category, first)), bytes((_TYPE,)))


def objects_of(body: bytes, names: dict[int, str] = NAMES) -> dict[str, str]:
    """The objects of a reply by name; of one that is cut short those that are whole."""
    found: dict[str, str] = {}
    at = _HEAD
    while at + 2 <= len(body):
        number, size = body[at], body[at + 1]
        text = body[at + 2 : at + 2 + size]
        if len(text) == size and number in names:
            found[names[number]] = text.decode("ascii", "replace").strip("\0 ")
        at += 2 + size
    return found


async def identify(ask: Ask, unit: int) -> dict[str, str]:
    """What a unit says of itself, further names included when it has them; empty when it does not say. It is
    believed as far as its replies go on from one another: some devices say for ever that more follows."""
    found: dict[str, str] = {}
    category, first = _BASIC, _FIRST
    for _ in range(_MOST_REPLIES):
        body = await ask(asking(unit, category, first))
        if isinstance(body, int) or not _is_reply(body, category):
            break
        found |= {name: line_of(text) for name, text in objects_of(body, _ALL_NAMES).items() if line_of(text)}
        conformity, more, following = body[2], body[3], body[4]
        if more == 0xFF and following > first:
            first = following
        elif category == _BASIC and conformity & 0x7F >= _REGULAR:
            category, first = _REGULAR, _FIRST
        else:
            break
    return found


def _is_reply(body: bytes, category: int) -> bool:
    """Whether it is more than the request come back."""
    return len(body) >= _HEAD and body[1] == category


def line_of(text: str) -> str:
    """A text that may be part of a name."""
    return "".join(
        character for character in text if character.isprintable() and character != "\ufffd"
    ).strip()[:_MOST_TEXT]
