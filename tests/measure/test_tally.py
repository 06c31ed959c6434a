"""Which jobs ran."""

from __future__ import annotations

import json

from trunkline.measure.tally import Tallied, Tally


def tallied(*runs: list[int]) -> Tallied:
    """Each list is what one worker ran; through JSON, as between processes."""
    summaries = []
    for numbers in runs:
        tally = Tally(4)
        for n in numbers:
            tally.add(n)
        summaries.append(json.loads(json.dumps(tally.summary())))
    return Tallied.of(summaries)


def test_each_job_once_over_all_workers():
    """Numbers beyond what was expected are kept, too."""
    assert tallied([0, 2, 99], [1, *range(3, 99)]).is_exactly_once(100)


def test_a_job_that_ran_twice_is_seen():
    """In one worker or in two."""
    assert not tallied([0, 1, 1]).is_exactly_once(2)
    assert not tallied([0, 1], [1]).is_exactly_once(2)


def test_a_job_that_never_ran_is_seen():
    """Also when another one ran twice and the count is right."""
    assert not tallied([0, 2]).is_exactly_once(3)
    assert not tallied([0, 2, 2]).is_exactly_once(3)
