"""Claims jobs to capacity and hands them to the runner.

The loop: wait for room, pick the next line with work (tenants by their shares, a tenant's lines in turns), claim, start; when no line has work, ask to be woken, look once
more, then sleep. Under load it does not sleep and nobody needs to wake it, so enqueues send no signals. Where it serves several tenants,
their claims go on beside each other, and one that holds nothing is not kept waiting by what was claimed ahead for others
(docs/decisions/0024).
Always true: never more claimed than `concurrency` plus what is claimed ahead (see engine.throughput: none for slow jobs, so that
no job waits here while another worker is free); nothing is claimed while the session is not trusted.
Called by: worker. Calls: store.work.claim, runner.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import TypeVar
from uuid import UUID

import structlog

from trunkline.engine.acker import Acker
from trunkline.engine.company import Company
from trunkline.engine.context import Job
from trunkline.engine.handlers import Handler, Registry
from trunkline.engine.heart import ORDS_PER_S, Heart
from trunkline.engine.line import Line
from trunkline.engine.reporter import Reporter
from trunkline.engine.runner import Runner
from trunkline.engine.shares import Shares
from trunkline.engine.sleeper import Sleeper
from trunkline.engine.throughput import Throughput
from trunkline.engine.turns import Turns
from trunkline.engine.under_way import PRECEDES_S, UnderWay
from trunkline.errors import SessionLost, TrunklineError, Unavailable
from trunkline.model import Claimed
from trunkline.store import Store, sessions, work

MAX_CLAIM = 1000
LINGER_S = 0.1  # a line stays awake this long after its last job
LOOK_S = 0.005  # while lingering, look this often
LINGER_BESIDE_S = 0.05  # beside others, being told is sooner than being looked at: what is not busy is put to sleep within this
LOOK_BESIDE_S = 0.01  # and so often at the lines of some tenants beside the work of others
FULL_CLAIM = 50  # a full claim of so many says that more are coming
FEW_LINES = 8  # so many are looked at one by one; more are asked about together, by a tick
FRONT_EVERY_S = 60.0
STRAYS_AFTER_S = (0.0, 1.0, 5.0, 30.0)  # after a lost answer: a statement whose client went away may still commit for a while
MAX_UNREPORTED = 20_000
T = TypeVar("T")
log = structlog.get_logger("trunkline.fetcher")


class Fetcher:
    """Keeps the runner fed from its lines."""

    shares_slots = True  # what it runs, all its tenants compete for

    def __init__(
        self,
        store: Store,
        heart: Heart,
        runner: Runner,
        acker: Acker,
        reporter: Reporter,
        registry: Registry,
        *,
        concurrency: int,
        default_tenant: int,
        clock: Callable[[], float] = time.monotonic,
        company: Company | None = None,
    ) -> None:
        self._store, self._heart, self._runner, self._acker = store, heart, runner, acker
        self._reporter, self._registry = reporter, registry
        self._concurrency = concurrency
        self._default_tenant = default_tenant
        self._clock = clock
        self._lines: dict[int, Line] = {}
        self._order: list[Line] = []
        self._shares, self._company = Shares(), Company(clock) if company is None else company
        self._serves_many = False
        self._kinds: dict[int, str] = {}
        self._wake = asyncio.Event()
        self._under_way = UnderWay(self._wake.set, clock)
        self._turns = Turns(self._shares, self._under_way, self._company, runner, acker, slots=concurrency)
        self._busy: dict[int, Line] = {}  # kept awake because jobs came lately
        self._looked_at = 0.0
        self._sleeper = Sleeper(store, heart)
        self._settled_at = 0.0
        self._stopping = False
        self._strays_at: list[float] = []  # monotonic
        self._front_at = 0.0
        self._throughput = Throughput(clock)
        self.polls_that_found = 0  # work that no signal told of

    # -- what others tell it --------------------------------------------------

    def add_lines(self, lines: Sequence[tuple[int, int, str]]) -> None:
        """Serve these (tenant, queue id, name) as well."""
        for tenant_id, queue_id, queue in lines:
            if queue_id not in self._lines:
                self._lines[queue_id] = line = Line(tenant_id, queue_id, queue)
                self._order.append(line)
                self._serves_many = self._serves_many or (self.shares_slots and line.tenant_id != self._order[0].tenant_id)
                self._wake.set()

    def learn(self, kinds: Mapping[int, str]) -> None:
        """Names of kinds by id; others are asked for when their first job comes."""
        self._kinds.update(kinds)

    def first(self) -> tuple[int, int] | None:
        """(tenant, queue id) of some line; None: it serves none yet."""
        return next(((line.tenant_id, line.queue_id) for line in self._order), None)

    def weigh(self, weights: Mapping[int, int]) -> None:
        """Tenants with a weight other than 1."""
        self._shares.weigh(weights)

    def freed(self) -> None:
        """The runner has room."""
        self._wake.set()

    def heard(self, word: str, arguments: list[str]) -> None:
        """A signal: wake, rewind or resync."""
        if word == "wake":
            self._mark([int(queue_id) for queue_id in arguments])
        elif word == "rewind" and (line := self._lines.get(int(arguments[0]))):
            line.rewind(int(arguments[1]))
            self._wake.set()
        elif word == "resync":
            self.restart()

    def restart(self) -> None:
        """Scan every line from the front; a new session sleeps on nothing yet."""
        self._sleeper.forget()
        for line in self._order:
            line.restart()
        self._wake.set()

    def found_by_poll(self, queue_ids: Sequence[int]) -> None:
        """The tick found jobs; a scan that covers everything will take them."""
        for queue_id in queue_ids:
            if (line := self._lines.get(queue_id)) is not None:
                self.polls_that_found += not line.has_work
                line.covered_due_at = 0.0
        self._mark(queue_ids)

    def lines(self) -> tuple[list[int], int]:
        """For the tick: which queues, and behind which place jobs count. One that is known to have work is looked at anyway."""
        quiet = [line for line in self._order if not line.has_work]
        return [line.queue_id for line in quiet], min((line.covered_floor for line in quiet), default=0)

    def _mark(self, queue_ids: Sequence[int]) -> None:
        for queue_id in queue_ids:
            if (line := self._lines.get(queue_id)) is not None:
                line.told()
                self._turns.is_told = True
                self._wake.set()

    # -- the loop ---------------------------------------------------------------

    async def run(self) -> None:
        """Fetch until `stop`."""
        try:
            await self._fetch()
            await self._under_way.landed()
        finally:
            self._under_way.cancel()

    async def _fetch(self) -> None:
        pause_s = 0.05
        while not self._stopping:
            try:
                await self._step()
                pause_s = 0.05
            except SessionLost:
                self._heart.tick_soon()
                await asyncio.sleep(0.2)
            except Exception as error:
                log.warning("fetcher.waiting", error=str(error), retry_in_s=pause_s, exc_info=not isinstance(error, TrunklineError))
                self._sleeper.forget()
                self._strays_at = [self._clock() + after_s for after_s in STRAYS_AFTER_S]
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 1.0)

    def stop(self) -> None:
        """Claim no more. A claim under way is waited for by whoever awaits `run`: its jobs are leased and must be known."""
        self._stopping = True
        self._wake.set()

    async def _step(self) -> None:
        self._wake.clear()
        self._under_way.check()
        if not self._heart.trusted or self._acker.pending > MAX_UNREPORTED:
            await self._pause(0.1)  # a look for strays that is due waits, too: it would only spin here
            return
        if self._strays_at and self._clock() >= self._strays_at[0]:
            await self._under_way.landed()
            await self._release_strays()
            self._strays_at.pop(0)  # after success only: a database that is away leaves it in place
        room, enough = self._room()
        if self._serves_many:
            self._look_at_busy()
        if room < enough and not (self._serves_many and self._turns.is_told):
            await self._wait(None)
            return
        if self._clock() - self._front_at > FRONT_EVERY_S:
            self._front_at = self._clock()
            for each in self._order:
                each.restart()
        if self._clock() - self._settled_at > (LINGER_BESIDE_S if self._company.is_here else LINGER_S):
            self._settled_at = self._clock()
            await self._settle([each for each in self._order if not each.has_work])
        lines = [line for line in self._order if line.has_work]
        if not lines and not self._under_way.limits:
            await self._rest()
        elif lines and (turn := self._turn(lines, room, enough)):
            await self._begin(*turn)
        else:
            await self._wait(PRECEDES_S if self._under_way.limits else None)

    def _look_at_busy(self) -> None:
        """Lines that are kept awake are looked at now and then also while others have work, a few at a time: nobody tells of their jobs."""
        now = self._clock()
        if not self._busy or now - self._looked_at < LOOK_BESIDE_S:
            return
        self._looked_at = now
        for queue_id in list(islice(self._busy, FEW_LINES)):
            line = self._busy.pop(queue_id)
            is_busy = line.busy_until > now
            line.glance(wanted=is_busy)
            if is_busy:
                self._busy[queue_id] = line  # behind the others
                self._turns.is_told = True

    def _turn(self, lines: list[Line], room: int, enough: int) -> tuple[Line, int] | None:
        """Of lines with work the next one, and how many jobs it may be given; None: nobody may be given any now."""
        if self._serves_many:
            return self._turns.within(lines, room, enough, most=MAX_CLAIM, now=self._clock())
        return self._turns.of_lines(lines), min(room, MAX_CLAIM)

    def _room(self) -> tuple[int, int]:
        """(jobs that may be claimed, how many make a claim worth its round trip)."""
        self._throughput.look(self._runner.finished)
        slots = self._concurrency + self._throughput.ahead
        room = slots - self._runner.running - self._runner.waiting - sum(self._under_way.limits.values())
        return room, self._throughput.enough(slots)

    async def _begin(self, line: Line, limit: int) -> None:
        """Claim; beside the claims of others, where one worker serves several tenants."""
        if self._serves_many:
            self._under_way.begin(line.tenant_id, limit, self._turns.right(line.tenant_id), self._claim(line, limit))
        else:
            await self._claim(line, limit)

    async def _rest(self) -> None:
        """No line is known to have work."""
        if await self._settle(self._order):
            return
        lingering = [line for line in self._order if not self._sleeper.is_asleep(line)]
        await self._wait(LOOK_S if lingering else None)
        for line in lingering:
            line.has_work = True

    async def _settle(self, lines: Sequence[Line]) -> bool:
        """Put the quiet ones of `lines` to sleep and look once more, now that enqueues wake us; False when none was awake."""
        now = self._clock()
        quiet = [line for line in lines if line.busy_until <= now and not self._sleeper.is_asleep(line)]
        if not quiet:
            return False
        await self._sleeper.put_to_sleep(quiet)
        if len(quiet) <= FEW_LINES:
            self._mark([line.queue_id for line in quiet])
        else:
            self._heart.ask_soon()
        return True

    async def _wait(self, at_most_s: float | None) -> None:
        if self._strays_at:
            until_look_s = max(self._strays_at[0] - self._clock(), 0.0)
            at_most_s = until_look_s if at_most_s is None else min(at_most_s, until_look_s)
        await self._pause(at_most_s)

    async def _pause(self, at_most_s: float | None) -> None:
        if self._stopping:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self._wake.wait()

    async def _claim(self, line: Line, limit: int) -> None:
        began_at = self._clock()
        safe, began_ord = self._heart.safe, self._heart.ord_at(began_at)
        covering, floor, marks = line.start(began_at)
        claimed = await work.claim(
            self._store, line.tenant_id, line.queue_id, self._heart.session_id, limit=limit, floor=floor, marks=marks
        )
        now = self._clock()
        line.claimed(claimed, limit=limit, covering=covering, safe=safe, began_ord=began_ord, now=now, took_s=now - began_at)
        self._shares.took(line.tenant_id, len(claimed))
        if self._serves_many:
            self._company.answered(line.tenant_id, len(claimed), of=limit)
        if claimed:
            self._store.counts.pickup.note((began_ord - claimed[0].ord) / ORDS_PER_S)
            await self._start(line, claimed, began_at)  # first of all: these jobs are leased
            is_awake = not self._sleeper.is_asleep(line)
            if (is_awake and not self._company.is_here) or line.is_frequent(now) or len(claimed) == limit >= FULL_CLAIM:
                line.busy_until = now + LINGER_S
                if self._serves_many:
                    self._busy[line.queue_id] = line
                if not is_awake:
                    await self._sleeper.keep_awake(line)

    async def _release_strays(self) -> None:
        """Hand back what the database leased to this session in a claim whose answer never came. No failure is counted.

        Exact: no claim is under way, so every lease of this session is known here or is a stray.
        """
        known = self._runner.fences() | self._acker.fences()
        strays: dict[int, list[tuple[UUID, int]]] = defaultdict(list)
        for tenant_id, job_id, attempt in await sessions.leases(self._store, self._heart.session_id):
            if (job_id, attempt) not in known:
                strays[tenant_id].append((job_id, attempt))
        for tenant_id, fences in strays.items():
            log.warning("fetcher.strays_released", count=len(fences))
            none: list[None] = [None] * len(fences)
            ids, attempts = [job_id for job_id, _ in fences], [attempt for _, attempt in fences]
            await work.settle(self._store, tenant_id, ids, attempts, ["released"] * len(fences), none, none)

    async def _learned(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What there is to know of kinds. The jobs at hand are leased, so this waits for the database instead of giving up."""
        while True:
            try:
                return await ask()
            except Unavailable:
                await asyncio.sleep(0.2)

    async def _start(self, line: Line, claimed: list[Claimed], began_at: float) -> None:
        kinds = {row.kind_id for row in claimed}
        if unknown := kinds - self._kinds.keys():
            self._kinds.update(await self._learned(lambda: work.kind_names(self._store, sorted(unknown))))
        jobs, timeouts = [], []
        handlers = {kind_id: self._handler(kind_id, line.tenant_id) for kind_id in kinds}
        for row in claimed:
            handler = handlers[row.kind_id]
            if handler is None:
                self._no_handler(line, row)
                continue
            job = Job(row, line.tenant_id, line.queue, handler, self._store, self._reporter)
            timeout_s: float | None = handler.policy.timeout_s
            if row.options is not None:
                timeout_s = self._by_options(job, handler.policy.timeout_s)
            if timeout_s is not None:
                jobs.append(job)
                timeouts.append(timeout_s)
        self._runner.start(jobs, timeouts, began_at)

    def _handler(self, kind_id: int, tenant_id: int) -> Handler | None:
        """Who does jobs of this kind for this tenant here."""
        handler = self._registry.get(self._kinds.get(kind_id, ""))
        return handler if handler is not None and (handler.all_tenants or tenant_id == self._default_tenant) else None

    def _by_options(self, job: Job, timeout_s: float) -> float | None:
        """The timeout of a job with options, where its kind's is `timeout_s`; None: it had expired, and was ended."""
        options = job.options
        if self._is_over(options.get("expires_at")):
            self._acker.ended(job, "cancelled", '{"type":"expired","message":"expires_at had passed before it started"}')
            return None
        own_s: float = options.get("timeout", timeout_s)
        return own_s

    def _is_over(self, expires_at: str | None) -> bool:
        return expires_at is not None and datetime.fromisoformat(expires_at) <= self._heart.database_now()

    def _no_handler(self, line: Line, row: Claimed) -> None:
        """Some other worker may know this kind: later, counting no failure, 30 s doubling to 1 h."""
        kind = self._kinds.get(row.kind_id, "?")
        delay_s = min(30.0 * 2 ** min(max(row.attempt - row.failures - 1, 0), 10), 3600.0)
        log.warning("fetcher.no_handler", kind=kind, queue=line.queue, job_id=str(row.job_id), again_in_s=delay_s)
        job = Job(row, line.tenant_id, line.queue, _nobody(kind), self._store, self._reporter)
        self._acker.ended(job, "no_handler", None, delay_s)


def _nobody(kind: str) -> Handler:
    from trunkline.model import Policy

    return Handler(kind, kind, _nobody, "async", Policy())
