"""`callboard tap`: follow the readings of a running agent on the terminal."""

import contextlib
import io
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from api.cli.refusals import error_text
from api.cli.terminal import discard_rest
from api.printable import one_line
from api.readings import LatestReadings, Reading, ReadingsEvent
from storage.timestamps import unix_ms

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 35.0  # the agent says something every 15 s
RECONNECT_SECONDS = 1.0
INTERRUPTED = 130
WIDEST = 40
"""Characters that a column takes for its widest cell; a wider one moves the rest of its line."""
COLOURS = {"GOOD": "32", "UNCERTAIN": "33", "BAD": "31"}


class Refused(Exception):
    """The agent has answered with an error status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _ReaderGone(Exception):
    """Nobody reads the output any more."""


class _LatestAsSent(msgspec.Struct):
    readings: list[msgspec.Raw]


def tap(
    url: str, key: str | None, chosen: Mapping[str, Sequence[str]], *, as_json: bool, latest: bool
) -> int:
    """Print readings until interrupted, or the latest once; returns the exit code.

    `chosen` are the query parameters of the agent's routes for readings.
    """
    agent = Agent(url, key, chosen)
    lines = JsonLines() if as_json else TextLines(in_colour=_in_colour())
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        if latest:
            _print(lines.latest(agent.latest()))
        else:
            _follow(agent, lines)
    except _ReaderGone:
        discard_rest(sys.stdout)
    except KeyboardInterrupt:
        discard_rest(sys.stdout)
        return INTERRUPTED
    except Refused as refused:
        _say(str(refused))
        return 1
    except (OSError, HTTPException, ValueError) as error:
        _say(f"no answer from an agent at {url}: {_reason(error)}")
        return 1
    return 0


def _follow(agent: "Agent", lines: "Lines") -> None:
    """Print what comes, also after the agent has been away. Raises as `Agent.stream` when it was never
    there, and `Refused` for what will not get better by waiting."""
    seen = away = False
    while True:
        try:
            for name, data in agent.stream():
                seen = True
                if away:
                    away = False
                    _say("the agent is back")
                _show(name, data, lines)
            reason = "it ended the connection"
        except (OSError, HTTPException) as error:
            if not seen:
                raise
            reason = _reason(error)
        except Refused as refused:
            if not seen or refused.status < 500:
                raise
            reason = str(refused)
        if not away:
            away = True
            _say(f"the agent at {agent.url} is gone ({reason}); waiting for it")
        time.sleep(RECONNECT_SECONDS)


def _show(name: str, data: bytes, lines: "Lines") -> None:
    if name == "readings":
        _print(lines.event(data))
    elif name == "dropped":
        _say(f"{json.loads(data)['count']} polls were left out, for they were not read in time")


class Agent:
    """The routes for readings of the agent at `url`.

    Raise `Refused` for an error status, `OSError` or `HTTPException` without an answer, and `ValueError`
    for an address that is none and an answer that no agent gives.
    """

    def __init__(self, url: str, key: str | None, chosen: Mapping[str, Sequence[str]]) -> None:
        self.url = url
        self._headers = {"X-Api-Key": key} if key else {}
        self._query = urlencode(chosen, doseq=True)

    def latest(self) -> bytes:
        with contextlib.closing(self._connected()) as connection:
            return self._answer(connection, "latest", "application/json").read()

    def stream(self) -> Iterator[tuple[str, bytes]]:
        """Names and data of events; one without a name when the stream has begun."""
        with contextlib.closing(self._connected()) as connection:
            answer = self._answer(connection, "stream", "text/event-stream")
            yield "", b""
            yield from events(answer)

    def _connected(self) -> HTTPConnection:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an http:// or https:// URL")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=CONNECT_SECONDS)
        connection.connect()
        connection.sock.settimeout(SILENCE_SECONDS)
        return connection

    def _answer(self, connection: HTTPConnection, route: str, kind: str) -> HTTPResponse:
        path = f"{urlsplit(self.url).path.rstrip('/')}/v1/readings/{route}"
        connection.request("GET", f"{path}?{self._query}" if self._query else path, headers=self._headers)
        answer = connection.getresponse()
        if answer.status != 200:
            said = error_text(answer.read()) or one_line(f"HTTP {answer.status} {answer.reason}")
            raise Refused(answer.status, said)
        if answer.headers.get_content_type() != kind:
            raise ValueError(f"it answers with {answer.headers.get_content_type()}, not {kind}")
        return answer


def events(lines: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Name and data of each event in a `text/event-stream`; comments and other fields are left out, and
    an event that was cut off."""
    name, data = "message", []
    for line in lines:
        field, _, value = line.rstrip(b"\r\n").partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value.decode()
        elif field == b"data":
            data.append(value)
        elif not field and not value:
            if data:
                yield name, b"\n".join(data)
            name, data = "message", []


