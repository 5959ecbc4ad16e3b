import json
import time
from datetime import datetime

import msgspec
import pytest

from actors.readings.batch import Batch, Point, Source
from api.cli.event_stream import events
from api.cli.tap import JsonLines, TextLines
from api.readings import LatestReadings, ReadingFilter, event_of, latest_of, readings_of

AT = 1_705_314_600_042
HOSTILE = "a\x1b[2J\x9b\r\nb\u202ec"


@pytest.fixture(autouse=True)
def _somewhere(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def batch(endpoint="press", device="press", values=(1, 61.25), qualities=None, points=None, at=AT) -> Batch:
    points = points or (Point("speed", "m/s"), Point("oil_temp"))
    source = Source("u", endpoint, "modbus", "d", device, points, ())
    return Batch(source, at, list(values), qualities)


def event(batch: Batch) -> bytes:
    return msgspec.json.encode(event_of(batch, readings_of(batch)))


def latest(*batches: Batch) -> bytes:
    readings = [reading for batch in batches for reading in latest_of(ReadingFilter(), batch)]
    return msgspec.json.encode(LatestReadings(readings, len(readings)))


def text(batch: Batch, **settings: bool) -> list[str]:
    return list(TextLines(**{"in_colour": False} | settings).event(event(batch)))


def test_a_line_is_time_endpoint_metric_value_unit_and_quality():
    assert text(batch()) == [
        "2024-01-15 11:30:00.042  press  speed         1 m/s  GOOD",
        "2024-01-15 11:30:00.042  press  oil_temp  61.25      GOOD",
    ]


def test_todays_readings_have_no_date():
    now = time.time()
    (line, _) = text(batch(at=int(now * 1000)))
    assert line.startswith(datetime.fromtimestamp(int(now * 1000) / 1000).strftime("%H:%M:%S."))


def test_each_reading_is_shown_with_its_own_time():
    both = msgspec.structs.replace(batch(), times=[AT - 1000, AT])
    assert [line[:23] for line in text(both)] == ["2024-01-15 11:29:59.042", "2024-01-15 11:30:00.042"]
    assert list(TextLines(in_colour=False).latest(latest(both))) == text(both)


@pytest.mark.parametrize("time", [-(10**16), 10**16])
def test_a_time_that_no_calendar_has_is_shown(time: int):
    (first, _) = text(msgspec.structs.replace(batch(), times=[time, AT]))
    assert first.startswith("0001-01-02" if time < 0 else "9999-12-31")


def test_the_device_is_shown_when_it_has_another_name():
    assert "  press (unit 4)  speed " in text(batch(device="unit 4"))[0]


def test_what_is_wrong_with_a_reading_is_shown():
    values = text(batch(values=(None, 7), qualities=["DEVICE_OFFLINE", "RANGE"]))
    assert values[0].endswith("  speed     - m/s  BAD DEVICE_OFFLINE")
    assert values[1].endswith("  oil_temp  7      UNCERTAIN RANGE")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(True, "true"), (0.1, "0.1"), (5.0, "5.0"), (2**63, str(2**63)), ("on", "on"), ([1, "°"], '[1, "°"]')],
)
def test_values_are_shown_as_they_are(value, shown):
    assert f" {shown} m/s" in text(batch(values=(value, 0)))[0]


def test_columns_stay_aligned_and_widen_with_what_they_hold():
    lines = TextLines(in_colour=False)
    narrow = list(lines.event(event(batch())))
    wide = list(lines.event(event(batch("hydraulic press", "hydraulic press", values=(123_456.75, 1)))))
    again = list(lines.event(event(batch())))
    assert len({line.index("GOOD") for line in narrow}) == 1
    assert len({line.index("GOOD") for line in wide + again}) == 1
    assert again[0].index("GOOD") > narrow[0].index("GOOD")


def test_one_long_text_does_not_widen_every_line():
    lines = TextLines(in_colour=False)
    first, second = lines.event(event(batch(values=("x" * 500, 1))))
    assert "x" * 500 in first
    assert len(second) < 200


def test_the_quality_is_coloured_on_request():
    lines = text(batch(values=(None, 7), qualities=["DEVICE_OFFLINE", None]), in_colour=True)
    assert lines[0].endswith("\x1b[31mBAD DEVICE_OFFLINE\x1b[0m")
    assert lines[1].endswith("\x1b[32mGOOD\x1b[0m")


def test_the_latest_readings_are_lines_of_the_same_kind():
    lines = list(TextLines(in_colour=False).latest(latest(batch("b", "c"), batch())))
    assert lines[0] == "2024-01-15 11:30:00.042  b (c)  speed         1 m/s  GOOD"
    assert len(lines) == 4


def test_json_is_what_came_one_object_a_line():
    body = event(batch())
    assert list(JsonLines().event(body)) == [body.decode()]
    lines = list(JsonLines().latest(latest(batch())))
    assert [json.loads(line)["metric"] for line in lines] == ["speed", "oil_temp"]


@pytest.mark.parametrize("lines", [TextLines(in_colour=False), JsonLines()])
def test_nothing_that_a_terminal_obeys_gets_through(lines):
    hostile = batch(
        HOSTILE, HOSTILE + "!", (HOSTILE, 1), [HOSTILE, None], (Point(HOSTILE, HOSTILE), Point("°C"))
    )
    printed = [*lines.event(event(hostile)), *lines.latest(latest(hostile))]
    assert all(line.isprintable() for line in printed)
    assert "°C" in "".join(printed)


def test_escaping_changes_no_meaning():
    body = event(batch(HOSTILE, "\U000e0001\x7f"))
    (line,) = JsonLines().event(body)
    assert json.loads(line) == json.loads(body)


def read(text: str) -> list[tuple[str, bytes]]:
    return list(events(text.encode().splitlines(keepends=True)))


def test_events_have_a_name_and_data():
    assert read("retry: 1000\n\nevent: readings\ndata: {1}\n\n: still here\n\nevent:x\ndata:{2}\n\n") == [
        ("readings", b"{1}"),
        ("x", b"{2}"),
    ]


def test_events_may_have_several_lines_other_line_ends_and_no_name():
    assert read("data: a\r\ndata:  b\r\n\r\nid: 1\r\nevent: e\r\n\r\n") == [("message", b"a\n b")]


def test_an_event_that_was_cut_off_is_none():
    assert read("event: readings\ndata: {1}\n") == []
