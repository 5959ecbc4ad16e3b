"""Rows that are packed against the same rows in a plain list."""

import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import groups, outbox, packing, target_state
from storage.connection import setting
from storage.database import Database, open_database
from storage.dead_letters import DeadLetter
from storage.errors import StorageError
from storage.outbox import OutboxRow, OutboxSummary, Payload
from storage.packing import Packing
from storage.writer import Writer
from storage.zstd import ZstdCompressor

SECONDS = 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = open_database(path)
    yield database
    database.close()


@pytest.fixture
def destination(database: Database) -> int:
    return target_state.insert(database, "destination", "broker", {}).id


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "GROUP_ROWS", 10)


def row(seq: int, size: int = 40) -> OutboxRow:
    payload = f'{{"seq":{seq},"value":{seq * 0.1:.1f}}}'.encode().ljust(size)
    return OutboxRow(seq, f"topic/{seq % 3}", payload, 1000 + seq, seq % 2, seq % 5 == 0)


def rows(first: int, last: int, size: int = 40) -> list[OutboxRow]:
    return [row(seq, size) for seq in range(first, last + 1)]


def pack(database: Database, damaged: Callable[[str], None] = pytest.fail) -> None:
    chore = Packing(database, damaged)
    while chore.wanted():
        chore.step()
        assert chore.not_before < float("inf")


def load(database: Database, destination: int, after: int = 0) -> list[OutboxRow]:
    return outbox.load(database, destination, after, 1_000_000, 1_000_000_000).rows


def counts(database: Database) -> tuple[int, int]:
    """Rows that are not packed, and groups."""
    plain = database.db.execute("SELECT count(*) FROM outbox").fetchone()[0]
    return plain, database.db.execute("SELECT count(*) FROM outbox_groups").fetchone()[0]


# Packing


@pytest.mark.usefixtures("small_groups")
def test_oldest_rows_are_packed_once_there_are_enough_of_them(database: Database, destination: int) -> None:
    outbox.commit(database, destination, rows(1, 9), [])
    pack(database)
    assert counts(database) == (9, 0)
    outbox.commit(database, destination, rows(10, 24), [])
    pack(database)
    assert counts(database) == (4, 2)
    assert load(database, destination) == rows(1, 24)


def test_packed_rows_take_a_fraction_of_the_space(database: Database, destination: int) -> None:
    outbox.commit(database, destination, rows(1, 2700, 400), [])
    before = outbox.summary(database, destination)
    pack(database)
    after = outbox.summary(database, destination)
    assert before is not None
    assert after is not None
    assert before.bytes == 2700 * 400
    assert (after.rows, after.oldest, after.last_seq) == (before.rows, before.oldest, before.last_seq)
    assert after.bytes < before.bytes / 5
    assert counts(database)[1] == 1


def test_payloads_that_cannot_be_made_smaller_grow_by_a_percent_at_most(
    database: Database, destination: int
) -> None:
    content = random.Random(1).randbytes(3000)
    noise = [OutboxRow(seq, "t", random.Random(seq).randbytes(3000), seq) for seq in range(1, 1500)]
    outbox.commit(database, destination, noise, [])
    pack(database)
    found = outbox.summary(database, destination)
    assert found is not None
    assert found.bytes <= 1499 * len(content) * 1.01
    assert load(database, destination) == noise


def test_payload_larger_than_a_group_is_one(database: Database, destination: int) -> None:
    large = [
        row(1),
        OutboxRow(2, "t", bytes(3 * packing.GROUP_BYTES), 2),
        OutboxRow(3, "t", bytes(packing.GROUP_BYTES), 2),
        row(4),
    ]
    outbox.commit(database, destination, large, [])
    pack(database)
    assert load(database, destination) == large
    assert counts(database)[1] >= 2


@pytest.mark.usefixtures("small_groups")
def test_what_is_delivered_while_it_is_packed_does_not_come_back(
    database: Database, destination: int
) -> None:
    outbox.commit(database, destination, rows(1, 10), [])
    chore = Packing(database, pytest.fail)
    chore.step()
    outbox.commit(database, destination, rows(11, 12), [1, 2, 7])
    chore.step()
    assert counts(database) == (2, 1)
    assert [one.seq for one in load(database, destination)] == [3, 4, 5, 6, 8, 9, 10, 11, 12]
    assert outbox.summary(database, destination).oldest == 1003  # type: ignore[union-attr]


