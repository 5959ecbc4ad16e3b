from hypothesis import given
from hypothesis import strategies as st
from thespian.actors import ActorAddress

from actors.publish.entries import Limits
from actors.publish.outbox import Outbox
from actors.publish.safety import Safety
from actors.publish.subscription import AwaitStored
from actors.readings.doubt import Doubt
from actors.readings.messages import AwaitPersisted, Persisted, Secured
from actors.readings.securing import Questions

ONE, TWO = ActorAddress("/one"), ActorAddress("/two")


def waits(number: int, asked: int = 1) -> AwaitStored:
    return AwaitStored("line", asked, Secured(number, ONE, True))


def test_doubt_is_told_once_to_each_endpoint_however_often_it_asks() -> None:
    doubt = Doubt()
    assert doubt.certain("line", 1)
    doubt.reborn = True
    assert [doubt.certain("line", asked) for asked in (2, 2, 3, 4)] == [False, False, True, True]
    assert not doubt.certain("other", 9)
    doubt.forget("line")
    assert not doubt.certain("line", 5)


def test_who_waits_waits_for_all_that_came_before() -> None:
    safety = Safety()
    for number in (1, 2, 3):
        safety.wait(waits(number), 10 * number)
    assert safety.safe(10) == []
    assert [secured.number for secured in safety.safe(21)] == [1, 2]
    assert [secured.number for secured in safety.safe(None)] == [3]
    assert not safety


def test_who_waited_before_payloads_had_numbers_waits_for_them_in_order() -> None:
    safety = Safety()
    safety.wait(waits(1), None)
    safety.wait(waits(2), None)
    assert safety.safe(None) == []
    safety.begin(7)
    safety.wait(waits(3), 8)
    assert safety.safe(7) == []
    assert [secured.number for secured in safety.safe(8)] == [1, 2]


def test_a_question_is_answered_when_all_have_answered() -> None:
    questions = Questions()
    number = questions.ask(AwaitPersisted("line", 5), TWO, [ONE, TWO])
    questions.secured(Secured(number, ONE, True))
    assert questions.answers() == []
    assert questions.awaited() == [TWO]
    questions.secured(Secured(number, TWO, False))
    assert questions.answers() == [(TWO, Persisted(5, certain=False))]
    assert questions.answers() == []


def test_an_answer_to_an_earlier_question_means_nothing() -> None:
    questions = Questions()
    earlier = questions.ask(AwaitPersisted("line", 5), TWO, [ONE])
    questions.ask(AwaitPersisted("line", 6), TWO, [ONE])
    questions.secured(Secured(earlier, ONE, True))
    assert questions.answers() == []
    questions.gone(ONE)
    assert questions.answers() == [(TWO, Persisted(6))]


LIMITS = Limits(1000, 10**9, 10**9, 10**6, 0.1, False)


@given(
    st.lists(st.sampled_from(["add", "send", "acknowledge", "reject", "commit", "stored", "failed", "lost"]))
)
def test_the_first_unsafe_payload_is_the_oldest_that_a_crash_would_lose(steps: list[str]) -> None:
    outbox, under_way = Outbox(LIMITS), False
    alive: set[int] = set()
    flying: list[int] = []
    writing: list[int] = []
    stored: set[int] = set()
    for step in steps:
        if step == "add":
            outbox.add("t", b"x", 0, 0.0)
            alive.add(outbox.newest)
        elif step == "send":
            flying += [entry.seq for entry in outbox.take(2)]
        elif step in ("acknowledge", "reject") and flying:
            seq = flying.pop(0)
            alive.discard(seq)
            if step == "reject":
                outbox.rejected([seq], "no", 0)
            else:
                outbox.delivered([seq])
        elif step == "commit" and not under_way:
            commit = outbox.commit(1.0, force=True)
            under_way = commit is not None
            writing = [entry.seq for entry in commit.entries] if commit is not None else []
        elif step in ("stored", "failed") and under_way:
            outbox.committed(step == "stored")
            stored |= set(writing) if step == "stored" else set()
            under_way = False
        elif step == "lost":
            outbox.disconnected()
            flying.clear()
        assert outbox.first_unsafe == min(alive - stored, default=None)
