"""`enqueue_bulk`: many plain jobs with one call, beside COPY of finished rows into the same tables.

Both sides are made before the clock starts: the floor sends binary rows, ours a list of jobs (`new_job`: checked, JSON, an id). What it
takes with the making of them, in a generator that `enqueue_many` reads, is said beside it: that is what most callers see.
"""

from __future__ import annotations

import statistics

import asyncpg

from trunkline.engine.producer import COPY_CHUNK
from trunkline.measure.pairs import interleaved
from trunkline.measure.processes import started
from trunkline.measure.result import Floor, Result, Target
from trunkline.measure.run import MeasureFailed, Run

_QUEUED = "select count(*) from trunkline.ready as r join trunkline.job as j on j.tenant_id = r.tenant_id and j.id = r.job_id"


async def measure(run: Run) -> list[Result]:
    """Jobs a second."""
    jobs = run.sizes.jobs
    ours, generated, floor = await interleaved(
        run.sizes.pairs,
        lambda: _enqueued(run, "enqueue", made_before=True),
        lambda: _enqueued(run, "enqueue", made_before=False),
        lambda: _enqueued(run, "floor_copy", chunk=COPY_CHUNK),
    )
    rates, from_generator, copied = ([jobs / each["seconds"] for each in side] for side in (ours, generated, floor))
    what = "binary COPY of finished rows into job and ready"
    return [
        Result(
            measure="enqueue_bulk",
            value=statistics.median(rates),
            unit="jobs/s",
            n=jobs,
            pairs=run.sizes.pairs,
            verified=True,
            floors={"copy": Floor.of(what, rates, copied)},
            targets=(Target("ratio", ">=", 0.75),),
            extra={
                "from_generator_per_s": statistics.median(from_generator),
                "from_generator_ratio": statistics.median(ours / floor for ours, floor in zip(from_generator, copied, strict=True)),
                "client_cpu_us_per_job": statistics.median(each["cpu_s"] / jobs * 1e6 for each in generated),
            },
        )
    ]


async def _enqueued(run: Run, role: str, **arguments: int) -> dict[str, float]:
    """What the role answered, after its jobs were counted in both tables."""
    jobs = run.sizes.jobs
    async with run.server.fresh() as url, started(role, url, run.sizes.deadline_s, jobs=jobs, **arguments) as child:
        await child.expect("ready")
        child.tell("go")
        answer = await child.expect("enqueued")
        child.tell("stop")
        await child.expect("done")
        conn = await asyncpg.connect(url)
        try:
            if (queued := await conn.fetchval(_QUEUED)) != jobs:
                raise MeasureFailed(f"{queued} of {jobs} jobs are queued.")
        finally:
            await conn.close()
    return answer
