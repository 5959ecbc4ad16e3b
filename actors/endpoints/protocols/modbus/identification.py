"""Who made a device (function 43/14, Modbus Application Protocol 1.1b3, section 6.21)."""

from .frames import IDENTIFY, Request

_TYPE, _BASIC, _FIRST = 14, 1, 0
_HEAD = 6
NAMES = {0: "vendor", 1: "productCode", 2: "revision"}


def asking(unit: int) -> Request:
    """The request for the three objects that every device has which has any."""
    return Request(IDENTIFY, unit, bytes((_TYPE, _BASIC, _FIRST)), bytes((_TYPE,)))


def objects_of(body: bytes) -> dict[str, str]:
    """The objects of a reply by name; of one that is cut short those that are whole."""
    found: dict[str, str] = {}
    at = _HEAD
    while at + 2 <= len(body):
        number, size = body[at], body[at + 1]
        text = body[at + 2 : at + 2 + size]
        if len(text) == size and number in NAMES:
            found[NAMES[number]] = text.decode("ascii", "replace").strip("\0 ")
        at += 2 + size
    return found
