"""`fairness`: how long jobs of 200 small tenants wait for a worker that serves everybody, beside a tenant with a million queued jobs
whose handlers all fail; and the same without that tenant.

From the call of `enqueue` here to the first line of the handler in a worker process of ten slots. The small tenants send in turn, a
hundred jobs a second in all, so that they alone are no load. The large tenant's jobs fail and come back at once: a retry storm that
has as much of the worker as nobody else wants. Only with `--large`, or by name: `trunkline bench --only fairness --jobs 5000` (100,000
jobs in the backlog) takes about a minute.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass

import asyncpg

from trunkline import Trunkline
from trunkline.measure.floors import FILL
from trunkline.measure.pairs import interleaved
from trunkline.measure.processes import Child, started
from trunkline.measure.result import Floor, Result, Target
from trunkline.measure.roles.producers import line_of
from trunkline.measure.roles.workers import KIND, application
from trunkline.measure.run import MeasureFailed, Run

QUEUED = 20  # times the jobs of a run: 1M at 50,000
SMALL = 200
EVERY_S = 0.01  # between two jobs, of all small tenants together
WITHIN_S = 60.0  # a job that takes longer is a failure
ENDED = "select count(*) from trunkline.outcome where state = 1 and tenant_id <> $1"


@dataclass(frozen=True, slots=True)
class Waits:
    """One side of a pair: milliseconds until jobs of small tenants began, and failed attempts of the large one a second."""

    ms: list[float]
    failed_per_s: float

    @property
    def p99(self) -> float:
        """The wait that one of a hundred exceeds."""
        return statistics.quantiles(self.ms, n=100, method="inclusive")[98]


class Side:
    """A database with its senders; `number` counts their jobs."""

    def __init__(self, run: Run, url: str, large: int) -> None:
        self._run, self._url, self._large = run, url, large
        self.number = 0

    async def waits(self) -> Waits:
        """A worker's life: warm it up, send for a while, end it."""
        run, each = self._run, max(20, min(1000, self._run.sizes.jobs // 10))
        async with application(self._url) as app, started("share", self._url, run.sizes.deadline_s, large=self._large) as worker:
            await worker.expect("ready")
            await self._sent(app, worker, SMALL, 0.0)  # names, plans and caches are made once in a life
            before, began = worker.seen["handled"], time.monotonic()
            ms = await self._sent(app, worker, each, EVERY_S)
            failed_per_s = (worker.seen["handled"] - before) / (time.monotonic() - began)
            worker.tell("stop")
            await worker.expect("done")
        return Waits(ms, failed_per_s)

    async def ended(self) -> int:
        """Jobs of small tenants that completed."""
        conn = await asyncpg.connect(self._url)
        try:
            return int(await conn.fetchval(ENDED, self._large))
        finally:
            await conn.close()

    async def _sent(self, app: Trunkline, worker: Child, count: int, every_s: float) -> list[float]:
        """Send so many, and wait until all began; how long each took."""
        asked: dict[int, int] = {}
        began: dict[int, int] = {}

        async def send(n: int) -> None:
            asked[n] = time.monotonic_ns()
            await app.enqueue(KIND, {"n": n}, tenant=f"small-{n % SMALL}")

        async def hear() -> None:
            while len(began) < count:
                answer = await worker.expect("began")
                if answer["n"] in began:
                    raise MeasureFailed(f"job {answer['n']} began twice.")
                began[answer["n"]] = answer["at"]

        hearing = asyncio.create_task(hear())
        async with asyncio.TaskGroup() as senders:
            for _ in range(count):
                senders.create_task(send(self.number))
                self.number += 1
                await asyncio.sleep(every_s)
                self._run.say("jobs of small tenants", len(began), count)
        try:
            await asyncio.wait_for(hearing, WITHIN_S)
        except TimeoutError:
            raise MeasureFailed(f"{count - len(began)} of {count} jobs of small tenants did not begin within {WITHIN_S:g} s.") from None
        return [(began[n] - asked[n]) / 1e6 for n in asked]


async def measure(run: Run) -> list[Result]:
    """Milliseconds, p99 of the small tenants."""
    queued = run.sizes.jobs * QUEUED
    async with run.server.fresh() as beside_url, run.server.fresh() as alone_url:
        beside, alone = Side(run, beside_url, await _backlog(run, beside_url, queued)), Side(run, alone_url, 0)
        ours, floor = await interleaved(run.sizes.pairs, beside.waits, alone.waits)
        verified = [await side.ended() for side in (beside, alone)] == [beside.number, alone.number]
    p99, alone_p99 = _p99(ours), _p99(floor)
    return [
        Result(
            measure="fairness",
            value=p99,
            unit="ms, p99 of 200 small tenants",
            n=sum(len(side.ms) for side in ours),
            pairs=run.sizes.pairs,
            verified=verified,
            floors={"alone": Floor.of("the same tenants without the large one", [side.p99 for side in ours], [side.p99 for side in floor])},
            targets=(Target("ratio_p99", "<=", 2), Target("added_p99", "<=", 50)),
            extra={
                "queued": queued,
                "failed_per_s": statistics.median(side.failed_per_s for side in ours),
                "p50": statistics.median(ms for side in ours for ms in side.ms),
                "floor_p50": statistics.median(ms for side in floor for ms in side.ms),
                "floor_p99": alone_p99,
                "ratio_p99": p99 / alone_p99,
                "added_p99": p99 - alone_p99,
            },
        )
    ]


def _p99(sides: list[Waits]) -> float:
    return Waits([ms for side in sides for ms in side.ms], 0.0).p99


async def _backlog(run: Run, url: str, queued: int) -> int:
    """Fill the queue of one tenant; its id."""
    tenant_id, queue_id, kind_id, _ = await line_of(url)
    run.say("rows made", 0, queued)
    conn = await asyncpg.connect(url)
    try:
        await conn.execute(FILL, tenant_id, queue_id, kind_id, queued, 0)
        await conn.execute("vacuum (analyze)")
    finally:
        await conn.close()
    return tenant_id
