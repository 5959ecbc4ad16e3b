from typing import Any

import pytest

from actors.endpoints.protocols.snmp.ber import integer
from actors.endpoints.protocols.snmp.kinds import COUNTER32, COUNTER64, GAUGE
from actors.endpoints.protocols.snmp.points import DataPoint
from actors.endpoints.protocols.snmp.rates import OLDEST, Rate, Uptime
from actors.endpoints.protocols.snmp.values import Unfit

POINT = DataPoint("in", (1, 3, 6, 1))


def taken(rate: Rate, tag: int, number: int, now: float, lives: int = 0, since: object = None) -> Any:
    raw = integer(number, tag)[2:]
    try:
        return rate.take(tag, raw, now, lives, since)
    except Unfit as unfit:
        return unfit.code


def test_a_rate_is_what_is_added_in_a_second() -> None:
    rate = Rate(POINT)
    assert taken(rate, COUNTER32, 1000, 10.0) == "FIRST_SAMPLE"
    assert taken(rate, COUNTER32, 3000, 14.0) == 500.0
    assert taken(rate, COUNTER32, 3000, 15.0) == 0.0


@pytest.mark.parametrize(("tag", "bits"), [(COUNTER32, 32), (COUNTER64, 64)])
def test_a_counter_that_is_full_begins_anew(tag: int, bits: int) -> None:
    rate = Rate(POINT)
    taken(rate, tag, 2**bits - 100, 0.0)
    assert taken(rate, tag, 100, 1.0) == 200.0


def test_a_fast_counter_of_32_bits_may_go_more_than_half_of_the_way() -> None:
    rate = Rate(POINT)
    taken(rate, COUNTER32, 0, 0.0)
    assert taken(rate, COUNTER32, 3_000_000_000, 10.0) == 300_000_000.0


@pytest.mark.parametrize(
    ("tag", "before"), [(COUNTER32, 1_000_000), (COUNTER64, 10**15), (COUNTER64, 2**32 - 1)]
)
def test_a_counter_that_was_cleared_has_no_rate_until_the_next(tag: int, before: int) -> None:
    rate = Rate(POINT)
    taken(rate, tag, before, 0.0)
    assert taken(rate, tag, 10, 1.0) == "COUNTER_RESET"
    assert taken(rate, tag, 20, 2.0) == 10.0


def test_what_is_no_counter_is_never_full() -> None:
    rate = Rate(POINT)
    taken(rate, GAUGE, 2**32 - 1, 0.0)
    assert taken(rate, GAUGE, 5, 1.0) == "COUNTER_RESET"


def test_a_restart_or_a_discontinuity_is_no_rate_however_it_looks() -> None:
    rate = Rate(POINT)
    taken(rate, COUNTER32, 2**32 - 100, 0.0, lives=0)
    assert taken(rate, COUNTER32, 100, 1.0, lives=1) == "COUNTER_RESET"
    assert taken(rate, COUNTER32, 200, 2.0, lives=1, since=(67, b"\x05")) == "COUNTER_RESET"
    assert taken(rate, COUNTER32, 300, 3.0, lives=1, since=(67, b"\x05")) == 100.0


def test_samples_far_apart_have_no_rate() -> None:
    rate = Rate(POINT)
    taken(rate, COUNTER32, 0, 0.0)
    assert taken(rate, COUNTER32, 100, OLDEST + 1) == "FIRST_SAMPLE"
    assert taken(rate, COUNTER32, 100, OLDEST + 1) == "FIRST_SAMPLE"


def lives_of(*samples: tuple[int | None, float]) -> int:
    uptime = Uptime()
    for ticks, now in samples:
        uptime.take(ticks, now)
    return uptime.lives


def test_a_restart_is_seen_by_the_uptime() -> None:
    assert lives_of((100_000, 0.0), (101_000, 10.0)) == 0
    assert lives_of((100_000, 0.0), (300, 10.0)) == 1
    assert lives_of((500, 0.0), (10_000, 200.0)) == 1, "it had not been up for long before"
    assert lives_of((2**32 - 500, 0.0), (500, 10.0)) == 0, "it is full after 497 days"
    assert lives_of((2**32 - 500, 0.0), (500, 0.1), (600, 1.0)) == 0
    assert lives_of((100_000, 0.0), (None, 10.0), (102_000, 20.0)) == 0
    assert lives_of((100_000, 0.0), (103_500, 10.0)) == 0, "clocks of devices are not exact"