@pytest.mark.usefixtures("small_groups")
def test_nothing_is_stored_when_all_of_it_is_gone_meanwhile(database: Database, destination: int) -> None:
    outbox.commit(database, destination, rows(1, 10), [])
    chore = Packing(database, pytest.fail)
    chore.step()
    target_state.delete(database, [destination])
    chore.step()
    assert counts(database) == (0, 0)
    assert not chore.wanted()
    assert outbox.summaries(database) == {}


@pytest.mark.usefixtures("small_groups")
def test_groups_go_with_their_destination(database: Database, destination: int) -> None:
    outbox.commit(database, destination, rows(1, 20), [])
    pack(database)
    target_state.delete(database, [destination])
    assert counts(database) == (0, 0)
    assert database.db.execute("SELECT count(*) FROM outbox_group_data").fetchone() == (0,)


@pytest.mark.usefixtures("small_groups")
def test_commit_that_is_repeated_does_not_double_what_was_packed(
    database: Database, destination: int
) -> None:
    for _ in range(2):
        outbox.commit(database, destination, rows(1, 12), [])
        pack(database)
    assert load(database, destination) == rows(1, 12)
    assert counts(database) == (2, 1)


@pytest.mark.usefixtures("small_groups")
def test_row_older_than_a_group_stays_as_it_is_and_comes_in_its_place(
    database: Database, destination: int
) -> None:
    outbox.commit(database, destination, [row(1), *rows(5, 20)], [])
    pack(database)
    outbox.commit(database, destination, rows(2, 4), [])
    pack(database)
    assert load(database, destination) == rows(1, 20)
    outbox.commit(database, destination, rows(21, 60), [])
    pack(database)
    assert load(database, destination) == rows(1, 60)


@pytest.mark.usefixtures("small_groups")
def test_rows_of_an_older_version_are_packed_too(database: Database, destination: int) -> None:
    """They are rows that are not packed yet."""
    database.db.conn.executemany(
        "INSERT INTO outbox (destination_id, seq, created_at, topic, payload) VALUES (?, ?, 5, 't', x'00')",
        [(destination, seq) for seq in range(1, 13)],
    )
    pack(database)
    outbox.commit(database, destination, [row(13)], [])
    assert load(database, destination) == [
        *(OutboxRow(seq, "t", b"\x00", 5) for seq in range(1, 13)),
        row(13),
    ]
    assert counts(database) == (3, 1)


