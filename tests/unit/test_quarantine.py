"""Topics whose payloads a destination does not take."""

from actors.publish import quarantine
from actors.publish.quarantine import CONVICTIONS, FIRST, LONGEST, Quarantine


def quarantined(topic: str = "t", now: float = 0.0) -> Quarantine:
    found = Quarantine()
    for _ in range(CONVICTIONS - 1):
        assert found.convicted(topic, now) == 0
        assert not found.holds(topic, now)
    assert found.convicted(topic, now) == FIRST
    return found


def test_a_topic_of_which_payload_after_payload_is_given_up_is_held() -> None:
    found = quarantined(now=100)
    assert found.holds("t", 100)
    assert found.holds("t", 100 + FIRST - 1)
    assert not found.holds("other", 100)


def test_it_is_tried_again_later_and_then_held_for_twice_as_long() -> None:
    found = quarantined()
    now, length = 0.0, FIRST
    while length < LONGEST:
        now += length
        assert not found.holds("t", now)
        assert found.convicted("t", now) == min(2 * length, LONGEST)
        length *= 2
    assert found.convicted("t", now + LONGEST) == LONGEST


def test_a_delivery_ends_it() -> None:
    found = quarantined()
    found.delivered("t")
    assert not found
    assert found.convicted("t", 0) == 0


def test_only_so_many_topics_are_remembered() -> None:
    found = Quarantine()
    for number in range(3 * quarantine.TOPICS):
        found.convicted(f"t{number}", 0)
    assert len(found._topics) == quarantine.TOPICS
