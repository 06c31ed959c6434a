"""`idle_queries`: what a worker process with nothing to do asks the database, a second. An idle system should be quiet."""

from __future__ import annotations

import asyncio
import time

from trunkline.engine.fetcher import LINGER_S
from trunkline.measure.processes import started
from trunkline.measure.result import Result, Target
from trunkline.measure.run import Run

SETTLE_S = LINGER_S + 1.0  # until it sleeps


async def measure(run: Run) -> list[Result]:
    """Statements a second; transactions, where statements cannot be counted."""
    async with run.server.fresh() as url:
        counted_by = await run.server.count_statements(url)
        async with started("work", url, run.sizes.deadline_s, jobs=0) as child:
            await child.expect("ready")
            child.tell("go")
            await asyncio.sleep(SETTLE_S)
            before, began = await run.server.statements(url), time.monotonic()
            while (left_s := began + run.sizes.idle_s - time.monotonic()) > 0:
                child.check()
                run.say("seconds", run.sizes.idle_s - left_s, run.sizes.idle_s)
                await asyncio.sleep(min(left_s, 0.5))
            asked, seconds = await run.server.statements(url) - before, time.monotonic() - began
            child.tell("stop")
            await child.expect("done")
    return [
        Result(
            measure="idle_queries",
            value=asked / seconds,
            unit="queries/s",
            n=asked,
            pairs=1,
            verified=True,
            targets=(Target("value", "<=", 1.2),),
            extra={"seconds": seconds, "counted_by": counted_by},
        )
    ]
