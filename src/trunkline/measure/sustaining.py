"""Enqueue and process at once for a while: one producer process, one worker process, and what a quarter of the time saw.

Always true: the producer stays at most `LEAD` jobs ahead, so the queue is neither empty nor growing; what is left when the
producer ends is worked off before anything is verified, and belongs to no quarter.
Called by: sustained, sustained_pinned.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trunkline.measure import usage, working
from trunkline.measure.processes import Child, started
from trunkline.measure.run import MeasureFailed, Run
from trunkline.measure.tally import Tallied

LEAD = 20_000  # jobs; as for the peers


@dataclass(frozen=True, slots=True)
class Sustained:
    """A finished run: jobs in all, and for each quarter of the time the producer ran, jobs a second and what one cost.

    Attributes:
        server_us: CPU microseconds of all backends per job. It rises if they wade through dead rows, and unlike the rate it
            does not follow what else this machine does. None where it cannot be seen.
    """

    jobs: int
    quarters: tuple[float, ...]
    server_us: tuple[float | None, ...]

    @property
    def per_s(self) -> float:
        """Jobs a second over the whole time."""
        return sum(self.quarters) / len(self.quarters)

    @property
    def last_to_first(self) -> float:
        """How much of the first quarter's rate the last one kept."""
        return self.quarters[-1] / self.quarters[0] if self.quarters[0] else 0.0

    def numbers(self) -> Mapping[str, Any]:
        """For a result's extra."""
        return {
            "first_quarter": self.quarters[0],
            "last_quarter": self.quarters[-1],
            "quarters": list(self.quarters),
            "last_to_first": self.last_to_first,
            "whole_run": self.per_s,
            "server_us_quarters": list(self.server_us),
        }


async def ours(run: Run, url: str) -> Sustained:
    """The product, in the database at `url`."""
    sustained, done = await _sustain(run, url, "feed", "work", jobs=0)
    await working.check(url, sustained.jobs, Tallied.of([done]))
    return sustained


async def raw_table(run: Run, url: str) -> Sustained:
    """The raw table, fed by COPY, claim = delete."""
    sustained, done = await _sustain(run, url, "floor_feed", "floor_work")
    if done["count"] != sustained.jobs:
        raise MeasureFailed(f"the raw table gave {done['count']} of {sustained.jobs} jobs.")
    return sustained


async def _sustain(run: Run, url: str, feed: str, work: str, **arguments: int) -> tuple[Sustained, dict[str, object]]:
    deadline_s = run.sizes.deadline_s
    async with (
        started(work, url, deadline_s, **arguments) as worker,
        started(feed, url, deadline_s, seconds=run.sizes.seconds, lead=LEAD) as feeder,
    ):
        await worker.expect("ready")
        await feeder.expect("ready")
        meter = Meter(run, url, worker)
        await meter.look(0)
        began = time.monotonic()
        for child in (worker, feeder):
            child.tell("go")
        jobs = await _fed(run, feeder, worker, began, meter)
        ended = time.monotonic()
        await working.recorded(run, [worker], jobs)
        (done,) = await working.stopped([worker])
    return Sustained(jobs, quarter_rates(worker.history, began, ended), meter.us_per_job()), done


class Meter:
    """Reads the CPU time of the backends at the end of each quarter; of the last one a little before its end, when the
    producer's backend, and its CPU time with it, would be gone.
    """

    def __init__(self, run: Run, url: str, worker: Child) -> None:
        self._run, self._url, self._worker = run, url, worker
        self._quarter_s = run.sizes.seconds * 0.97 / 4
        self._read: list[tuple[int, float | None]] = []

    async def look(self, elapsed_s: float) -> None:
        """Read, if a quarter is over."""
        if elapsed_s >= self._quarter_s * len(self._read) and len(self._read) < 5:
            cpu_s = usage.server_cpu_s(await self._run.server.backend_pids(self._url))
            self._read.append((self._worker.seen["handled"], cpu_s))

    def us_per_job(self) -> tuple[float | None, ...]:
        """CPU microseconds per job of each quarter."""
        return tuple(
            (later_s - cpu_s) / (later - handled) * 1e6 if cpu_s is not None and later_s is not None and later > handled else None
            for (handled, cpu_s), (later, later_s) in itertools.pairwise(self._read)
        )


async def _fed(run: Run, feeder: Child, worker: Child, began: float, meter: Meter) -> int:
    """Tell the feeder how far the worker is until it has fed long enough; how many jobs it put in."""
    feeding = asyncio.create_task(feeder.expect("done"))
    try:
        while not feeding.done():
            worker.check()
            feeder.tell(f"handled {worker.seen['handled']}")
            await meter.look(time.monotonic() - began)
            run.say("seconds", time.monotonic() - began, run.sizes.seconds)
            await asyncio.wait([feeding], timeout=working.LOOK_S)
        return int(feeding.result()["jobs"])
    finally:
        feeding.cancel()


def quarter_rates(history: list[tuple[float, int]], began: float, ended: float) -> tuple[float, ...]:
    """Jobs a second in each quarter of the time from `began` to `ended`."""
    quarter_s = (ended - began) / 4
    marks = [_handled_by(history, began + quarter_s * n) for n in range(5)]
    return tuple((later - earlier) / quarter_s for earlier, later in itertools.pairwise(marks))


def _handled_by(history: list[tuple[float, int]], moment: float) -> float:
    """How many jobs had run by `moment`, on a straight line between two reports."""
    before_at, before = moment, 0
    for at, count in history:
        if at >= moment:
            share = (moment - before_at) / (at - before_at) if at > before_at else 0.0
            return before + (count - before) * min(max(share, 0.0), 1.0)
        before_at, before = at, count
    return float(before)
