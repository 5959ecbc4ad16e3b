import errno
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from actors.logs import files, persistence
from actors.logs.capture import LogCapture
from actors.logs.entries import About, LogEntry, LogFilter, shown
from actors.logs.files import LogFolder
from actors.logs.persistence import LogFiles, remembered
from conf.runtime import Logging


def entry(number: int, message: str = "said", level: str = "info") -> LogEntry:
    return LogEntry(
        number, 1_705_312_200_000 + number, time.monotonic(), level, message, "actors.x", "f", "a/b"
    )


def lines(folder: Path) -> list[dict]:
    found = sorted(folder.glob("*.log"))
    return [json.loads(line) for path in found for line in path.read_bytes().splitlines()]


def line(number: int) -> bytes:
    return b'{"number":%d}\n' % number


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "PAUSE", 0.01)
    monkeypatch.setattr(persistence, "RETRY", 0.05)


# The folder


def test_a_line_is_whole_and_files_have_their_size_and_number(tmp_path):
    folder = LogFolder(tmp_path / "logs", max_bytes=100, max_files=3)
    for number in range(100):
        folder.write([line(number)], durable=False)
    folder.close()
    found = folder.files()
    assert len(found) == 3
    assert all(path.stat().st_size <= 100 for path in found)
    kept = [one["number"] for one in lines(tmp_path / "logs")]
    assert kept == list(range(kept[0], 100)), "the newest, in order"


def test_a_batch_that_is_larger_than_a_file_takes_several(tmp_path):
    folder = LogFolder(tmp_path, max_bytes=100, max_files=100)
    batch = [line(number) for number in range(50)]
    folder.write(batch, durable=True)
    folder.write([b"x" * 500 + b"\n", line(1)], durable=True)
    assert batch == []
    sizes = [path.stat().st_size for path in folder.files()]
    assert sizes.count(501) == 1
    assert all(size <= 100 for size in sizes if size != 501)


def test_a_run_goes_on_where_the_last_one_was(tmp_path):
    for number in range(20):  # an agent that ends over and over does not push out what it has said before
        folder = LogFolder(tmp_path, 100_000, 2)
        folder.write([line(number)], durable=False)
        folder.close()
    assert len(folder.files()) == 1
    assert [one["number"] for one in lines(tmp_path)] == list(range(20))


@pytest.mark.parametrize("torn", [b'{"number":', b"\0" * 5000, b"x" * 200_000])
def test_a_line_that_a_power_cut_has_torn_goes(tmp_path, torn):
    folder = LogFolder(tmp_path, 1_000_000, 2)
    folder.write([line(1)], durable=False)
    folder.close()
    (path,) = folder.files()
    path.write_bytes(path.read_bytes() + torn)
    again = LogFolder(tmp_path, 1_000_000, 2)
    again.write([line(2)], durable=False)
    assert [one["number"] for one in lines(tmp_path)] == [1, 2]


@pytest.mark.parametrize("jump", [-3_600_000, 0, 86_400_000])
def test_files_are_in_order_however_the_clock_is_set(tmp_path, monkeypatch, jump):
    now = [1_705_312_200_000]
    monkeypatch.setattr(files, "unix_ms", lambda: now[0])
    folder = LogFolder(tmp_path, 20, 100)
    for number in range(6):
        folder.write([line(number)], durable=False)
        now[0] += jump if number == 2 else 0
    assert [one["number"] for one in lines(tmp_path)] == list(range(6))


def test_a_file_that_was_deleted_is_made_anew(tmp_path):
    folder = LogFolder(tmp_path / "logs", 100_000, 2)
    folder.write([line(1)], durable=False)
    folder.files()[0].unlink()
    folder.write([line(2)], durable=False)
    assert [one["number"] for one in lines(tmp_path / "logs")] == [2]
    for path in folder.files():
        path.unlink()
    (tmp_path / "logs").rmdir()
    folder.write([line(3)], durable=False)
    assert [one["number"] for one in lines(tmp_path / "logs")] == [3]


def test_what_a_full_disk_has_taken_of_a_line_is_taken_back(tmp_path, monkeypatch):
    folder = LogFolder(tmp_path, 100_000, 2)
    folder.write([line(1)], durable=False)
    write, calls = os.write, []

    def full(descriptor: int, data: bytes) -> int:
        calls.append(1)
        if len(calls) == 1:
            return write(descriptor, data[:3])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    batch = [line(2), line(3)]
    with pytest.raises(OSError, match="full"):
        folder.write(batch, durable=False)
    assert len(batch) == 2
    monkeypatch.setattr(os, "write", write)
    folder.write(batch, durable=False)
    assert [one["number"] for one in lines(tmp_path)] == [1, 2, 3]


def test_files_of_others_in_the_folder_are_left_alone(tmp_path):
    for name in ("callboard.log", "agent-1.log", "callboard-1.txt"):
        (tmp_path / name).write_text("mine")
    folder = LogFolder(tmp_path, 20, 1)
    for number in range(10):
        folder.write([line(number)], durable=False)
    assert len(folder.files()) == 1
    assert all((tmp_path / name).read_text() == "mine" for name in ("callboard.log", "agent-1.log"))


def test_a_link_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("precious\n")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "callboard-1.log").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        LogFolder(tmp_path / "logs", 100_000, 2).write([line(1)], durable=False)
    assert target.read_text() == "precious\n"


# The thread


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., LogFiles]]:
    started: list[LogFiles] = []

    def begin(folder: Path, *entries: LogEntry, **further: object) -> LogFiles:
        found = LogFiles(LogFolder(folder, 1_000_000, 3), **further)
        started.append(found)
        found.start(list(entries))
        return found

    yield begin
    for one in started:
        one.end()
        one.join()


