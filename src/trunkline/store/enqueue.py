"""Jobs into the database by function call; many plain ones go faster by store.copy.

Always true: order in is order in line; each call is one transaction; calling `jobs` again with the same ids changes
nothing and answers the same, so an answer that was lost can be asked for again.
Called by: engine.producer.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from trunkline.model import NewJob
from trunkline.store.pool import Store

ONE = "select trunkline.enqueue_one($1, $2, $3, $4, $5, $6, $7)"
PLAIN = "select trunkline.enqueue_plain($1, $2, $3, $4, $5, $6, $7)"
JOBS = "select id, created from trunkline.enqueue_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
JOB_TYPES = (
    "uuid[]",
    "text[]",
    "text[]",
    "smallint[]",
    "json[]",
    "text[]",
    "json[]",
    "timestamptz[]",
    "text[]",
    "text[]",
)  # of `arguments`


async def one(store: Store, tenant_id: int, job: NewJob) -> None:
    """Insert one job for which `is_plain` holds; a repeat of its id is answered as `plain` does."""
    try:
        await store.fetch_held(ONE, tenant_id, job.id, job.kind, job.queue, job.priority, job.payload, None)
    except asyncpg.UniqueViolationError:
        await jobs(store, tenant_id, [job])
    else:
        store.counts.enqueued(tenant_id, [job])


async def plain(store: Store, tenant_id: int, new: Sequence[NewJob]) -> None:
    """Insert jobs for which `is_plain` holds, in one statement. A caller's id that is there already is a repeat, not an error."""
    columns = list(zip(*new, strict=True))
    try:
        await store.fetch(PLAIN, tenant_id, columns[0], columns[1], columns[2], columns[3], columns[4], None)
    except asyncpg.UniqueViolationError:
        await jobs(store, tenant_id, new)
    else:
        store.counts.enqueued(tenant_id, new)


async def jobs(store: Store, tenant_id: int, new: Sequence[NewJob]) -> list[tuple[UUID, bool]]:
    """Insert any jobs; (id, created) of each, where id is the holder's if a key was already held."""
    done = [(row[0], row[1]) for row in await store.fetch(JOBS, tenant_id, *arguments(new))]
    store.counts.some_enqueued(tenant_id, new, [is_new for _, is_new in done])
    return done


def arguments(jobs: Sequence[NewJob]) -> list[Sequence[object]]:
    """The parallel arrays of JOBS, after the tenant."""
    ids, kinds, queues, priorities, payloads, users, options, run_ats, idempotency, unique = zip(*jobs, strict=True)
    return [ids, kinds, queues, priorities, payloads, users, options, run_ats, idempotency, unique]
