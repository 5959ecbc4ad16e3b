"""The live terminal view of the demo: devices, their latest values, delivery, and what to try next."""

import asyncio
import contextlib
import math
import shutil
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from api.cli.terminal import discard_rest

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

DRAW_EVERY = 0.5
PRINT_EVERY = 2.0
LOOK_EVERY = 0.1
WAIT_FOR_READINGS = 5.0
RATE_WINDOW = 5.0
CARD_WIDTH = 26
VALUES_A_LINE = 2
STATUS_STYLES = {"connected": "green", "disconnected": "bold red", "disabled": "dim"}


class LiveDevice(msgspec.Struct, frozen=True):
    """`polls` counts since the device's start; `values` are (point, latest value, unit)."""

    name: str
    status: str
    polls: int
    values: list[tuple[str, Any, str | None]]


class LiveDestination(msgspec.Struct, frozen=True):
    """`messages` counts what the destination has acknowledged, `outbox` the rows that wait for it."""

    name: str
    connected: bool
    outbox: int
    messages: int
    address: str = ""
    error: str | None = None


class LiveSnapshot(msgspec.Struct, frozen=True):
    """What is shown. `at` is seconds on the monotonic clock, `urls` are lines to copy into a shell."""

    at: float
    devices: list[LiveDevice]
    destinations: list[LiveDestination]
    loop_lag_ms: float
    urls: list[str]


class Rates:
    """Counters per second over the last seconds of snapshots."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, dict[tuple[str, str], int]]] = deque()

    def add(self, snapshot: LiveSnapshot) -> None:
        counters = {("polls", device.name): device.polls for device in snapshot.devices}
        counters |= {("messages", one.name): one.messages for one in snapshot.destinations}
        self._samples.append((snapshot.at, counters))
        while len(self._samples) > 2 and self._samples[1][0] <= snapshot.at - RATE_WINDOW:
            self._samples.popleft()

    def polls(self, device: LiveDevice) -> float | None:
        return self._rate(("polls", device.name))

    def values(self, device: LiveDevice) -> float | None:
        polls = self.polls(device)
        return None if polls is None else polls * len(device.values)

    def messages(self, destination: LiveDestination) -> float | None:
        return self._rate(("messages", destination.name))

    def _rate(self, counter: tuple[str, str]) -> float | None:
        """None until it was seen twice; 0 for one that started anew."""
        seen = [(at, counters[counter]) for at, counters in self._samples if counter in counters]
        if len(seen) < 2 or seen[-1][0] <= seen[0][0]:
            return None
        return max(0.0, (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0]))


class LiveView:
    """Draws what `snapshot` returns on a terminal twice a second; elsewhere prints one line every 2 s."""

    def __init__(
        self, snapshot: Callable[[], Awaitable[LiveSnapshot]], console: "Console | None" = None
    ) -> None:
        self._snapshot = snapshot
        self._console = console
        self._rates = Rates()

    async def run(self) -> None:
        """Runs until cancelled, which leaves the terminal as it was and the last picture on it.

        Returns early when whoever read the output has gone (`| head`, a closed terminal). Raises what
        `snapshot` raises.
        """
        from rich.console import Console

        console = self._console or Console()
        with contextlib.suppress(_ReaderGone):
            if console.is_terminal and not console.is_dumb_terminal:
                await self._draw(console)
            else:
                await self._print(console)

    async def _draw(self, console: "Console") -> None:
        from rich.live import Live

        live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        try:
            await _write(live.start)
            while True:
                snapshot = await self._look()
                width, height = console.size
                await _write(live.update, picture(snapshot, self._rates, width, height), refresh=True)
                await asyncio.sleep(DRAW_EVERY)
        finally:
            with contextlib.suppress(OSError):  # a terminal that is gone needs no restoring
                live.stop()

    async def _print(self, console: "Console") -> None:
        snapshot = await self._first_readings()
        while True:
            try:
                await _write(_print_line, console, line(snapshot, self._rates))
            except _ReaderGone:
                discard_rest(console.file)
                raise
            await asyncio.sleep(PRINT_EVERY)
            snapshot = await self._look()

    async def _first_readings(self) -> LiveSnapshot:
        deadline = time.monotonic() + WAIT_FOR_READINGS
        while True:
            snapshot = await self._look()
            if has_readings(snapshot) or time.monotonic() > deadline:
                return snapshot
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self) -> LiveSnapshot:
        snapshot = await self._snapshot()
        self._rates.add(snapshot)
        return snapshot


def suggestions(api: str, mqtt_port: int | None = None) -> list[str]:
    """What a newcomer may try next; `api` is the base URL. No line is longer than 80 characters."""
    lines = [
        f"curl -s {api}/v1/endpoints",
        f"curl -s '{api}/v1/actors?format=text'",
        f"curl -s {api}/v1/buffer/status",
        f"curl -sN '{api}/v1/readings/stream?metric=*temp'",
        f"curl -s {api}/v1/adapters/modbus/devices/boiler/write \\",
        """  -H 'Content-Type: application/json' -d '{"register":"holding:10","value":95}'""",
    ]
    if mqtt_port is not None and shutil.which("mosquitto_sub"):
        lines.append(f"mosquitto_sub -h 127.0.0.1 -p {mqtt_port} -t 'callboard/#' -v")
    return lines


def has_readings(snapshot: LiveSnapshot) -> bool:
    return any(value is not None for device in snapshot.devices for _, value, _ in device.values)


def shown(value: Any, unit: str | None = None) -> str:
    """A value for people: about three digits that matter, then its unit."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
        value = f"{value:.{digits}f}"
    return f"{value} {unit}" if unit else str(value)


