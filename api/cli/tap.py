"""`callboard tap`: follow the readings of a running agent on the terminal."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from api.cli.agent_client import AgentClient
from api.cli.event_stream import follow, left_out
from api.cli.exits import OK
from api.cli.output import harmless, in_colour, write_lines
from api.printable import one_line
from api.readings import LatestReadings, Reading, ReadingsEvent
from storage.timestamps import unix_ms

WIDEST = 40
"""Characters that a column takes for its widest cell; a wider one moves the rest of its line."""
COLOURS = {"GOOD": "32", "UNCERTAIN": "33", "BAD": "31"}


def tap(agent: AgentClient, chosen: Mapping[str, Sequence[str]], *, as_json: bool, latest: bool) -> int:
    """Print readings until interrupted, or the latest once; returns the exit code.

    `chosen` are the query parameters of the agent's routes for readings.
    """
    lines = JsonLines() if as_json else TextLines(in_colour=in_colour())
    query = {name: values for name, values in chosen.items() if values}
    if latest:
        write_lines(lines.latest(agent.raw("/v1/readings/latest", query)))
    else:
        follow(
            agent.url,
            lambda: agent.stream("/v1/readings/stream", query),
            lambda name, data: _show(name, data, lines),
        )
    return OK


def _show(name: str, data: bytes, lines: "Lines") -> None:
    if name == "readings":
        write_lines(lines.event(data))
    elif name == "dropped":
        left_out(data, "polls")


class _LatestAsSent(msgspec.Struct):
    readings: list[msgspec.Raw]


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
        yield harmless(data.decode())

    def latest(self, body: bytes) -> Iterator[str]:
        for reading in msgspec.json.decode(body, type=_LatestAsSent).readings:
            yield harmless(bytes(reading).decode())


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
            [_cells(reading.timestamp or event.timestamp, source, reading) for reading in event.readings],
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
