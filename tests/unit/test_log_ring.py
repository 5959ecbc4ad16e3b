import gc
import logging
import sys
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from actors.logs.capture import Following, LogCapture
from actors.logs.entries import About, LogEntry, LogFilter, component, shown
from actors.logs.ring import CHUNK, LogRing
from conf import redaction
from conf.clean_records import LONGEST, CleanRecord
from conf.runtime import Logging


def entry(number: int, message: str = "said", **fields: object) -> LogEntry:
    return LogEntry(
        **{"number": number, "timestamp": number, "at": float(number), "level": "info", "message": message,
           "logger": "actors.endpoints.endpoint"} | fields
    )  # fmt: skip


def numbers(ring: LogRing, limit: int = 10_000, **chosen: object) -> list[int]:
    return [one.number for one in ring.newest(LogFilter(**chosen), limit)]


def test_the_newest_are_kept_within_the_number():
    ring = LogRing(300, 10_000_000)
    for number in range(1000):
        ring.add(entry(number))
    assert numbers(ring) == list(range(700, 1000))
    assert numbers(ring, 3) == [997, 998, 999]
    assert ring.count == 300
    ring.resize(5, 10_000_000)
    assert numbers(ring) == list(range(995, 1000))
    for number in range(1000, 1000 + 3 * CHUNK):
        ring.add(entry(number))
    assert numbers(ring) == list(range(995 + 3 * CHUNK, 1000 + 3 * CHUNK))
    assert len(ring._chunks) <= 2


def test_and_within_the_bytes():
    ring = LogRing(100_000, 100_000)
    for number in range(2000):
        ring.add(entry(number, "x" * 1000))
    assert 50 < ring.count < 80
    assert ring.bytes <= 100_000
    assert numbers(ring)[-1] == 1999
    assert ring.bytes == sum(one.size for one in ring.backwards())
    ring.add(entry(5000, "y" * 200_000))
    assert numbers(ring) == [5000], "one that is too large is all that there is"
    ring.add(entry(5001))
    assert numbers(ring) == [5001]


def test_what_is_too_old_goes():
    ring = LogRing(1000, 1_000_000)
    for number in range(500):
        ring.add(entry(number))
    ring.forget_before(450.0)
    assert numbers(ring) == list(range(450, 500))
    ring.forget_before(1e9)
    assert (ring.count, ring.bytes) == (0, 0)
    ring.add(entry(501))
    assert numbers(ring) == [501]


def test_earlier_ones_come_before_as_far_as_there_is_room():
    ring = LogRing(10, 1_000_000)
    for number in range(100, 105):
        ring.add(entry(number))
    ring.put_before([entry(number) for number in range(50)])
    assert numbers(ring) == [45, 46, 47, 48, 49, 100, 101, 102, 103, 104]


def test_filters():
    ring = LogRing(1000, 1_000_000)
    ring.add(entry(1, "Connected", level="debug", actor="endpoints/modbus/plc-1"))
    ring.add(entry(2, "lost it", level="warn", actor="endpoints/modbus", exception="OSError: Kühlhaus"))
    ring.add(entry(3, "delivered", level="error", actor="publisher/mq", logger="gmqtt.client"))
    ring.add(entry(4, "pulled", logger="actors.apps.planner", about=About(app_id=7)))
    ring.add(entry(5, "line", logger="actors.apps.planner", about=About(source="container")))
    assert numbers(ring, level="warn") == [2]
    assert numbers(ring, min_level="warn") == [2, 3]
    assert numbers(ring, since=3) == [4, 5]
    assert numbers(ring, source="manager") == [4]
    assert numbers(ring, source="container") == [5]
    assert numbers(ring, source="system") == [1, 2, 3]
    assert numbers(ring, text="CONNECTED") == [1]
    assert numbers(ring, text="kühlhaus") == [2]
    assert numbers(ring, actor="endpoints") == [1, 2]
    assert numbers(ring, actor="endpoints/modbus/plc-1") == [1]
    assert numbers(ring, actor="endpoints/modbus/plc") == []
    assert numbers(ring, actor="endpoints", min_level="warn", text="lost") == [2]


@pytest.mark.parametrize(
    ("logger", "part"),
    [
        ("actors.agent", "agent"),
        ("actors.endpoints.health", "endpoints"),
        ("actors.endpoints.protocols.modbus.link", "modbus"),
        ("actors.mqtt.link", "mqtt"),
        ("actors.apps.planner", "container-manager"),
        ("storage.writer", "storage"),
        ("api.middleware", "api"),
        ("pymodbus.logging", "pymodbus"),
        ("root", "root"),
    ],
)
def test_each_logger_belongs_to_a_component(logger, part):
    assert component(logger) == part


