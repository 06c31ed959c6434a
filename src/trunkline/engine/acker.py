"""Gathers reports and writes them: one statement per tenant and flush for completions, one for all other endings.

Always true: a report leaves this buffer exactly once, as written or as lease lost; a flush that failed because the database
is away is tried again until it is written or the acker is told to give up; what could not be written at shutdown is
raised as `Unflushed`, never swallowed. While a flush is under way the next one gathers, so batches grow with the load.
Tenants are flushed beside each other, and what waits for somebody's row lock is set aside and halved until the report that waits
is alone: neither another tenant nor another job waits with it, and what is reported later goes on.
Called by: engine.runner, engine.fetcher. Calls: store.work.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from trunkline.engine.company import MOST_ENDINGS, Company
from trunkline.engine.context import Job
from trunkline.engine.faults import fault_of
from trunkline.errors import TimedOut, Unavailable, Unflushed
from trunkline.store import Store, work
from trunkline.store.work import Settled

MAX_FLUSH = 1000  # past this, a statement's latency grew and throughput did not
MAX_TENANTS = 4  # flushed at once: the pool has connections for claims and enqueues, too
MAX_ASIDE = 3  # statements at once for what was set aside: each may hold its connection until it times out
_tuple: Any = tuple.__new__  # a named tuple's constructor takes twice as long, and this one is made for every job
log = structlog.get_logger("trunkline.acker")


class Report(NamedTuple):
    """How an attempt ended: `ending` None is completed with `text` as its result, else one of sql settle()'s with `text` as the
    error; both JSON text."""

    job: Job
    ending: str | None
    text: str | None
    delay_s: float | None = None


@dataclass(slots=True)
class _Buffer:
    """Reports of one tenant."""

    waiting: list[Report] = field(default_factory=list)
    under_way: list[Report] = field(default_factory=list)
    is_flushing: bool = False


Done = Callable[[Job, str, Settled | None], None]
Completed = Callable[[list[Job]], None]
Write = Callable[[int, list[Report]], Awaitable[None]]


def _nothing() -> None:
    """Nobody waits for room."""


class Acker:
    """Buffers and flushes reports. `on_done(job, what, settled)` hears of each: completed, lost, or what settle made of it; where
    `on_completed` is given, that hears of the completed ones of a flush instead. `on_room` is called when a flush was written in company."""

    def __init__(
        self,
        store: Store,
        on_done: Done,
        on_completed: Completed | None = None,
        *,
        company: Company | None = None,
        on_room: Callable[[], None] = _nothing,
    ) -> None:
        self._store = store
        self._on_done, self._on_completed = on_done, on_completed
        self._company, self._on_room = Company() if company is None else company, on_room
        self._buffers: dict[int, _Buffer] = {}
        self._flushes: set[asyncio.Task[None]] = set()
        self._aside: dict[asyncio.Task[None], list[Report]] = {}
        self._turns = asyncio.Semaphore(MAX_ASIDE)
        self._something = asyncio.Event()
        self._written = asyncio.Event()
        self.pending = 0  # reports not yet answered by the database
        self.flushes = 0

    def completed(self, job: Job, result: str | None) -> None:
        """Report success."""
        self._take(job.tenant_id, _tuple(Report, (job, None, result, None)))

    def ended(self, job: Job, ending: str, error: str | None = None, delay_s: float | None = None) -> None:
        """Report any other ending."""
        job.ending = ending
        self._take(job.tenant_id, Report(job, ending, error, delay_s))

    def _take(self, tenant_id: int, report: Report) -> None:
        buffer = self._buffers.get(tenant_id)
        if buffer is None:
            buffer = self._buffers[tenant_id] = _Buffer()
        if not buffer.waiting:  # else it was said, and `run` or a flush under way will look
            self._something.set()
        buffer.waiting.append(report)
        self.pending += 1

    def unwritten(self) -> Counter[int]:
        """Reports that are not written, by tenant; those set aside wait for somebody else."""
        return Counter({tenant: len(buffer.waiting) + len(buffer.under_way) for tenant, buffer in self._buffers.items()})

    def fences(self) -> set[tuple[UUID, int]]:
        """(job, attempt) of every report not yet answered."""
        gathered = [report for buffer in self._buffers.values() for report in (*buffer.waiting, *buffer.under_way)]
        return {report.job.fence for report in (*gathered, *chain.from_iterable(self._aside.values()))}

    async def run(self) -> None:
        """Flush whenever there is something, until cancelled."""
        try:
            while True:
                await self._something.wait()
                self._something.clear()
                for tenant_id, buffer in list(self._buffers.items()):
                    if not buffer.is_flushing and len(self._flushes) < MAX_TENANTS:
                        buffer.is_flushing = True
                        task = asyncio.create_task(self._flush(tenant_id, buffer))
                        self._flushes.add(task)
                        task.add_done_callback(self._flushes.discard)
        finally:
            for task in (*self._flushes, *self._aside):
                task.cancel()

    async def drain(self, within_s: float) -> None:
        """Wait until every report is written; `run` does the writing.

        Raises:
            Unflushed: time is over; says how many jobs will be offered again.
        """
        try:
            async with asyncio.timeout(within_s):
                while self.pending:
                    self._written.clear()
                    await self._written.wait()
        except TimeoutError:
            raise Unflushed(f"{self.pending} reports could not be written within {within_s:g} s. These jobs will run again.") from None

    async def _flush(self, tenant_id: int, buffer: _Buffer) -> None:
        """Everything one tenant has, also what comes meanwhile."""
        try:
            while buffer.waiting:
                most = self._company.most(MAX_FLUSH)
                buffer.under_way, buffer.waiting = buffer.waiting[:most], buffer.waiting[most:]
                if done := [report for report in buffer.under_way if report.ending is None]:
                    await self._write(self._write_completions, tenant_id, done)
                if len(done) < len(buffer.under_way):
                    ends = [report for report in buffer.under_way if report.ending is not None]
                    most = self._company.most(MAX_FLUSH, MOST_ENDINGS)
                    for begin in range(0, len(ends), most):
                        await self._write(self._write_endings, tenant_id, ends[begin : begin + most])
                buffer.under_way = []
                self.flushes += 1
                self._written.set()
                if self._company.is_here:
                    self._on_room()
            del self._buffers[tenant_id]
        finally:
            buffer.is_flushing = False
            self._something.set()  # another tenant may have waited for its turn

    def _set_aside(self, write: Write, tenant_id: int, reports: list[Report]) -> None:
        """Go on writing these beside the flushes: something holds them up, and those that come later need not wait with them."""

        async def in_turn(tenant_id: int, reports: list[Report]) -> None:
            async with self._turns:
                await write(tenant_id, reports)

        async def go_on() -> None:
            if len(reports) > 1:
                await self._halve(in_turn, tenant_id, reports)
            else:
                await self._write(in_turn, tenant_id, reports, is_aside=True)

        def over(task: asyncio.Task[None]) -> None:
            del self._aside[task]
            self._written.set()

        log.warning("acker.set_aside", tenant_id=tenant_id, reports=len(reports))
        task = asyncio.create_task(go_on())
        self._aside[task] = reports
        task.add_done_callback(over)

    async def _write(self, write: Write, tenant_id: int, reports: list[Report], *, is_aside: bool = False) -> None:
        """Until it is written or set aside: an ack is worth waiting for, and may be repeated."""
        pause_s = 0.05
        refused = False
        while True:
            try:
                return await write(tenant_id, reports)
            except Unavailable as error:
                if isinstance(error, TimedOut) and not is_aside:
                    return self._set_aside(write, tenant_id, reports)
                if isinstance(error, TimedOut) and len(reports) > 1:
                    return await self._halve(write, tenant_id, reports)
                log.warning("acker.waiting", error=str(error), reports=len(reports), retry_in_s=pause_s)
            except Exception as error:  # noqa: BLE001 - whatever one report did to its statement, the others must be written
                if len(reports) > 1:  # one report the database refuses must not take its whole flush along
                    return await self._halve(write, tenant_id, reports, is_aside=is_aside)
                if refused:
                    return self._give_up(reports[0], error)
                refused = True
                log.warning("acker.refused", job_id=str(reports[0].job.id), error=str(error), retry_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 1.0)

    async def _halve(self, write: Write, tenant_id: int, reports: list[Report], *, is_aside: bool = True) -> None:
        middle = len(reports) // 2
        halves = (reports[:middle], reports[middle:])
        await asyncio.gather(*(self._write(write, tenant_id, half, is_aside=is_aside) for half in halves))

    def _give_up(self, report: Report, error: Exception) -> None:
        """Refused twice. A completion becomes a failure that people can read; a refused ending is left to its deadline."""
        log.error("acker.given_up", job_id=str(report.job.id), attempt=report.job.attempt, ending=report.ending, exc_info=error)
        self.pending -= 1
        if report.ending is None:
            self.ended(report.job, "failed", fault_of(error))
        else:
            self._on_done(report.job, "lost", None)

    async def _write_completions(self, tenant_id: int, done: list[Report]) -> None:
        ids, attempts, results = [r.job.id for r in done], [r.job.attempt for r in done], [r.text for r in done]
        stale = await work.ack_completed(self._store, tenant_id, ids, attempts, results)
        self.pending -= len(done)
        if self._on_completed is not None:
            self._on_completed([report.job for report in done if report.job.id not in stale] if stale else [report.job for report in done])
            done = [report for report in done if report.job.id in stale] if stale else []
        for report in done:
            self._on_done(report.job, "lost" if report.job.id in stale else "completed", None)

    async def _write_endings(self, tenant_id: int, ends: list[Report]) -> None:
        rows = await work.settle(
            self._store,
            tenant_id,
            [r.job.id for r in ends],
            [r.job.attempt for r in ends],
            [r.ending or "" for r in ends],
            [r.text for r in ends],
            [r.delay_s for r in ends],
        )
        self.pending -= len(ends)
        settled = {(row.job_id, row.attempt): row for row in rows}
        for report in ends:
            found = settled.get(report.job.fence)
            self._on_done(report.job, "lost" if found is None else found.next, found)
