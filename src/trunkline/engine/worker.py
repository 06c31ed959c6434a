"""A worker: capacity, and everything that keeps it busy and honest.

Always true after `stop`: nothing is claimed any more; each attempt it held was reported, or released, or counted in
`Stopped.unflushed`; its session is closed.
Called by: app.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from trunkline.engine.acker import Acker
from trunkline.engine.alarms import Alarms
from trunkline.engine.collector import seldom
from trunkline.engine.company import Company
from trunkline.engine.context import Job
from trunkline.engine.fetcher import Fetcher
from trunkline.engine.handlers import Registry
from trunkline.engine.heart import Heart
from trunkline.engine.history import History
from trunkline.engine.hooks import Hooks, Told
from trunkline.engine.pools import Pools
from trunkline.engine.reporter import Reporter
from trunkline.engine.runner import Runner
from trunkline.engine.scheduler import Scheduler
from trunkline.engine.sealing import Sealing
from trunkline.engine.tallies import Tallies
from trunkline.errors import InvalidSetting, SessionLost, TrunklineError, Unflushed
from trunkline.observe.counts import Counts
from trunkline.store import Signals, Store, privacy, tenants, work
from trunkline.store.sessions import lease_of
from trunkline.store.work import Settled

LINES_EVERY_S = 2.0  # how soon a queue of a new tenant is noticed by handlers that serve all, where nobody tells of it
LINES_APART_S = 0.02  # many new ones are one look
AGAIN_AFTER_S = 0.5  # a loop that failed is run again
LONGEST_WHY = 300  # characters of an error in the log; the job keeps all of it
log = structlog.get_logger("trunkline.worker")


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a shutdown did: jobs that finished during it, handed back, and reports that could not be written."""

    finished: int
    released: int
    unflushed: int


