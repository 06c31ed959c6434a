"""Reading jobs and queues. Nothing here changes state; lists are bounded.

Called by: app, cli, engine.waiter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from trunkline.model import JobView
from trunkline.model.payload import decode
from trunkline.store.pool import Store

_COLUMNS = """id, tenant_id, queue, kind, state, priority, attempt, failures, payload, user_id, created_at, run_at,
       started_at, deadline, finished_at, result, error, progress, options"""
JOB = f"select {_COLUMNS} from trunkline.jobs where tenant_id = $1 and id = $2"  # noqa: S608 - constants only
# The state filter of a list picks its table first: the small live table or the outcome of that state, never all of history.
_IN_STATE = {
    "queued": "select job_id from trunkline.ready where tenant_id = $1 order by ord desc limit 10000",
    "scheduled": "select job_id from trunkline.deferred where tenant_id = $1 and reason = 'scheduled' limit 10000",
    "retrying": "select job_id from trunkline.deferred where tenant_id = $1 and reason = 'retrying' limit 10000",
    "no_handler": "select job_id from trunkline.deferred where tenant_id = $1 and reason = 'no_handler' limit 10000",
    "waiting": "select job_id from trunkline.deferred where tenant_id = $1 and reason = 'waiting' limit 10000",
    "limited": "select job_id from trunkline.deferred where tenant_id = $1 and reason = 'limited' limit 10000",
    "active": "select job_id from trunkline.lease where tenant_id = $1 limit 10000",
    "failed": "select job_id from trunkline.outcome where tenant_id = $1 and state = 2 order by finished_at desc limit 10000",
    "cancelled": "select job_id from trunkline.outcome where tenant_id = $1 and state = 3 order by finished_at desc limit 10000",
    "completed": "select job_id from trunkline.outcome where tenant_id = $1 and state = 1 order by job_id desc limit 10000",
}
_ALL = "select id as job_id from trunkline.job where tenant_id = $1 order by id desc limit 10000"
STATES = tuple(_IN_STATE)
# Newest ids first, each looked up by its key until there are enough: a join with thousands of ids was, by chance, a minute's work.
LIST = """
select {columns} from (select job_id from ({picked}) as p order by job_id desc) as w
 cross join lateral (select * from trunkline.jobs as v where v.tenant_id = $1 and v.id = w.job_id offset 0) as j
 where ($2::text is null or j.kind = $2) and ($3::text is null or j.queue = $3)
 order by w.job_id desc limit $4"""
# A batch has ended when it is done; its id is nobody else's.
ENDED = """select job_id from trunkline.outcome where tenant_id = $1 and job_id = any($2)
 union all select batch_id from trunkline.batch where tenant_id = $1 and batch_id = any($2) and done_at is not null"""
FAILED_IN_BATCH = f"""select {_COLUMNS} from trunkline.jobs where tenant_id = $1 and id in (
    select c.job_id from trunkline.batch_job as c join trunkline.outcome as o on o.tenant_id = c.tenant_id and o.job_id = c.job_id
     where c.tenant_id = $1 and c.batch_id = $2 and o.state = 2 and ($3::uuid is null or c.job_id > $3) order by c.job_id limit $4)
 order by id"""  # noqa: S608 - constants only
PARENTS = "select id, kind, state, result, error from trunkline.jobs where tenant_id = $1 and id = any($2)"
QUEUES = "select name, paused_at, ready, deferred, active, failed from trunkline.queues where tenant_id = $1 order by name limit 1000"
QUEUE_SIZE = "select trunkline.queue_size($1, $2, $3)"
IDEMPOTENCY_HOLDER = """select i.job_id from trunkline.idempotency as i
  join trunkline.kind as k on k.tenant_id = i.tenant_id and k.kind_id = i.kind_id
 where i.tenant_id = $1 and k.name = $2 and i.key = $3"""
ATTEMPTS = """select attempt, ending, started_at, ended_at, error from trunkline.attempt
 where tenant_id = $1 and job_id = $2 order by attempt, ended_at limit 1000"""
LOG = (
    "select logged_at, attempt, level, message, fields from trunkline.job_log where tenant_id = $1 and job_id = $2 order by seq limit 1000"
)


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue with its live counts; `paused_at` None: not paused."""

    name: str
    paused_at: datetime | None
    ready: int
    deferred: int
    active: int
    failed: int