def test_an_entry_is_shown_as_the_reference_has_it():
    said = entry(
        12, "Container started", timestamp=1705312200000, logger="actors.apps.planner", operation="start",
        actor="apps/bridge", about=About(app_id=1, service_name="bridge"),
    )  # fmt: skip
    assert msgspec.to_builtins(shown(said)) == {
        "id": "log-12",
        "timestamp": 1705312200000,
        "level": "info",
        "message": "Container started",
        "source": {"type": "manager", "name": "container-manager"},
        "component": "container-manager",
        "appId": 1,
        "serviceName": "bridge",
        "actor": "apps/bridge",
        "context": {"component": "container-manager", "operation": "start", "logger": "actors.apps.planner"},
    }
    assert msgspec.to_builtins(shown(entry(1)))["isSystem"] is True


# What takes the records


@pytest.fixture
def capture() -> Iterator[LogCapture]:
    capture, root = LogCapture(Logging()), logging.getLogger()
    factory, level = logging.getLogRecordFactory(), root.level
    logging.setLogRecordFactory(CleanRecord)
    root.addHandler(capture)
    root.setLevel(logging.INFO)
    yield capture
    root.removeHandler(capture)
    root.setLevel(level)
    logging.setLogRecordFactory(factory)


log = logging.getLogger("actors.x")


def messages(capture: LogCapture) -> list[str]:
    return [one.message for one in capture.ring.newest(LogFilter(), 10_000)]


def test_a_record_becomes_an_entry(capture):
    log.warning("%s: lost after %d s", "plc", 3)
    (said,) = capture.ring.newest(LogFilter(), 10)
    assert (said.level, said.message, said.logger) == ("warn", "plc: lost after 3 s", "actors.x")
    assert said.operation == "test_a_record_becomes_an_entry"
    assert said.actor is None
    assert abs(said.timestamp - time.time() * 1000) < 5000


def test_levels_that_nobody_wants_are_not_made(capture):
    class Dear:
        def __str__(self) -> str:
            raise AssertionError("nobody asked for its text")

    log.debug("%s", Dear())
    assert messages(capture) == []
    logging.getLogger().setLevel(logging.DEBUG)
    log.debug("cheap")
    log.critical("dear")
    assert [one.level for one in capture.ring.newest(LogFilter(), 10)] == ["debug", "error"]


def test_no_secret_is_in_message_traceback_or_stack(capture):
    redaction.keep("test", ["hunter22-x"])
    try:
        try:
            raise ConnectionError("refused mqtt://u:hunter22-x@broker")
        except ConnectionError as error:
            raise RuntimeError({"password": "hunter22-x"}) from error
    except RuntimeError:
        log.exception("cannot log in with %s", "hunter22-x")
    log.error("%s", b"hunter22-x", stack_info=True)
    redaction.keep("test", [])
    first, second = capture.ring.newest(LogFilter(), 10)
    assert "hunter22" not in repr((first, second))
    assert first.message == "cannot log in with ********"
    assert "mqtt://u:********@broker" in first.exception
    assert first.exception.count("Traceback (most recent call last)") == 2
    assert "Stack (most recent call last)" in second.exception


def test_a_secret_is_found_before_a_text_is_cut(capture):
    redaction.keep("test", ["hunter22-secret"])
    half = LONGEST // 2
    log.error("%s%s%s", "x" * (half - 5), "hunter22-secret", "y" * LONGEST)
    redaction.keep("test", [])
    (said,) = messages(capture)
    assert "hunt" not in said
    assert len(said) < LONGEST + 100
    assert "characters ..." in said


def test_of_a_text_of_megabytes_both_ends_are_kept_and_clean(capture):
    redaction.keep("test", ["hunter22-secret"])
    begun = time.perf_counter()
    log.error("%s", "begin hunter22-secret " + "x% " * 2_000_000 + " hunter22-secret end")
    assert time.perf_counter() - begun < 2
    redaction.keep("test", [])
    (said,) = messages(capture)
    assert "hunt" not in said
    assert said.startswith("begin ******** x%")
    assert said.endswith("******** end")
    assert len(said) < LONGEST + 100


