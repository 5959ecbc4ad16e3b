"""Who fails to sign in has to wait, and nobody else."""

import pytest

from actors.accounts import throttle as module
from actors.accounts.throttle import FORGOTTEN, FREE, KNOWN, LONGEST, Backoff, Throttle

HERE = None
OFFICE, ATTACKER = "192.0.2.7", "203.0.113.9"


def fails(throttle: Throttle, username: str, peer: str | None, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        throttle.tries(username, peer, now)


def test_the_first_failures_are_free_and_then_the_delay_doubles_up_to_the_longest():
    backoff = Backoff()
    delays = []
    for _ in range(FREE + 8):
        backoff.tries("key", 0.0)
        delays.append(backoff.delay("key", 0.0))
    assert delays[: FREE - 1] == [0.0] * (FREE - 1)
    assert delays[FREE - 1 :] == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST, LONGEST, LONGEST, LONGEST]


def test_the_delay_passes():
    throttle = Throttle()
    fails(throttle, "admin", ATTACKER, FREE)
    assert throttle.delay("admin", ATTACKER, 0.5) == 0.5
    assert throttle.delay("admin", ATTACKER, 1.0) == 0.0


def test_a_delay_is_never_longer_than_the_longest_whatever_was_tried():
    throttle = Throttle()
    fails(throttle, "admin", ATTACKER, 10_000)
    assert throttle.delay("admin", ATTACKER, 0.0) == LONGEST


def test_what_is_long_ago_is_forgotten():
    throttle = Throttle()
    fails(throttle, "admin", ATTACKER, 50)
    later = FORGOTTEN + 1
    throttle.tries("admin", ATTACKER, later)
    assert throttle.delay("admin", ATTACKER, later) == 0.0


def test_who_signs_in_begins_anew():
    throttle = Throttle()
    fails(throttle, "admin", OFFICE, FREE - 1)
    throttle.succeeded("admin", OFFICE)
    fails(throttle, "admin", OFFICE, FREE - 1)
    assert throttle.delay("admin", OFFICE, 0.0) == 0.0


def test_who_guesses_from_elsewhere_does_not_keep_out_who_has_been_here_before():
    """Locks by name keep the owner out (django-photologue issue 228)."""
    throttle = Throttle()
    throttle.succeeded("admin", OFFICE)
    for number in range(300):
        throttle.tries("admin", f"203.0.113.{number}", 0.0)
    assert throttle.delay("admin", "203.0.113.250", 0.0) == LONGEST
    assert throttle.delay("admin", "198.51.100.1", 0.0) == LONGEST
    assert throttle.delay("admin", OFFICE, 0.0) == 0.0
    assert throttle.delay("admin", HERE, 0.0) == 0.0


def test_many_peers_together_are_slowed_down_for_one_name():
    throttle = Throttle()
    for number in range(FREE):
        throttle.tries("admin", f"203.0.113.{number}", 0.0)
    assert throttle.delay("admin", "203.0.113.99", 0.0) > 0


def test_one_peer_is_slowed_down_for_many_names():
    throttle = Throttle()
    for number in range(2 * FREE):
        throttle.tries(f"user-{number}", ATTACKER, 0.0)
    assert throttle.delay("another", ATTACKER, 0.0) > 0
    assert throttle.delay("another", OFFICE, 0.0) == 0.0


def test_this_machine_is_no_peer_for_a_proxy_speaks_for_many():
    """Or one who has forgotten a password keeps out everybody (sysPass issue 747)."""
    throttle = Throttle()
    for number in range(100):
        throttle.tries(f"user-{number}", HERE, 0.0)
    assert throttle.delay("another", HERE, 0.0) == 0.0


def test_attempts_at_once_are_counted_when_they_begin():
    throttle = Throttle()
    fails(throttle, "admin", ATTACKER, FREE)
    assert throttle.delay("admin", ATTACKER, 0.0) > 0


def test_an_attempt_that_came_to_nothing_does_not_count():
    throttle = Throttle()
    for _ in range(20):
        throttle.tries("admin", ATTACKER, 0.0)
        throttle.withdrew("admin", ATTACKER)
    assert throttle.delay("admin", ATTACKER, 0.0) == 0.0


@pytest.mark.parametrize("distinct", ["names", "peers"])
def test_memory_is_bounded_whatever_is_sent(distinct):
    throttle = Throttle()
    for number in range(3 * KNOWN):
        name, peer = (f"{number}", ATTACKER) if distinct == "names" else ("admin", f"{number}")
        throttle.tries(name, peer, 0.0)
        throttle.succeeded(name, f"{peer}-{number}")
    assert len(throttle._names) <= KNOWN
    assert len(throttle._peers) <= KNOWN
    assert len(throttle._known) <= KNOWN
    assert module.KNOWN == KNOWN
