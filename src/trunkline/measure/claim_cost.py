"""`claim_cost`: one claim where a million jobs wait and ten million have finished, beside one on a database that has hardly any.

The rows are made by `insert ... select` in the proportion 20 queued and 200 finished to each job of a drain. Claims go
through the product's own SQL with the marks a worker keeps, on both databases in turn. Only with `--large`, or by name.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass

import asyncpg

from trunkline.measure.floors import FILL
from trunkline.measure.pairs import interleaved
from trunkline.measure.result import Floor, Result, Target
from trunkline.measure.roles.producers import line_of
from trunkline.measure.run import MeasureFailed, Run
from trunkline.store import sessions, work

QUEUED, FINISHED = 20, 200  # times the jobs of a run: 1M and 10M at 50,000
LIMIT = 100  # jobs of one claim: what a busy worker with small jobs asks for between two acks
CLAIMS = 40  # of one side of a pair
WARM_UP = 5  # claims that fill caches and plans


@dataclass(slots=True)
class Claimer:
    """A claimer of one database, with its mark."""

    conn: asyncpg.Connection
    tenant_id: int
    queue_id: int
    session_id: int
    mark: int = 0

    async def claim(self) -> float:
        """One claim; microseconds."""
        began = time.perf_counter()
        rows = await self.conn.fetch(work.CLAIM, *self._arguments())
        took_s = time.perf_counter() - began
        if len(rows) != LIMIT:
            raise MeasureFailed(f"a claim of {LIMIT} answered {len(rows)} jobs.")
        self.mark = rows[-1]["ord"]
        return took_s * 1e6

    async def buffers(self) -> int:
        """Pages that one more claim looked at."""
        (plan,) = json.loads(await self.conn.fetchval(f"explain (analyze, buffers, format json) {work.CLAIM}", *self._arguments()))
        self.mark = await self.conn.fetchval("select max(l.ord) from trunkline.lease as l")  # explain does not show the rows
        return int(plan["Plan"]["Shared Hit Blocks"]) + int(plan["Plan"]["Shared Read Blocks"])

    def _arguments(self) -> tuple[object, ...]:
        return (self.tenant_id, self.queue_id, self.session_id, LIMIT, self.mark, [], [])


@dataclass(frozen=True, slots=True)
class Claims:
    """One side of a pair: the median of its claims, and the pages of one."""

    us: float
    buffers: int


async def measure(run: Run) -> list[Result]:
    """Microseconds of a claim of 100."""
    needed = LIMIT * (WARM_UP + run.sizes.pairs * (CLAIMS + 1))
    queued, finished = max(run.sizes.jobs * QUEUED, needed), run.sizes.jobs * FINISHED
    async with run.server.fresh() as large_url, run.server.fresh() as small_url:
        large, small = await _claimer(run, large_url, queued, finished), await _claimer(run, small_url, needed, 0)
        try:
            await run.server.admin.execute("checkpoint")
            for claimer in (large, small):
                for _ in range(WARM_UP):
                    await claimer.claim()
            ours, floor = await interleaved(run.sizes.pairs, lambda: _claims(large), lambda: _claims(small))
        finally:
            await large.conn.close()
            await small.conn.close()
    times_us = [each.us for each in ours]
    pages, floor_pages = statistics.median(each.buffers for each in ours), statistics.median(each.buffers for each in floor)
    return [
        Result(
            measure="claim_cost",
            value=statistics.median(times_us),
            unit=f"us per claim of {LIMIT}",
            n=run.sizes.pairs * CLAIMS,
            pairs=run.sizes.pairs,
            verified=True,
            floors={
                "hardly_any": Floor.of(
                    f"the same claim where {needed} are queued and none has finished", times_us, [each.us for each in floor]
                )
            },
            targets=(Target("ratio", "<=", 1.2), Target("ratio_buffers", "<=", 1.2)),
            extra={
                "queued": queued,
                "finished": finished,
                "buffers": pages,
                "floor_buffers": floor_pages,
                "ratio_buffers": pages / floor_pages,
            },
        )
    ]


async def _claimer(run: Run, url: str, queued: int, finished: int) -> Claimer:
    """Fill a database, and stand before it."""
    tenant_id, queue_id, kind_id, _ = await line_of(url)
    run.say("rows made", 0, queued + finished)
    conn = await asyncpg.connect(url)
    await conn.execute(FILL, tenant_id, queue_id, kind_id, queued, finished)
    await conn.execute("vacuum (analyze)")  # as autovacuum leaves tables that grew long ago
    run.say("rows made", queued + finished, queued + finished)
    return Claimer(conn, tenant_id, queue_id, await conn.fetchval(sessions.OPEN, "bench", 86_400.0))


async def _claims(claimer: Claimer) -> Claims:
    return Claims(statistics.median([await claimer.claim() for _ in range(CLAIMS)]), await claimer.buffers())
