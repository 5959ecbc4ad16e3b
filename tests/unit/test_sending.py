"""What goes out when: a destination that takes some payloads and ends connections over others, at random."""

import random
from itertools import count

import pytest

from actors.publish.entries import Entry, Limits
from actors.publish.outbox import Outbox
from actors.publish.pace import Flow
from actors.publish.quarantine import FIRST as QUARANTINE
from actors.publish.sending import Sending

WINDOW = 20
LIMITS = Limits(max_rows=10**6, max_bytes=10**9, ttl_ms=10**12, memory_bytes=10**9, hold=0.1, strict=False)


class Line:
    """A destination with all that it has taken, `poison` being what it ends every connection over."""

    def __init__(self, poison: set[bytes], chance: random.Random, flap: float = 0.0) -> None:
        self.poison = poison
        self.chance = chance
        self.flap = flap
        self.sending = Sending()
        self.flow = Flow(WINDOW)
        self.outbox = Outbox(LIMITS)
        self.now = 0.0
        self.received: list[tuple[str, bytes]] = []
        self.rejected: list[tuple[str, bytes]] = []
        self.connections = 0

    def add(self, topic: str, payload: bytes) -> None:
        self.outbox.add(topic, payload, 0, self.now)

    def connection(self) -> None:
        """From its beginning to its end, or until nothing is left to be sent."""
        self.now += 1
        self.connections += 1
        self.sending.connected()
        dies_after = self.chance.randrange(6) if self.chance.random() < self.flap else 10**9
        while True:
            batch = self._sent()
            if not batch and not self.outbox.in_flight:
                return
            taken: list[int] = []
            for entry in batch:
                dies_after -= 1
                if dies_after < 0 or entry.payload in self.poison:
                    break
                self.received.append((entry.topic, entry.payload))
                taken.append(entry.seq)
            ended = len(taken) < len(batch)
            if ended and self.chance.random() < 0.5:
                taken = []  # their acknowledgements are lost
            if taken:
                self.sending.delivered(self.outbox, taken)
            if ended:
                verdict = self.sending.ended(self.outbox, self.now)
                if verdict is not None:
                    self._reject(verdict.entry)
                self.outbox.disconnected()
                return

    def _sent(self) -> list[Entry]:
        batch = []
        for entry, wanted in self.sending.due(self.outbox, self.flow, self.now):
            if wanted:
                batch.append(entry)
            else:
                self._reject(entry)
        return batch

    def _reject(self, entry: Entry) -> None:
        self.rejected.append((entry.topic, entry.payload))
        self.outbox.rejected([entry.seq], "", 0)

    def until_empty(self, most: int) -> None:
        while self.outbox.rows:
            self.connection()
            assert self.connections <= most, (self.outbox.rows, len(self.received))

    def first_times(self, topic: str) -> list[bytes]:
        return list(dict.fromkeys(payload for found, payload in self.received if found == topic))


@pytest.mark.parametrize("seed", range(200))
def test_poison_is_given_up_and_nothing_else_and_topics_stay_in_order(seed: int) -> None:
    chance = random.Random(seed)
    topics = [f"t{n}" for n in range(chance.randrange(2, 5))]
    payloads = [(chance.choice(topics), b"%d" % n) for n in range(200)]
    poison = {payload for _, payload in chance.sample(payloads[:150], chance.randrange(4))}
    line = Line(poison, chance)
    for topic, payload in payloads:
        line.add(topic, payload)
    line.until_empty(most=20 * (1 + len(poison)))
    assert {payload for _, payload in line.rejected} == poison
    for topic in topics:
        kept = [payload for found, payload in payloads if found == topic and payload not in poison]
        assert line.first_times(topic) == kept


@pytest.mark.parametrize("seed", range(100))
def test_an_unsteady_link_has_nothing_given_up(seed: int) -> None:
    chance = random.Random(seed)
    line = Line(set(), chance, flap=0.4)
    for number in range(300):
        line.add(f"t{number % 3}", b"%d" % number)
    line.until_empty(most=3000)
    assert line.rejected == []
    for topic in range(3):
        assert line.first_times(f"t{topic}") == [b"%d" % n for n in range(300) if n % 3 == topic]


def test_where_nothing_gets_through_nothing_is_given_up() -> None:
    line = Line({b"%d" % n for n in range(100)}, random.Random(0))
    for number in range(100):
        line.add(f"t{number % 3}", b"%d" % number)
    for _ in range(1000):
        line.connection()
    assert (line.rejected, line.outbox.rows) == ([], 100)
    line.poison.clear()
    line.until_empty(most=1100)
    assert line.rejected == []


def test_a_topic_that_is_not_taken_costs_the_others_a_few_connections_once() -> None:
    numbers = count()
    line = Line({b"bad %d" % n for n in range(1000)}, random.Random(1))
    for number in range(200):
        line.add("good", b"good %d" % number)
        line.add("bad", b"bad %d" % next(numbers))
    line.until_empty(most=40)
    before = line.connections
    for number in range(200, 400):
        line.add("good", b"good %d" % number)
        line.add("bad", b"bad %d" % next(numbers))
    line.until_empty(most=before + 1)
    assert line.first_times("good") == [b"good %d" % n for n in range(400)]
    assert len(line.rejected) == 400
    line.poison.clear()
    line.now += QUARANTINE
    line.add("bad", b"mended")
    line.until_empty(most=line.connections + 1)
    assert line.received[-1] == ("bad", b"mended")


def test_a_backlog_goes_out_at_its_rate_and_what_is_new_at_once() -> None:
    line = Line(set(), random.Random(0))
    line.flow = Flow(WINDOW, replay_per_second=10)
    for number in range(50):
        line.add("t", b"%d" % number)
    line.outbox.commit(line.now, force=True)
    line.outbox.committed(True)
    line.sending.connected()
    sent: list[float] = []
    for tenth in range(200):
        line.now = tenth / 10
        for entry in line._sent():
            sent.append(line.now)
            line.sending.delivered(line.outbox, [entry.seq])
    assert len(sent) == 50
    assert 4.6 <= sent[-1] - sent[0] <= 5.4
    assert max(sent.count(at) for at in sent) <= 2
    for number in range(50, 54):
        line.add("t", b"%d" % number)
    assert len(line._sent()) == 4
