import asyncio
import io
import time
from collections.abc import Callable

import pytest
from rich.console import Console, RenderableType

from api.cli import live_view
from api.cli.live_view import (
    LiveDestination,
    LiveDevice,
    LiveSnapshot,
    LiveView,
    Rates,
    line,
    picture,
    shown,
    suggestions,
)

BASE = "http://127.0.0.1:48484"


def snapshot(at: float = 0.0, polls: int = 0, messages: int = 0, *, read: bool = True) -> LiveSnapshot:
    values = {
        "conveyor": [
            ("conveyor_speed", 1.2, "m/s"),
            ("speed_setpoint", 1.2, "m/s"),
            ("item_count", 1234, "items"),
            ("jam_count", 1, None),
            ("belt_running", True, None),
            ("belt_jammed", False, None),
        ],
        "motor": [
            ("motor_rpm", 1093, "rpm"),
            ("motor_current", 7.234, "A"),
            ("winding_temp", 61.4, "°C"),
            ("vibration", 1.3726, "mm/s"),
            ("motor_starts", 2, None),
            ("motor_energised", True, None),
        ],
        "boiler": [
            ("water_temp", 84.31, "°C"),
            ("pressure", 2.2251, "bar"),
            ("feed_level", 61.2, "%"),
            ("burner_state", 2, None),
            ("boiler_setpoint", 85.0, "°C"),
            ("burner", True, None),
            ("feed_pump", False, None),
        ],
    }
    return LiveSnapshot(
        at=at,
        devices=[
            LiveDevice(
                name,
                "connected" if read else "disconnected",
                polls,
                [(point, value if read else None, unit) for point, value, unit in points],
            )
            for name, points in values.items()
        ],
        destinations=[LiveDestination("demo-broker", True, 3, messages, "mqtt://127.0.0.1:40123")],
        loop_lag_ms=0.42,
        urls=suggestions(BASE, 40123),
    )


def rates_of(*snapshots: LiveSnapshot) -> Rates:
    rates = Rates()
    for one in snapshots:
        rates.add(one)
    return rates


def rendered(what: RenderableType, width: int = 80, height: int = 24) -> str:
    console = Console(record=True, width=width, height=height, file=io.StringIO())
    console.print(what)
    return console.export_text()


@pytest.fixture
def text() -> str:
    first, second = snapshot(10.0, 100, 50), snapshot(12.0, 110, 54)
    return rendered(picture(second, rates_of(first, second), 80, 24))


def test_picture_shows_every_value_with_its_unit(text: str):
    for expected in (
        "conveyor_speed",
        "1.20 m/s",
        "1234 items",
        "7.23 A",
        "61.40 °C",
        "1093 rpm",
        "84.31 °C",
    ):
        assert expected in text
    for _, value, _ in [value for device in snapshot().devices for value in device.values]:
        assert shown(value) in text
    assert all(name in text for device in snapshot().devices for name, _, _ in device.values)


def test_picture_shows_polls_values_messages_and_lag(text: str):
    assert "3/3 connected, 15 polls/s, 95 values/s, loop lag 0.4 ms" in text
    assert "5.0 polls/s 30 values/s" in text
    assert "demo-broker connected  outbox 3, 2.0 messages/s  mqtt://127.0.0.1:40123" in text


def test_picture_shows_what_to_try_next_ready_to_be_copied(text: str):
    lines = [one.rstrip() for one in text.splitlines()]
    for suggestion in suggestions(BASE, 40123):
        assert suggestion in lines


def test_picture_fits_a_terminal_of_80_by_24(text: str):
    lines = text.splitlines()
    assert len(lines) <= 23
    assert max(len(one.rstrip()) for one in lines) <= 80


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 24), (200, 50), (80, 12), (20, 5)])
@pytest.mark.parametrize("count", [0, 1, 3, 30])
def test_picture_of_any_plant_is_drawn_on_any_terminal(width: int, height: int, count: int):
    devices = [LiveDevice(f"device-{i}", "connected", 1, [("p", i, None)] * 40) for i in range(count)]
    one = LiveSnapshot(0.0, devices, [], 0.0, [])
    text = rendered(picture(one, rates_of(one), width, height), width, height)
    assert all(len(row) <= width for row in text.splitlines())


def test_values_that_do_not_fit_are_counted():
    device = LiveDevice("big", "connected", 1, [(f"point-{i}", i, None) for i in range(40)])
    one = LiveSnapshot(0.0, [device], [], 0.0, [])
    text = rendered(picture(one, rates_of(one), 80, 24))
    assert len(text.splitlines()) <= 24
    shown_points = text.count("point-")
    assert 10 < shown_points < 40
    assert f"and {40 - shown_points} more" in text


def test_lost_device_and_lost_broker_are_shown_as_such():
    one = LiveSnapshot(
        at=0.0,
        devices=[LiveDevice("press", "disconnected", 4, [("force", None, "kN")])],
        destinations=[LiveDestination("hall", False, 812, 40, error="Connection refused")],
        loop_lag_ms=0.0,
        urls=[],
    )
    text = rendered(picture(one, rates_of(one), 80, 24))
    assert "0/1 connected" in text
    assert "disconnected" in text
    assert "hall disconnected  outbox 812" in text
    assert "Connection refused" in text
    assert "- polls/s" in text


def test_markup_in_names_is_text():
    one = LiveSnapshot(
        0.0, [LiveDevice("[red]x", "connected", 0, [("[/]", "[bold]", None)])], [], 0.0, ["[b]"]
    )
    text = rendered(picture(one, rates_of(one), 80, 24))
    assert all(part in text for part in ("[red]x", "[/]", "[bold]", "[b]"))


