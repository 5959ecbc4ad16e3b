"""What is kept about outboxes against what is counted."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import dead_letters, outbox, target_state
from storage.database import Database, open_database
from storage.dead_letters import DeadLetter
from storage.errors import MissingParent
from storage.outbox import OutboxRow, OutboxSummary, Payload


@pytest.fixture
def destination(database: Database) -> int:
    return target_state.insert(database, "destination", "broker", {}).id


def counted(database: Database) -> dict[int, tuple[int, int, int]]:
    """Rows, bytes and dead letters of the destinations that have any, from the tables themselves."""
    found = database.db.execute(
        "SELECT id, (SELECT count(*) FROM outbox WHERE destination_id = t.id)"
        " + (SELECT coalesce(sum(rows), 0) FROM outbox_groups WHERE destination_id = t.id),"
        " (SELECT coalesce(sum(length(payload)), 0) FROM outbox WHERE destination_id = t.id)"
        " + (SELECT coalesce(sum(bytes * rows / packed), 0) FROM outbox_groups WHERE destination_id = t.id),"
        " (SELECT count(*) FROM dead_letters WHERE destination_id = t.id) FROM target_state AS t"
    )
    return {id: (rows, size, dead) for id, rows, size, dead in found if rows or dead}


def kept(database: Database) -> dict[int, tuple[int, int, int]]:
    return {
        id: (one.rows, one.bytes, one.dead_letters)
        for id, one in outbox.summaries(database).items()
        if one.rows or one.dead_letters
    }


SEQS = st.integers(1, 12)
SIZES = st.integers(0, 9)
WHERE = st.integers(0, 2)
OPERATIONS = st.one_of(
    st.tuples(
        st.just("commit"),
        WHERE,
        st.lists(st.tuples(SEQS, SIZES), max_size=6),
        st.lists(SEQS, max_size=6),
        st.lists(SEQS, max_size=4),
    ),
    st.tuples(st.just("append"), WHERE, st.lists(SIZES, max_size=6), st.integers(0, 8), st.integers(0, 40)),
    st.tuples(st.just("clear"), WHERE),
    st.tuples(st.just("remove"), WHERE),
    st.tuples(st.just("fail"), WHERE),
)


class Model:
    """Destinations at three places, each replaced by a new one when it is removed."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.places = [self.insert() for _ in range(3)]
        self.highest = dict.fromkeys(self.places, 0)

    def insert(self) -> int:
        return target_state.insert(self.database, "destination", None, {}).id

    def commit(
        self, id: int, rows: list[tuple[int, int]], done: list[int], dead: list[int], rejected_at: int
    ) -> None:
        committed = outbox.commit(
            self.database,
            id,
            [OutboxRow(seq, "t", bytes(size), seq) for seq, size in rows],
            done,
            [DeadLetter(seq, "t", b"x", "no", 0, rejected_at) for seq in dead],
        )
        self.highest[id] = max([self.highest[id], *(seq for seq, _ in rows), *done, *dead])
        found = (committed.rows, committed.bytes, committed.dead_letters)
        assert found == counted(self.database).get(id, (0, 0, 0))

    def append(self, id: int, sizes: list[int], max_rows: int, max_bytes: int) -> None:
        before = counted(self.database).get(id, (0, 0, 0))
        payloads = [Payload("new", bytes(size), 99) for size in sizes]
        dropped = outbox.append(self.database, id, payloads, max_rows, max_bytes)
        rows, size, _ = counted(self.database).get(id, (0, 0, 0))
        assert rows <= max_rows
        assert size <= max_bytes
        assert rows == before[0] + len(sizes) - dropped
        new = [
            row.seq
            for row in outbox.load(self.database, id, 0, 100, 10_000).rows
            if row.seq > self.highest[id]
        ]
        assert new == list(range(self.highest[id] + 1, self.highest[id] + 1 + len(new)))
        too_large = sum(size > max_bytes for size in sizes)
        assert len(new) == min(rows, len(sizes) - too_large), "the oldest give way first"
        self.highest[id] += len(new)

    def remove(self, place: int) -> None:
        target_state.delete(self.database, [self.places[place]])
        self.places[place] = self.insert()
        self.highest[self.places[place]] = 0

    def fail(self, id: int) -> None:
        """What is undone is not counted."""
        connection = self.database.db.conn
        connection.execute("BEGIN")
        outbox.append(self.database, id, [Payload("t", b"undone", 0)], 100, 1000)
        dead_letters.clear(self.database, id)
        connection.execute("ROLLBACK")


