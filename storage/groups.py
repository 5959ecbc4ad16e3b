"""Rows of the outbox that were packed: many in one compressed piece, each still to be delivered by itself.

A group holds consecutive rows of one destination. Which of them are left is a bitmap beside it, so that
taking rows out rewrites some bytes and not the piece. Groups of a destination do not overlap.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from struct import Struct
from typing import Any, Final, NamedTuple

import msgspec

from storage.database import Database
from storage.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

SPAN: Final = 16_384
"""Sequence numbers from the first to the last row of a group, at most: an eighth of it is its bitmap."""

WINDOW_LOG: Final = 20
"""Of what comes at most so far (1 MiB) behind, a compressor remembers, and a decompressor has to."""

# Payloads are not copied: of a large group perhaps a few are wanted.
_Packed = tuple[int, str, memoryview, int, int, bool]
_decoder = msgspec.msgpack.Decoder(list[_Packed])
_HEAD = Struct(">BI")
_ARRAY = 0xDD


class OutboxRow(msgspec.Struct, frozen=True, gc=False):
    """`seq` orders the rows of one destination; `created_at` is Unix ms. `qos` (0 or 1) and `retain` are for
    destinations that know such a thing."""

    seq: int
    topic: str
    payload: bytes
    created_at: int
    qos: int = 1
    retain: bool = False


class Damaged(Exception):
    """What a group holds is not what was put in."""


class Group(NamedTuple):
    """A line of `outbox_groups`: `packed` rows were put in, those in the bitmap `live` (by distance from
    `first_seq`) are left; `size` is what it is when decompressed, `bytes` what it takes on disk."""

    id: int
    first_seq: int
    last_seq: int
    packed: int
    live: int
    size: int
    bytes: int

    @property
    def left(self) -> int:
        return self.live.bit_count()

    def held(self, left: int) -> int:
        """The share of `bytes` that goes to so many of its rows."""
        return self.bytes * left // self.packed

    def has(self, seq: int) -> bool:
        return seq >= self.first_seq and bool(self.live >> (seq - self.first_seq) & 1)


class Content:
    """Rows that are to be a group, in order; compressed, they are its `data`: an array in MessagePack, whose
    length is only known in the end. `size` is what it is before. In pieces, for one of the whole would leave
    a hole in the process's memory."""

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.created_at = 0
        self.size = _HEAD.size
        self._pieces: deque[bytes] = deque()

    def add(self, row: OutboxRow) -> None:
        self.created_at = self.created_at if self.seqs else row.created_at
        self.seqs.append(row.seq)
        piece = msgspec.msgpack.encode(msgspec.structs.astuple(row))
        self._pieces.append(piece)
        self.size += len(piece)

    def blocks(self, size: int) -> Iterator[bytes]:
        """All of it, in blocks of about this size; each is let go of."""
        block = bytearray(_HEAD.pack(_ARRAY, len(self.seqs)))
        while self._pieces:
            piece = self._pieces.popleft()
            for start in range(0, len(piece), size):
                block += piece[start : start + size]
                if len(block) >= size:
                    yield bytes(block)
                    block.clear()
        yield bytes(block)


def decode(data: bytes, size: int) -> list[_Packed]:
    """The rows of a group, whatever is left of them. Never takes more memory than `size`, what they were
    before compression, calls for. Raises `Damaged`."""
    if not 0 <= size < 2**62:
        raise Damaged(f"a size of {size}")
    try:
        decompressor = ZstdDecompressor(options={DecompressionParameter.window_log_max: WINDOW_LOG})
        content = decompressor.decompress(data, size + 1)
        if len(content) != size or not decompressor.eof:
            raise Damaged(f"{len(content)} of {size} bytes")
        return _decoder.decode(content)
    except (ZstdError, msgspec.DecodeError, EOFError) as error:
        raise Damaged(str(error)) from error


_COLUMNS = "SELECT id, first_seq, last_seq, packed, live, size, bytes FROM outbox_groups"


def reaching(database: Database, destination_id: int, first: int, last: int | None = None) -> Iterator[Group]:
    """Those that may hold seqs from `first` to `last`, in order."""
    query = (
        f"{_COLUMNS} WHERE destination_id = ?1 AND first_seq <= ?3 AND first_seq >= coalesce("
        "(SELECT max(first_seq) FROM outbox_groups WHERE destination_id = ?1 AND first_seq <= ?2), ?2)"
        " ORDER BY first_seq"
    )
    most = 2**63 - 1 if last is None else last
    with closing(database.db.execute(query, [destination_id, first, most])) as cursor:
        for values in cursor:
            yield _group(values)


def _group(values: tuple[Any, ...]) -> Group:
    id, first, last, packed, live, size, bytes_ = values
    return Group(id, first, last, packed, int.from_bytes(live, "little"), size, bytes_)


