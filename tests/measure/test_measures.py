"""Every measure, at a size that says nothing about speed: it runs, verifies its jobs, and gives well-formed lines."""

from __future__ import annotations

import json
import math
import os

import pytest

from tests.measure.conftest import TINY
from trunkline.measure.catalogue import MEASURES, Measure
from trunkline.measure.run import Run

pytestmark = pytest.mark.asyncio(loop_scope="module")


# One of each sort; the others differ in sizes and in what they compare with, and run in the long list.
SHORT = {"drain", "enqueue_single", "pickup", "wal_per_job", "gateway_calls", "sustained"}


@pytest.mark.parametrize(
    "measure", [pytest.param(each, id=each.names[0], marks=() if each.names[0] in SHORT else pytest.mark.chaos) for each in MEASURES]
)
async def test_a_measure_gives_its_lines(measure: Measure, tiny_run: Run):
    """Each named line has a value, is verified, and its ratios lie within their spread."""
    results = await measure.measure(tiny_run)

    lines = [json.loads(json.dumps(result.to_dict())) for result in results]
    assert list(measure.names) == [line["measure"] for line in lines]
    for line in lines:
        assert line["verified"]
        assert 0 < line["value"] < math.inf
        assert line["n"] > 0
        for floor in line["floors"].values():
            assert floor["value"] > 0
            assert floor["ratio_min"] <= floor["ratio"] <= floor["ratio_max"]
        assert (line["target"] is None) == (line["met"] is None)


async def test_nothing_of_a_measure_is_left_behind(tiny_run: Run):
    """Databases of measures are dropped; the template alone stays until the run ends."""
    left = await tiny_run.server.admin.fetch(
        "select datname from pg_database where datname like $1 and datname not like '%_template'", f"trunkline_bench_{os.getpid()}_%"
    )

    assert [] == left


async def test_sustained_runs_once_for_all_that_compare_with_it(tiny_run: Run):
    """The undisturbed run is kept, so the pinned measures compare with the line that was printed."""
    from trunkline.measure.sustained import unpinned

    first = await unpinned(tiny_run)

    assert first is await unpinned(tiny_run)
    assert 4 == len(first.quarters)
    assert TINY.seconds == tiny_run.sizes.seconds
