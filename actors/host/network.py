"""Rates of network interfaces from their counters, which wrap, start over, come and go."""

from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

WRAP = 1 << 32
"""Bytes at which counters of old drivers begin again."""
_SERIAL = ("ppp", "wwan", "slip", "sl")
"""Interfaces over a modem, which no device stands for."""


class Counters(msgspec.Struct, frozen=True):
    """Bytes since the interface came up."""

    received: int
    sent: int


class Interface(msgspec.Struct, frozen=True):
    """`*_rate` is bytes a second, 0 where that is not known: nothing is known of a first look, nor across a
    counter that began anew."""

    name: str
    received: int
    sent: int
    received_rate: float
    sent_rate: float


def interfaces(
    before: Mapping[str, Counters], now: Mapping[str, Counters], seconds: float
) -> list[Interface]:
    """Every interface that there is now, by name."""
    found = []
    for name, counters in sorted(now.items()):
        earlier = before.get(name)
        found.append(
            Interface(
                name,
                counters.received,
                counters.sent,
                rate(earlier.received if earlier else None, counters.received, seconds),
                rate(earlier.sent if earlier else None, counters.sent, seconds),
            )
        )
    return found


def rate(before: int | None, now: int, seconds: float) -> float:
    """A counter that fell has wrapped, where it was about to; else it began anew, and what it had counted
    until then is not known."""
    if before is None or seconds <= 0:
        return 0.0
    if now >= before:
        return (now - before) / seconds
    if WRAP * 3 // 4 <= before < WRAP and now < WRAP // 4:
        return (now + WRAP - before) / seconds
    return 0.0


def counted(names: Collection[str], root: Path = Path("/")) -> tuple[str, ...]:
    """Those whose bytes are the machine's: what goes through a bridge, a tunnel or a container's interface
    goes through a device as well, and would count twice. Where there is no device at all (a container), all
    but the loopback."""
    folder = root / "sys/class/net"
    devices = {name for name in names if name.startswith(_SERIAL) or (folder / name / "device").exists()}
    return tuple(sorted(devices or {name for name in names if name != "lo"}))