def last_seq(database: Database, destination_id: int) -> int:
    """The last that was ever put into a group that is there; 0 without any."""
    found = database.db.execute(
        "SELECT last_seq FROM outbox_groups WHERE destination_id = ? ORDER BY first_seq DESC LIMIT 1",
        [destination_id],
    ).fetchone()
    return 0 if found is None else int(found[0])


def rows(database: Database, group: Group) -> Iterator[OutboxRow]:
    """What is left of it, in order. Raises `Damaged`, before the first row."""
    found = database.db.execute("SELECT data FROM outbox_group_data WHERE group_id = ?", [group.id])
    data = found.fetchone()
    if data is None:
        raise Damaged("its content is gone")
    left = [one for one in decode(data[0], group.size) if group.has(one[0])]
    if len(left) != group.left:
        raise Damaged(f"it holds {len(left)} of {group.left} rows")
    return (
        OutboxRow(seq, topic, bytes(payload), created_at, qos, retain)
        for seq, topic, payload, created_at, qos, retain in left
    )


def insert(database: Database, destination_id: int, content: Content, live: int, data: bytes) -> None:
    """A group of what `data` is compressed from; `live` is a bitmap of the rows that are left."""
    seqs = content.seqs
    values = (destination_id, seqs[0], seqs[-1], content.created_at, len(seqs), live.bit_count())
    connection = database.db.conn
    cursor = connection.execute(
        "INSERT INTO outbox_groups"
        " (destination_id, first_seq, last_seq, created_at, packed, rows, live, size, bytes)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, _bits(live), content.size, len(data)),
    )
    connection.execute("INSERT INTO outbox_group_data VALUES (?, ?)", (cursor.lastrowid, data))


def leave(database: Database, group: Group, live: int) -> None:
    """Have only the rows of the bitmap `live` left; without any, nothing stays of the group."""
    if not live:
        database.db.conn.execute("DELETE FROM outbox_groups WHERE id = ?", [group.id])
    elif live != group.live:
        database.db.conn.execute(
            "UPDATE outbox_groups SET live = ?, rows = ? WHERE id = ?",
            [_bits(live), live.bit_count(), group.id],
        )


def _bits(live: int) -> bytes:
    return live.to_bytes((live.bit_length() + 7) // 8, "little")


def remove(database: Database, destination_id: int, seqs: Sequence[int]) -> None:
    """Take these out, as far as they are in a group; in ascending order."""
    waiting = iter(seqs)
    seq = next(waiting, None)
    for group in list(reaching(database, destination_id, seqs[0], seqs[-1])):
        live = group.live
        while seq is not None and seq <= group.last_seq:
            if seq >= group.first_seq:
                live &= ~(1 << (seq - group.first_seq))
            seq = next(waiting, None)
        leave(database, group, live)


def missing(database: Database, destination_id: int, rows: Sequence[OutboxRow]) -> Sequence[OutboxRow]:
    """Those that no group holds: a commit that was not known to have succeeded is repeated, and what it
    stored may have been packed meanwhile."""
    last = last_seq(database, destination_id)
    old = [row.seq for row in rows if row.seq <= last]
    if not old:
        return rows
    found = list(reaching(database, destination_id, min(old), max(old)))
    return [row for row in rows if row.seq > last or not any(group.has(row.seq) for group in found)]


def drop_oldest(database: Database, destination_id: int, rows: int, size: int) -> tuple[int, int]:
    """Remove the oldest until at least so many rows, and bytes of the disk, are free, or there are none;
    returns how many of both that were."""
    gone_rows = gone_bytes = 0
    while gone_rows < rows or gone_bytes < size:
        group = next(reaching(database, destination_id, 0), None)
        if group is None:
            break
        kept = _kept(group, rows - gone_rows, size - gone_bytes)
        live = group.live
        for _ in range(group.left - kept):
            live &= live - 1
        leave(database, group, live)
        gone_rows += group.left - kept
        gone_bytes += group.held(group.left) - group.held(kept)
    return gone_rows, gone_bytes


def _kept(group: Group, rows: int, size: int) -> int:
    """How many rows may stay when so many rows and bytes have to go."""
    least = group.held(group.left) - max(size, 0)
    # The largest number whose share is at most `least`.
    by_size = ((least + 1) * group.packed - 1) // group.bytes if least >= 0 else 0
    return max(0, min(group.left, group.left - rows, by_size))


def drop_damaged(database: Database, groups: Sequence[Group]) -> int:
    """Remove groups that cannot be read; returns how many rows were left in them."""
    for group in groups:
        leave(database, group, 0)
    return sum(group.left for group in groups)


def first_created(database: Database, destination_id: int) -> int | None:
    """When the first row that is left was created (Unix ms), None when there is none. Of a damaged group,
    when its first was."""
    for group in reaching(database, destination_id, 0):
        if not group.live & 1:
            try:
                return next(rows(database, group)).created_at
            except Damaged:
                pass
        query = "SELECT created_at FROM outbox_groups WHERE id = ?"
        return int(database.db.execute(query, [group.id]).fetchone()[0])
    return None
