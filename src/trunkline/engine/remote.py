"""Work that is done elsewhere: claims for remote workers, through the same lines, leases, fence and acker as a local worker's.

The gateway's process is one session: its lease lives while this process does, and each worker's connection is the gateway's
affair. What holds the connections is a `Desk`: it says how much room each line has, takes what was claimed, and reports.
Always true: never more claimed for a line than its desk has room for; each job that the desk took is reported exactly once or
was lost; after `stop` every lease of the session was reported or handed back.
A session of its own, also where a local worker runs in this process: each takes leases that it does not know for strays.
Called by: gateway. Calls: engine.fetcher, engine.acker, store.work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol, cast
from uuid import UUID

import structlog

from trunkline.engine.acker import Acker
from trunkline.engine.alarms import Alarms
from trunkline.engine.context import Job
from trunkline.engine.faults import fault_of
from trunkline.engine.fetcher import MAX_CLAIM, Fetcher
from trunkline.engine.handlers import Handler, Registry
from trunkline.engine.heart import Heart
from trunkline.engine.history import History
from trunkline.engine.hooks import Hooks
from trunkline.engine.line import Line
from trunkline.engine.reporter import Reporter
from trunkline.engine.sealing import Sealing
from trunkline.engine.tallies import FAILED, Tallies
from trunkline.engine.vault import RESULT, is_sealed
from trunkline.engine.worker import kept_up
from trunkline.errors import NotReadable, Unflushed
from trunkline.model import Claimed, Policy
from trunkline.store import Signals, Store, sessions, work
from trunkline.store.sessions import lease_of
from trunkline.store.work import Settled

POLICIES_EVERY_S = 30.0  # how old a kind's timeout may be, as workers are told it; the database's own deadline decides
BUSY_RATE = 300.0  # jobs a second: past this, claims wait for more room
GATHER_S = 0.002
STRAYS_AGAIN_S = 2.0
log = structlog.get_logger("trunkline.remote")


class Desk(Protocol):
    """Who holds the remote workers of this process."""

    finished: int  # jobs reported, ever
    arriving: int  # clients that are just bringing leases from another process

    @property
    def running(self) -> int:
        """Jobs handed out and not reported."""
        ...

    def room(self, queue_id: int) -> int:
        """How many more jobs of a line its workers take now."""
        ...

    def take(self, line: Line, jobs: list[Job]) -> None:
        """Hand out jobs that were claimed; `deadline_at` is set. What finds no room is to be ended as released."""
        ...

    def fences(self) -> set[tuple[UUID, int]]:
        """(job, attempt) of every job handed out, and of every report that is on its way."""
        ...

    def cancel_requested(self, leases: Sequence[tuple[int, UUID, int]]) -> None:
        """Somebody wants these attempts (tenant, job, attempt) to end; said again each second."""
        ...

    def session_over(self) -> None:
        """Every lease may be somebody else's: forget all jobs."""
        ...

    def ended(self, job: Job, what: str, settled: Settled | None) -> None:
        """A report is written: completed, lost, or what settle made of it."""
        ...


