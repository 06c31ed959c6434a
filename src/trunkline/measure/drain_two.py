"""`drain_two`: two worker processes empty a queue, beside one in the same pair. More workers must not be slower."""

from __future__ import annotations

import statistics

from trunkline.measure import working
from trunkline.measure.pairs import interleaved
from trunkline.measure.result import Floor, Result, Target
from trunkline.measure.run import Run


async def measure(run: Run) -> list[Result]:
    """Jobs a second of two processes; the floor is one."""
    jobs = run.sizes.jobs

    async def with_processes(processes: int) -> working.Drained:
        async with run.server.fresh() as url:
            await working.backlog(url, jobs)
            return await working.drained(run, url, jobs, processes=processes)

    two, one = await interleaved(run.sizes.pairs, lambda: with_processes(2), lambda: with_processes(1))
    rates = [jobs / each.seconds for each in two]
    return [
        Result(
            measure="drain_two",
            value=statistics.median(rates),
            unit="jobs/s",
            n=jobs,
            pairs=run.sizes.pairs,
            verified=True,
            floors={"one_process": Floor.of("one worker process", rates, [jobs / each.seconds for each in one])},
            targets=(Target("ratio", ">=", 1.0),),
            extra={"shares": list(two[-1].shares)},
        )
    ]
