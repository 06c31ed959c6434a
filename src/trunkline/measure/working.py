"""Work done by processes of ours, watched from here: a backlog, a drain of it, a drain of the same by SQL alone.

Always true: what these return was verified: every job ran exactly once, and its outcome is in the database.
Called by: drain, drain_two, per_job, sustained.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import asyncpg

from trunkline.measure import usage
from trunkline.measure.floors import COUNTS, DRAIN
from trunkline.measure.processes import Child, started
from trunkline.measure.roles.floors import FLUSH
from trunkline.measure.roles.producers import line_of, made
from trunkline.measure.roles.workers import application
from trunkline.measure.run import MeasureFailed, Run
from trunkline.measure.tally import Tallied
from trunkline.store import sessions

LOOK_S = 0.02  # how late we may see that a worker is done; what it took is told by the worker's own clock
STALL_S = 30.0  # nothing ran and nothing was recorded for this long: stuck


@dataclass(frozen=True, slots=True)
class Drained:
    """A finished drain.

    Attributes:
        seconds: from the moment the first worker began to look for jobs until the last outcome was recorded.
        worker_cpu_s: all worker processes together.
        server_cpu_s: their backends; None where it cannot be seen.
        shares: jobs of each worker.
    """

    seconds: float
    worker_cpu_s: float
    server_cpu_s: float | None
    shares: tuple[int, ...]


async def backlog(url: str, jobs: int) -> None:
    """Put `jobs` jobs in, through the product."""
    async with application(url) as app:
        await app.enqueue_many(made(0, jobs))


async def drained(run: Run, url: str, jobs: int, *, processes: int = 1) -> Drained:
    """Let workers drain what is queued in the database at `url`.

    Raises:
        MeasureFailed: they got stuck, a job ran twice or never, or an outcome is missing.
    """
    async with AsyncExitStack() as stack:
        children = [await stack.enter_async_context(started("work", url, run.sizes.deadline_s, jobs=jobs)) for _ in range(processes)]
        for child in children:
            await child.expect("ready")
        for child in children:
            child.tell("go")
        await recorded(run, children, jobs)
        server_cpu_s = usage.server_cpu_s(await run.server.backend_pids(url))
        done = await stopped(children)
    await check(url, jobs, Tallied.of(done))
    return Drained(
        seconds=max(float(str(each["ended"])) for each in done) - min(float(str(each["began"])) for each in done),
        worker_cpu_s=sum(float(str(each["cpu_s"])) for each in done),
        server_cpu_s=server_cpu_s,
        shares=tuple(int(str(each["count"])) for each in done),
    )


async def recorded(run: Run, workers: Sequence[Child], jobs: int) -> None:
    """Wait until the workers know that `jobs` outcomes are recorded."""
    known, changed_at = -1, time.monotonic()
    while (now := sum(worker.seen["recorded"] for worker in workers)) < jobs:
        for worker in workers:
            worker.check()
        if now != known:
            known, changed_at = now, time.monotonic()
        if time.monotonic() - changed_at > STALL_S:
            raise MeasureFailed(f"nothing happened for {STALL_S:g} s: {now} of {jobs} outcomes are recorded.")
        run.say("jobs", now, jobs)
        await asyncio.sleep(LOOK_S)


async def answered(run: Run, child: Child, event: str, total: int) -> dict[str, Any]:
    """Wait for an answer of a child that keeps saying how far it is."""
    waiting = asyncio.create_task(child.expect(event))
    known, changed_at = -1, time.monotonic()
    try:
        while not waiting.done():
            if (now := child.seen["handled"] + child.seen["recorded"]) != known:
                known, changed_at = now, time.monotonic()
            if time.monotonic() - changed_at > STALL_S:
                raise MeasureFailed(f"nothing happened for {STALL_S:g} s: {child.seen['handled']} of {total} jobs run.")
            run.say("jobs", child.seen["handled"], total)
            await asyncio.wait([waiting], timeout=0.05)
        return waiting.result()
    finally:
        waiting.cancel()


async def stopped(workers: Sequence[Child]) -> list[dict[str, object]]:
    """Stop workers; what each of them did."""
    for worker in workers:
        worker.tell("stop")
    return [await worker.expect("done") for worker in workers]


async def check(url: str, jobs: int, tallied: Tallied | None) -> None:
    """Hold the promise the figures are worth nothing without.

    Args:
        tallied: what handlers saw; None where there was no handler.
    Raises:
        MeasureFailed: not every job ran exactly once and ended completed.
    """
    conn = await asyncpg.connect(url)
    try:
        completed, others = await conn.fetchrow(COUNTS)
    finally:
        await conn.close()
    if (completed, others) != (jobs, 0):
        raise MeasureFailed(f"{completed} of {jobs} jobs are completed and {others} are not: need all of them completed.")
    if tallied is not None and not tallied.is_exactly_once(jobs):
        raise MeasureFailed(f"{tallied.count} runs of {tallied.bits.bit_count()} different jobs: need {jobs} of {jobs}, each once.")


async def drained_in_server(run: Run, url: str, jobs: int) -> Drained:
    """The same claims and acks, driven in the server by two sessions: see floors.sql."""
    tenant_id, queue_id, _, _ = await line_of(url)
    conns = [await asyncpg.connect(url) for _ in range(2)]
    try:
        session_id = await conns[0].fetchval(sessions.OPEN, "bench floor", 86_400.0)
        began = time.monotonic()
        await asyncio.gather(*(conn.execute(DRAIN, tenant_id, queue_id, session_id, FLUSH) for conn in conns))
        ended = time.monotonic()
        server_cpu_s = usage.server_cpu_s(await run.server.backend_pids(url))
    finally:
        for conn in conns:
            await conn.close()
    await check(url, jobs, None)
    return Drained(ended - began, 0.0, server_cpu_s, ())
