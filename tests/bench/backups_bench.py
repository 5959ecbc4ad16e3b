"""What a backup costs those that store meanwhile. Prints one JSON line, a list of `Backing`.

A database of `MEGABYTES`, of rows that a backup has (`rows`) or of payloads that wait and that it has not
(`outbox`); one writer commits as fast as it can, with a pause of `PAUSE` seconds.
"""

import os
import statistics
import tempfile
import threading
from pathlib import Path
from time import perf_counter, sleep

import msgspec

from storage import backups, outbox, target_state
from storage.backups import Site
from storage.database import Database, open_database
from storage.writer import Writer

MEGABYTES = 500
CHUNK = 3_000
PAUSE = 0.005
BEFORE_S = 4.0


class Backing(msgspec.Struct, frozen=True):
    """`before` and `during` are medians of a commit, `most` is the longest during."""

    content: str
    took_s: float
    before_ms: float
    during_ms: float
    most_ms: float


def fill(writer: Writer, content: str) -> None:
    """With random bytes, as packed payloads are."""
    broker = writer.submit(target_state.insert, "destination", "broker", {}).result()
    payload = os.urandom(CHUNK)
    for number in range(MEGABYTES * 1_000_000 // (1000 * CHUNK)):
        if content == "outbox":
            first = number * 1000 + 1
            rows = [outbox.OutboxRow(seq, "t", payload, 1) for seq in range(first, first + 1000)]
            writer.submit(outbox.commit, broker.id, rows, []).result()
        else:
            writer.submit(add, 1000, CHUNK).result()


def add(database: Database, rows: int, size: int) -> None:
    database.db.conn.executemany(
        "INSERT INTO drift_events (protocol, device_uuid, device, drift_type, field, severity, detected_at,"
        " details) VALUES ('p', 'u', 'd', 't', 'f', 's', '', ?)",
        (("x" * size,) for _ in range(rows)),
    )


class Storing(threading.Thread):
    """Commits until it is told to stop; `times` are seconds of each."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self.times: list[float] = []
        self.over = False
        self._writer = writer

    def run(self) -> None:
        while not self.over:
            began = perf_counter()
            self._writer.submit(add, 1, 10).result()
            self.times.append(perf_counter() - began)
            sleep(PAUSE)

    def taken(self) -> list[float]:
        times, self.times = self.times, []
        return times


def measure(content: str) -> Backing:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        folder = Path(directory)
        path = folder / "agent.sqlite"
        writer = Writer(lambda: open_database(path))
        writer.start()
        fill(writer, content)
        storing = Storing(writer)
        storing.start()
        try:
            sleep(BEFORE_S)
            before = storing.taken()
            began = perf_counter()
            backups.create(Site(path, folder, folder / "backups", "bench"), "manual")
            took = perf_counter() - began
            during = storing.taken()
        finally:
            storing.over = True
            storing.join()
            writer.close()
    return Backing(
        content,
        took,
        statistics.median(before) * 1000,
        statistics.median(during or [took]) * 1000,
        max(during, default=took) * 1000,
    )


if __name__ == "__main__":
    print(msgspec.json.encode([measure("rows"), measure("outbox")]).decode())
