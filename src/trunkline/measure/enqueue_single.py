"""`enqueue_single`: jobs one by one, each awaited, beside the same two rows in one autocommitted statement.

Both take turns call by call in one process. A durable commit is most of it, so this says what our part adds to that.
"""

from __future__ import annotations

import statistics

import asyncpg

from trunkline.measure.processes import started
from trunkline.measure.result import Floor, Result, Target
from trunkline.measure.run import MeasureFailed, Run

_QUEUED = "select count(*) from trunkline.ready as r join trunkline.job as j on j.tenant_id = r.tenant_id and j.id = r.job_id"


async def measure(run: Run) -> list[Result]:
    """Jobs a second on one connection."""
    pairs, jobs = run.sizes.pairs, run.sizes.singles // run.sizes.pairs * run.sizes.pairs
    async with (
        run.server.fresh() as url,
        started("enqueue_single", url, run.sizes.deadline_s, jobs=jobs, pairs=pairs) as child,
    ):
        await child.expect("ready")
        child.tell("go")
        answer = await child.expect("done")
        conn = await asyncpg.connect(url)
        try:
            if (queued := await conn.fetchval(_QUEUED)) != 2 * jobs:
                raise MeasureFailed(f"{queued} of {2 * jobs} jobs are queued.")
        finally:
            await conn.close()
    ours = [jobs / pairs / seconds for seconds in answer["ours_s"]]
    floor = [jobs / pairs / seconds for seconds in answer["floor_s"]]
    return [
        Result(
            measure="enqueue_single",
            value=statistics.median(ours),
            unit="jobs/s",
            n=jobs,
            pairs=pairs,
            verified=True,
            floors={"one_statement": Floor.of("the same rows in one prepared, autocommitted statement", ours, floor)},
            targets=(Target("ratio", ">=", 0.9),),
        )
    ]
