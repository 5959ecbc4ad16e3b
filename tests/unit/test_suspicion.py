"""Telling a payload that a broker will not have from a broker in trouble."""

import pytest

from actors.publish.suspicion import AT_ONCE, ENDS, STRIKES, Suspicion

SOON = 0.1


def suspected(seq: int = 7) -> Suspicion:
    suspicion = Suspicion()
    for _ in range(ENDS):
        assert suspicion.ended(seq, SOON) is None
    assert suspicion.suspected == seq
    return suspicion


def test_a_payload_at_several_ends_in_a_row_is_suspected() -> None:
    suspicion = Suspicion()
    for _ in range(ENDS - 1):
        suspicion.ended(7, SOON)
    assert suspicion.suspected is None
    suspicion.ended(7, SOON)
    assert suspicion.suspected == 7


def test_a_suspect_is_given_up_after_its_strikes() -> None:
    suspicion = suspected()
    outcomes = [suspicion.ended(7, SOON) for _ in range(STRIKES)]
    assert outcomes == [None] * (STRIKES - 1) + [7]
    assert suspicion.suspected is None


@pytest.mark.parametrize("others", [[7, 8] * ENDS, [7] * (ENDS - 1) + [8] + [7] * (ENDS - 1)])
def test_different_payloads_are_not_suspected(others: list[int]) -> None:
    suspicion = Suspicion()
    for seq in others:
        suspicion.ended(seq, SOON)
    assert suspicion.suspected is None


def test_an_end_long_after_sending_says_nothing() -> None:
    suspicion = Suspicion()
    for _ in range(3 * ENDS):
        assert suspicion.ended(7, AT_ONCE + 1) is None
    assert suspicion.suspected is None
    suspicion = suspected()
    for _ in range(3 * STRIKES):
        assert suspicion.ended(7, AT_ONCE + 1) is None


def test_a_connection_that_does_not_last_idle_acquits() -> None:
    suspicion = suspected()
    for _ in range(STRIKES - 1):
        suspicion.ended(7, SOON)
    suspicion.ended(None, SOON)
    assert suspicion.suspected is None
    for _ in range(ENDS + STRIKES - 1):
        assert suspicion.ended(7, SOON) is None


def test_a_delivery_acquits() -> None:
    suspicion = suspected()
    suspicion.delivered()
    assert suspicion.suspected is None
    for _ in range(ENDS + STRIKES - 1):
        assert suspicion.ended(7, SOON) is None


def test_without_any_delivery_the_next_one_needs_twice_as_many_strikes() -> None:
    suspicion = suspected(7)
    for _ in range(STRIKES):
        suspicion.ended(7, SOON)
    for _ in range(ENDS + 2 * STRIKES - 1):
        assert suspicion.ended(8, SOON) is None
    assert suspicion.ended(8, SOON) == 8
    suspicion.delivered()
    for _ in range(ENDS + STRIKES - 1):
        assert suspicion.ended(9, SOON) is None
    assert suspicion.ended(9, SOON) == 9