def per_second(rate: float | None, what: str) -> str:
    number = "-" if rate is None else f"{rate:.1f}" if rate < 10 else f"{rate:.0f}"
    return f"{number} {what}/s"


def line(snapshot: LiveSnapshot, rates: Rates) -> str:
    """The snapshot in one line of plain text."""
    values = [
        f"{name}={shown(value, unit)}"
        for device in snapshot.devices
        for name, value, unit in device.values[:VALUES_A_LINE]
    ]
    delivery = [
        f"{one.name} {'connected' if one.connected else 'disconnected'}, outbox {one.outbox},"
        f" {per_second(rates.messages(one), 'messages')}"
        for one in snapshot.destinations
    ]
    readings = " ".join(values) if has_readings(snapshot) else "no readings yet"
    return f"{time.strftime('%H:%M:%S')} {' | '.join([_summary(snapshot, rates), readings, *delivery])}"


def picture(snapshot: LiveSnapshot, rates: Rates, width: int, height: int) -> "RenderableType":
    """The snapshot for a terminal; the devices' values get the height that the rest leaves."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    below = _below(snapshot, rates)
    lines_below = sum(max(1, math.ceil(text.cell_len / width)) for text in below)
    columns = max(1, width // CARD_WIDTH)
    rows = max(1, math.ceil(len(snapshot.devices) / columns))
    card_height = max(2, (height - 2 - lines_below) // rows)
    cards = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(columns):
        cards.add_column(width=CARD_WIDTH - 2)
    drawn = [_card(device, rates, card_height) for device in snapshot.devices]
    for first in range(0, len(drawn), columns):
        cards.add_row(*drawn[first : first + columns])
    head = Text.assemble(("callboard ", "bold"), _summary(snapshot, rates), no_wrap=True, overflow="ellipsis")
    return Group(head, cards, *below)


def _summary(snapshot: LiveSnapshot, rates: Rates) -> str:
    connected = sum(device.status == "connected" for device in snapshot.devices)
    polls = _total([rates.polls(device) for device in snapshot.devices])
    values = _total([rates.values(device) for device in snapshot.devices])
    return (
        f"{connected}/{len(snapshot.devices)} connected, {per_second(polls, 'polls')},"
        f" {per_second(values, 'values')}, loop lag {snapshot.loop_lag_ms:.1f} ms"
    )


def _total(rates: list[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


def _card(device: LiveDevice, rates: Rates, height: int) -> "RenderableType":
    """One device in `height` lines: name and status, rates, then as many values as fit."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(expand=True)
    head.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    head.add_column(no_wrap=True, justify="right")
    head.add_row(
        Text(device.name, style="bold"), Text(device.status, style=STATUS_STYLES.get(device.status, ""))
    )
    speed = f"{per_second(rates.polls(device), 'polls')} {per_second(rates.values(device), 'values')}"
    body = Table.grid(expand=True)
    body.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    body.add_column(no_wrap=True, justify="right")
    room = max(0, height - 3)  # name, rates and the blank line that parts it from the next row of cards
    fitting = len(device.values) if len(device.values) <= room else max(0, room - 1)
    for name, value, unit in device.values[:fitting]:
        body.add_row(Text(name), Text(shown(value, unit), style="red" if value is None else "cyan"))
    if fitting < len(device.values) and room:
        body.add_row(Text(f"and {len(device.values) - fitting} more", style="dim"), "")
    return Group(head, Text(speed, style="dim", no_wrap=True, overflow="ellipsis"), body, Text())


def _below(snapshot: LiveSnapshot, rates: Rates) -> "list[Text]":
    """The lines under the devices."""
    from rich.text import Text

    lines = []
    for one in snapshot.destinations:
        state, style = ("connected", "green") if one.connected else ("disconnected", "bold red")
        counts = f"  outbox {one.outbox}, {per_second(rates.messages(one), 'messages')}  {one.address}"
        parts: list[Any] = [(one.name, "bold"), " ", (state, style), counts]
        if one.error and not one.connected:
            parts.append((f"  {one.error}", "red"))
        lines.append(Text.assemble(*parts, no_wrap=True, overflow="ellipsis"))
    if snapshot.urls:
        lines += [Text(), Text("Try in another terminal:", style="bold")]
        lines += [Text(url, style="dim", overflow="fold") for url in snapshot.urls]
    return lines


class _ReaderGone(Exception):
    """Nobody reads the output any more."""


async def _write(write: Callable[..., None], *arguments: Any, **options: Any) -> None:
    """Write in a thread: a reader that does not read (a pager, a stopped terminal) must not stop the loop."""
    try:
        await asyncio.to_thread(write, *arguments, **options)
    except OSError as error:
        raise _ReaderGone from error


def _print_line(console: "Console", text: str) -> None:
    console.file.write(f"{text}\n")
    console.file.flush()
