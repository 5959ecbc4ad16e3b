"""How many payloads a connection is trusted with."""

from actors.publish.pace import FIRST, LEAST, Pace

WINDOW = 512


def connected(pace: Pace | None = None) -> Pace:
    pace = pace or Pace()
    pace.connected()
    return pace


def filled(pace: Pace, windows: int) -> None:
    for _ in range(windows):
        pace.delivered(pace.room(WINDOW))


def test_a_new_connection_gets_a_few_and_twice_as_many_each_time() -> None:
    pace = connected()
    rooms = [pace.room(WINDOW)]
    while rooms[-1] < WINDOW:
        filled(pace, 1)
        rooms.append(pace.room(WINDOW))
    assert rooms == [FIRST * 2**n for n in range(len(rooms))]
    assert pace.room(10) == 10


def test_the_next_connection_begins_with_a_few_again() -> None:
    pace = connected()
    filled(pace, 10)
    pace.ended(WINDOW)
    assert connected(pace).room(WINDOW) == FIRST
    filled(pace, 10)
    assert pace.room(WINDOW) == WINDOW


def test_what_proved_too_much_is_halved_and_stays_so_over_connections() -> None:
    pace = connected()
    for handed, limit in ((64, 32), (32, 16), (16, 8), (8, 4), (4, LEAST), (LEAST, LEAST)):
        connected(pace).ended(handed)
        assert connected(pace).room(WINDOW) == min(limit, FIRST)


def test_it_grows_back_slowly() -> None:
    pace = connected()
    pace.ended(64)
    connected(pace)
    windows = 0
    while pace.room(WINDOW) < 32:
        filled(pace, 1)
        windows += 1
    assert windows <= 4
    filled(pace, 32)
    assert 60 <= pace.room(WINDOW) <= 66


def test_the_end_of_a_connection_that_was_of_use_is_no_reason_for_less() -> None:
    pace = connected()
    filled(pace, 20)
    pace.ended(300)
    connected(pace)
    filled(pace, 20)
    assert pace.room(WINDOW) == WINDOW