@settings(max_examples=60, deadline=None)
@given(st.lists(OPERATIONS, max_size=25))
def test_what_is_kept_is_what_would_be_counted(operations: list[tuple[object, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(Path(folder) / "agent.sqlite")
        model = Model(database)
        for number, (name, place, *arguments) in enumerate(operations):
            assert isinstance(place, int)
            id = model.places[place]
            match name:
                case "commit":
                    model.commit(id, *arguments, number)  # type: ignore[arg-type]
                case "append":
                    model.append(id, *arguments)  # type: ignore[arg-type]
                case "clear":
                    before = counted(database).get(id, (0, 0, 0))[2]
                    assert dead_letters.clear(database, id) == before
                    assert dead_letters.count(database, id) == 0
                case "remove":
                    model.remove(place)
                case "fail":
                    model.fail(id)
            assert kept(database) == counted(database)
            for one in model.places:
                found = outbox.summary(database, one)
                assert (found.last_seq if found else 0) == model.highest[one]
        database.close()


def test_oldest_is_that_of_the_lowest_seq(database: Database, destination: int) -> None:
    outbox.commit(database, destination, [OutboxRow(7, "t", b"", 50), OutboxRow(9, "t", b"", 10)], [])
    assert outbox.summary(database, destination) == OutboxSummary(2, 0, 50, 9)
    outbox.commit(database, destination, [], [7])
    assert outbox.summary(database, destination) == OutboxSummary(1, 0, 10, 9)


def test_nothing_is_said_of_a_destination_that_never_had_anything(
    database: Database, destination: int
) -> None:
    assert outbox.summary(database, destination) is None
    assert outbox.summaries(database) == {}
    outbox.commit(database, destination, [], [])
    assert outbox.summary(database, destination) is None


def test_summaries_do_not_look_at_the_rows(database: Database, destination: int) -> None:
    """At most at one of each outbox: a statement that takes many steps would be stopped."""
    rows = [OutboxRow(seq, "t", b"", seq) for seq in range(7, 2000)]
    outbox.commit(database, destination, rows, [])
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return steps > 20

    database.db.conn.set_progress_handler(count, 10)
    assert outbox.summaries(database) == {destination: OutboxSummary(1993, 0, 7, 1999)}


# append


def appended(database: Database, id: int, *payloads: bytes, rows: int = 100, size: int = 1000) -> int:
    return outbox.append(database, id, [Payload("t", one, 5) for one in payloads], rows, size)


def stored(database: Database, id: int) -> list[tuple[int, bytes]]:
    return [(row.seq, row.payload) for row in outbox.load(database, id, 0, 100, 10_000).rows]


def test_payloads_are_appended_behind_all_others(database: Database, destination: int) -> None:
    outbox.commit(database, destination, [OutboxRow(41, "t", b"old", 1)], [])
    assert appended(database, destination, b"a", b"b") == 0
    assert stored(database, destination) == [(41, b"old"), (42, b"a"), (43, b"b")]
    assert outbox.summary(database, destination) == OutboxSummary(3, 5, 1, 43)
    assert outbox.load(database, destination, 41, 1, 1).rows == [OutboxRow(42, "t", b"a", 5)]


@pytest.mark.parametrize("how", ["delivered", "rejected", "never stored"])
def test_sequence_number_is_not_used_again_when_the_table_is_empty(
    database: Database, destination: int, how: str
) -> None:
    rows = [OutboxRow(10, "t", b"x", 0)]
    match how:
        case "delivered":
            outbox.commit(database, destination, rows, [])
            outbox.commit(database, destination, [], [10])
        case "rejected":
            outbox.commit(database, destination, [], [], [DeadLetter(10, "t", b"x", "no", 0, 1)])
            dead_letters.clear(database, destination)
        case _:
            outbox.commit(database, destination, rows, [10])
    assert stored(database, destination) == []
    appended(database, destination, b"new")
    assert stored(database, destination) == [(11, b"new")]


def test_first_payload_of_a_destination_has_number_1(database: Database, destination: int) -> None:
    appended(database, destination, b"first")
    assert stored(database, destination) == [(1, b"first")]


def test_oldest_give_way_to_what_is_appended(database: Database, destination: int) -> None:
    appended(database, destination, b"a", b"bb", b"cc")
    assert appended(database, destination, b"d", rows=3) == 1
    assert stored(database, destination) == [(2, b"bb"), (3, b"cc"), (4, b"d")]
    assert appended(database, destination, b"eee", size=6) == 1
    assert stored(database, destination) == [(3, b"cc"), (4, b"d"), (5, b"eee")]


def test_what_is_appended_gives_way_too_when_it_is_too_much(database: Database, destination: int) -> None:
    appended(database, destination, b"old")
    assert appended(database, destination, b"a", b"b", b"c", rows=2) == 2
    assert [payload for _, payload in stored(database, destination)] == [b"b", b"c"]
    assert appended(database, destination, b"d" * 20, b"e", size=20) == 2 + 1
    assert stored(database, destination) == [(4, b"e")]
    assert appended(database, destination, b"x", rows=0) == 1 + 1
    assert stored(database, destination) == []


def test_payload_beyond_the_limit_by_itself_takes_nothing_with_it(
    database: Database, destination: int
) -> None:
    appended(database, destination, b"a", b"b")
    assert appended(database, destination, b"c", b"large" * 10, b"d", size=20) == 1
    assert [payload for _, payload in stored(database, destination)] == [b"a", b"b", b"c", b"d"]


def test_nothing_is_appended_for_a_destination_that_is_gone(database: Database, destination: int) -> None:
    target_state.delete(database, [destination])
    for payloads in ((b"a",), ()):
        with pytest.raises(MissingParent):
            appended(database, destination, *payloads)
    with pytest.raises(MissingParent):
        appended(database, destination, b"a", rows=0)
    assert outbox.summaries(database) == {}
