"""Whether connections end over one payload. Plain.

A broker that will not have a message (too large, a topic that its policy forbids) may have no other way to
say so than to close the connection, or never to acknowledge it; a server may fail over one request.
Everything behind waits then. A broker in trouble does the same over any payload. To tell them apart, a
payload that was the oldest in flight at several ends in a row is tried alone, on a connection that has just
delivered another one, the witness: only a connection that ends then counts against it. Where no other payload
gets through, nothing is proven, and nothing is given up.
"""

from actors.publish.destinations.driver import Outgoing

ENDS = 3
"""Connections that must have ended over the same payload before it is suspected."""
STRIKES = 3
"""Ends right behind a witness, or with later payloads acknowledged and not it, that convict."""
FALSE_ALARMS = 4.0
"""How many ends over payloads that were alone in flight, and taken in the end, are counted at most. Each asks
for as many ends and strikes again: where connections end over anything, they must end over the suspect far
more often."""
REMEMBERED = 100
"""Payloads that connections ended over, of which it is remembered how many did; the oldest give way."""
FORGETTING = 0.1
"""So much of an end is forgotten with each delivery that none had gone before."""


class Suspicion:
    """`suspected` is the payload's sequence number. Tell it what becomes of payloads and connections."""

    def __init__(self) -> None:
        self._false_alarms = 0.0
        self._ended_over: dict[int, int] = {}
        self.reset()

    def reset(self) -> None:
        """Nobody is suspected any more."""
        self.suspected: int | None = None
        self.witnessed = False
        """Whether this connection has delivered another payload, so that the suspect may be tried."""
        self.refused_topics: set[str] = set()
        self.refused_seqs: set[int] = set()
        """Of witnesses that were not delivered either."""
        self._oldest: int | None = None
        self._ends = 0
        self._strikes = 0
        self._passed_over = False

    @property
    def _caution(self) -> float:
        return 1 + self._false_alarms

    @property
    def any_witness(self) -> bool:
        """Whether a witness may have the suspect's own topic, and so arrive before it: others have not
        helped."""
        return self._ends >= 2 * ENDS * self._caution

    def delivered(self, seqs: list[int], oldest: int | None) -> None:
        """These were acknowledged, when `oldest` was the oldest in flight."""
        self._look_back(seqs)
        if self._oldest in seqs:
            self.reset()
        elif self.suspected is not None:
            self.witnessed = True
        elif oldest is not None and seqs[0] > oldest and oldest not in seqs:
            self._blame(oldest)
            self._passed_over = True

    def ended(self, oldest: Outgoing | None) -> int | None:
        """A connection ended, when `oldest` had been the oldest in flight; None when there was none. Returns
        the sequence number of the payload to be given up, if there is one."""
        if oldest is None:
            # It does not last when it is idle either: no payload's fault.
            self.reset()
            return None
        if self.suspected is not None:
            self._remember(oldest.seq)
        if self.suspected not in (None, oldest.seq):
            self.refused_topics.add(oldest.topic)
            self.refused_seqs.add(oldest.seq)
            self._ends += 1
            return None
        self._blame(oldest.seq)
        self._ends += 1
        self._strikes += self.witnessed or self._passed_over
        self.witnessed = self._passed_over = False
        if self._strikes >= STRIKES * self._caution:
            self._ended_over.pop(oldest.seq, None)
            self.reset()
            return oldest.seq
        if self._ends >= ENDS * self._caution:
            self.suspected = oldest.seq
        return None

    def _blame(self, oldest: int) -> None:
        if oldest != self._oldest:
            self.reset()
            self._oldest = oldest

    def _remember(self, seq: int) -> None:
        self._ended_over[seq] = self._ended_over.get(seq, 0) + 1
        if len(self._ended_over) > REMEMBERED:
            del self._ended_over[next(iter(self._ended_over))]

    def _look_back(self, seqs: list[int]) -> None:
        """Whether connections had ended over what is delivered now."""
        ends = sum(self._ended_over.pop(seq, 0) for seq in seqs) if self._ended_over else 0
        self._false_alarms = min(max(self._false_alarms + (ends or -FORGETTING), 0.0), FALSE_ALARMS)