class Parent(NamedTuple):
    """A job that another waited for: `state` as in JobView; `result` where it completed, `error` where it did not."""

    kind: str
    state: str
    result: Any
    error: Any


async def job(store: Store, tenant_id: int, job_id: UUID) -> JobView | None:
    """One job, or None when this tenant has no such job."""
    row = await store.fetchrow(JOB, tenant_id, job_id)
    return None if row is None else _view(row)


async def jobs(
    store: Store, tenant_id: int, *, state: str | None = None, kind: str | None = None, queue: str | None = None, limit: int = 20
) -> list[JobView]:
    """Jobs of a tenant, newest first, among the newest 10,000 of that state; `state` is one of STATES."""
    text = LIST.format(picked=_ALL if state is None else _IN_STATE[state], columns=", ".join(f"j.{c.strip()}" for c in _COLUMNS.split(",")))
    return [_view(row) for row in await store.fetch(text, tenant_id, kind, queue, limit)]


async def ended(store: Store, tenant_id: int, job_ids: Sequence[UUID]) -> set[UUID]:
    """Which of these jobs and batches have ended."""
    return {row[0] for row in await store.fetch(ENDED, tenant_id, job_ids)}


async def failed_in_batch(store: Store, tenant_id: int, batch_id: UUID, *, after: UUID | None, limit: int) -> list[JobView]:
    """Children of a batch that ended failed, in the order of their ids, behind `after`."""
    return [_view(row) for row in await store.fetch(FAILED_IN_BATCH, tenant_id, batch_id, after, limit)]


async def parents(store: Store, tenant_id: int, job_ids: Sequence[UUID]) -> dict[UUID, Parent]:
    """How those of these jobs that are still kept stand."""
    rows = await store.fetch(PARENTS, tenant_id, job_ids)
    return {row[0]: Parent(row[1], row[2], _json(row[3]), _json(row[4])) for row in rows}


async def queues(store: Store, tenant_id: int) -> list[QueueView]:
    """The tenant's queues by name, at most 1,000."""
    return [QueueView(*row) for row in await store.fetch(QUEUES, tenant_id)]


async def queue_size(store: Store, tenant_id: int, queue: str, before: str) -> int:
    """Jobs in states before `before` (retry, active, completed, cancelled, failed); 0 for a queue that is not there."""
    return int(await store.fetchval(QUEUE_SIZE, tenant_id, queue, before))


async def idempotency_holder(store: Store, tenant_id: int, kind: str, key: str) -> UUID | None:
    """The job that holds an idempotency key."""
    found: UUID | None = await store.fetchval(IDEMPOTENCY_HOLDER, tenant_id, kind, key)
    return found


async def attempts(store: Store, tenant_id: int, job_id: UUID) -> list[dict[str, Any]]:
    """Attempts that did not complete, in order."""
    return [{**row, "error": _json(row["error"])} for row in await store.fetch(ATTEMPTS, tenant_id, job_id)]


async def log(store: Store, tenant_id: int, job_id: UUID) -> list[dict[str, Any]]:
    """Lines the handler logged, oldest first."""
    return [{**row, "fields": _json(row["fields"])} for row in await store.fetch(LOG, tenant_id, job_id)]


def _view(row: asyncpg.Record) -> JobView:
    values = dict(row)
    for name in ("payload", "result", "error", "progress", "options"):
        values[name] = _json(values[name])
    return JobView(**values)


def _json(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return decode(text)
    except msgspec.DecodeError:
        return text  # PostgreSQL's json has numbers that no float holds; people still want to see the job