class RemoteFetcher(Fetcher):
    """Claims for each line what its workers have room for."""

    shares_slots = False

    def __init__(self, store: Store, heart: Heart, desk: Desk, acker: Acker, reporter: Reporter) -> None:
        # A desk knows `finished` and `fences`, all that is asked of a runner besides what is overridden here.
        super().__init__(store, heart, cast(Any, desk), acker, reporter, Registry(), concurrency=0, default_tenant=0)
        self._desk = desk
        self._timeouts: dict[int, tuple[str, float, int]] = {}
        self._timeouts_at = 0.0

    def drop_line(self, queue_id: int) -> None:
        """Serve this line no more."""
        line = self._lines.pop(queue_id, None)
        if line is not None:
            self._order.remove(line)

    def _room(self) -> tuple[int, int]:
        self._throughput.look(self._desk.finished)
        return sum(self._desk.room(line.queue_id) for line in self._order), 1

    def _turn(self, lines: list[Line], room: int, enough: int) -> tuple[Line, int] | None:
        """Workers bring room for their own lines, so nothing is shared out: the line whose turn is longest ago."""
        able = [line for line in lines if self._desk.room(line.queue_id) > 0]
        return (self._turns.of_lines(able), min(room, MAX_CLAIM)) if able else None

    async def _claim(self, line: Line, limit: int) -> None:
        if self._throughput.per_s > BUSY_RATE:
            await asyncio.sleep(GATHER_S)  # a claim costs the same for one job and for many
        if room := min(self._desk.room(line.queue_id), MAX_CLAIM):
            await super()._claim(line, room)

    async def _release_strays(self) -> None:
        if self._desk.arriving:  # what another session gave us a moment ago is no stray
            self._strays_at.append(self._clock() + STRAYS_AGAIN_S)
            return
        await super()._release_strays()

    def look_for_strays(self) -> None:
        """Leases may have come that nobody here knows: find them, and hand them back."""
        self._strays_at.append(self._clock() + STRAYS_AGAIN_S)
        self._strays_at.sort()
        self._wake.set()

    async def _start(self, line: Line, claimed: list[Claimed], began_at: float) -> None:
        if self._clock() - self._timeouts_at > POLICIES_EVERY_S:
            self._timeouts.clear()
            self._timeouts_at = self._clock()
        await self._learn({row.kind_id for row in claimed} - self._timeouts.keys())
        jobs = []
        for row in claimed:
            timeout_s: float | None = self._timeouts[row.kind_id][1]
            job = self._job(row, line.tenant_id, line.queue)
            if row.options is not None:
                timeout_s = self._by_options(job, self._timeouts[row.kind_id][1])
            if timeout_s is None:
                continue
            job.deadline_at = began_at + timeout_s
            if self._opens(job):
                jobs.append(job)
        self._desk.take(line, jobs)

    def _opens(self, job: Job) -> bool:
        """Open what is encrypted: the worker is told the payload itself. False: it cannot be, and the job was ended as a local one would be."""
        if not is_sealed(job.payload_text):
            return True
        try:
            job.unseal()
        except NotReadable as error:
            self._acker.ended(job, "fatal" if error.for_good else "failed", fault_of(error))
            return False
        return True

    def _job(self, row: Claimed, tenant_id: int, queue: str) -> Job:
        kind, _, seals = self._timeouts[row.kind_id]
        job = Job(row, tenant_id, queue, _elsewhere(kind), self._store, self._reporter)
        job.seals = seals
        return job

    async def received(self, tenant_id: int, job_ids: Sequence[UUID]) -> list[Job]:
        """Jobs whose leases another session gave to ours."""
        rows = await work.leased(self._store, tenant_id, self._heart.session_id, job_ids)
        await self._learn({row.kind_id for row, _, _ in rows} - self._timeouts.keys())
        jobs = []
        for row, queue, left_s in rows:
            jobs.append(job := self._job(row, tenant_id, queue))
            job.deadline_at = self._clock() + left_s
        return [job for job in jobs if self._opens(job)]

    async def _learn(self, kind_ids: set[int]) -> None:
        if kind_ids:
            self._timeouts.update(await self._learned(lambda: work.kind_timeouts(self._store, sorted(kind_ids))))


