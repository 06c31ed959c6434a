"""`drain`: one worker process empties a queue of no-op jobs.

Floors, each drained in the same pair:
- same_sql: the same claims and acks by the bare driver, nothing done per job (the one the target is about; see roles.floors);
- in_server: the same claims and acks in a procedure, two sessions and no client (see floors.sql): the database's own limit;
- raw_table: `delete ... for update skip locked` on a plain table by the bare driver, no history, no lease.
"""

from __future__ import annotations

import statistics

import asyncpg

from trunkline.measure import working
from trunkline.measure.floors import RAW_LEFT
from trunkline.measure.pairs import interleaved
from trunkline.measure.processes import started
from trunkline.measure.result import Floor, Result, Target
from trunkline.measure.run import MeasureFailed, Run

SAME_SQL = "the same claims and acks by the bare driver, nothing done per job"
IN_SERVER = "the same claims and acks in a procedure, two sessions, no client"
RAW_TABLE = "claim = delete, 1,000 rows a statement, on a plain table by the bare driver"


async def measure(run: Run) -> list[Result]:
    """Jobs a second, from the first look for jobs to the last recorded outcome."""
    jobs = run.sizes.jobs

    async def ours() -> float:
        async with run.server.fresh() as url:
            await working.backlog(url, jobs)
            return jobs / (await working.drained(run, url, jobs)).seconds

    async def same_sql() -> float:
        async with run.server.fresh() as url:
            await working.backlog(url, jobs)
            return jobs / (await driven(run, url, jobs))[0]

    async def in_server() -> float:
        async with run.server.fresh() as url:
            await working.backlog(url, jobs)
            return jobs / (await working.drained_in_server(run, url, jobs)).seconds

    async def raw_table() -> float:
        async with run.server.fresh() as url:
            await raw_backlog(url, jobs)
            return jobs / await raw_drained(run, url, jobs)

    rates, *floors = await interleaved(run.sizes.pairs, ours, same_sql, in_server, raw_table)
    return [
        Result(
            measure="drain",
            value=statistics.median(rates),
            unit="jobs/s",
            n=jobs,
            pairs=run.sizes.pairs,
            verified=True,
            floors={
                name: Floor.of(what, rates, floor)
                for (name, what), floor in zip(
                    {"same_sql": SAME_SQL, "in_server": IN_SERVER, "raw_table": RAW_TABLE}.items(), floors, strict=True
                )
            },
            targets=(Target("ratio", ">=", 0.75),),
        )
    ]


async def driven(run: Run, url: str, jobs: int) -> tuple[float, float]:
    """(seconds, CPU seconds) of a drain by the bare driver."""
    async with started("floor_driver", url, run.sizes.deadline_s) as child:
        await child.expect("ready")
        child.tell("go")
        answer = await child.expect("drained")
        child.tell("stop")
        await child.expect("done")
    await working.check(url, jobs, None)
    return answer["seconds"], answer["cpu_s"]


async def raw_drained(run: Run, url: str, jobs: int) -> float:
    """Seconds to empty the raw table."""
    async with started("floor_work", url, run.sizes.deadline_s) as child:
        await child.expect("ready")
        child.tell("go")
        await working.recorded(run, [child], jobs)
        (done,) = await working.stopped([child])
    if done["count"] != jobs:
        raise MeasureFailed(f"the raw table gave {done['count']} of {jobs} jobs.")
    return float(str(done["ended"])) - float(str(done["began"]))


async def raw_backlog(url: str, jobs: int) -> None:
    """Fill the raw table."""
    conn = await asyncpg.connect(url)
    try:
        rows = [(f'{{"n":{n}}}',) for n in range(jobs)]
        await conn.copy_records_to_table("job", schema_name="bench_floor", columns=("payload",), records=rows)
        if (left := await conn.fetchval(RAW_LEFT)) != jobs:
            raise MeasureFailed(f"the raw table holds {left} of {jobs} jobs.")
    finally:
        await conn.close()
