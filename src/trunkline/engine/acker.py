"""Gathers reports and writes them: one statement per tenant and flush for completions, one for all other endings.

Always true: a report leaves this buffer exactly once, as written or as lease lost; a flush that failed because the database
is away is tried again until it is written or the acker is told to give up; what could not be written at shutdown is
raised as `Unflushed`, never swallowed. While a flush is under way the next one gathers, so batches grow with the load.
Called by: engine.runner. Calls: store.work.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple, TypeVar
from uuid import UUID

import structlog

from trunkline.engine.context import Job
from trunkline.errors import Unavailable, Unflushed
from trunkline.store import Store, work
from trunkline.store.work import Settled

MAX_FLUSH = 1000  # past this, a statement's latency grew and throughput did not
log = structlog.get_logger("trunkline.acker")


class Ending(NamedTuple):
    """How an attempt ended other than completed; `ending` is one of sql settle()'s, `error` JSON text."""

    job: Job
    ending: str
    error: str | None
    delay_s: float | None


class Completion(NamedTuple):
    """A result, JSON text or None."""

    job: Job
    result: str | None


_Report = TypeVar("_Report", Completion, Ending)
Done = Callable[[Job, str, Settled | None], None]


class Acker:
    """Buffers and flushes reports. `on_done(job, what, settled)` hears of each: completed, lost, or what settle made of it."""

    def __init__(self, store: Store, on_done: Done) -> None:
        self._store = store
        self._on_done = on_done
        self._completions: list[Completion] = []
        self._endings: list[Ending] = []
        self._something = asyncio.Event()
        self._written = asyncio.Event()
        self._flushing = 0
        self._in_flush: tuple[list[Completion], list[Ending]] = ([], [])
        self.flushes = 0

    def completed(self, job: Job, result: str | None) -> None:
        """Report success."""
        self._completions.append(Completion(job, result))
        self._something.set()

    def ended(self, job: Job, ending: str, error: str | None = None, delay_s: float | None = None) -> None:
        """Report any other ending."""
        self._endings.append(Ending(job, ending, error, delay_s))
        self._something.set()

    @property
    def pending(self) -> int:
        """Reports not yet answered by the database."""
        return len(self._completions) + len(self._endings) + self._flushing

    def fences(self) -> set[tuple[UUID, int]]:
        """(job, attempt) of every report not yet answered."""
        completions, endings = self._in_flush
        reports: list[Completion | Ending] = [*self._completions, *self._endings, *completions, *endings]
        return {report.job.fence for report in reports}

    async def run(self) -> None:
        """Flush whenever there is something, until cancelled."""
        while True:
            await self._something.wait()
            await self._flush()

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

    async def _flush(self) -> None:
        completions, self._completions = self._completions[:MAX_FLUSH], self._completions[MAX_FLUSH:]
        endings, self._endings = self._endings[:MAX_FLUSH], self._endings[MAX_FLUSH:]
        if not (self._completions or self._endings):
            self._something.clear()
        self._flushing = len(completions) + len(endings)
        self._in_flush = (completions, endings)
        for tenant_id, done in _by_tenant(completions).items():
            await self._write(partial(self._write_completions, tenant_id, done))
            self._flushing -= len(done)
        for tenant_id, ends in _by_tenant(endings).items():
            await self._write(partial(self._write_endings, tenant_id, ends))
            self._flushing -= len(ends)
        self._in_flush = ([], [])
        self.flushes += 1
        self._written.set()

    async def _write(self, statement: Callable[[], Awaitable[None]]) -> None:
        """Until it is written: an ack is worth waiting for, and may be repeated."""
        pause_s = 0.05
        while True:
            try:
                await statement()
                return
            except Unavailable as error:
                log.warning("acker.waiting", error=str(error), retry_in_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 1.0)

    async def _write_completions(self, tenant_id: int, done: list[Completion]) -> None:
        try:
            stale = await work.ack_completed(
                self._store, tenant_id, [c.job.id for c in done], [c.job.attempt for c in done], [c.result for c in done]
            )
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever one report did to its statement, the others must be written
            await self._one_by_one(error, [partial(self._write_completions, tenant_id, [c]) for c in done], [c.job for c in done])
            return
        for completion in done:
            self._on_done(completion.job, "lost" if stale and completion.job.id in stale else "completed", None)

    async def _write_endings(self, tenant_id: int, ends: list[Ending]) -> None:
        try:
            rows = await work.settle(
                self._store,
                tenant_id,
                [e.job.id for e in ends],
                [e.job.attempt for e in ends],
                [e.ending for e in ends],
                [e.error for e in ends],
                [e.delay_s for e in ends],
            )
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever one report did to its statement, the others must be written
            await self._one_by_one(error, [partial(self._write_endings, tenant_id, [e]) for e in ends], [e.job for e in ends])
            return
        settled = {(row.job_id, row.attempt): row for row in rows}
        for end in ends:
            found = settled.get(end.job.fence)
            self._on_done(end.job, "lost" if found is None else found.next, found)

    async def _one_by_one(self, error: BaseException, singles: list[Callable[[], Awaitable[None]]], jobs: list[Job]) -> None:
        """One report the database refuses must not take its whole flush along. It alone is left to its deadline."""
        if len(singles) == 1:
            log.error("acker.refused", job_id=str(jobs[0].id), attempt=jobs[0].attempt, error=str(error), exc_info=error)
            self._on_done(jobs[0], "lost", None)
            return
        for single in singles:
            await single()


def _by_tenant(reports: list[_Report]) -> dict[int, list[_Report]]:
    """Grouped; SQL takes the locks of each group in job order."""
    if not reports:
        return {}
    first = reports[0].job.tenant_id
    if all(report.job.tenant_id == first for report in reports):
        return {first: reports}
    groups: dict[int, list[_Report]] = defaultdict(list)
    for report in reports:
        groups[report.job.tenant_id].append(report)
    return groups
