"""What an outbox consists of, and what it may hold."""

import msgspec

from storage.dead_letters import DeadLetter
from storage.outbox import OutboxRow


class Limits(msgspec.Struct, frozen=True):
    """What an outbox may hold (`[publish]` in `agent.toml`). `hold` is seconds before a payload that is
    not acknowledged is committed; `strict` persists before sending; `disk_percent` is as in
    `storage.disk`."""

    max_rows: int
    max_bytes: int
    ttl_ms: int
    memory_bytes: int
    hold: float
    strict: bool
    disk_percent: int = 100


class Entry(msgspec.Struct, gc=False):
    """A payload on its way. `added` is monotonic seconds, `created_at` Unix ms, `age_ms` how old it was when
    it was last sent. `written`: it was in a commit, so it may be on disk; `saved`: it is."""

    seq: int
    topic: str
    payload: bytes
    created_at: int
    added: float
    qos: int = 1
    retain: bool = False
    written: bool = False
    saved: bool = False
    live: bool = True
    age_ms: int = 0


class Commit(msgspec.Struct, frozen=True):
    """What the next transaction writes: entries not yet on disk, sequence numbers to delete, and what
    was rejected."""

    entries: list[Entry]
    done: list[int]
    dead: list[DeadLetter]

    def rows(self) -> list[OutboxRow]:
        return [OutboxRow(e.seq, e.topic, e.payload, e.created_at, e.qos, e.retain) for e in self.entries]


class Drops(msgspec.Struct):
    """Payloads given up, by reason, since the start."""

    quota: int = 0
    expired: int = 0
