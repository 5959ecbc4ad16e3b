"""Who speaks to which agent: a scan asks a device that is polled over the connection that there is."""

from collections.abc import Iterable
from typing import Any

from actors.endpoints.lines import Lines

KEY = "agent"


def enter(lines: Lines, addresses: Iterable[str], port: int, session: Any) -> None:
    """A session that speaks to the agent at that port of a host with these addresses."""
    for address in addresses:
        lines.acquire((KEY, address, port), list).append(session)


def leave(lines: Lines, addresses: Iterable[str], port: int, session: Any) -> None:
    for address in addresses:
        key = KEY, address, port
        for there, sessions in list(lines):
            if there == key:
                sessions.remove(session)
                lines.release(key)


def sessions_at(lines: Lines, address: str, port: int) -> list[Any]:
    return [session for key, sessions in lines if key == (KEY, address, port) for session in sessions]
