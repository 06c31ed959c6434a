"""When schedules are due: cron across changes of the clock, intervals, moments, and rules that are refused."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from trunkline.errors import InvalidInput
from trunkline.model import Policy, checked_rule

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def local(cron: str, zone: str, begin: tuple[int, ...], count: int) -> list[str]:
    """The next times as the clocks of `zone` show them, with the offset that holds then."""
    times = islice(checked_rule(cron, tz=zone).times(datetime(*begin, tzinfo=ZoneInfo(zone))), count)
    return [f"{time.astimezone(ZoneInfo(zone)):%d %H:%M %z}" for time in times]


@pytest.mark.parametrize(
    ("zone", "eve", "expected"),
    [
        (BERLIN, (2026, 3, 28, 12), ["29 03:00 +0200", "30 02:30 +0200"]),
        (NEW_YORK, (2026, 3, 7, 12), ["08 03:00 -0400", "09 02:30 -0400"]),
    ],
)
def test_a_daily_time_that_a_change_of_clocks_leaves_out_is_fired_at_once_after_it(zone, eve, expected):
    """As Debian's cron does: not skipped, not an hour late."""
    assert expected == local("30 2 * * *", zone, eve, 2)


@pytest.mark.parametrize(
    ("zone", "cron", "eve", "expected"),
    [
        (BERLIN, "30 2 * * *", (2026, 10, 24, 12), ["25 02:30 +0200", "26 02:30 +0100"]),
        (NEW_YORK, "30 1 * * *", (2026, 10, 31, 12), ["01 01:30 -0400", "02 01:30 -0500"]),
    ],
)
def test_a_daily_time_that_comes_twice_is_fired_once(zone, cron, eve, expected):
    """The first time."""
    assert expected == local(cron, zone, eve, 2)


@pytest.mark.parametrize(("minute", "expected"), [("30", "26 02:30 +0100"), ("45", "26 02:45 +0100")])
def test_a_worker_that_asks_within_the_repeated_hour_is_not_told_of_the_first_pass(minute, expected):
    """2:40 comes twice in Berlin on that day; asked at the second, what was due in the first is over."""
    second_pass = utc(2026, 10, 25, 1, 40)
    times = checked_rule(f"{minute} 2 * * *", tz=BERLIN).times(second_pass)

    assert expected == f"{next(times).astimezone(ZoneInfo(BERLIN)):%d %H:%M %z}"


def test_a_rule_that_runs_more_than_hourly_follows_elapsed_time():
    """Nothing is left out and nothing twice: every half hour is every half hour."""
    times = list(islice(checked_rule("*/30 * * * *", tz=BERLIN).times(utc(2026, 10, 24, 23)), 8))

    assert {timedelta(minutes=30)} == {after - before for before, after in pairwise(times)}


def test_a_leading_second_of_zero_changes_nothing():
    """Six fields with 0 say what five say, on the days of change too."""
    eve = utc(2026, 3, 27)
    five, six = (list(islice(checked_rule(cron, tz=BERLIN).times(eve), 5)) for cron in ("30 2 * * *", "0 30 2 * * *"))

    assert five == six


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("*/20 * * * * *", utc(2026, 1, 1, 0, 0, 20)),
        ("0 0 L * *", utc(2026, 1, 31)),
        ("0 0 LW * *", utc(2026, 1, 30)),
        ("0 9 * * MON#2", utc(2026, 1, 12, 9)),
        ("0 9 * * FRIL", None),
        ("0 9 * * 5L", utc(2026, 1, 30, 9)),
        ("0 0 1 JUL-AUG *", utc(2026, 7, 1)),
        ("0 0 29 2 *", utc(2028, 2, 29)),
    ],
)
def test_cron_knows_seconds_names_last_days_and_nth_weekdays(cron, expected):
    """What cronsim reads; a name before L it does not."""
    if expected is None:
        with pytest.raises(InvalidInput):
            checked_rule(cron)
    else:
        assert expected == checked_rule(cron).after(utc(2026, 1, 1))


