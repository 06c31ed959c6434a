"""Rates of quarters."""

from __future__ import annotations

import pytest

from trunkline.measure.sustaining import Sustained, quarter_rates


def test_rates_are_read_between_two_reports():
    """On a straight line, because reports do not come at the borders of quarters."""
    history = [(10.0, 0), (11.0, 100), (13.0, 500), (14.0, 500)]

    assert (100.0, 200.0, 200.0, 0.0) == quarter_rates(history, 10.0, 14.0)


def test_a_worker_that_reported_once_has_rates():
    """All of it belongs to the quarters before the report."""
    rates = quarter_rates([(12.0, 40)], 10.0, 14.0)

    assert 40.0 == pytest.approx(sum(rates))


def test_what_the_last_quarter_kept_of_the_first():
    """The number the measure is about."""
    sustained = Sustained(1000, (100.0, 90.0, 80.0, 50.0), (None,) * 4)

    assert (0.5, 80.0) == (sustained.last_to_first, sustained.per_s)