class RemoteWork:
    """The engine's side of remote workers, one per process. `start` with a desk, `stop` before the pool is closed."""

    def __init__(self, store: Store, signals: Signals, sealing: Sealing | None = None, hooks: Hooks | None = None) -> None:
        self._store, self._signals = store, signals
        self._hooks = Hooks() if hooks is None else hooks
        self._tallies = Tallies(store)
        self._heart = Heart(store)
        self._reporter = Reporter(store, sealing)
        self._tasks: list[asyncio.Task[None]] = []
        self._unsubscribe: Callable[[], None] | None = None

    async def start(self, desk: Desk) -> None:
        """Open the session and begin to claim for `desk`."""
        self._desk = desk
        self._acker = Acker(self._store, self._ended)
        self._fetcher = RemoteFetcher(self._store, self._heart, desk, self._acker, self._reporter)
        await self._heart.start()
        self._heart.listen(self)
        self._unsubscribe = self._signals.subscribe(self._heard)
        keeping = History(self._store, lambda: self._heart.session_id)  # where only gateways run, nobody else makes partitions
        alarms = Alarms(self._store, lambda: self._heart.session_id, self._hooks.copy())
        loops = (self._fetcher.run, self._heart.run, self._acker.run, self._reporter.run, keeping.run, self._tallies.run, *alarms.loops())
        self._tasks = [asyncio.create_task(kept_up(loop)) for loop in loops]

    def stop_claiming(self) -> None:
        """First of a shutdown: what is handed out may still be reported."""
        self._fetcher.stop()

    async def stop(self, within_s: float = 5.0) -> int:
        """Write every report, close the session; how many reports could not be written. What is still leased is handed back."""
        if not self._tasks:
            return 0
        self._fetcher.stop()
        await asyncio.wait(self._tasks[:1], timeout=within_s)
        unflushed = 0
        try:
            await self._acker.drain(within_s)
        except Unflushed as error:
            unflushed = self._acker.pending
            log.error("remote.unflushed", error=str(error))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reporter.flush()
        await self._tallies.flush()
        if self._unsubscribe is not None:
            self._unsubscribe()
        await self._heart.stop()
        self._tasks = []
        return unflushed

    def _ended(self, job: Job, what: str, settled: Settled | None) -> None:
        """A report is written: count it, and tell the desk."""
        self._tallies.ended(job, what)
        if (metrics := self._hooks.metrics) is not None and (what == "completed" or (what != "lost" and job.ending in FAILED)):
            metrics.ended(*self._store.counts.labels.of(job.tenant_id, job.kind, job.queue), what == "completed", job.took_s)
        self._desk.ended(job, what, settled)

    # -- what the desk asks ---------------------------------------------------------

    async def open_line(self, tenant_id: int, queue: str) -> int:
        """Serve a queue of a tenant, made where it is new; its id."""
        lines = await work.open_lines(self._store, tenant_id, [queue])
        self._fetcher.add_lines(lines)
        return lines[0][1]

    def close_line(self, queue_id: int) -> None:
        """Nobody here serves it any more."""
        self._fetcher.drop_line(queue_id)

    async def tell(self, word: str, *arguments: object) -> None:
        """Say something to the other gateways."""
        await sessions.tell(self._store, word, *arguments)

    async def give(self, tenant_id: int, jobs: Sequence[Job], to_session: int) -> set[UUID]:
        """Give the leases of jobs to another session, the same attempts; those that moved. The caller has let go of them."""
        ids, attempts = [job.id for job in jobs], [job.attempt for job in jobs]
        return await work.move_leases(self._store, tenant_id, ids, attempts, self._heart.session_id, to_session)

    async def receive(self, tenant_id: int, job_ids: Sequence[UUID]) -> list[Job]:
        """The jobs that another session gave to this one."""
        return await self._fetcher.received(tenant_id, job_ids)

    def look_for_strays(self) -> None:
        """Leases may have come that nobody here knows: hand them back soon."""
        self._fetcher.look_for_strays()

    def freed(self) -> None:
        """Some line has room again."""
        self._fetcher.freed()

    def database_now(self) -> datetime:
        """The database's time, good to a round trip."""
        return self._heart.database_now()

    @property
    def trusted(self) -> bool:
        """Whether the leases of this process are certainly its own."""
        return self._heart.trusted

    @property
    def session_id(self) -> int:
        """The session of this process."""
        return self._heart.session_id

    def progress(self, job: Job, value: str) -> None:
        """Keep the latest progress, JSON text; written a few times a second."""
        job.said_something = True
        self._reporter.progress(job, value)

    async def before_end(self, job: Job) -> None:
        """Write its last progress, so that its outcome keeps it."""
        if job.said_something:
            await self._reporter.flush_job(job)

    def completed(self, job: Job, result: str | None) -> None:
        """Report success, with what `kept` made of the result; `Desk.ended` hears what the database said."""
        self._acker.completed(job, result)

    def kept(self, job: Job, result: str | None) -> str | None:
        """A result (JSON text) as it is kept: encrypted where the kind's are or the payload was. NotReadable: there is no key for it."""
        return result if result is None or not job.seals & RESULT else job.sealed("result", result)

    def ended(self, job: Job, ending: str, error: str | None = None, delay_s: float | None = None) -> None:
        """Report any other ending, one of sql settle()'s."""
        self._acker.ended(job, ending, error, delay_s)

    # -- what the heart and the signals say ---------------------------------------------

    def lines(self) -> tuple[Sequence[int], int]:
        """Queues to be asked about."""
        return self._fetcher.lines()

    def has_work(self, queue_ids: Sequence[int]) -> None:
        """The tick found jobs."""
        self._fetcher.found_by_poll(queue_ids)

    def cancel_requested(self, leases: Sequence[tuple[int, UUID, int]]) -> None:
        """Stop these attempts."""
        self._desk.cancel_requested(leases)

    def session_over(self) -> None:
        """Start afresh."""
        self._desk.session_over()
        self._fetcher.restart()

    def clock_went_back(self) -> None:
        """New jobs may stand behind the marks: look from the front."""
        self._fetcher.restart()

    def _heard(self, word: str, arguments: list[str]) -> None:
        if word != "cancel":
            self._fetcher.heard(word, arguments)
        elif int(arguments[0]) == self._heart.session_id:
            self._desk.cancel_requested([lease] if (lease := lease_of(arguments[1:])) is not None else [])


@lru_cache(10_000)
def _elsewhere(kind: str) -> Handler:
    return Handler(kind, kind, _elsewhere, "async", Policy())
