"""What readings cost that wait on disk: bytes a point, processor time, and how fast they leave again.

DEVICES devices of POINTS points are polled once a second, in simulated time, and published as `tags`; their
destination is away. Payloads go through the agent's own outbox and storage, without actors: every 100 ms what
is due is committed, and what can be packed is, as there would be time for it. Then all of it is delivered.
Prints one JSON line, a list of `Waiting`.
"""

import argparse
import math
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time

import msgspec

from actors.publish import formats
from actors.publish.entries import Limits
from actors.publish.formats import MessageIds
from actors.publish.formats.format import Piece
from actors.publish.outbox import Outbox
from actors.readings.batch import Batch, Point, Source
from storage import outbox as stored
from storage import target_state
from storage.connection import setting
from storage.database import open_database
from storage.packing import Packing

DEVICES = 50
POINTS = 100
PER_S = DEVICES * POINTS
TICKS = 10
WARM_UP_S = 60
WINDOW = 512
START_MS = 1_767_225_600_000
UUID = "7d0f2c5e-0000-4000-8000-000000000001"

Signal = Callable[[int], float]


class Waiting(msgspec.Struct, frozen=True):
    """`bytes_per_point` is what the database grows by; `fixed_bytes` what its files take besides, once;
    `cpu` is of one core, at PER_S points/s, `written` bytes handed to the system in a second; `drain` how
    many times as fast all was delivered, in real time, as it came in simulated time."""

    signal: str
    values: str
    seconds: int
    bytes_per_point: float
    fixed_bytes: float
    cpu: float
    written: float
    drain: float


def sine(chance: random.Random) -> Signal:
    """Of a quarter of an hour to two hours."""
    period, size, middle, phase = (
        chance.uniform(*ends) for ends in ((900, 7200), (5, 50), (60, 400), (0, 6))
    )
    return lambda second: middle + size * math.sin(2 * math.pi * second / period + phase)


def walk(chance: random.Random) -> Signal:
    """Normal steps, of up to 0.3 in the mean."""
    step, at = chance.uniform(0.02, 0.3), chance.uniform(60, 400)

    def value(second: int) -> float:
        nonlocal at
        at += chance.gauss(0, step)
        return at

    return value


def noise(chance: random.Random) -> Signal:
    """Every value of a register."""
    return lambda second: chance.uniform(0, 6553.5)


SIGNALS = {"sine": sine, "walk": walk, "noise": noise}
VALUES: dict[str, Callable[[float], float]] = {
    "registers": lambda value: round(value, 1),
    "doubles": lambda value: value,
}


