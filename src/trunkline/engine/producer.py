"""Puts jobs in: one awaited call, many at once, or on the caller's own connection.

Callers that enqueue at the same moment share a flush: while one statement is under way the next gathers. They share it with
their own kind only: a job with a key, a parent or a batch may have to wait for somebody's open transaction, and neither jobs without nor
other tenants wait along.
Always true: a call returns only when its jobs are committed, or raises and says whether to try again; a flush whose answer
was lost is repeated with the same ids, which changes nothing if it had been committed.
Called by: app. Calls: store.enqueue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from trunkline.engine.collector import seldom
from trunkline.engine.intake import Intake
from trunkline.engine.patience import patiently
from trunkline.engine.relay import BeforeBeginsAgain, Leg, Relay
from trunkline.engine.sealing import Sealing
from trunkline.errors import MustEncrypt, QuotaExceeded, TrunklineError, Unavailable
from trunkline.model import NewJob
from trunkline.model.family import is_tied, parents_first
from trunkline.store import Store, copy, enqueue, foreign, privacy

COPY_FROM = 200  # jobs; below, the function call is faster (docs/performance.md)
MAX_FLUSH = 1000  # jobs of a shared flush or one function call
COPY_CHUNK = 20_000  # jobs of one COPY transaction: about 0.1 s
MOST_KEYED = 3  # flushes of jobs with keys under way for one tenant: one that waits for a key holds up a third of them
log = structlog.get_logger("trunkline.producer")


class Enqueued(NamedTuple):
    """`created` is False where a key already had a holder; `id` is then the holder's."""

    id: UUID
    created: bool


_CREATED = partial(tuple.__new__, Enqueued)  # its constructor takes twice as long


class _Part(NamedTuple):
    """What became of one transaction of many; `raised`: what the caller's iterator raised in it, which undid it."""

    done: list[Enqueued]
    raised: BaseException | None


class _Waiting(NamedTuple):
    tenant_id: int
    job: NewJob
    future: asyncio.Future[Enqueued]


class _Lane:
    """Callers who may share a statement: of one tenant, all with keys or all without."""

    __slots__ = ("most", "name", "under_way", "waiting")

    def __init__(self, name: tuple[int, bool], most: int) -> None:
        self.name, self.most = name, most
        self.under_way = 0
        self.waiting: list[_Waiting] = []