class Worker:
    """Runs the handlers of a registry, from all of its queues or from those in `queues`. One per process is enough.

    InvalidSetting: a handler encrypts and there is no key.
    """

    def __init__(
        self,
        store: Store,
        signals: Signals,
        heart: Heart,
        registry: Registry,
        *,
        default_tenant: int,
        concurrency: int,
        queues: Sequence[str] | None = None,
        hooks: Hooks | None = None,
        sealing: Sealing | None = None,
    ) -> None:
        self._store, self._signals, self._heart, self._registry = store, signals, heart, registry
        self._default_tenant = default_tenant
        self._own, self._shared = registry.queues(queues)
        self.counts = Counts()
        hooks = Hooks() if hooks is None else hooks.copy()
        _check_keys(registry, sealing)
        observers = hooks.of_jobs()
        self._told = Told(observers) if observers else None
        self._tallies = Tallies(store)
        self._alarms = Alarms(store, lambda: heart.session_id, hooks)
        self._reporter = Reporter(store, sealing)
        company = Company()
        self._acker = (
            Acker(store, self._done, self._completed, company=company, on_room=self._freed)
            if self._told is None
            else Acker(store, self._done_and_told, company=company, on_room=self._freed)
        )
        self._pools = Pools(threads=min(concurrency, 256), processes=min(concurrency, os.cpu_count() or 1))
        self._runner = Runner(
            store,
            self._acker,
            self._reporter,
            self._pools,
            concurrency=concurrency,
            freed=self._freed,
            may_start=lambda: heart.trusted,
            middleware=hooks.middleware,
            told=self._told,
            company=company,
        )
        self._fetcher = Fetcher(
            store,
            heart,
            self._runner,
            self._acker,
            self._reporter,
            registry,
            concurrency=concurrency,
            default_tenant=default_tenant,
            company=company,
        )
        self._new_lines = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._unsubscribe: list[Any] = []
        self._stopped: Stopped | None = None

    async def start(self) -> None:
        """Declare the kinds, open the lines, begin to claim.

        The cyclic collector is made to look less often while a worker runs: thousands of tasks in flight made it walk the
        heap again and again, half of the CPU of a small job (docs/decisions/0004). `stop` puts it back.
        """
        seldom.begin()
        for handler in self._registry:
            tenant_id = None if handler.all_tenants else self._default_tenant
            await work.declare_kind(self._store, tenant_id, handler.kind, handler.policy)
            if handler.seals:
                await privacy.seal_kind(self._store, tenant_id, handler.kind, handler.seals)
        await self._open_lines()
        await self._get_ready()
        self._heart.listen(self)
        self._unsubscribe.append(self._signals.subscribe(self._heard))
        loops: list[Callable[[], Coroutine[Any, Any, None]]] = [
            self._fetcher.run,
            self._acker.run,
            self._reporter.run,
            self._runner.watch_deadlines,
            Scheduler(self._store, self._heart).run,
            History(self._store, lambda: self._heart.session_id).run,
            self._tallies.run,
            *self._alarms.loops(),
        ]
        if self._shared:
            loops.append(self._follow_tenants)
        if self._told is not None:
            loops.append(self._told.run)
        self._tasks = [asyncio.create_task(kept_up(loop)) for loop in loops]
        log.info("worker.started", kinds=sorted(handler.kind for handler in self._registry), session_id=self._heart.session_id)

    async def stop(self, timeout_s: float) -> Stopped:
        """Stop claiming, let running jobs finish for `timeout_s`, release the rest, write every report. Twice is once."""
        if self._stopped is not None:
            return self._stopped
        before = self._runner.finished
        self._fetcher.stop()
        await asyncio.wait(self._tasks[:1], timeout=5.0)  # a claim under way; when the database is away, not for long
        unstarted, stopped = self._runner.release_waiting(), 0
        if not await self._runner.wait_idle(timeout_s):
            stopped = self._runner.stop("released")
            await self._runner.wait_idle(2.0)
        unflushed = await self._drain()
        if self._told is not None:
            await self._told.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reporter.flush()
        await self._tallies.flush()
        await self._pools.close()
        seldom.end()
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._stopped = Stopped(max(self._runner.finished - before - stopped, 0), unstarted + stopped, unflushed)
        log.info("worker.stopped", finished=self._stopped.finished, released=self._stopped.released, unflushed=unflushed)
        return self._stopped

    async def _drain(self) -> int:
        try:
            await self._acker.drain(5.0)
        except Unflushed as error:
            log.error("worker.unflushed", error=str(error))
            return self._acker.pending
        return 0

    @property
    def running(self) -> int:
        """Attempts whose handler runs now."""
        return self._runner.running

    # -- what the heart and the signals say -------------------------------------

    def lines(self) -> tuple[Sequence[int], int]:
        """Queues this worker wants to be asked about."""
        return self._fetcher.lines()

    def has_work(self, queue_ids: Sequence[int]) -> None:
        """The tick found jobs."""
        self._fetcher.found_by_poll(queue_ids)

    def cancel_requested(self, leases: Sequence[tuple[int, UUID, int]]) -> None:
        """Stop these attempts."""
        self._runner.stop_these("cancelled", self._runner.held_as(leases))

    def session_over(self) -> None:
        """Every lease may be somebody else's: stop all handlers and start afresh."""
        stopped = self._runner.stop("lost")
        self.counts.lost += stopped
        self._fetcher.restart()

    def clock_went_back(self) -> None:
        """New jobs may stand behind the marks: look from the front."""
        self._fetcher.restart()

    def _heard(self, word: str, arguments: list[str]) -> None:
        if word == "cancel":
            if int(arguments[0]) == self._heart.session_id:
                self.cancel_requested([lease] if (lease := lease_of(arguments[1:])) is not None else [])
        elif word == "due":
            self._heart.tick_in(float(arguments[0]))
        elif word == "lines":
            self._new_lines.set()
        else:
            self._fetcher.heard(word, arguments)

    def _freed(self) -> None:
        self._fetcher.freed()

    def _done(self, job: Job, what: str, settled: Settled | None) -> None:
        self.counts.ended(job.kind, what)
        self._tallies.ended(job, what)
        if what == "lost":
            log.warning("worker.lease_lost", job_id=str(job.id), attempt=job.attempt, kind=job.kind)
        elif what == "failed":
            log.error("worker.job_failed", job_id=str(job.id), attempt=job.attempt, kind=job.kind, error=_why(job))

    def _completed(self, jobs: list[Job]) -> None:
        """`_done` of the completed ones of a flush: most jobs, so they are counted together."""
        self.counts.completed(jobs)
        self._tallies.completed(jobs)

    def _done_and_told(self, job: Job, what: str, settled: Settled | None) -> None:
        self._done(job, what, settled)
        assert self._told is not None
        self._told.ended(job, what, None if settled is None else settled.run_at)

    # -- duties -----------------------------------------------------------------

    async def _open_lines(self) -> None:
        self._fetcher.add_lines(await work.open_lines(self._store, self._default_tenant, self._own + self._shared))
        await self._open_shared_lines()

    async def _get_ready(self) -> None:
        """Do now what the first job would wait for otherwise."""
        kinds = [handler.kind for handler in self._registry]
        self._fetcher.learn(await work.kind_ids(self._store, self._default_tenant, kinds))
        if line := self._fetcher.first():
            with suppress(SessionLost):  # then there is another one before the first claim
                await work.warm(self._store, *line, self._heart.session_id)

    async def _open_shared_lines(self) -> None:
        """Queues of new tenants, and what somebody said of tenants' weights."""
        if self._shared:
            self._fetcher.add_lines(await work.open_lines(self._store, None, self._shared))
            self._fetcher.weigh(await tenants.weights(self._store))

    async def _follow_tenants(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINES_EVERY_S):
                    await self._new_lines.wait()
            self._new_lines.clear()
            await asyncio.sleep(LINES_APART_S)
            try:
                await self._open_shared_lines()
            except TrunklineError as error:
                log.warning("worker.lines_not_read", error=str(error))


def _check_keys(registry: Registry, sealing: Sealing | None) -> None:
    for handler in registry:
        if handler.seals and (sealing is None or sealing.vault is None):
            raise InvalidSetting(
                f"the handler of {handler.kind!r} is declared with encrypt and TRUNKLINE_ENCRYPTION_KEYS is not set. "
                "Make a key with trunkline keys generate and set it for every process that enqueues or runs this kind."
            )


def _why(job: Job) -> str:
    """What its handler raised, on one line; or why it was stopped."""
    error = getattr(job, "error", None)
    said = job.stop_reason or "" if error is None else f"{type(error).__name__}: {error}"
    return " ".join(said.split())[:LONGEST_WHY]


async def kept_up(loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a loop, and again when it raised what nobody foresaw: a worker with a dead loop would only look alive."""
    while True:
        try:
            await loop()
            return
        except Exception:
            log.exception("worker.loop_failed", loop=loop.__qualname__, again_in_s=AGAIN_AFTER_S)
            await asyncio.sleep(AGAIN_AFTER_S)
