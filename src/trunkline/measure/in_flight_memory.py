"""`in_flight_memory`: resident memory of a worker process while every job of a run waits inside its handler."""

from __future__ import annotations

from trunkline.measure import working
from trunkline.measure.processes import started
from trunkline.measure.result import Floor, Result, Target
from trunkline.measure.run import Run
from trunkline.measure.tally import Tallied


async def measure(run: Run) -> list[Result]:
    """Megabytes (2^20 bytes); the floor is the same process before its worker started."""
    jobs = run.sizes.jobs
    async with run.server.fresh() as url:
        await working.backlog(url, jobs)
        async with started("hold", url, run.sizes.deadline_s, jobs=jobs) as child:
            holding = await working.answered(run, child, "holding", jobs)
            done = await working.answered(run, child, "done", jobs)
        await working.check(url, jobs, Tallied.of([done]))
    rss_mb, before_mb = holding["rss_mb"], holding["before_mb"]
    return [
        Result(
            measure="in_flight_memory",
            value=rss_mb,
            unit="MB",
            n=jobs,
            pairs=1,
            verified=True,
            floors={"idle": Floor.of("the same process, connected, before its worker started", [rss_mb], [before_mb])},
            targets=(Target("value", "<=", 300),),
            extra={"bytes_per_job": (rss_mb - before_mb) * 2**20 / jobs},
        )
    ]