def test_step_is_short_whatever_is_packed(
    database: Database, destination: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock that it looks at: a block takes 1 ms of it."""
    outbox.commit(database, destination, rows(1, 6000, 400), [])
    now = 0.0

    def monotonic() -> float:
        nonlocal now
        now += 0.001
        return now

    chore = Packing(database, pytest.fail)
    chore.step()
    monkeypatch.setattr(packing, "monotonic", monotonic)
    before = now
    chore.step()
    assert now - before < packing.STEP + 0.005
    assert chore.wanted()
    assert counts(database) == (6000, 0), "and nothing has changed"


def test_writer_packs_when_it_is_idle_and_when_it_never_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "GROUP_ROWS", 10)
    monkeypatch.setattr("storage.chores.OVERDUE", 0.0)
    writer = Writer(partial(open_database, path))
    writer.start()
    destination = writer.submit(target_state.insert, "destination", "broker", {}).result(SECONDS).id
    seq = 0
    futures = []
    while seq < 3000:
        futures.append(writer.submit(outbox.commit, destination, rows(seq + 1, seq + 3), []))
        seq += 3
    waiting = writer.submit(counts)
    assert [future.result(SECONDS).rows for future in futures] == list(range(3, 3003, 3))
    assert waiting.result(SECONDS)[1] > 0
    monkeypatch.setattr("storage.chores.OVERDUE", 1000.0)
    while writer.submit(counts).result(SECONDS)[0] >= 10:
        time.sleep(0.05)  # quiet, in which it packs
    assert load_of(writer, destination) == rows(1, 3000)
    writer.close()


def load_of(writer: Writer, destination: int) -> list[OutboxRow]:
    return writer.submit(load, destination).result(SECONDS)


# Against a plain list


class Model:
    """One destination, kept by a database and by a list."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lives = 0
        self.database = open_database(folder / "0" / "agent.sqlite")
        self.id = target_state.insert(self.database, "destination", "broker", {}).id
        self.packing = Packing(self.database, pytest.fail)
        self.rows: list[OutboxRow] = []
        self.last_seq = 0
        self.repeated: Callable[[], None] = lambda: None

    def commit(self, chance: random.Random) -> None:
        new = [self._new(chance) for _ in range(chance.randrange(9))]
        known = [*self.rows, *new]
        done = [one.seq for one in known if chance.random() < chance.choice((0.0, 0.1, 0.9))]
        dead = [DeadLetter(seq, "t", b"", "no", 0, 0) for seq in done[:1]]

        def commit() -> None:
            outbox.commit(self.database, self.id, new, done, dead)

        commit()
        self.repeated = commit
        self.rows = [one for one in known if one.seq not in set(done)]

    def _new(self, chance: random.Random) -> OutboxRow:
        self.last_seq += 1 if chance.random() < 0.9 else chance.randrange(1, 30)
        return row(self.last_seq, chance.choice((20, 40, 90)))

    def repeat(self, chance: random.Random) -> None:
        """A commit that was not known to have succeeded."""
        self.repeated()

    def append(self, chance: random.Random) -> None:
        sizes = [chance.randrange(60) for _ in range(chance.randrange(6))]
        new = [Payload("t", bytes(size), 7, qos=0, retain=True) for size in sizes]
        most = chance.choice((50, 400, 100_000))
        before, max_rows = len(self.rows), chance.choice((4, 30, 1000))
        fitting = [one for one in new if len(one.payload) <= most]
        dropped = outbox.append(self.database, self.id, new, max_rows, most)
        kept = before + len(new) - dropped
        assert kept <= max_rows
        assert outbox.summary(self.database, self.id).bytes <= most if kept else True  # type: ignore[union-attr]
        added = fitting[-kept:] if kept else []
        first = self.last_seq + 1
        self.rows = self.rows[before - (kept - len(added)) :] + [
            OutboxRow(seq, one.topic, one.payload, 7, 0, True) for seq, one in enumerate(added, first)
        ]
        self.last_seq += len(added)
        self.repeated = lambda: None

    def pack(self, chance: random.Random) -> None:
        for _ in range(chance.randrange(8)):
            if self.packing.wanted():
                self.packing.step()

    def kill(self, chance: random.Random) -> None:
        """What is on disk, the log included, is all that the next life has."""
        before = self.folder / str(self.lives)
        self.lives += 1
        after = self.folder / str(self.lives)
        after.mkdir()
        for file in before.iterdir():
            if "lock" not in file.name:
                shutil.copy(file, after / file.name)
        self.database.close()
        self.database = open_database(after / "agent.sqlite")
        self.packing = Packing(self.database, pytest.fail)

    def check(self, chance: random.Random) -> None:
        found = outbox.summary(self.database, self.id)
        expected = self.rows[0].created_at if self.rows else None
        assert ((found.rows, found.oldest) if found else (0, None)) == (len(self.rows), expected)
        assert found is None or found.last_seq == self.last_seq
        assert load(self.database, self.id) == self.rows
        after, most, size = chance.randrange(self.last_seq + 2), chance.randrange(12), chance.randrange(300)
        self._check_part(after, most, size)
        held = self.database.db.execute(
            "SELECT (SELECT coalesce(sum(length(payload)), 0) FROM outbox)"
            " + (SELECT coalesce(sum(bytes * rows / packed), 0) FROM outbox_groups)"
        ).fetchone()[0]
        assert found is None or found.bytes == held

    def _check_part(self, after: int, most: int, size: int) -> None:
        part: list[OutboxRow] = []
        left = size
        for one in self.rows:
            if one.seq > after:
                left -= len(one.payload)
                if part and (left < 0 or len(part) >= most):
                    break
                part.append(one)
        assert outbox.load(self.database, self.id, after, most, size) == outbox.Loaded(part)


STEPS = st.sampled_from(["commit", "commit", "commit", "pack", "pack", "append", "repeat", "kill"])


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, max_size=30), st.integers(0, 2**32))
def test_no_order_of_events_makes_a_difference_to_who_loads(steps: list[str], seed: int) -> None:
    chance = random.Random(seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(packing, "GROUP_ROWS", 7),
        patch.object(packing, "GROUP_BYTES", 300),
        patch.object(packing, "STEP", 0.0),
        patch.object(packing, "BLOCK", 100),
        patch.object(groups, "SPAN", 40),
    ):
        model = Model(Path(folder))
        for step in steps:
            getattr(model, step)(chance)
            model.check(chance)
        model.database.close()


