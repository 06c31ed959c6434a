"""How long a process of several waits until it is started again."""

from __future__ import annotations

from itertools import accumulate

from trunkline.cli.siblings import FIRST_RESTART_S, RESTART_S, STEADY_S, next_pause


def test_one_that_keeps_ending_is_started_later_each_time():
    """It would take a core from those that run."""
    pauses = list(accumulate(range(8), lambda before, _: next_pause(before, 1.0), initial=0.0))[1:]

    assert [FIRST_RESTART_S, 2 * FIRST_RESTART_S, 4 * FIRST_RESTART_S] == pauses[:3]
    assert RESTART_S == pauses[-1]


def test_one_that_ran_for_long_is_started_soon_whatever_was_before():
    """Ten deaths in a month are ten first ones."""
    assert FIRST_RESTART_S == next_pause(RESTART_S, STEADY_S)
