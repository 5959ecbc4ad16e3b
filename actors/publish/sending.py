"""What goes out when, over the connections of a destination. Plain; times are monotonic seconds."""

from collections.abc import Iterator

import msgspec

from actors.publish.entries import Entry
from actors.publish.outbox import Outbox
from actors.publish.pace import Flow, Pace, Replay
from actors.publish.quarantine import Quarantine
from actors.publish.suspicion import Suspicion

FRUITLESS = 10
"""Connections in a row that are put off, nothing being delivered, before what was sent may be to blame after
all."""


class Verdict(msgspec.Struct, frozen=True):
    """A payload is given up; its topic is in quarantine for so many seconds (0: not)."""

    entry: Entry
    quarantine: float


class Sending:
    """Lets as many payloads out as connections have shown to get through, finds out which payload they end
    over, and keeps topics out that are not taken."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._replay = Replay()
        self._suspicion = Suspicion()
        self._quarantine = Quarantine()
        self._was_put_off = False
        self._put_off = 0

    def connected(self) -> None:
        if not self._was_put_off:
            self._pace.connected()
        self._was_put_off = False

    def put_off(self) -> bool:
        """The connection has ended because the other end had no time: neither any payload nor their number is
        to blame, and the next connection goes on as this one did. False when that has been said too often."""
        self._put_off += 1
        self._was_put_off = self._put_off <= FRUITLESS
        if self._was_put_off:
            self._suspicion.reset()
        return self._was_put_off

    def due(self, outbox: Outbox, flow: Flow, now: float) -> Iterator[tuple[Entry, bool]]:
        """What is to leave the outbox now: entries to be sent, or (False) to be rejected at once. Each is in
        flight already."""
        while entries := self._taken(outbox, flow, now):
            held = False
            for entry in entries:
                if self._quarantine and self._quarantine.holds(entry.topic, now):
                    held = True
                    yield entry, False
                else:
                    yield entry, True
            if not held:
                return

    def _taken(self, outbox: Outbox, flow: Flow, now: float) -> list[Entry]:
        suspicion = self._suspicion
        if suspicion.suspected is None:
            return self._paced(outbox, flow, now)
        if outbox.in_flight:
            return []
        if outbox.next != suspicion.suspected:
            suspicion.reset()  # it is not there any more
            return self._paced(outbox, flow, now)
        if not suspicion.witnessed:
            witness = outbox.take_other(
                suspicion.refused_topics, suspicion.refused_seqs if suspicion.any_witness else None
            )
            if witness is not None:
                return [witness]
        return outbox.take(1)

    def _paced(self, outbox: Outbox, flow: Flow, now: float) -> list[Entry]:
        room = self._pace.room(flow.window) - outbox.in_flight
        if not flow.replay_per_second:
            return outbox.take(room)
        entries = outbox.take(room, self._replay.room(flow.replay_per_second, now))
        self._replay.used(sum(entry.saved for entry in entries))
        return entries

    def delivered(self, outbox: Outbox, seqs: list[int]) -> None:
        if self._suspicion.suspected is None:
            self._put_off = 0
        self._suspicion.delivered(seqs, outbox.first_in_flight)
        if self._quarantine:
            for seq in seqs:
                entry = outbox.sent(seq)
                if entry is not None:
                    self._quarantine.delivered(entry.topic)
        outbox.delivered(seqs)
        self._pace.delivered(len(seqs))

    def ended(self, outbox: Outbox, now: float) -> Verdict | None:
        """The connection has ended by itself; who is given up for it, if anybody is. The rest is to be sent
        again."""
        oldest = outbox.first_in_flight
        entry = None if oldest is None else outbox.sent(oldest)
        self._pace.ended(outbox.in_flight)
        if self._suspicion.ended(entry) is None or entry is None:
            return None
        return Verdict(entry, self._quarantine.convicted(entry.topic, now))
