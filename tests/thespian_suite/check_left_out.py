"""Part of the run of Thespian's suite: what that run leaves out is what `left_out` says."""

from left_out import ALONE, KEPT, LEFT_OUT
from on_our_base import collected, found


def test_what_is_left_out_is_what_the_list_says() -> None:
    assert dict(found) == LEFT_OUT


def test_what_is_kept_or_run_alone_is_still_in_the_suite() -> None:
    assert collected >= KEPT
    assert {name.partition("::")[0] for name in collected} >= ALONE