class Producer:
    """One per process; safe to use from any task of its loop."""

    def __init__(self, store: Store, sealing: Sealing, *, timeout_s: float) -> None:
        self._store = store
        self._sealing = sealing
        self._timeout_s = timeout_s
        self._lanes: dict[tuple[int, bool], _Lane] = {}
        self._flushers: set[asyncio.Task[None]] = set()
        self._can_copy: bool | None = None
        self.flushes = 0

    async def one(self, tenant_id: int, job: NewJob) -> Enqueued:
        """Enqueue one job, together with whoever else is just doing so.

        Raises:
            Unavailable: the database was away for the whole timeout; the job may or may not exist: enqueue again with its id.
        """
        keyed = job.idempotency_key is not None or job.unique_key is not None or (job.options is not None and is_tied(job))
        lane = self._lanes.get((tenant_id, keyed))
        if lane is None:
            lane = self._lanes[tenant_id, keyed] = _Lane((tenant_id, keyed), MOST_KEYED if keyed else 1)
        if lane.under_way < lane.most:
            lane.under_way += 1
            try:
                return (await self._safely(tenant_id, [job]))[0]  # nobody to share with: no task, no future
            finally:
                self._leave(lane)
        future: asyncio.Future[Enqueued] = asyncio.get_running_loop().create_future()
        lane.waiting.append(_Waiting(tenant_id, job, future))
        return await future

    def _leave(self, lane: _Lane) -> None:
        """A flush has ended: the next one writes for those who came meanwhile."""
        lane.under_way -= 1
        if lane.waiting:
            lane.under_way += 1
            flusher = asyncio.get_running_loop().create_task(self._flush_all(lane))
            self._flushers.add(flusher)
            flusher.add_done_callback(self._flushers.discard)
        elif not lane.under_way:
            self._lanes.pop(lane.name, None)

    async def many(self, tenant_id: int, jobs: Iterable[NewJob]) -> list[Enqueued]:
        """Enqueue jobs in their order, reading them as it goes. About 20,000 plain jobs, or 1,000 others, are one transaction.

        A list may name parents behind their children; what is read as it comes may not.
        """
        if isinstance(jobs, Sequence) and len(jobs) > MAX_FLUSH and any(is_tied(job) for job in jobs):
            return await self._parents_first(tenant_id, jobs)
        done: list[Enqueued] = []
        with seldom:  # thousands of jobs are held until they are committed: the collector would walk them again and again
            intake = Intake(jobs, is_plain=self._looks_plain(tenant_id))
            relay: Relay[_Part] = Relay()
            async with relay:
                while intake.piece:
                    if len(intake.piece) >= COPY_FROM and intake.is_plain and await self._may_copy():
                        _put(done, await relay.run(lambda leg: self._copy(tenant_id, intake, leg)))
                    else:
                        _put(done, await relay.over())
                        intake.fill()
                        done += await self._safely(tenant_id, intake.piece)
                        intake.step()
                _put(done, await relay.over())
        return done

    async def _copy(self, tenant_id: int, intake: Intake, leg: Leg) -> _Part:
        """One transaction of plain jobs; when its answer was lost, what was read is sent again by id."""
        taken: list[list[NewJob]] = []
        try:
            self.flushes += 1
            await copy.copy(self._store, tenant_id, intake.plain(COPY_CHUNK, taken), all_read=leg.hand_on, turn=leg.turn)
        except copy.SourceFailed as failed:
            return _Part([], failed.error)
        except (Unavailable, MustEncrypt, BeforeBeginsAgain) as error:  # a COPY of encrypted kinds is refused
            log.warning("producer.waiting", error=str(error) or type(error).__name__, retry_in_s=0.0)
            taken = taken or [intake.piece]  # it failed before the first was read
            await leg.begin_again()
            await self._safely(tenant_id, list(chain(*taken)), repeat=True)
            intake.looks_plain = self._looks_plain(tenant_id)  # a refusal has told which kinds are encrypted
            try:
                if intake.piece is taken[-1]:
                    intake.step()
            except BaseException as own:  # noqa: BLE001 - it is raised where the caller's iterator belongs
                return _Part([], own)
        return _Part(list(map(_CREATED, zip((job[0] for job in chain(*taken)), repeat(True)))), None)

    async def _parents_first(self, tenant_id: int, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Chunks in which no job comes before one that it waits for."""
        order = parents_first(jobs)
        done: dict[int, Enqueued] = {}
        for start in range(0, len(order), MAX_FLUSH):
            places = order[start : start + MAX_FLUSH]
            done |= zip(places, await self._safely(tenant_id, [jobs[at] for at in places]), strict=True)
        return [done[at] for at in range(len(jobs))]

    async def in_transaction(self, tenant: str, jobs: Sequence[NewJob], connection: Any) -> list[Enqueued]:
        """Enqueue on the caller's own connection, in its open transaction: the jobs exist if and only if it commits."""
        if not jobs:
            return []
        kinds = sorted({job.kind for job in jobs})
        asked = await foreign.rows(connection, self._store.sql(privacy.TENANT_AND_SEALED), (tenant, kinds), ("text", "text[]"))
        tenant_id = int(asked[0][0])
        self._sealing.learn(tenant_id, set(asked[0][1]))
        if self._sealing.knows_any():
            jobs = self._sealing.sealed(tenant_id, jobs)
        rows = await foreign.rows(
            connection,
            self._store.sql(enqueue.JOBS),
            (tenant_id, *(list(column) for column in enqueue.arguments(jobs))),
            ("bigint", *enqueue.JOB_TYPES),
        )
        self._store.counts.some_enqueued(tenant_id, jobs, [bool(row[1]) for row in rows])
        return [Enqueued(UUID(str(row[0])), row[1]) for row in rows]

    async def close(self) -> None:
        """Wait for the flushes under way."""
        while self._flushers:
            await asyncio.wait(self._flushers)

    async def _flush_all(self, lane: _Lane) -> None:
        try:
            while lane.waiting:
                batch, lane.waiting = lane.waiting[:MAX_FLUSH], lane.waiting[MAX_FLUSH:]
                await self._flush(batch[0].tenant_id, batch)
        finally:
            self._leave(lane)

    async def _flush(self, tenant_id: int, group: list[_Waiting]) -> None:
        try:
            results = await self._safely(tenant_id, [waiting.job for waiting in group])
        except TrunklineError as error:
            if len(group) > 1 and (not error.retryable or isinstance(error, QuotaExceeded)):
                for waiting in group:  # one caller's mistake must not fail the others; a quota may have room for some
                    await self._flush(tenant_id, [waiting])
                return
            _fail(group, error)
        except BaseException as error:
            _fail(group, error if isinstance(error, Exception) else Unavailable("the producer was closed while enqueuing. Enqueue again."))
            if not isinstance(error, Exception):
                raise
        else:
            for waiting, result in zip(group, results, strict=True):
                if not waiting.future.done():
                    waiting.future.set_result(result)

    async def _safely(self, tenant_id: int, jobs: Sequence[NewJob], *, repeat: bool = False) -> list[Enqueued]:
        """One transaction, repeated by id while the database is away; sealed where the kind is encrypted."""
        sealing = self._sealing
        if sealing.anywhere or sealing.learned:
            jobs = await sealing.sealed_aside(tenant_id, jobs)
        begun = asyncio.get_running_loop().time()
        try:
            return await self._write(tenant_id, jobs, repeat=repeat)
        except (MustEncrypt, Unavailable) as refused:
            return await self._again(tenant_id, jobs, refused, begun)

    async def _again(self, tenant_id: int, jobs: Sequence[NewJob], refused: MustEncrypt | Unavailable, begun: float) -> list[Enqueued]:
        """By id, on the one path that may be said twice: it may have been committed, and the plain ones would insert twice."""
        failed = refused if isinstance(refused, Unavailable) else None

        async def send(jobs: Sequence[NewJob]) -> list[Enqueued]:
            return await patiently(lambda: self._write(tenant_id, jobs, repeat=True), self._timeout_s, begun=begun, failed=failed)

        return await self._sealing.sending(self._store, tenant_id, jobs, send)

    async def _write(self, tenant_id: int, jobs: Sequence[NewJob], *, repeat: bool) -> list[Enqueued]:
        self.flushes += 1
        if repeat or not all(job.is_plain for job in jobs):
            done: list[Enqueued] = []
            for start in range(0, len(jobs), MAX_FLUSH):
                done += [Enqueued(*row) for row in await enqueue.jobs(self._store, tenant_id, jobs[start : start + MAX_FLUSH])]
            return done
        if len(jobs) == 1:
            await enqueue.one(self._store, tenant_id, jobs[0])
        else:
            await enqueue.plain(self._store, tenant_id, jobs)
        return [Enqueued(job.id, True) for job in jobs]

    def _looks_plain(self, tenant_id: int) -> Callable[[NewJob], bool]:
        """Whether a job can be copied, as far as is known now."""
        sealing = self._sealing
        return (lambda job: job.is_plain and not sealing.concerns(tenant_id, job)) if sealing.knows_any() else _is_plain

    async def _may_copy(self) -> bool:
        if self._can_copy is None:
            self._can_copy = await patiently(lambda: copy.can_copy(self._store), self._timeout_s)
        return self._can_copy


def _is_plain(job: NewJob) -> bool:
    return job.is_plain


def _put(done: list[Enqueued], parts: Iterable[_Part]) -> None:
    for part in parts:
        if part.raised is not None:
            raise part.raised
        done += part.done


def _fail(group: list[_Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.future.done():
            waiting.future.set_exception(error)
