"""`event_latency`: 1,000 events a second, each committed by one process, until a Socket.IO client of a gateway has them; ms.

The time runs from before the call that says the event, so its commit is in it. Three processes and PostgreSQL share this host.
"""

from __future__ import annotations

import statistics
from contextlib import AsyncExitStack

from trunkline.measure import working
from trunkline.measure.processes import started
from trunkline.measure.result import Result, Target
from trunkline.measure.run import Run

RATE = 1000.0  # events a second


async def measure(run: Run) -> list[Result]:
    """p50, and p99 beside it; each event came once."""
    events = max(run.sizes.jobs // 5, 20)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(run.server.fresh())
        gateway = await stack.enter_async_context(started("gateway", url, run.sizes.deadline_s))
        port = (await gateway.expect("ready"))["port"]
        teller = await stack.enter_async_context(started("tell", url, run.sizes.deadline_s, events=events, rate=RATE))
        await teller.expect("ready")
        hearer = await stack.enter_async_context(started("hear", url, run.sizes.deadline_s, port=port, events=events))
        await hearer.expect("ready")
        teller.tell("go")
        told = await teller.expect("told")
        ms = sorted((await working.answered(run, hearer, "heard", events))["ms"])
        for child in (hearer, teller, gateway):
            child.tell("stop")
            await child.expect("done")
    return [
        Result(
            measure="event_latency",
            value=statistics.median(ms),
            unit="ms",
            n=events,
            pairs=1,
            verified=len(ms) == events,
            targets=(Target("value", "<=", 10), Target("p99", "<=", 50)),
            extra={"p99": ms[len(ms) * 99 // 100], "per_s": events / told["seconds"]},
        )
    ]
