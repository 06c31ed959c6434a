"""What a line says."""

from __future__ import annotations

from trunkline.measure.result import Floor, Ratio, Result, Target


def result(**changes) -> Result:
    """A line with two floors."""
    values = {
        "measure": "drain",
        "value": 45_123.456,
        "unit": "jobs/s",
        "n": 50_000,
        "pairs": 3,
        "verified": True,
        "floors": {
            "same_sql": Floor.of("the same SQL", [40.0, 50.0, 60.0], [50.0, 50.0, 50.0]),
            "raw_table": Floor.of("a plain table", [40.0, 50.0, 60.0], [400.0, 500.0, 600.0]),
        },
        "targets": (Target("ratio", ">=", 0.75),),
    }
    return Result(**(values | changes))


def test_a_ratio_is_the_median_of_pairs_with_its_spread():
    """Pair by pair, not median by median: a machine that slows down slows both sides of a pair."""
    ratio = Ratio.of([10.0, 100.0, 30.0], [10.0, 50.0, 60.0])

    assert Ratio(median=1.0, low=0.5, high=2.0) == ratio


def test_the_first_floor_is_the_one_the_ratio_and_the_target_are_about():
    """The others stand beside it by name."""
    line = result().to_dict()

    assert (50.0, "the same SQL", 1.0, 0.8, 1.2) == (
        line["floor"],
        line["floor_is"],
        line["ratio"],
        line["ratio_min"],
        line["ratio_max"],
    )
    assert ["same_sql", "raw_table"] == list(line["floors"])
    assert ("ratio >= 0.75", True) == (line["target"], line["met"])


def test_a_target_may_be_about_an_extra_number():
    """Every target has to be met."""
    targets = (Target("ratio", ">=", 0.75), Target("last_to_first", ">=", 0.9))
    line = result(targets=targets, extra={"last_to_first": 0.5}).to_dict()

    assert ("ratio >= 0.75, last_to_first >= 0.9", False) == (line["target"], line["met"])


def test_a_line_without_floors_and_targets_says_so():
    """Null, and no missing keys: lines of all measures have the same columns."""
    line = result(floors={}, targets=()).to_dict()

    assert [None] * 7 == [line[key] for key in ("floor", "floor_is", "ratio", "ratio_min", "ratio_max", "target", "met")]
    assert {} == line["floors"]


def test_numbers_are_rounded_to_what_can_be_told_apart():
    """Four digits, and none cut off in front of the point."""
    line = result(extra={"quarters": [1234.5678, 0.123456], "shares": [1, 2]}).to_dict()

    assert 45_123 == line["value"]
    assert [1235, 0.1235] == line["quarters"]
    assert [1, 2] == line["shares"]