class Lines(ABC):
    """What is printed of an event's data and of all latest readings."""

    @abstractmethod
    def event(self, data: bytes) -> Iterator[str]:
        """The lines of the data of a `readings` event."""

    @abstractmethod
    def latest(self, body: bytes) -> Iterator[str]:
        """The lines of the body that `/v1/readings/latest` answers."""


class JsonLines(Lines):
    """As they came, one object a line."""

    def event(self, data: bytes) -> Iterator[str]:
        yield _harmless(data)

    def latest(self, body: bytes) -> Iterator[str]:
        for reading in msgspec.json.decode(body, type=_LatestAsSent).readings:
            yield _harmless(bytes(reading))


class TextLines(Lines):
    """One aligned line a reading; columns widen with what they have to hold."""

    def __init__(self, *, in_colour: bool) -> None:
        self._in_colour = in_colour
        self._widths = [0] * 6
        self._decode_event = msgspec.json.Decoder(ReadingsEvent).decode

    def event(self, data: bytes) -> Iterator[str]:
        event = self._decode_event(data)
        source = _source(event.endpoint, event.device)
        return self._aligned(
            [_cells(event.timestamp, source, reading) for reading in event.readings],
            [reading.quality for reading in event.readings],
        )

    def latest(self, body: bytes) -> Iterator[str]:
        readings = msgspec.json.decode(body, type=LatestReadings).readings
        return self._aligned(
            [_cells(one.timestamp, _source(one.endpoint, one.device), one) for one in readings],
            [one.quality for one in readings],
        )

    def _aligned(self, rows: Sequence[Sequence[str]], qualities: Iterable[str]) -> Iterator[str]:
        for row in rows:
            for column, cell in enumerate(row):
                self._widths[column] = max(self._widths[column], min(len(cell), WIDEST))
        moment, source, metric, value, unit, _ = self._widths
        for row, quality in zip(rows, qualities, strict=True):
            origin = f"{row[0]:<{moment}}  {row[1]:<{source}}  {row[2]:<{metric}}"
            yield f"{origin}  {row[3]:>{value}} {row[4]:<{unit}}  {self._coloured(row[5], quality)}"

    def _coloured(self, text: str, quality: str) -> str:
        return f"\x1b[{COLOURS[quality]}m{text}\x1b[0m" if self._in_colour else text


def _source(endpoint: str, device: str) -> str:
    return one_line(endpoint if device == endpoint else f"{endpoint} ({device})")


def _cells(timestamp: str, source: str, reading: Reading) -> list[str]:
    code = reading.quality_code
    return [
        _local(timestamp),
        source,
        one_line(reading.metric),
        one_line(_shown(reading.value)),
        one_line(reading.unit) if isinstance(reading.unit, str) else "",
        f"{reading.quality} {one_line(code)}" if isinstance(code, str) else reading.quality,
    ]


def _local(timestamp: str) -> str:
    """The time of day here; before it the date, if that is not today's."""
    moment = datetime.fromisoformat(timestamp).astimezone()
    clock = moment.isoformat(sep=" ", timespec="milliseconds")[:23]
    return clock[11:] if moment.date() == datetime.fromtimestamp(unix_ms() / 1000).date() else clock


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _harmless(data: bytes) -> str:
    """JSON of the same meaning in which nothing is left that a terminal would obey."""
    text = data.decode()
    if text.isascii() and "\x7f" not in text:
        return text  # JSON has no other control characters
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def _in_colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _print(lines: Iterable[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise _ReaderGone from error


def _say(text: str) -> None:
    print(f"callboard: {text}", file=sys.stderr, flush=True)


def _reason(error: Exception) -> str:
    return one_line(str(error)) or type(error).__name__