@pytest.mark.parametrize("cron", ["0 0 31 2 *", "0 0 30 FEB *", "0 0 31 APR,JUN *", "* * */20 * 1L"])
def test_a_day_that_never_comes_is_refused(cron):
    """When it is saved, not when it does not fire."""
    with pytest.raises(InvalidInput, match="cron expression"):
        checked_rule(cron, tz=BERLIN)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "need|needs one rule"),
        ({"cron": "* * * * *", "every": 5}, "one rule"),
        ({"cron": "* * * *"}, "Wrong number of fields"),
        ({"cron": "61 * * * *"}, "Bad minute"),
        ({"cron": "@daily"}, "such as 0 3"),
        ({"cron": "* " * 200}, "at most 200"),
        ({"cron": 5}, "need text"),
        ({"every": 0.5}, "every is 0.5"),
        ({"every": float("nan")}, "every is nan"),
        ({"every": "5m"}, "every is '5m'"),
        ({"at": utc(2026, 1, 1).replace(tzinfo=None)}, "time zone"),
        ({"cron": "* * * * *", "start": datetime(2026, 1, 1, tzinfo=UTC)}, "without every"),
        ({"cron": "* * * * *", "tz": "Berlin"}, "IANA"),
        ({"cron": "* * * * *", "tz": "../../etc/passwd"}, "IANA"),
        ({"cron": "* * * * *", "tz": "Europe"}, "IANA"),
        ({"cron": "* * * * *", "tz": ["UTC"]}, "IANA"),
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused_with_a_sentence(how, message):
    """It names the value and what is accepted."""
    with pytest.raises(InvalidInput, match=message):
        checked_rule(**how)


def test_an_interval_does_not_drift():
    """It is counted from its start, whenever anybody looks."""
    rule = checked_rule(every=90, start=utc(2026, 1, 1, 0, 0, 10))

    assert utc(2026, 1, 1, 0, 0, 10) == rule.after(utc(2025, 12, 31))
    assert utc(2026, 1, 1, 0, 1, 40) == rule.after(utc(2026, 1, 1, 0, 0, 10))
    assert utc(2026, 1, 1, 0, 1, 40) == rule.after(utc(2026, 1, 1, 0, 1, 39, 999_999))
    assert 0 == (rule.after(utc(2031, 5, 5)) - utc(2026, 1, 1, 0, 0, 10)) % timedelta(seconds=90) / timedelta(seconds=1)


def test_a_moment_comes_once():
    """Then never again."""
    rule = checked_rule(at=utc(2026, 1, 1))

    assert (utc(2026, 1, 1), None) == (rule.after(utc(2025, 1, 1)), rule.after(utc(2026, 1, 1)))
    assert [utc(2026, 1, 1)] == rule.latest(utc(2026, 1, 1), utc(2026, 6, 1), 100)


@pytest.mark.parametrize("rule", [checked_rule("* * * * * *"), checked_rule(every=1, start=utc(2026, 1, 1))], ids=["cron", "interval"])
def test_what_a_month_missed_is_found_from_its_end(rule):
    """2.6 million times were due; those wanted are the last."""
    first = utc(2026, 1, 1, 0, 0, 1)
    until = first + timedelta(days=30)

    assert [until - timedelta(seconds=n) for n in (2, 1, 0)] == rule.latest(first, until, 3)


def test_fewer_than_wanted_begin_with_the_first():
    """The first is one of them, though the rule may have changed since it was planned."""
    first = utc(2026, 1, 1, 0, 17)

    assert [first, utc(2026, 1, 1, 1), utc(2026, 1, 1, 2)] == checked_rule("0 * * * *").latest(first, utc(2026, 1, 1, 2, 30), 100)


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "15,45 0-3 * * *", "*/20 * * * *", "0 */2 * * *", "30 * 1 * * *", "0 0 * * *"])
def test_whoever_asks_from_whatever_moment_is_told_the_same_times(zone, cron):
    """Two processes that look at different moments must agree on what is due, on the days when clocks change above all."""
    chance = random.Random(7)
    rule = checked_rule(cron, tz=zone)
    for begin in (utc(2026, 3, 7), utc(2026, 3, 28), utc(2026, 4, 4), utc(2026, 10, 3), utc(2026, 10, 24), utc(2026, 10, 31)):
        end = begin + timedelta(hours=54)
        times = rule.latest(rule.after(begin), end, 400)
        assert times == sorted(set(times))
        for _ in range(25):
            moment = begin + timedelta(seconds=chance.random() * 50 * 3600)
            expected = next((time for time in times if time > moment), None)
            assert expected in (rule.after(moment), None), f"asked at {moment}"


def test_a_time_out_of_range_is_refused_with_its_unit_and_readable_bounds():
    """Nobody reads 3.1536e+08."""
    with pytest.raises(InvalidInput, match=r"every is 0.0: need a number of seconds from 1 to 315,360,000 \(10 years\)\."):
        checked_rule(None, every=0.0)
    with pytest.raises(InvalidInput, match=r"timeout is 0: need a number of seconds from 0.01 to 2,592,000 \(30 days\)\."):
        Policy(timeout_s=0)
    with pytest.raises(InvalidInput, match=r"rate is 0: need a number of starts a second, at least one a year"):
        Policy(rate=0)
