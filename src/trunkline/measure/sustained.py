"""`sustained`: enqueue and process at once; what the last quarter keeps of the first, beside a raw table under the same load.

A queue that is fast on an empty table may slow down as dead rows pile up. One run of a minute is its own average, so there
is one pair; `--large` makes it five minutes.
"""

from __future__ import annotations

from trunkline.measure import sustaining
from trunkline.measure.drain import RAW_TABLE
from trunkline.measure.result import Floor, Result, Target
from trunkline.measure.run import Run


async def measure(run: Run) -> list[Result]:
    """Jobs a second in the last quarter."""
    ours = await unpinned(run)
    async with run.server.fresh() as url:
        floor = await sustaining.raw_table(run, url)
    return [
        Result(
            measure="sustained",
            value=ours.quarters[-1],
            unit="jobs/s",
            n=ours.jobs,
            pairs=1,
            verified=True,
            floors={"raw_table": Floor.of(f"fed by COPY, {RAW_TABLE}; last quarter", [ours.quarters[-1]], [floor.quarters[-1]])},
            targets=(Target("last_to_first", ">=", 0.9),),
            extra={**ours.numbers(), "seconds": run.sizes.seconds, "floor_quarters": list(floor.quarters)},
        )
    ]


async def unpinned(run: Run) -> sustaining.Sustained:
    """The undisturbed run, once for all measures that compare with it."""
    if "sustained" not in run.seen:
        async with run.server.fresh() as url:
            run.seen["sustained"] = await sustaining.ours(run, url)
    found = run.seen["sustained"]
    assert isinstance(found, sustaining.Sustained)
    return found
