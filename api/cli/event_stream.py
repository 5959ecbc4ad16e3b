"""Server-sent events, and following them for as long as somebody wants to."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPException
from typing import NoReturn

from api.cli.exits import NoAgent, Refused
from api.printable import one_line

RECONNECT_SECONDS = 1.0


def events(
    lines: Iterable[bytes], see: Callable[[str], None] = lambda id: None
) -> Iterator[tuple[str, bytes]]:
    """Name and data of each event in a `text/event-stream`; comments and other fields are left out, and
    an event that was cut off. `see` is told each id before its event comes."""
    name, data = "message", []
    for line in lines:
        field, _, value = line.rstrip(b"\r\n").partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value.decode()
        elif field == b"data":
            data.append(value)
        elif field == b"id":
            see(value.decode("utf-8", "replace"))
        elif not field and not value:
            if data:
                yield name, b"\n".join(data)
            name, data = "message", []


def follow(
    url: str,
    opened: Callable[[], Iterator[tuple[str, bytes]]],
    show: Callable[[str, bytes], None],
) -> NoReturn:
    """Show what comes, also after the agent has been away. `opened` makes a stream as `AgentClient.stream`
    does, which raises when the agent was never there; what will not get better by waiting raises, too."""
    seen = away = False
    while True:
        try:
            for name, data in opened():
                seen = True
                if away:
                    away = False
                    say("the agent is back")
                if name:
                    show(name, data)
            reason = "it ended the connection"
        except NoAgent as error:
            if not seen:
                raise
            reason = str(error).rpartition(f"{url}: ")[2]
        except (OSError, HTTPException) as error:
            if not seen:
                raise
            reason = one_line(str(error)) or type(error).__name__
        except Refused as refused:
            if not seen or refused.status < 500:
                raise
            reason = str(refused)
        if not away:
            away = True
            say(f"the agent at {url} is gone ({reason}); waiting for it")
        time.sleep(RECONNECT_SECONDS)


def left_out(data: bytes, what: str) -> None:
    """Say that a reader was too slow; `data` is that of a `dropped` event."""
    say(f"{json.loads(data)['count']} {what} were left out, for they were not read in time")


def say(text: str) -> None:
    print(f"callboard: {text}", file=sys.stderr, flush=True)
