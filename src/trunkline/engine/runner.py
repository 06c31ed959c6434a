"""Runs claimed jobs: at most `concurrency` at once, the rest waits here unstarted. A job that waits for anything has an asyncio task
of its own; those that never do share one (docs/decisions/0016).

Always true: each job that came in is reported exactly once (to the acker) or was lost; an attempt is stopped at its
deadline, on cancel and when its lease is lost, and what it returns afterwards is dropped.
Deadlines cost nothing per job: one timer looks at all attempts, and only when one can be due.
Called by: engine.fetcher. Calls: engine.acker.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any
from uuid import UUID

import structlog

from trunkline.engine.acker import Acker
from trunkline.engine.company import Company
from trunkline.engine.context import Job, current_job
from trunkline.engine.faults import fault, fault_of
from trunkline.engine.handlers import OUTCOMES
from trunkline.engine.hooks import Middleware, Told, surround
from trunkline.engine.pools import Pools
from trunkline.engine.reporter import Reporter
from trunkline.engine.shares import in_turns
from trunkline.engine.vault import MARK, RESULT, is_sealed
from trunkline.errors import InvalidPayload, LeaseLost, NotReadable, RolledBack, Unavailable
from trunkline.model import RetryAfter, Snooze
from trunkline.model.payload import encode
from trunkline.store import Store, work

CANCEL_GRACE_S = 10.0  # then the database takes the lease
WAIT_MAX_S = 1.0  # claimed ahead, and nothing finished for so long: another worker may have room
LOOK_EVERY_S = 0.25  # how late a deadline may be noticed
FILL_S = 0.005  # for so long jobs that never wait may follow each other before the loop gets its turn ...
FILL_SHARED_S = 0.001  # ... or so long, where another tenant's claims, answers and jobs may be waiting for the loop
log = structlog.get_logger("trunkline.runner")


class Runner:
    """Holds the attempts of one process.

    `freed` is called whenever room appears; nothing is started while `may_start()` is False: the leases may be lost already.
    """

    def __init__(
        self,
        store: Store,
        acker: Acker,
        reporter: Reporter,
        pools: Pools,
        *,
        concurrency: int,
        freed: Callable[[], None],
        may_start: Callable[[], bool],
        middleware: Sequence[Middleware] = (),
        told: Told | None = None,
        company: Company | None = None,
    ) -> None:
        self._store = store
        self._acker = acker
        self._reporter = reporter
        self._pools = pools
        self._concurrency = concurrency
        self._freed = freed
        self._may_start = may_start
        self._middleware, self._told = tuple(middleware), told
        self._is_bare = not middleware and told is None  # nothing is around handlers: the usual case, decided once
        self._company = Company() if company is None else company
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._look_at = float("inf")  # monotonic; no attempt is due before
        self._finished_then, self._stuck_since = 0, 0.0
        self._result_max = store.settings.result_max_bytes
        self._idle = asyncio.Event()
        self._idle.set()
        self._context = copy_context()  # what handlers start in: what was set before the worker was made
        self._context.run(current_job.set, None)
        self._is_filling, self._fills = False, 0
        self._fill_until = 0.0  # monotonic
        self._fill_s = FILL_S
        self._width, self._made, self._kept = 1, 0, 0  # tasks to make at once; those of this fill; of these, those that a job keeps
        self.finished = 0

    @property
    def running(self) -> int:
        """Attempts whose handler runs."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Attempts claimed and not started."""
        return len(self._waiting)

    def held(self) -> Counter[int]:
        """Attempts held here, by tenant."""
        return Counter(job.tenant_id for job in (*self._running, *self._waiting))

    def unstarted(self) -> Counter[int]:
        """Attempts that wait here for a slot, by tenant; where there are any, every slot is taken."""
        return Counter(job.tenant_id for job in self._waiting)

    def fences(self) -> set[tuple[UUID, int]]:
        """(job, attempt) of every attempt held here."""
        return {job.fence for job in (*self._waiting, *self._running)}

    def start(self, jobs: list[Job], timeouts: list[float], claimed_at: float) -> None:
        """Take jobs of one tenant in; they start in order, tenants in turns, as there is room. `claimed_at`: monotonic, before the claim was sent."""
        for job, timeout_s in zip(jobs, timeouts, strict=True):
            job.claimed_at, job.deadline_at = claimed_at, claimed_at + timeout_s
        if jobs:
            self._fill_s = FILL_SHARED_S if self._company.is_here else FILL_S
            self._look_at = min(self._look_at, claimed_at + min(timeouts))
            is_mixed = bool(self._waiting) and self._waiting[-1].tenant_id != jobs[0].tenant_id
            self._waiting.extend(jobs)
            if is_mixed:  # who comes later need not wait behind all that was claimed ahead for another
                self._waiting = in_turns(self._waiting)
            self._fill()

    def _fill(self) -> None:
        """Start what there is room for.

        A task runs one job after the other as long as none of them waits for anything: making a task costs more than running a
        small handler. A job that waits has its task for itself from then on. As many tasks are made at once as the last time jobs
        waited, doubled: one for handlers that never wait, soon one for each job where all of them do.
        """
        if self._is_filling or not self._waiting:
            return
        count = min(self._width, len(self._waiting), self._concurrency - len(self._running))
        if count <= 0 or not self._may_start():
            return
        self._is_filling = True
        self._fill_until = time.monotonic() + self._fill_s
        self._made = self._kept = count
        self._idle.clear()
        loop = asyncio.get_running_loop()
        self._context.run(self._make_tasks, loop, count)
        loop.call_soon(self._filled)  # behind the first step of each of these tasks, and before any second one

    def _make_tasks(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        """Each has a copy of the context in which this runs."""
        for _ in range(count):
            loop.create_task(self._run_some())

    def _filled(self) -> None:
        """Each task of this fill has ended or belongs to the job it runs."""
        self._is_filling = False
        self._fills += 1
        self._width = max(2 * self._kept, self._width if self._kept == self._made else 1)
        self._fill()
        self._rested()
        self._freed()

    async def _run_some(self) -> None:
        """Run jobs until one of them has waited, or left something behind in the task that the next one would see."""
        task, fill = asyncio.current_task(), self._fills
        assert task is not None
        waiting = self._waiting if self._may_start() else ()  # this process may have slept between the decision and this step
        now = time.monotonic()
        while waiting and len(self._running) < self._concurrency:
            job = waiting.popleft()
            self._running.add(job)
            job.task = task
            job.began_at = now
            current_job.set(job)
            try:
                if self._is_bare and not job.payload_text.startswith(MARK):
                    handler = job.handler
                    args, kwargs = handler.bind(job)
                    result = await (handler.function(*args, **kwargs) if handler.mode == "async" else self._pools.call(job, args, kwargs))
                else:
                    result = await self._surrounded(job)
                if job.stop_reason is not None:
                    self._stopped(job)  # it ended, and not as it wanted to: cancelled, out of time
                elif result is None and not job.said_something:
                    self._acker.completed(job, None)  # the plain end: nothing to encode, nothing to write first
                else:
                    await self._finish(job, result)
            except asyncio.CancelledError:
                self._stopped(job)
            except BaseException as error:  # noqa: BLE001 - a handler may raise anything; it ends as a report
                await self._raised(job, error)
            finally:
                now = time.monotonic()
                job.took_s = now - job.began_at
                self._left(job)
            if self._fills != fill or not self._is_clean():
                return  # counted as kept: a job that waits, and one that sets context variables, needs a task of its own
            if task.cancelling() or now > self._fill_until:
                break
        self._kept -= 1

    def _is_clean(self) -> bool:
        """Whether the context of this task is as it was before its job."""
        current_job.set(None)
        try:
            return copy_context() == self._context
        except Exception:  # noqa: BLE001 - values are compared by their own __eq__, and only where they are others than before
            return False

    async def _raised(self, job: Job, error: BaseException) -> None:
        if job.said_something:
            await self._reporter.flush_job(job)  # how far it came is what people ask first
        self._failed(job, error)

    async def _surrounded(self, job: Job) -> Any:
        """The same inside what the application put around its handlers, an encrypted payload opened before."""
        if self._told is not None:
            self._told.tell("started", job)
        if is_sealed(job.payload_text):
            job.unseal()

        async def call() -> Any:
            handler = job.handler
            args, kwargs = handler.bind(job)
            result = await (handler.function(*args, **kwargs) if handler.mode == "async" else self._pools.call(job, args, kwargs))
            if isinstance(result, OUTCOMES):
                raise result  # middleware sees one form of it
            return result

        return await surround(self._middleware, job, call)

    def _left(self, job: Job) -> None:
        self._running.discard(job)
        job.task = None  # its context holds the job: together with this they were garbage that only the cyclic collector finds
        self.finished += 1
        if not self._is_filling:  # else once, when that is over
            self._fill()
            self._rested()
            self._freed()

    def _rested(self) -> None:
        if not self._running and not self._waiting:
            self._idle.set()

    async def _finish(self, job: Job, result: Any) -> None:
        """An end with a result, or after progress or a report of its own."""
        if isinstance(result, OUTCOMES):
            raise result
        text = None if result is None else encode(result, what="result", max_bytes=self._result_max)
        if text is not None and job.seals & RESULT:
            text = job.sealed("result", text)
        await self._reporter.flush_job(job)
        if job.reported_in_transaction and not await self._is_recorded(job):
            raise RolledBack(
                "the transaction that completed this job was rolled back, so its work was not done. It is retried by the policy."
            )
        self._acker.completed(job, text)

    async def _is_recorded(self, job: Job) -> bool:
        while True:
            try:
                return not await work.lease_holds(self._store, job.tenant_id, job.id, job.attempt)
            except Unavailable:
                await asyncio.sleep(0.5)  # the deadline ends this at the latest

    def _stopped(self, job: Job) -> None:
        """Its task was cancelled: by us, with a reason, or by the handler itself."""
        reason = job.stop_reason
        if reason == "lost":
            if self._told is not None:
                self._told.tell("lost", job)
            return
        message = {
            "timed_out": "it took longer than its timeout",
            "cancelled": "cancelled by request",
            "released": "the worker shut down",
            None: "the handler cancelled itself",
        }[reason]
        self._acker.ended(job, reason or "failed", fault(reason or "cancelled", message))

    def _failed(self, job: Job, error: BaseException) -> None:
        if job.stop_reason in ("lost", "timed_out", "released") or isinstance(error, LeaseLost):
            if job.stop_reason in ("timed_out", "released"):
                self._stopped(job)
            return
        if isinstance(error, Snooze):
            self._acker.ended(job, "snoozed", None, error.seconds)
        elif isinstance(error, RetryAfter):
            self._acker.ended(job, "blocked" if error.key else "retry_after", fault("RetryAfter", str(error)), error.seconds)
        else:
            final = error.for_good if isinstance(error, NotReadable) else isinstance(error, InvalidPayload) or job.handler.is_final(error)
            job.error = error
            self._acker.ended(job, "fatal" if final else "failed", fault_of(error))
            if not isinstance(error, Exception):
                log.error("runner.handler_raised", job_id=str(job.id), kind=job.kind, error=repr(error))

    def held_as(self, leases: Sequence[tuple[int, UUID, int]]) -> list[Job]:
        """The attempts held here under these (tenant, job, attempt)."""
        wanted = set(leases)
        return [job for job in (*self._waiting, *self._running) if (job.tenant_id, job.id, job.attempt) in wanted]

    def stop(self, reason: str) -> int:
        """Stop all attempts, because they were lost or released; how many."""
        return self.stop_these(reason, [*self._waiting, *self._running])

    def stop_these(self, reason: str, jobs: list[Job]) -> int:
        """Stop attempts because they were cancelled, timed out, lost or released; how many were still held and not stopped before."""
        held = self._running.union(self._waiting)
        stopped = 0
        for job in jobs:
            if job.stop_reason is not None or job not in held:
                continue
            job.stop_reason, job.cancelled = reason, True
            stopped += 1
            if job.task is None:
                self._waiting.remove(job)
                self._stopped(job)
            elif reason == "cancelled" and job.handler.mode == "thread":
                asyncio.get_running_loop().call_later(CANCEL_GRACE_S, job.task.cancel)  # a thread can only look at job.cancelled
            else:
                job.task.cancel()
        self._rested()
        return stopped

    def release_waiting(self) -> int:
        """Hand back what was not started; how many."""
        released = list(self._waiting)
        self._waiting.clear()
        for job in released:
            job.stop_reason = "released"
            self._stopped(job)
        self._rested()
        return len(released)

    async def watch_deadlines(self) -> None:
        """Stop attempts at their deadline, and hand back what waits behind jobs that turned out to be long, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = time.monotonic()
            self.stop_overdue(now)
            self._fill()  # what waited while the session was uncertain
            if self._waiting and self.finished == self._finished_then:
                if now - self._stuck_since > WAIT_MAX_S:
                    log.info("runner.handed_back", count=self.release_waiting())
            else:
                self._finished_then, self._stuck_since = self.finished, now

    def stop_overdue(self, now: float) -> None:
        """Stop what is past its deadline at monotonic time `now`. Looks at the jobs only when one can be due."""
        if now < self._look_at:
            return
        held = (*self._waiting, *self._running)
        self.stop_these("timed_out", [job for job in held if job.deadline_at <= now])
        self._look_at = min((job.deadline_at for job in held if job.deadline_at > now), default=float("inf"))

    async def wait_idle(self, within_s: float) -> bool:
        """Wait until nothing runs; False when the time is over first."""
        try:
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
