"""`sustained_pinned_reader`, `sustained_pinned_writer`: the same load while somebody holds an old snapshot open.

While it is held, vacuum removes nothing that died since. A reader holds a snapshot (a report in a repeatable-read
transaction); a writer holds a transaction id and does nothing, which also stops every safe mark. The floor is the run
without them, in the same run of the bench.
"""

from __future__ import annotations

import asyncpg

from trunkline.measure import sustaining
from trunkline.measure.result import Floor, Result, Target
from trunkline.measure.run import MeasureFailed, Run
from trunkline.measure.sustained import unpinned

READER = ("begin isolation level repeatable read, read only", "select count(*) from pg_class")
WRITER = ("begin", "select pg_current_xact_id()")


async def reader(run: Run) -> list[Result]:
    """Jobs a second in the last quarter, beside an old reader."""
    return [await _measure(run, "sustained_pinned_reader", READER)]


async def writer(run: Run) -> list[Result]:
    """Jobs a second in the last quarter, beside an idle transaction that has an id."""
    return [await _measure(run, "sustained_pinned_writer", WRITER)]


async def _measure(run: Run, name: str, pin: tuple[str, ...]) -> Result:
    free = await unpinned(run)
    async with run.server.fresh() as url:
        pinned = await asyncpg.connect(url)
        try:
            for statement in pin:
                await pinned.execute(statement)
            ours = await sustaining.ours(run, url)
            if not pinned.is_in_transaction():
                raise MeasureFailed(f"{name}: the old snapshot was lost on the way.")
        finally:
            await pinned.close()
    return Result(
        measure=name,
        value=ours.quarters[-1],
        unit="jobs/s",
        n=ours.jobs,
        pairs=1,
        verified=True,
        floors={"unpinned": Floor.of("the same load without the old snapshot; last quarter", [ours.quarters[-1]], [free.quarters[-1]])},
        targets=(Target("ratio", ">=", 0.8), Target("last_to_first", ">=", 0.8)),
        extra={**ours.numbers(), "seconds": run.sizes.seconds},
    )
