"""How the text of arguments becomes values."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import typer

from trunkline.cli import options


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("250ms", 0.25), ("5m", 300), ("5 min", 300), ("2h", 7200), ("1d", 86400)]
)
def test_a_duration_is_read_with_its_unit(text: str, seconds: float):
    """Seconds, where nothing is said."""
    assert seconds == options.seconds(text)


@pytest.mark.parametrize("text", ["", "soon", "-5", "5 weeks", "1e9", "nan"])
def test_a_duration_that_cannot_be_read_is_wrong_usage(text: str):
    """Names the value and what is accepted."""
    with pytest.raises(typer.BadParameter, match="need seconds"):
        options.seconds(text)


def test_a_time_needs_its_zone():
    """09:00 is many moments."""
    assert datetime(2027, 1, 31, 7, tzinfo=UTC) == options.moment("2027-01-31T09:00:00+02:00")
    with pytest.raises(typer.BadParameter, match="no time zone: write 2027-01-31T09:00:00Z"):
        options.moment("2027-01-31T09:00:00")
    with pytest.raises(typer.BadParameter, match="need a time such as"):
        options.moment("tomorrow")


def test_job_options_are_numbers_truths_durations_times_or_text():
    """As new_job wants them."""
    given = [
        "retry_limit=5",
        "retry-backoff=false",
        "timeout=2m",
        "dead_letter=12",
        "expires_at=2027-01-01T00:00:00Z",
        "user_id=u=1",
    ]

    assert {
        "retry_limit": 5,
        "retry_backoff": False,
        "timeout": 120.0,
        "dead_letter": "12",
        "expires_at": datetime(2027, 1, 1, tzinfo=UTC),
        "user_id": "u=1",
    } == options.job_options(given)


@pytest.mark.parametrize("pair", ["retry_limit", "=5"])
def test_a_job_option_without_name_or_value_is_wrong_usage(pair: str):
    """Names the pair."""
    with pytest.raises(typer.BadParameter, match="need name=value"):
        options.job_options([pair])


@pytest.mark.parametrize("name", options.NO_OPTIONS)
def test_what_is_no_option_of_a_job_is_wrong_usage(name: str):
    """It would collide with an argument of the call."""
    with pytest.raises(typer.BadParameter, match="no option of a job"):
        options.job_options([f"{name}=x"])


def test_names_may_be_repeated_or_listed():
    """--queues a,b --queues c."""
    assert ["a", "b", "c"] == options.names(["a, b", "c", ""])


def test_parents_are_added_up_and_nothing_else_is_given_twice():
    """The last one used to win silently."""
    assert {"depends_on": ["a", "b", "c"]} == options.job_options(["depends_on=a", "depends_on=b,c"])
    with pytest.raises(typer.BadParameter, match="priority is given twice"):
        options.job_options(["priority=1", "priority=2"])
