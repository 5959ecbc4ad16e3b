"""When the agent restarts itself for its memory, and when it had better not."""

import os

import msgspec
import pytest

from actors.host import restarts
from actors.host.limits import NEVER_BELOW, MemoryLimit, judge
from actors.host.restarts import COOLDOWN_MS, Attempt, age_ms, load, recent, record


def after(limit, *resident):
    watched = MemoryLimit(limit)
    for one in resident:
        watched.add(one)
    return watched


def test_three_checks_in_a_row_above_the_limit_are_too_much():
    assert not after(512, 100, 600, 600).exceeded
    assert after(512, 100, 600, 600, 600).exceeded
    assert not after(512, 100, 600, 600, 500, 600, 600).exceeded


def test_half_as_much_again_is_at_once_too_much():
    assert after(512, 100, 769).exceeded
    assert after(512).critical == 768


def test_without_a_limit_nothing_is():
    assert not after(None, 1e6, 1e6, 1e6).exceeded
    assert after(None).critical is None


def test_a_limit_that_was_lowered_counts_anew_and_one_that_stays_does_not():
    watched = after(512, 100, 600, 600, 600)
    watched.change(512)
    assert watched.exceeded
    watched.change(550)
    assert not watched.exceeded
    assert watched.helps


def test_a_restart_helps_only_what_was_below_the_limit_once():
    assert after(100, 90, 130).helps
    assert not after(100, 130, 130, 130).helps


def test_a_suspicion_is_a_line_and_no_restart():
    assert judge(after(None, 70), 70, "it may leak", None) == judge(after(512, 70), 70, "it may leak", None)
    assert not judge(after(512, 70), 70, "it may leak", None).restart


def test_a_restart_that_may_not_be_says_why():
    watched = after(64, 100, 100, 100)
    verdict = judge(watched, 100, None, NEVER_BELOW)
    assert not verdict.restart
    assert verdict.error == f"100 MB are resident, more than the limit of 64 MB; no restart: {NEVER_BELOW}"


def test_attempts_outlive_the_process(tmp_path):
    assert load(tmp_path) == []
    made = [Attempt(1000 + n, n, "boot") for n in range(5)]
    record(tmp_path, made)
    assert load(tmp_path) == made[-3:]
    assert os.listdir(tmp_path) == [restarts.FILE]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'[{"at":"x"}]'])
def test_a_record_that_cannot_be_read_is_none(tmp_path, content, caplog):
    (tmp_path / restarts.FILE).write_bytes(content)
    assert load(tmp_path) == []
    assert "cannot be read" in caplog.text


def test_what_cannot_be_recorded_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        record(tmp_path / "gone", [restarts.now()])


HOUR = COOLDOWN_MS


def test_within_one_boot_of_the_machine_the_clock_does_not_count():
    then = Attempt(at=1_000 * HOUR, running=5_000, boot="a")
    set_forward = Attempt(at=2_000 * HOUR, running=65_000, boot="a")
    set_back = Attempt(at=10 * HOUR, running=65_000, boot="a")
    assert age_ms(then, set_forward) == age_ms(then, set_back) == 60_000


def test_after_a_boot_the_clock_counts_and_one_that_was_set_back_makes_no_restart_possible():
    then = Attempt(at=1_000 * HOUR, running=5_000, boot="a")
    assert age_ms(then, Attempt(at=1_001 * HOUR, running=1, boot="b")) == HOUR
    assert recent([then], Attempt(at=999 * HOUR, running=1, boot="b")) == [then]


def test_attempts_of_longer_than_an_hour_ago_are_over():
    now = Attempt(at=0, running=10 * HOUR, boot="a")
    made = [msgspec.structs.replace(now, running=running) for running in (8 * HOUR, 9 * HOUR, 9 * HOUR + 1)]
    assert recent(made, now) == made[2:]
