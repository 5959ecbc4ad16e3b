"""Who is connected as, and when somebody else is believed to use the same client id."""

import re

import pytest

from actors.mqtt.client_id import ClientId
from actors.mqtt.reasons import SESSION_TAKEN_OVER


class Life:
    """Connections of one client id, one after the other, and what is said of their ends."""

    def __init__(self, may_change: bool = False) -> None:
        self.client_id = ClientId(may_change)
        self.now = 1000.0
        self.names: list[str] = []
        self.doubts: list[bool] = []
        self.pauses: list[float] = []

    def lives(self, *seconds: float, well: bool = True, code: int = 0) -> "Life":
        for lasted in seconds:
            self.names.append(self.client_id.of("agent-1"))
            self.client_id.connected(self.now)
            self.now += lasted
            self.client_id.lost(self.now, well, code)
            self.doubts.append("is another client using this client id" in self.client_id.doubt)
            self.pauses.append(self.client_id.pause)
            self.now += self.pauses[-1]
        return self


def test_one_that_comes_back_every_five_seconds_is_recognised_and_left_alone_for_longer_and_longer() -> None:
    life = Life().lives(*[5.0] * 13)
    assert life.doubts == [False] * 5 + [True] * 8
    assert life.pauses[:5] == [0.0] * 5
    assert life.pauses[5:] == sorted(life.pauses[5:])
    assert (life.pauses[5], life.pauses[-1]) == (10.0, 30.0)
    assert set(life.names) == {"agent-1"}


def test_the_name_is_in_the_question() -> None:
    life = Life().lives(*[5.0] * 6)
    assert life.client_id.doubt == "; is another client using this client id (agent-1)?"


def test_a_connection_that_lasts_ends_the_doubt() -> None:
    life = Life().lives(*[5.0] * 7, 61.0, 5.0)
    assert life.doubts[-3:] == [True, False, False]
    assert life.pauses[-1] == 0.0


def test_a_broker_that_says_so_is_believed_at_once_however_long_it_lasted() -> None:
    life = Life().lives(5.0, 3600.0, code=SESSION_TAKEN_OVER)
    assert life.doubts == [True, True]
    assert life.pauses == [10.0, 10.0]


def test_a_link_that_breaks_often_within_moments_is_nobody_elses_doing() -> None:
    life = Life().lives(*[0.3] * 60)
    assert life.doubts == [False] * 60
    assert life.pauses == [0.0] * 60


def test_ends_that_something_sent_may_be_the_reason_of_are_nobody_elses_doing() -> None:
    assert Life().lives(*[5.0] * 20, well=False).doubts == [False] * 20


@pytest.mark.parametrize(("lasted", "times"), [(2.0, 3), (5.0, 6)])
def test_where_it_may_change_it_gets_a_suffix_and_no_pause(lasted: float, times: int) -> None:
    life = Life(may_change=True).lives(*[lasted] * times, 3600.0)
    assert life.names[:times] == ["agent-1"] * times
    assert re.fullmatch("agent-1-[0-9a-f]{8}", life.names[times])
    assert life.pauses == [0.0] * (times + 1)


def test_a_changed_one_that_fares_no_better_is_given_up_and_then_there_are_pauses() -> None:
    life = Life(may_change=True).lives(*[5.0] * 20)
    assert [name == "agent-1" for name in life.names] == [True] * 6 + [False] * 6 + [True] * 8
    assert life.pauses[:12] == [0.0] * 12
    assert all(life.pauses[12:])


def test_one_that_cannot_log_in_under_another_name_has_its_own_again() -> None:
    life = Life(may_change=True).lives(*[5.0] * 6)
    assert life.client_id.of("agent-1") != "agent-1"
    life.client_id.failed()
    assert life.client_id.of("agent-1") == "agent-1"


def test_where_no_other_name_can_log_in_there_are_pauses() -> None:
    life = Life(may_change=True).lives(5.0, code=SESSION_TAKEN_OVER)
    assert life.client_id.of("agent-1") != "agent-1"
    life.client_id.failed()
    life.lives(*[5.0] * 3, code=SESSION_TAKEN_OVER)
    assert life.names[1:] == ["agent-1"] * 3
    assert life.pauses[1:] == [20.0, 30.0, 30.0]
