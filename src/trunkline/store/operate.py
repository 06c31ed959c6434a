"""What people do to jobs and queues: cancel, retry, redrive, reschedule, reprioritise, pause.

Called by: app, cli.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from trunkline.store.pool import Store

CANCEL = "select job_id, answer from trunkline.cancel($1, $2, $3)"
RETRY = "select trunkline.retry($1, $2)"
REDRIVE = "select trunkline.redrive($1, $2, $3, $4)"
RESCHEDULE = "select trunkline.reschedule($1, $2, $3)"
REPRIORITIZE = "select trunkline.reprioritize($1, $2, $3)"
PAUSE_QUEUE = "select trunkline.pause_queue($1, $2, $3)"


async def cancel(store: Store, tenant_id: int, job_ids: Sequence[UUID], reason: str) -> dict[UUID, str]:
    """Cancel jobs; for each known one: cancelled, requested (it runs) or terminal (it had ended)."""
    return {row[0]: row[1] for row in await store.fetch(CANCEL, tenant_id, job_ids, reason)}


async def retry(store: Store, tenant_id: int, job_ids: Sequence[UUID]) -> set[UUID]:
    """Put failed or cancelled jobs back in line; those that went."""
    return {row[0] for row in await store.fetch(RETRY, tenant_id, job_ids)}


async def redrive(store: Store, tenant_id: int, queue: str | None, kind: str | None, limit: int) -> int:
    """Put up to `limit` failed jobs back in line, oldest end first; how many."""
    return int(await store.fetchval(REDRIVE, tenant_id, queue, kind, limit))


async def reschedule(store: Store, tenant_id: int, job_id: UUID, run_at: datetime) -> bool:
    """Change when a job that has not started will run; False when it is not queued."""
    return bool(await store.fetchval(RESCHEDULE, tenant_id, job_id, run_at))


async def reprioritize(store: Store, tenant_id: int, job_ids: Sequence[UUID], priority: int) -> int:
    """Change the priority of jobs that have not started; how many."""
    return int(await store.fetchval(REPRIORITIZE, tenant_id, job_ids, priority))


async def pause_queue(store: Store, tenant_id: int, queue: str, paused: bool) -> bool:
    """Pause or resume a queue; True when it was in the other state."""
    return bool(await store.fetchval(PAUSE_QUEUE, tenant_id, queue, paused))
