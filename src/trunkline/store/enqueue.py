"""Jobs into the database: a function call for any job, COPY for many plain ones.

Always true: order in is order in line; each call is one transaction; calling `jobs` again with the same ids changes
nothing and answers the same, so an answer that was lost can be asked for again.
Called by: engine.producer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from trunkline.model import NewJob
from trunkline.store.pool import Store

PLAIN = "select trunkline.enqueue_plain($1, $2, $3, $4, $5, $6, $7)"
JOBS = "select id, created from trunkline.enqueue_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
BEGIN_COPY = "select queue_ids, kind_ids, ord from trunkline.begin_copy($1, $2, $3, $4)"
WAKE = "select trunkline.wake($1)"
JOB_COLUMNS = ("tenant_id", "id", "created_at", "queue_id", "kind_id", "payload")
READY_COLUMNS = ("tenant_id", "ord", "job_id", "queue_id", "attempt", "priority", "failures", "traits")


async def plain(store: Store, tenant_id: int, jobs: Sequence[NewJob]) -> None:
    """Insert jobs for which `is_plain` holds, in one statement."""
    columns = list(zip(*jobs, strict=True))
    await store.fetch(PLAIN, tenant_id, columns[0], columns[1], columns[2], columns[3], columns[4], None)


async def jobs(store: Store, tenant_id: int, jobs: Sequence[NewJob]) -> list[tuple[UUID, bool]]:
    """Insert any jobs; (id, created) of each, where id is the holder's if a key was already held."""
    return [(row[0], row[1]) for row in await store.fetch(JOBS, tenant_id, *arguments(jobs))]


def arguments(jobs: Sequence[NewJob]) -> list[Sequence[object]]:
    """The parallel arrays of JOBS, after the tenant."""
    ids, kinds, queues, priorities, payloads, users, options, run_ats, idempotency, unique = zip(*jobs, strict=True)
    return [ids, kinds, queues, priorities, payloads, users, options, run_ats, idempotency, unique]


async def copy(store: Store, tenant_id: int, jobs: Sequence[NewJob]) -> None:
    """Insert plain jobs by COPY into `job` and `ready`; about twice as fast as `plain` from a few hundred jobs on.

    Row-level security refuses COPY to roles that are under it: `can_copy` tells.
    """
    lines = sorted({(job.queue, job.kind, job.priority) for job in jobs})
    async with store.connection() as conn, conn.transaction():
        queues, kinds, priorities = zip(*lines, strict=True)
        queue_ids, kind_ids, ord_base = await conn.fetchrow(store.sql(BEGIN_COPY), tenant_id, queues, kinds, priorities)
        place = {line: (q, k) for line, q, k in zip(lines, queue_ids, kind_ids, strict=True)}
        now = datetime.now(UTC)
        at = [place[job.queue, job.kind, job.priority] for job in jobs]
        await _copy(
            conn,
            store,
            "job",
            JOB_COLUMNS,
            [(tenant_id, job.id, now, queue_id, kind_id, job.payload) for job, (queue_id, kind_id) in zip(jobs, at, strict=True)],
        )
        await _copy(
            conn,
            store,
            "ready",
            READY_COLUMNS,
            [
                (tenant_id, ord_base + n, job.id, queue_id, 0, job.priority, 0, 0)
                for n, job, (queue_id, _) in zip(range(1, len(jobs) + 1), jobs, at, strict=True)
            ],
        )
        await conn.fetch(store.sql(WAKE), sorted(set(queue_ids)))


async def can_copy(store: Store) -> bool:
    """Whether this role may COPY into the two tables."""
    return bool(
        await store.fetchval(
            "select has_table_privilege('trunkline.job'::regclass, 'insert') and has_table_privilege('trunkline.ready'::regclass, 'insert')"
            " and not row_security_active('trunkline.job'::regclass)"
        )
    )


async def _copy(conn: asyncpg.Connection, store: Store, table: str, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    await conn.copy_records_to_table(table, schema_name=store.schema, columns=columns, records=rows)
