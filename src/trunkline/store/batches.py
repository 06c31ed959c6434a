"""Batches and families of jobs: sent together, looked at, waited for, cancelled. One function per SQL function.

Called by: engine.batches, engine.flows, cli.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from trunkline.model import BatchView, NewJob
from trunkline.store import enqueue
from trunkline.store.pool import Store

_COLUMNS = """id, tenant_id, name, state, total, completed, failed, cancelled, created_at, sealed_at, done_at, cancelled_at,
       success_job, complete_job"""
OPEN = "select trunkline.open_batch($1, $2, $3, $4, $5)"
SEAL = "select trunkline.seal_batch($1, $2)"
SEND = "select id, created from trunkline.send_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
TOGETHER = "select id, created from trunkline.enqueue_together($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
CANCEL = "select last, cancelled, requested from trunkline.cancel_batch($1, $2, $3, $4, $5)"
GET = f"select {_COLUMNS} from trunkline.batches where tenant_id = $1 and id = $2"  # noqa: S608 - constants only
LIST = f"""select {_COLUMNS} from trunkline.batches where tenant_id = $1 and ($2::uuid is null or id < $2)
   and (not $3 or done_at is null) order by id desc limit $4"""  # noqa: S608 - constants only
OPEN_PARENTS = """select e.parent_id, j.kind, j.state from trunkline.dependency as e
  join trunkline.jobs as j on j.tenant_id = e.tenant_id and j.id = e.parent_id
 where e.tenant_id = $1 and e.child_id = $2 order by e.parent_id limit 20"""
ABANDONED = """select t.name, b.batch_id, b.created_at from trunkline.batch as b join trunkline.tenant as t on t.tenant_id = b.tenant_id
 where b.done_at is null and b.sealed_at is null and b.created_at < trunkline.now() - interval '1 hour' order by b.created_at limit 20"""
SEND_TYPES = ("bigint", "uuid", "text", "json", "json", *enqueue.JOB_TYPES)
TOGETHER_TYPES = ("bigint", *enqueue.JOB_TYPES)


async def open_batch(
    store: Store, tenant_id: int, batch_id: UUID, name: str | None, on_success: str | None, on_complete: str | None
) -> None:
    """Make an open batch; the callbacks as JSON. Nothing happens when it is there already."""
    await store.fetch(OPEN, tenant_id, batch_id, name, on_success, on_complete)


async def seal(store: Store, tenant_id: int, batch_id: UUID) -> None:
    """Let a batch end when all its jobs have."""
    await store.fetch(SEAL, tenant_id, batch_id)


async def send(
    store: Store, tenant_id: int, batch_id: UUID, name: str | None, on_success: str | None, on_complete: str | None, jobs: Sequence[NewJob]
) -> list[tuple[UUID, bool]]:
    """A whole batch in one transaction; (id, created) of each job."""
    rows = await store.fetch(SEND, tenant_id, batch_id, name, on_success, on_complete, *columns(jobs))
    return _counted(store, tenant_id, jobs, rows)


async def enqueue_together(store: Store, tenant_id: int, jobs: Sequence[NewJob]) -> list[tuple[UUID, bool]]:
    """Up to 10,000 jobs in one transaction, all or none."""
    return _counted(store, tenant_id, jobs, await store.fetch(TOGETHER, tenant_id, *columns(jobs)))


def _counted(store: Store, tenant_id: int, jobs: Sequence[NewJob], rows: Sequence[asyncpg.Record]) -> list[tuple[UUID, bool]]:
    store.counts.some_enqueued(tenant_id, jobs, [row[1] for row in rows])
    return [(row[0], row[1]) for row in rows]


def columns(jobs: Sequence[NewJob]) -> list[Sequence[object]]:
    """The parallel arrays of SEND and TOGETHER; of no jobs, too."""
    return enqueue.arguments(jobs) if jobs else [[] for _ in enqueue.JOB_TYPES]


async def cancel(store: Store, tenant_id: int, batch_id: UUID, reason: str, after: UUID | None, limit: int) -> tuple[UUID | None, int, int]:
    """One slice of what is left: (the last job looked at, or None when it was all, cancelled, asked to end)."""
    row = await store.fetchrow(CANCEL, tenant_id, batch_id, reason, after, limit)
    assert row is not None
    return row[0], row[1], row[2]


async def get(store: Store, tenant_id: int, batch_id: UUID) -> BatchView | None:
    """One batch, or None when this tenant has no such batch."""
    row = await store.fetchrow(GET, tenant_id, batch_id)
    return None if row is None else _view(row)


async def batches(store: Store, tenant_id: int, *, before: UUID | None, only_open: bool, limit: int) -> list[BatchView]:
    """Batches, newest first; `only_open`: those that are not done."""
    return [_view(row) for row in await store.fetch(LIST, tenant_id, before, only_open, limit)]


async def open_parents(store: Store, tenant_id: int, job_id: UUID) -> list[tuple[UUID, str, str]]:
    """(id, kind, state) of what a job still waits for, at most 20."""
    return [(row[0], row[1], row[2]) for row in await store.fetch(OPEN_PARENTS, tenant_id, job_id)]


async def abandoned(store: Store) -> list[tuple[str, UUID, datetime]]:
    """(tenant, batch, opened at) of batches that were never sealed, older than an hour, at most 20."""
    return [(row[0], row[1], row[2]) for row in await store.fetch(ABANDONED)]


def _view(row: asyncpg.Record) -> BatchView:
    return BatchView(**dict(row))