def test_every_handler_gets_the_same_text(capture):
    written: list[str] = []

    class Other(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    redaction.keep("test", ["hunter22-x"])
    other = Other()
    logging.getLogger().addHandler(other)
    try:
        raise ValueError("hunter22-x")
    except ValueError:
        log.exception("it is hunter22-x")
    logging.getLogger().removeHandler(other)
    redaction.keep("test", [])
    (said,) = capture.ring.newest(LogFilter(), 10)
    assert written == [f"{said.message}\n{said.exception}"]
    assert said.message == "it is ********"


def test_a_line_that_cannot_be_formatted_is_kept_all_the_same(capture, capsys):
    log.error("%d of %s", "three")

    class Bad:
        def __str__(self) -> str:
            raise ValueError("no text")

    log.error(Bad())
    log.error("%s", Bad())
    said = messages(capture)
    assert said[0] == "%d of %s tuple (TypeError when it was formatted)"
    assert said[1].startswith("Bad ")
    assert "ValueError" in said[2]
    assert capture.failed == 0
    assert capsys.readouterr().err == ""


def test_an_exception_without_a_text_is_told_all_the_same(capture):
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    try:
        raise Odd
    except Odd:
        log.exception("odd")
    (said,) = capture.ring.newest(LogFilter(), 10)
    assert "Odd" in said.exception


def test_a_sink_that_fails_hurts_nobody(capture):
    class Broken:
        def put(self, entry: LogEntry) -> None:
            raise RuntimeError("broken")

    capture.add_sink(Broken())
    log.info("one")
    assert messages(capture) == ["one"]
    assert capture.failed == 1


def test_what_logs_while_something_is_logged_does_not_hang(capture):
    """The collector runs finalizers wherever memory is asked for, under the ring's lock too."""

    class Finalized:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            log.info("finalized")

    class Collecting:
        def put(self, entry: LogEntry) -> None:
            gc.collect()

    Finalized()
    capture.add_sink(Collecting())
    log.info("one")
    assert sorted(messages(capture)) == ["finalized", "one"]


def test_threads_log_at_once_and_nothing_is_lost_or_out_of_order(capture):
    capture.limit(Logging(max_logs=100_000, max_log_bytes=67_108_864))

    def say(thread: int) -> None:
        for number in range(500):
            log.info("%d %d", thread, number)

    threads = [threading.Thread(target=say, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        list(capture.ring.backwards())
    for thread in threads:
        thread.join()
    found = capture.ring.newest(LogFilter(), 10_000)
    assert len(found) == 4000
    order = [one.number for one in found]
    assert order == sorted(set(order))
    for thread in range(8):
        mine = [one.message for one in found if one.message.startswith(f"{thread} ")]
        assert mine == [f"{thread} {number}" for number in range(500)]


def test_a_record_costs_microseconds_and_a_dropped_one_nothing(capture):
    def cost(level: int) -> float:
        best = float("inf")
        for _ in range(5):
            begun = time.perf_counter()
            for number in range(300):
                log.log(level, "endpoints/modbus/plc-%d: connected again after %d attempts", number, 3)
            best = min(best, time.perf_counter() - begun)
        return best / 300

    assert cost(logging.DEBUG) < 5e-6
    assert cost(logging.INFO) < 200e-6


def test_who_follows_is_woken_once_for_all_that_waits(capture):
    woken: list[int] = []
    following = Following(lambda: woken.append(1))
    capture.add_sink(following)
    for number in range(6000):
        log.info("%d", number)
    assert len(woken) == 1
    entries, lost = following.take()
    assert (len(entries), lost) == (5000, 1000)
    assert following.take() == ([], 0)
    log.info("more")
    assert len(woken) == 2
    capture.remove_sink(following)
    log.info("and more")
    assert [one.message for one in following.take()[0]] == ["more"]


def test_what_nobody_catches_is_logged(capture, monkeypatch):
    from conf import clean_records

    for name in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(logging, "captureWarnings", lambda on: None)
    clean_records.take_uncaught()

    def fail() -> None:
        raise RuntimeError("in a thread")

    thread = threading.Thread(target=fail, name="worker-7")
    thread.start()
    thread.join()

    class Unraisable:
        def __del__(self) -> None:
            raise RuntimeError("in a finalizer")

    Unraisable()
    try:
        raise RuntimeError("at the top")
    except RuntimeError as error:
        sys.excepthook(RuntimeError, error, error.__traceback__)
    first, second, third = capture.ring.newest(LogFilter(), 10)
    assert first.message == "worker-7 has ended over this"
    assert "in a thread" in first.exception
    assert "in a finalizer" in second.exception
    assert third.message == "nobody has caught this"
