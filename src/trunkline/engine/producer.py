"""Puts jobs in: one awaited call, many at once, or on the caller's own connection.

Callers that enqueue at the same moment share a flush: while one statement is under way the next gathers.
Always true: a call returns only when its jobs are committed, or raises and says whether to try again; a flush whose answer
was lost is repeated with the same ids, which changes nothing if it had been committed.
Called by: app. Calls: store.enqueue.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from trunkline.errors import TrunklineError, Unavailable
from trunkline.model import NewJob
from trunkline.store import Store, copy, enqueue, foreign, sessions

COPY_FROM = 200  # jobs; below, the function call is faster (docs/performance.md)
MAX_FLUSH = 1000  # jobs of a shared flush or one function call
COPY_CHUNK = 20_000  # jobs of one COPY transaction: about 0.2 s
log = structlog.get_logger("trunkline.producer")


class Enqueued(NamedTuple):
    """`created` is False where a key already had a holder; `id` is then the holder's."""

    id: UUID
    created: bool


class _Waiting(NamedTuple):
    tenant_id: int
    job: NewJob
    future: asyncio.Future[Enqueued]


class Producer:
    """One per process; safe to use from any task of its loop."""

    def __init__(self, store: Store, *, timeout_s: float) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._waiting: list[_Waiting] = []
        self._flusher: asyncio.Task[None] | None = None
        self._busy = False  # a flush is under way; who comes now waits for the next
        self._can_copy: bool | None = None
        self.flushes = 0

    async def one(self, tenant_id: int, job: NewJob) -> Enqueued:
        """Enqueue one job, together with whoever else is just doing so.

        Raises:
            Unavailable: the database was away for the whole timeout; the job may or may not exist: enqueue again with its id.
        """
        if not self._busy:
            self._busy = True
            try:
                return (await self._safely(tenant_id, [job]))[0]  # nobody to share with: no task, no future
            finally:
                self._busy = False
                self._start_flusher()
        future: asyncio.Future[Enqueued] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(tenant_id, job, future))
        return await future

    def _start_flusher(self) -> None:
        """Write for those who came while a flush was under way."""
        if self._waiting and not self._busy:
            self._busy = True
            self._flusher = asyncio.get_running_loop().create_task(self._flush_all())

    async def many(self, tenant_id: int, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Enqueue a list, in its order. Each chunk (20,000 plain jobs, or 1,000 others) is one transaction."""
        done: list[Enqueued] = []
        if all(job.is_plain for job in jobs) and len(jobs) >= COPY_FROM and await self._may_copy():
            for start in range(0, len(jobs), COPY_CHUNK):
                done += await self._safely(tenant_id, jobs[start : start + COPY_CHUNK], by_copy=True)
            return done
        for start in range(0, len(jobs), MAX_FLUSH):
            done += await self._safely(tenant_id, jobs[start : start + MAX_FLUSH])
        return done

    async def in_transaction(self, tenant: str, jobs: Sequence[NewJob], connection: Any) -> list[Enqueued]:
        """Enqueue on the caller's own connection, in its open transaction: the jobs exist if and only if it commits."""
        ((tenant_id,),) = await foreign.rows(connection, self._store.sql(sessions.TENANT_ID), (tenant,), ("text",))
        rows = await foreign.rows(
            connection,
            self._store.sql(enqueue.JOBS),
            (tenant_id, *(list(column) for column in enqueue.arguments(jobs))),
            ("bigint", "uuid[]", "text[]", "text[]", "smallint[]", "json[]", "text[]", "json[]", "timestamptz[]", "text[]", "text[]"),
        )
        return [Enqueued(UUID(str(row[0])), row[1]) for row in rows]

    async def close(self) -> None:
        """Wait for the flush under way."""
        if self._flusher is not None:
            await self._flusher

    async def _flush_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_FLUSH], self._waiting[MAX_FLUSH:]
                by_tenant: dict[int, list[_Waiting]] = defaultdict(list)
                for waiting in batch:
                    by_tenant[waiting.tenant_id].append(waiting)
                for tenant_id, group in by_tenant.items():
                    await self._flush(tenant_id, group)
        finally:
            self._busy = False

    async def _flush(self, tenant_id: int, group: list[_Waiting]) -> None:
        try:
            results = await self._safely(tenant_id, [waiting.job for waiting in group])
        except TrunklineError as error:
            if len(group) > 1 and not error.retryable:
                for waiting in group:  # one caller's mistake must not fail the others
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

    async def _safely(self, tenant_id: int, jobs: Sequence[NewJob], *, by_copy: bool = False) -> list[Enqueued]:
        """One transaction, repeated by id while the database is away."""
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        pause_s = 0.05
        repeat = False
        while True:
            try:
                self.flushes += 1
                return await self._write(tenant_id, jobs, by_copy=by_copy, repeat=repeat)
            except Unavailable as error:
                if asyncio.get_running_loop().time() + pause_s > deadline:
                    raise
                log.warning("producer.waiting", error=str(error), retry_in_s=pause_s)
                repeat = True  # it may have been committed: the plain paths would insert twice, this one does not
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 1.0)

    async def _write(self, tenant_id: int, jobs: Sequence[NewJob], *, by_copy: bool, repeat: bool) -> list[Enqueued]:
        if repeat or not all(job.is_plain for job in jobs):
            done: list[Enqueued] = []
            for start in range(0, len(jobs), MAX_FLUSH):
                done += [Enqueued(*row) for row in await enqueue.jobs(self._store, tenant_id, jobs[start : start + MAX_FLUSH])]
            return done
        if len(jobs) == 1:
            await enqueue.one(self._store, tenant_id, jobs[0])
        else:
            await (copy.copy if by_copy else enqueue.plain)(self._store, tenant_id, jobs)
        return [Enqueued(job.id, True) for job in jobs]

    async def _may_copy(self) -> bool:
        if self._can_copy is None:
            self._can_copy = await copy.can_copy(self._store)
        return self._can_copy


def _fail(group: list[_Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.future.done():
            waiting.future.set_exception(error)
