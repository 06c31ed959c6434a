"""Jobs into the database by function call; many plain ones go faster by store.copy.

Always true: order in is order in line; each call is one transaction; calling `jobs` again with the same ids changes
nothing and answers the same, so an answer that was lost can be asked for again.
Called by: engine.producer.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from trunkline.model import NewJob
from trunkline.store.pool import Store

PLAIN = "select trunkline.enqueue_plain($1, $2, $3, $4, $5, $6, $7)"
JOBS = "select id, created from trunkline.enqueue_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"


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