def test_entries_get_to_the_disk_as_the_api_shows_them(tmp_path, start):
    one = entry(1)
    written = start(tmp_path, one)
    written.put(entry(2, "späße\nzwei"))
    until(lambda: written.written == 2)
    first, second = lines(tmp_path)
    assert first == msgspec.to_builtins(shown(one))
    assert second["message"] == "späße\nzwei"


def test_a_disk_that_takes_nothing_is_told_of_and_recovered_from(tmp_path, start):
    folder = tmp_path / "logs"
    folder.write_text("in the way")
    written = start(folder, entry(1))
    until(lambda: written.trouble is not None)
    assert str(folder) in written.trouble
    written.put(entry(2))
    folder.unlink()
    until(lambda: written.trouble is None and written.written == 2)
    assert [one["id"] for one in lines(folder)] == ["log-1", "log-2"]
    assert written.lost == 0


def test_what_waits_for_the_disk_is_bounded(tmp_path, start, monkeypatch):
    monkeypatch.setattr(persistence, "QUEUED_BYTES", 50_000)
    folder = tmp_path / "logs"
    folder.write_text("in the way")
    written = start(folder)
    for number in range(500):
        written.put(entry(number, "x" * 1000))
    until(lambda: written.trouble is not None)
    assert written._bytes <= 50_000
    folder.unlink()
    until(lambda: written.trouble is None and written.written > 0)
    kept = [one["id"] for one in lines(folder)]
    assert kept == [f"log-{number}" for number in range(500 - len(kept), 500)]
    assert written.lost == 500 - len(kept)


def test_fewer_files_are_wanted_and_the_oldest_go_at_once(tmp_path, start):
    folder = LogFolder(tmp_path, 20, 50)
    for number in range(40):
        folder.write([line(number)], durable=False)
    folder.close()
    assert len(folder.files()) == 40
    written = start(tmp_path)
    written.bound(1_000_000, 2)
    until(lambda: len(folder.files()) == 2)
    assert folder.files()[-1].read_bytes() == line(39)


def test_the_end_writes_what_waits(tmp_path, monkeypatch, start):
    monkeypatch.setattr(persistence, "PAUSE", 30.0)
    written = start(tmp_path, *(entry(number) for number in range(10)))
    written.end()
    written.join()
    assert len(lines(tmp_path)) == 10


def test_entries_of_the_last_run_are_remembered(tmp_path, start):
    about = About(app_id=7, source="container")
    first = start(tmp_path, entry(1), msgspec.structs.replace(entry(2), about=about, exception="Traceback"))
    first.end()
    first.join()
    (path,) = tmp_path.glob("*.log")
    path.write_bytes(path.read_bytes() + b'{"not":"an entry"}\n\0\0torn')
    found: list[LogEntry] = []
    start(tmp_path, entry(3), remember=found.extend)
    until(lambda: bool(found))
    assert [(one.number, one.message, one.actor) for one in found] == [(1, "said", "a/b"), (2, "said", "a/b")]
    assert (found[1].about, found[1].exception) == (about, "Traceback")
    assert found[0].at < time.monotonic() - 1000, "as old as it is"
    assert [remembered(shown(one)).message for one in found] == ["said", "said"]


def test_persistence_is_switched_on_and_off_and_loses_nothing(tmp_path):
    capture = LogCapture(Logging())
    on, off = Logging(enable_file_persistence=True), Logging()

    def say(text: str) -> None:
        capture.handle(logging.LogRecord("actors.x", logging.INFO, "x.py", 1, text, (), None))

    say("before")
    for turn in range(3):
        capture.persist(on, tmp_path)
        capture.persist(on, tmp_path)
        say(f"while {turn}")
        capture.persist(off, tmp_path)
        capture.persist(off, tmp_path)
    capture.persist(on, tmp_path)
    say("last")
    capture.close()
    said = [one["message"] for one in lines(tmp_path)]
    assert said[0] == "before"
    assert said[-1] == "last"
    assert {f"while {turn}" for turn in range(3)} <= set(said)
    assert len(said) == len(set(said)), "none twice"


def test_after_a_crash_every_line_is_whole(tmp_path):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom actors.logs.capture import attach\n"
        "from conf.runtime import Logging\nimport logging\n"
        "capture = attach()\nlogging.getLogger().setLevel(logging.INFO)\n"
        "capture.persist(Logging(enable_file_persistence=True), Path(sys.argv[1]))\n"
        "number = 0\n"
        "while True:\n    number += 1\n    logging.warning('%d %s', number, 'x' * 500)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    try:
        until(lambda: sum(path.stat().st_size for path in tmp_path.glob("*.log")) > 200_000)
    finally:
        process.kill()
        process.wait()
    found = lines(tmp_path)
    assert len(found) > 100
    assert (
        LogFolder(tmp_path, 100_000_000, 5).last_entries(10)[-1].message.startswith(found[-1]["message"][:5])
    )


def test_how_much_is_remembered_is_bounded(tmp_path):
    folder = LogFolder(tmp_path, 10_000_000, 3)
    folder.write(
        [msgspec.json.encode(shown(entry(n, "x" * 1000))) + b"\n" for n in range(3000)], durable=False
    )
    found = folder.last_entries(500)
    assert len(found) < 500
    assert [one.id for one in found] == [f"log-{number}" for number in range(3000 - len(found), 3000)]
    capture = LogCapture(Logging(max_logs=10))
    capture.ring.put_before([remembered(one) for one in found])
    assert len(capture.ring.newest(LogFilter(), 1000)) == 10