class Plant:
    """Payloads of the devices, tick by tick."""

    def __init__(self, signal: str, values: str) -> None:
        chance = random.Random(1)
        self._chance = chance
        self._sources = [_source(number) for number in range(DEVICES)]
        self._signals = [[SIGNALS[signal](chance) for _ in range(POINTS)] for _ in range(DEVICES)]
        self._round = VALUES[values]
        self._now = START_MS
        self._ids = MessageIds(UUID, lambda: self._now)

    def payloads(self, second: int, tick: int) -> Iterator[tuple[bytes, int]]:
        """With the time of each, Unix ms. A poll is up to 2 ms late."""
        for device in range(tick * DEVICES // TICKS, (tick + 1) * DEVICES // TICKS):
            self._now = (
                START_MS + second * 1000 + device * 1000 // DEVICES + self._chance.choice((0, 0, 1, 2))
            )
            values = [self._round(signal(second)) for signal in self._signals[device]]
            batch = Batch(self._sources[device], self._now, list(values), None, {})
            pieces: list[Piece] = [(batch, None)]
            payload = formats.encode("tags", "json", pieces, self._ids)
            assert payload is not None
            yield payload, self._now


def _source(number: int) -> Source:
    name = f"plc-line-{number}"
    return Source(
        endpoint_uuid=f"{number:08x}-0000-4000-8000-000000000002",
        endpoint=name,
        protocol="modbus",
        device_uuid=f"{number:08x}-0000-4000-8000-000000000003",
        device=name,
        points=tuple(Point(f"temperature_{index}" if index % 2 else f"r{index}") for index in range(POINTS)),
        prefixes=(f"modbus/{name}/{name}/",),
    )


class Disk:
    """A database with one destination, and the time that it takes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "agent.sqlite"
        self.database = open_database(self.path)
        self.id = target_state.insert(self.database, "destination", "broker", {}).id
        self.packing = Packing(self.database, _damaged)

    def commit(self, outbox: Outbox, now: float, force: bool = False) -> bool:
        """Whether something was due."""
        commit = outbox.commit(now, force)
        if commit is None:
            return False
        found = stored.commit(self.database, self.id, commit.rows(), commit.done, commit.dead)
        outbox.committed(True, found)
        return True

    def pack(self) -> bool:
        """Whether a group was made."""
        packed = False
        while self.packing.wanted():
            packed = True
            self.packing.step()
        return packed

    def used(self) -> int:
        connection = self.database.db.conn
        pages = setting(connection, "page_count") - setting(connection, "freelist_count")
        return pages * setting(connection, "page_size")

    def files(self) -> int:
        return sum(file.stat().st_size for file in self.path.parent.glob("agent.sqlite*"))


def _damaged(what: str) -> None:
    raise RuntimeError(what)


def measure(signal: str, values: str, seconds: int) -> Waiting:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        disk = Disk(Path(folder))
        limits = Limits(2**60, 2**60, 2**60, 4 * 1024 * 1024, 0.1, False)
        outbox = Outbox(limits)
        growth, cpu, written = fill(disk, outbox, Plant(signal, values), seconds)
        fixed = disk.files() - growth * seconds * PER_S
        took = drain(disk, outbox, float(seconds))
        disk.database.close()
    return Waiting(signal, values, seconds, growth, fixed, cpu / seconds, written / seconds, seconds / took)


def fill(disk: Disk, outbox: Outbox, plant: Plant, seconds: int) -> tuple[float, float, int]:
    """Bytes that a point takes, processor seconds, and bytes written. Measured from one packing to another:
    so what is not packed yet is not counted."""
    cpu, first, last = 0.0, (0, 0), (0, 0)
    before = _written()
    for second in range(seconds):
        for tick in range(TICKS):
            payloads = list(plant.payloads(second, tick))
            began = process_time()
            now = second + tick / TICKS
            for payload, created_at in payloads:
                outbox.add("plant/readings", payload, created_at, now)
            disk.commit(outbox, now)
            packed = disk.pack()
            cpu += process_time() - began
            if packed:
                last = (outbox.rows, disk.used())
                first = last if second < WARM_UP_S else first
    rows, size = last[0] - first[0], last[1] - first[1]
    return size / rows / POINTS, cpu, _written() - before


def drain(disk: Disk, outbox: Outbox, now: float) -> float:
    """Seconds until everything was acknowledged, WINDOW payloads at a time."""
    began = perf_counter()
    last = 0
    while outbox.rows:
        taken = outbox.take(WINDOW)
        for entry in taken:
            assert entry.seq == last + 1
            last = entry.seq
        outbox.delivered([entry.seq for entry in taken])
        committed = disk.commit(outbox, now, force=True)
        wanted = outbox.read(True)
        if wanted is not None:
            loaded = stored.load(disk.database, disk.id, *wanted)
            outbox.was_read(loaded.rows, now, loaded.lost)
        assert taken or committed or wanted is not None
    while disk.commit(outbox, now, force=True):
        pass
    return perf_counter() - began


def _written() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--signals", nargs="*", choices=list(SIGNALS), default=list(SIGNALS))
    parser.add_argument("--values", nargs="*", choices=list(VALUES), default=list(VALUES))
    options = parser.parse_args()
    found = [
        measure(signal, values, options.seconds) for values in options.values for signal in options.signals
    ]
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main()
