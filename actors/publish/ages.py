"""How old the payloads of an outbox are. Plain.

A stamp says what the clock said. By how much that was wrong nobody may ever know, so nothing is given up for
what two stamps are apart: a payload expires when the agent has run for its time to live since it came. What
passes while the agent does not run does not count, for that, too, only the clock could say.
"""

from collections import deque
from collections.abc import Sequence

from storage.outbox_marks import Mark

STEPS = 64
"""A payload may live longer than its time to live by the so-manieth part of it."""
SAVE_INTERVAL = 60.0
"""Seconds. By so much, at most, a payload does not age when the agent is killed."""
LEFT_MS = 10**12
"""The age of what an earlier run has left: nobody knows it, and it is history."""
FRAMES = 100
"""So many changes of the clock are known; what was stamped before them is taken as it is."""


class Ages:
    """`marks` are those of earlier runs, in order, `last_seq` the highest that is on disk, `now`, here and
    below, monotonic seconds."""

    def __init__(self, ttl_ms: int, marks: Sequence[Mark] = (), last_seq: int = 0, now: float = 0.0) -> None:
        self._ttl_ms = ttl_ms
        self._step_ms = ttl_ms / STEPS
        # What came after the last commit before a crash had numbers that are given again.
        self._marks = deque(Mark(mark.seen_ms, min(mark.seq, last_seq)) for mark in marks)
        self._began_ms = (marks[-1].seen_ms if marks else 0) - 1000 * now
        self._save_at = now + SAVE_INTERVAL
        self._frames: deque[tuple[int, int]] = deque([(last_seq + 1, 0)], maxlen=FRAMES)
        if not marks:
            self._marks.append(Mark(0, last_seq))

    # Time to live

    def note(self, seq: int, now: float) -> None:
        """All payloads up to `seq` have come."""
        marks, seen_ms = self._marks, self._seen_ms(now)
        if seen_ms - marks[-1].seen_ms < min(self._step_ms, 1000 * SAVE_INTERVAL):
            return
        if len(marks) > 1 and seen_ms - marks[-2].seen_ms <= self._step_ms:
            marks.pop()
        marks.append(Mark(seen_ms, seq))

    def past(self, now: float) -> int:
        """Payloads up to this number are past their time to live; 0: none."""
        marks, oldest_allowed = self._marks, self._began_ms + 1000 * now - self._ttl_ms
        while len(marks) > 1 and marks[1].seen_ms < oldest_allowed:
            marks.popleft()
        return marks[0].seq if marks[0].seen_ms < oldest_allowed else 0

    def due(self, now: float) -> list[Mark] | None:
        """What is to be stored for the next run, if it is time to."""
        if now < self._save_at:
            return None
        self._save_at = now + SAVE_INTERVAL
        return self.last(now)

    def last(self, now: float) -> list[Mark]:
        """What is to be stored when the run ends."""
        latest, seen_ms = self._marks[-1], self._seen_ms(now)
        return [*self._marks, Mark(seen_ms, latest.seq)] if seen_ms > latest.seen_ms else list(self._marks)

    def _seen_ms(self, now: float) -> int:
        return int(self._began_ms + 1000 * now)

    # Stamps

    def shifted(self, seq: int, shift: int) -> None:
        """From this number on stamps are by a clock that was set by so many ms in all since the run began."""
        if shift != self._frames[-1][1]:
            self._frames.append((seq, shift))

    def age_ms(self, seq: int, stamp: int, now_ms: int) -> int:
        """Since a payload came, `now_ms` being what the clock says."""
        if seq < self._frames[0][0]:
            return LEFT_MS
        return max(0, now_ms - self.current(seq, stamp))

    def current(self, seq: int, stamp: int) -> int:
        """A payload's stamp as the clock would have made it if it had been then what it is now. What an
        earlier run has stamped is taken as it is: which of both clocks is right, nobody can tell."""
        for first, shift in reversed(self._frames):
            if seq >= first:
                return stamp + self._frames[-1][1] - shift
        return stamp