def test_rates_are_taken_over_the_last_seconds_only():
    burst = [snapshot(float(i), 1000 if i else 0) for i in range(10)]
    assert rates_of(*burst).polls(burst[-1].devices[0]) == 0
    steady = [snapshot(i / 2, i) for i in range(20)]
    assert rates_of(*steady).polls(steady[-1].devices[0]) == pytest.approx(2.0)


def test_counter_that_started_anew_has_no_negative_rate():
    before, after = snapshot(0.0, 500), snapshot(1.0, 2)
    assert rates_of(before, after).polls(after.devices[0]) == 0


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (None, "A", "-"),
        (True, None, "on"),
        (False, None, "off"),
        (0.0, None, "0.00"),
        (1.23456, "bar", "1.23 bar"),
        (-123.456, "A", "-123.5 A"),
        (12345.6, None, "12346"),
        (70_000, "items", "70000 items"),
        ("A7", None, "A7"),
    ],
)
def test_values_are_shown_for_people(value: object, unit: str | None, expected: str):
    assert shown(value, unit) == expected


def test_line_has_values_rates_and_delivery():
    first, second = snapshot(10.0, 100, 50), snapshot(12.0, 110, 54)
    text = line(second, rates_of(first, second))
    assert "3/3 connected, 15 polls/s, 95 values/s" in text
    assert "conveyor_speed=1.20 m/s" in text
    assert "water_temp=84.31 °C" in text
    assert "demo-broker connected, outbox 3, 2.0 messages/s" in text
    assert "\n" not in text


def test_suggestions_leave_the_subscriber_out_without_mosquitto_clients(monkeypatch: pytest.MonkeyPatch):
    assert any("mosquitto_sub" in one for one in suggestions(BASE, 1883))
    assert not any("mosquitto_sub" in one for one in suggestions(BASE))
    monkeypatch.setattr(live_view.shutil, "which", lambda name: None)
    assert not any("mosquitto_sub" in one for one in suggestions(BASE, 1883))


def test_suggestions_fit_80_columns():
    assert all(len(one) <= 80 for one in suggestions(BASE, 65535))


# The view itself


class Plant:
    """Hands out snapshots; its devices answer from the `read_from`-th on."""

    def __init__(self, read_from: int = 0) -> None:
        self.asked = 0
        self._read_from = read_from

    async def __call__(self) -> LiveSnapshot:
        self.asked += 1
        return snapshot(time.monotonic(), self.asked, read=self.asked > self._read_from)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_view, "DRAW_EVERY", 0.01)
    monkeypatch.setattr(live_view, "PRINT_EVERY", 0.01)
    monkeypatch.setattr(live_view, "LOOK_EVERY", 0.01)


async def run_until(view: LiveView, condition: Callable[[], bool]) -> None:
    """Run `view` until `condition` holds, then cancel it."""
    task = asyncio.create_task(view.run())
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_terminal_is_redrawn_and_gets_its_cursor_back_on_cancel():
    output, plant = io.StringIO(), Plant()
    console = Console(file=output, force_terminal=True, width=80, height=24, color_system=None)
    await run_until(LiveView(plant, console), lambda: plant.asked >= 3)
    text = output.getvalue()
    assert text.count("conveyor_speed") >= 2
    assert "\x1b[?25l" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


async def test_without_a_terminal_plain_lines_are_printed():
    output, plant = io.StringIO(), Plant()
    await run_until(LiveView(plant, Console(file=output)), lambda: output.getvalue().count("\n") >= 3)
    assert "\x1b" not in output.getvalue()
    assert all("conveyor_speed=1.20 m/s" in one for one in output.getvalue().splitlines())


async def test_first_plain_line_waits_for_readings():
    output, plant = io.StringIO(), Plant(read_from=5)
    await run_until(LiveView(plant, Console(file=output)), lambda: "\n" in output.getvalue())
    assert plant.asked >= 6
    first = output.getvalue().splitlines()[0]
    assert "3/3 connected" in first
    assert "conveyor_speed=1.20 m/s" in first


async def test_plain_lines_say_when_no_readings_come(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live_view, "WAIT_FOR_READINGS", 0.03)
    output, plant = io.StringIO(), Plant(read_from=1_000_000)
    await run_until(LiveView(plant, Console(file=output)), lambda: "\n" in output.getvalue())
    assert "0/3 connected" in output.getvalue()


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def isatty(self) -> bool:
        return False


class HungUp(Closed):
    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


async def test_view_ends_when_the_reader_of_its_pipe_has_gone():
    await asyncio.wait_for(LiveView(Plant(), Console(file=Closed())).run(), 5)


async def test_view_ends_when_its_terminal_has_gone():
    console = Console(file=HungUp(), force_terminal=True, width=80, height=24)
    await asyncio.wait_for(LiveView(Plant(), console).run(), 5)


async def test_what_the_snapshot_raises_ends_the_view():
    async def broken() -> LiveSnapshot:
        raise LookupError("no such actor")

    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=80, height=24)
    with pytest.raises(LookupError):
        await LiveView(broken, console).run()
    assert output.getvalue().endswith("\x1b[?25h")


async def test_slow_reader_does_not_stop_the_loop():
    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            time.sleep(0.3)
            return super().write(text)

    output = Slow()
    task = asyncio.create_task(LiveView(Plant(), Console(file=output)).run())
    ticks, deadline = 0, time.monotonic() + 5
    while not output.getvalue():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
        ticks += 1
    assert ticks > 20
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