# The end of the process


KILLED = """
import sys
from functools import partial
from pathlib import Path
from storage import chores, outbox, packing, target_state
from storage.database import open_database
from storage.outbox import OutboxRow
from storage.writer import Writer

packing.GROUP_ROWS = 20
packing.REST = 0
chores.OVERDUE = 0.0
writer = Writer(partial(open_database, Path(sys.argv[1])))
writer.start()
destination = writer.submit(target_state.insert, "destination", "broker", {}).result().id
seq = 0
while True:
    seq += 1
    row = OutboxRow(seq, "t", seq.to_bytes(4, "big") * 100, seq)
    # Two of three are delivered, some time later and not in order.
    done = [seq - 50 - seq % 7] if seq > 60 and seq % 3 else []
    writer.submit(outbox.commit, destination, [row], done).result()
    print(seq, *done, flush=True)
"""


@pytest.mark.parametrize("lines", [150, 400, 777])
def test_killed_process_keeps_what_was_committed_and_repeats_nothing(path: Path, lines: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        told += [line for line in child.stdout if line.endswith("\n")]
    committed = {int(line.split()[0]) for line in told}
    done = {int(seq) for line in told for seq in line.split()[1:]}

    database = open_database(path)

    assert database.set_aside is None
    found = load(database, 1)
    seqs = [one.seq for one in found]
    assert seqs == sorted(set(seqs))
    # Of the one commit that was under way nothing is known.
    assert committed - done <= {*seqs, max(committed) - 49 - (max(committed) + 1) % 7}
    assert not done & set(seqs)
    assert all(one.payload == one.seq.to_bytes(4, "big") * 100 for one in found)
    assert counts(database)[1] > 0
    assert outbox.summary(database, 1).rows == len(found)  # type: ignore[union-attr]
    assert database.db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()


# A full disk


def test_full_disk_leaves_rows_as_they_are_until_there_is_room(
    database: Database, destination: int, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(1)
    noise = [OutboxRow(seq, "t", chance.randbytes(3000), seq) for seq in range(1, 1000)]
    outbox.commit(database, destination, noise, [])
    before = outbox.summary(database, destination)
    connection = database.db.conn
    used = setting(connection, "page_count")
    # Where the rows were there is room for the group; so it is taken by others in the same transaction.
    connection.execute(
        "CREATE TRIGGER greedy BEFORE INSERT ON outbox_groups BEGIN"
        " INSERT INTO dead_letters (destination_id, seq, created_at, rejected_at, topic, reason, payload)"
        f" VALUES (NEW.destination_id, 1, 0, 0, '', '', zeroblob({8 * 1024 * 1024})); END"
    )
    connection.execute(f"PRAGMA max_page_count={used + 10}").fetchall()
    chore = Packing(database, pytest.fail)
    while not caplog.records:
        chore.step()
    assert "disk is full" in caplog.text
    assert (chore.pause() or 0) > 1
    assert outbox.summary(database, destination) == before
    assert load(database, destination) == noise
    with pytest.raises(sqlite3.OperationalError, match="full"):
        outbox.commit(database, destination, rows(1000, 5000, 4000), [])

    connection.execute("DROP TRIGGER greedy")
    connection.execute("PRAGMA max_page_count=1000000").fetchall()
    pack(database)
    assert counts(database)[1] == 2
    assert load(database, destination) == noise


@pytest.mark.usefixtures("small_groups")
def test_delivering_out_of_groups_needs_no_room(database: Database, destination: int) -> None:
    outbox.commit(database, destination, rows(1, 200), [])
    pack(database)
    used = setting(database.db.conn, "page_count")
    database.db.conn.execute(f"PRAGMA max_page_count={used}").fetchall()
    for seq in range(1, 201):
        outbox.commit(database, destination, [], [seq])
    assert counts(database) == (0, 0)


# Damage


def spoil(database: Database, group: int, change: Callable[[bytes], bytes]) -> None:
    """Change the content of one of the groups, counted from 1."""
    (data,) = database.db.execute("SELECT data FROM outbox_group_data WHERE group_id = ?", [group]).fetchone()
    database.db.conn.execute(
        "UPDATE outbox_group_data SET data = ? WHERE group_id = ?", [change(data), group]
    )


def flipped(at: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        position = at % len(data)
        return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]

    return change


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize(
    "change",
    [
        *(flipped(at) for at in (0, 4, 5, 9, 40, -1)),
        lambda data: b"",
        lambda data: data[:-5],
        lambda data: data + data,
        lambda data: ZstdCompressor().compress(b"something else", ZstdCompressor.FLUSH_FRAME),
        lambda data: ZstdCompressor().compress(bytes(2**28), ZstdCompressor.FLUSH_FRAME),
        lambda data: random.Random(1).randbytes(len(data)),
    ],
)
def test_damaged_group_is_skipped_counted_and_told_and_its_neighbours_are_not_touched(
    database: Database,
    destination: int,
    change: Callable[[bytes], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox.commit(database, destination, rows(1, 35), [])
    pack(database)
    outbox.commit(database, destination, [], [12, 13])
    spoil(database, 2, change)

    found = outbox.load(database, destination, 0, 1000, 1_000_000)

    if found.lost:
        assert found.rows == rows(1, 10) + rows(21, 35)
        assert found.lost == 8
        assert "8 stored payloads cannot be read and are skipped" in caplog.text
        assert outbox.summary(database, destination).rows == 25  # type: ignore[union-attr]
        assert counts(database) == (5, 2)
        again = outbox.load(database, destination, 0, 1000, 1_000_000)
        assert again == outbox.Loaded(found.rows)
    else:
        assert found.rows == [one for one in rows(1, 35) if one.seq not in (12, 13)], "no harm was done"


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("size", [-(2**63), -5, 0, 7, 10**9, 2**63 - 1])
def test_size_that_is_damaged_is_a_damaged_group(database: Database, destination: int, size: int) -> None:
    outbox.commit(database, destination, rows(1, 30), [])
    pack(database)
    database.db.execute("UPDATE outbox_groups SET size = ? WHERE id = 2", [size])
    found = outbox.load(database, destination, 0, 1000, 1_000_000)
    assert found == outbox.Loaded(rows(1, 10) + rows(21, 30), 10)


@pytest.mark.usefixtures("small_groups")
def test_everything_damaged_is_nothing_loaded(database: Database, destination: int) -> None:
    outbox.commit(database, destination, rows(1, 30), [])
    pack(database)
    for group in (1, 2, 3):
        spoil(database, group, flipped(20))
    assert outbox.summary(database, destination) == OutboxSummary(
        30,
        outbox.summary(database, destination).bytes,
        1001,
        30,  # type: ignore[union-attr]
    )
    assert outbox.load(database, destination, 0, 5, 100) == outbox.Loaded([], 30)
    assert outbox.summary(database, destination) == OutboxSummary(0, 0, None, 30)


@pytest.mark.usefixtures("small_groups")
def test_age_of_a_group_that_is_damaged_is_that_of_its_first_row(
    database: Database, destination: int
) -> None:
    outbox.commit(database, destination, rows(1, 10), [])
    pack(database)
    outbox.commit(database, destination, [], [1, 2])
    assert outbox.summary(database, destination).oldest == 1003  # type: ignore[union-attr]
    spoil(database, 1, flipped(20))
    assert outbox.summary(database, destination).oldest == 1001  # type: ignore[union-attr]


def test_group_that_claims_to_be_larger_than_it_is_takes_no_memory() -> None:
    bomb = ZstdCompressor().compress(bytes(2**30), ZstdCompressor.FLUSH_FRAME)
    tracemalloc.start()
    with pytest.raises(groups.Damaged):
        groups.decode(bomb, 1000)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_damaged_page_of_a_group_is_met_by_the_job_that_reads_it(path: Path) -> None:
    """SQLite finds the structure broken: the next start checks everything, as for any other table."""
    database = open_database(path)
    destination = target_state.insert(database, "destination", "broker", {}).id
    chance = random.Random(1)
    outbox.commit(
        database,
        destination,
        [OutboxRow(seq, "t", chance.randbytes(3000), seq) for seq in range(1, 3000)],
        [],
    )
    pack(database)
    database.close()
    connection = sqlite3.connect(path)
    (page,) = connection.execute(
        "SELECT pageno FROM dbstat WHERE name = 'outbox_group_data' AND pagetype = 'leaf' ORDER BY path"
    ).fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)
    writer = Writer(partial(open_database, path))
    assert writer.start().set_aside is None
    with pytest.raises(StorageError, match="malformed"):
        writer.submit(load, destination).result(SECONDS)
    assert writer.submit(target_state.load).result(SECONDS)[0].name == "broker"
    writer.close()
    assert path.with_name("agent.sqlite.check").exists()
