"""Telling a payload that a destination will not have from a destination in trouble."""

import pytest

from actors.publish.suspicion import ENDS, STRIKES, Suspicion
from storage.outbox import OutboxRow


def row(seq: int, topic: str = "t") -> OutboxRow:
    return OutboxRow(seq, topic, b"", 0)


def suspected(seq: int = 7) -> Suspicion:
    suspicion = Suspicion()
    for _ in range(ENDS):
        assert suspicion.ended(row(seq)) is None
    assert suspicion.suspected == seq
    return suspicion


def test_a_payload_at_several_ends_in_a_row_is_suspected() -> None:
    suspicion = Suspicion()
    for _ in range(ENDS - 1):
        suspicion.ended(row(7))
    assert suspicion.suspected is None
    suspicion.ended(row(7))
    assert suspicion.suspected == 7


def test_a_suspect_is_given_up_after_its_strikes_behind_witnesses() -> None:
    suspicion = suspected()
    outcomes = []
    for witness in range(STRIKES):
        suspicion.delivered([8 + witness], 8 + witness)
        assert suspicion.witnessed
        outcomes.append(suspicion.ended(row(7)))
        assert not suspicion.witnessed
    assert outcomes == [None] * (STRIKES - 1) + [7]
    assert suspicion.suspected is None


def test_without_a_witness_nothing_is_given_up() -> None:
    suspicion = suspected()
    for _ in range(20 * STRIKES):
        assert suspicion.ended(row(7)) is None
    assert suspicion.suspected == 7


def test_a_witness_that_is_refused_too_proves_nothing_and_is_not_asked_again() -> None:
    suspicion = suspected()
    for seq in range(8, 30):
        assert suspicion.ended(row(seq, f"topic-{seq}")) is None
    assert suspicion.suspected == 7
    assert suspicion.refused_seqs == set(range(8, 30))
    assert suspicion.refused_topics == {f"topic-{seq}" for seq in range(8, 30)}


def test_witnesses_of_the_same_topic_are_asked_when_others_have_not_helped() -> None:
    suspicion = suspected()
    assert not suspicion.any_witness
    for _ in range(ENDS):
        suspicion.ended(row(7))
    assert suspicion.any_witness


@pytest.mark.parametrize("others", [[7, 8] * ENDS, [7] * (ENDS - 1) + [8] + [7] * (ENDS - 1)])
def test_different_payloads_are_not_suspected(others: list[int]) -> None:
    suspicion = Suspicion()
    for seq in others:
        suspicion.ended(row(seq))
    assert suspicion.suspected is None


def test_a_connection_that_does_not_last_idle_acquits() -> None:
    suspicion = suspected()
    suspicion.ended(None)
    assert suspicion.suspected is None


def test_a_suspect_that_is_delivered_is_acquitted() -> None:
    suspicion = suspected()
    suspicion.delivered([7], 7)
    assert suspicion.suspected is None
    for _ in range(ENDS - 1):
        suspicion.ended(row(7))
    assert suspicion.suspected is None


def test_a_payload_that_is_passed_over_on_several_connections_is_given_up() -> None:
    suspicion = Suspicion()
    outcomes = []
    for _ in range(STRIKES):
        suspicion.delivered([8, 9], 7)
        outcomes.append(suspicion.ended(row(7)))
    assert outcomes == [None] * (STRIKES - 1) + [7]


def test_a_payload_that_is_passed_over_and_then_acknowledged_is_not_blamed() -> None:
    suspicion = Suspicion()
    for _ in range(10 * STRIKES):
        suspicion.delivered([8, 9], 7)
        suspicion.delivered([7], 7)
        assert suspicion.ended(row(10)) is None


def test_acknowledgements_in_order_pass_nobody_over() -> None:
    suspicion = Suspicion()
    for seq in range(1, 50):
        suspicion.delivered([seq], seq)
        assert suspicion.ended(row(seq + 1)) is None
    assert suspicion.suspected is None


def ends_to_convict(suspicion: Suspicion, seq: int) -> int:
    """How many connections end over it, each right behind a witness where there is to be one."""
    for ends in range(1, 100):
        if suspicion.suspected == seq:
            suspicion.delivered([1000 + ends], 1000 + ends)
        if suspicion.ended(row(seq)) == seq:
            return ends
    raise AssertionError("never")


def test_where_connections_end_over_anything_it_takes_more_to_convict() -> None:
    calm = ends_to_convict(Suspicion(), 7)
    suspicion = Suspicion()
    for seq in range(1, 4):
        for _ in range(2 * ENDS):
            suspicion.ended(row(seq))
        suspicion.delivered([seq], seq)
    assert ends_to_convict(suspicion, 7) > 2 * calm


def test_false_alarms_are_forgotten_with_what_is_delivered_without_any() -> None:
    suspicion = Suspicion()
    for _ in range(2 * ENDS):
        suspicion.ended(row(1))
    suspicion.delivered([1], 1)
    for seq in range(2, 100):
        suspicion.delivered([seq], seq)
    assert ends_to_convict(suspicion, 200) == ends_to_convict(Suspicion(), 200)
