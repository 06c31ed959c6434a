"""`pickup`: from the call of `enqueue` here to the first line of the handler in an idle worker process.

The floor does the least that can be done: a commit with a NOTIFY here, and in another process an idle connection that
listens, and claims one row from a plain table. Both take turns, sample by sample. Pauses are long enough for the worker to
have gone to sleep (it stays awake for a moment after each job), so this is the slow path: sleeper, signal, claim.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import asyncpg

from trunkline import Trunkline
from trunkline.engine.fetcher import LINGER_S
from trunkline.measure import working
from trunkline.measure.floors import RAW_PUT
from trunkline.measure.processes import Child, started
from trunkline.measure.result import Floor, Result, Target
from trunkline.measure.roles.workers import KIND, application
from trunkline.measure.run import MeasureFailed, Run

ANSWER_S = 10.0  # a sample that takes longer is a failure
# Between two samples of ours lie two pauses: together past the linger and the statement that goes to sleep.
PAUSE_S = (LINGER_S * 0.6 + 0.02, LINGER_S * 0.6 + 0.06)


async def measure(run: Run) -> list[Result]:
    """Milliseconds, p50; p99 beside it."""
    pairs = run.sizes.pairs
    each = -(-run.sizes.samples // pairs)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(run.server.fresh())
        worker = await stack.enter_async_context(started("answer", url, run.sizes.deadline_s))
        raw = await stack.enter_async_context(started("floor_answer", url, run.sizes.deadline_s))
        app = await stack.enter_async_context(application(url))
        conn = await asyncpg.connect(url)
        stack.push_async_callback(conn.close)
        for child in (worker, raw):
            await child.expect("ready")
        await _ours(app, worker, 0)  # names, plans and caches are made once in a life
        await _floor(conn, raw, 0)
        ours_ms: list[list[float]] = []
        floor_ms: list[list[float]] = []
        for pair in range(pairs):
            ours_ms.append([])
            floor_ms.append([])
            for n in range(1 + pair * each, 1 + (pair + 1) * each):
                await _pause()
                ours_ms[-1].append(await _ours(app, worker, n))
                await _pause()
                floor_ms[-1].append(await _floor(conn, raw, n))
                run.say("samples", n, pairs * each)
        for child in (worker, raw):
            child.tell("stop")
            await child.expect("done")  # another `began` here would be a job that ran twice
        await working.check(url, 1 + pairs * each, None)
    return [_result(ours_ms, floor_ms)]


async def _pause() -> None:
    await asyncio.sleep(random.uniform(*PAUSE_S))  # noqa: S311 - not in step with any timer of ours


async def _ours(app: Trunkline, worker: Child, n: int) -> float:
    asked_at = time.monotonic_ns()
    await app.enqueue(KIND, {"n": n})
    return (await _began(worker, n) - asked_at) / 1e6


async def _floor(conn: asyncpg.Connection, raw: Child, n: int) -> float:
    asked_at = time.monotonic_ns()
    await conn.fetch(RAW_PUT, str(n))
    return (await _began(raw, n) - asked_at) / 1e6


async def _began(child: Child, n: int) -> int:
    try:
        answer = await asyncio.wait_for(child.expect("began"), ANSWER_S)
    except TimeoutError:
        raise MeasureFailed(f"job {n} was not picked up within {ANSWER_S:g} s.") from None
    if answer["n"] != n:
        raise MeasureFailed(f"job {answer['n']} was picked up, not {n}: one ran twice.")
    return int(answer["at"])


def _result(ours_ms: Sequence[Sequence[float]], floor_ms: Sequence[Sequence[float]]) -> Result:
    ours, floor = _p50_p99(ours_ms), _p50_p99(floor_ms)
    return Result(
        measure="pickup",
        value=ours[0],
        unit="ms",
        n=sum(map(len, ours_ms)),
        pairs=len(ours_ms),
        verified=True,
        floors={
            "listen_notify": Floor.of(
                "LISTEN/NOTIFY and one claim of a plain row on an idle connection",
                [statistics.median(block) for block in ours_ms],
                [statistics.median(block) for block in floor_ms],
            )
        },
        targets=(Target("ratio", "<=", 1.2), Target("ratio_p99", "<=", 1.2)),
        extra={"p50": ours[0], "p99": ours[1], "floor_p50": floor[0], "floor_p99": floor[1], "ratio_p99": ours[1] / floor[1]},
    )


def _p50_p99(blocks: Sequence[Sequence[float]]) -> tuple[float, float]:
    values = [value for block in blocks for value in block]
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]
