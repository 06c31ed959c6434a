"""What workers do to jobs: claim, report, note. One function per SQL function.

Always true: every write is fenced by (job, attempt); what the database did not accept is answered, never swallowed.
Called by: engine.fetcher, engine.acker, engine.reporter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from trunkline.model import Claimed, Policy
from trunkline.store.pool import Store

CLAIM = "select * from trunkline.claim($1, $2, $3, $4, $5, $6, $7)"
ACK_COMPLETED = "select trunkline.ack_completed($1, $2, $3, $4)"
SETTLE = "select job_id, attempt, next, run_at from trunkline.settle($1, $2, $3, $4, $5, $6)"
SAVE_PROGRESS = "select trunkline.save_progress($1, $2, $3, $4)"
SAVE_CHECKPOINT = "select trunkline.save_checkpoint($1, $2, $3, $4)"
CHECKPOINT = "select trunkline.checkpoint($1, $2)"
ADD_LOG = "select trunkline.add_log($1, $2, $3, $4, $5, $6)"
DECLARE_KIND = "select trunkline.declare_kind($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
OPEN_LINES = "select tenant_id, queue_id, queue from trunkline.open_lines($1, $2)"
LEASE_HOLDS = "select exists (select from trunkline.lease where tenant_id = $1 and job_id = $2 and attempt = $3)"
KIND_TIMEOUTS = "select kind_id, name, timeout_s, seals from trunkline.kind where kind_id = any($1)"
MOVE_LEASES = "select trunkline.move_leases($1, $2, $3, $4, $5)"
LEASED = """select job_id, attempt, failures, priority, ord, kind_id, payload, options, user_id, queue, left_s
  from trunkline.leased($1, $2, $3)"""
KIND_NAMES = "select kind_id, name from trunkline.kind where kind_id = any($1)"
KIND_IDS = "select kind_id, name from trunkline.kind where tenant_id = $1 and name = any($2)"


class Settled(NamedTuple):
    """What became of one lease: `next` is ready, deferred, failed or cancelled; `run_at` only where deferred."""

    job_id: UUID
    attempt: int
    next: str
    run_at: datetime | None


async def claim(
    store: Store, tenant_id: int, queue_id: int, session_id: int, *, limit: int, floor: int, marks: dict[int, int]
) -> list[Claimed]:
    """Take up to `limit` jobs of one queue, highest priority first, then place in line.

    Args:
        limit: up to 10,000; fewer, or none (also when the queue is paused), may come back.
        floor: low-water mark of every priority that `marks` does not name.
    Raises:
        SessionLost: this session ran out.
    """
    rows = await store.fetch_held(CLAIM, tenant_id, queue_id, session_id, limit, floor, list(marks), list(marks.values()))
    return [Claimed._make(row) for row in rows]


async def warm(store: Store, tenant_id: int, queue_id: int, session_id: int) -> None:
    """Claim nothing and report nothing, at once: the two connections that claims and reports will use are there and have their plans.

    Otherwise the first job waits for that: about 20 ms (docs/performance.md).
    """
    await asyncio.gather(
        claim(store, tenant_id, queue_id, session_id, limit=0, floor=0, marks={}), ack_completed(store, tenant_id, [], [], [])
    )


async def ack_completed(
    store: Store, tenant_id: int, job_ids: Sequence[UUID], attempts: Sequence[int], results: Sequence[str | None]
) -> set[UUID]:
    """Record completions in one statement; the jobs whose lease was lost."""
    said = results if any(result is not None for result in results) else None  # null is as good as an array of nulls, and cheaper
    return {row[0] for row in await store.fetch(ACK_COMPLETED, tenant_id, job_ids, attempts, said)}


async def settle(
    store: Store,
    tenant_id: int,
    job_ids: Sequence[UUID],
    attempts: Sequence[int],
    endings: Sequence[str],
    errors: Sequence[str | None],
    delays: Sequence[float | None],
) -> list[Settled]:
    """Record every other ending in one statement; a job missing in the answer had lost its lease."""
    return [Settled(*row) for row in await store.fetch(SETTLE, tenant_id, job_ids, attempts, endings, errors, delays)]


async def save_progress(
    store: Store, tenant_id: int, job_ids: Sequence[UUID], attempts: Sequence[int], progress: Sequence[str]
) -> set[UUID]:
    """Keep the latest progress of many jobs; those whose lease holds."""
    return {row[0] for row in await store.fetch(SAVE_PROGRESS, tenant_id, job_ids, attempts, progress)}


async def save_checkpoint(store: Store, tenant_id: int, job_id: UUID, attempt: int, value: str) -> bool:
    """Keep a value for the next attempt; False when the lease is lost."""
    return bool(await store.fetchval(SAVE_CHECKPOINT, tenant_id, job_id, attempt, value))


async def checkpoint(store: Store, tenant_id: int, job_id: UUID) -> str | None:
    """The value kept last, as JSON text."""
    value = await store.fetchval(CHECKPOINT, tenant_id, job_id)
    return None if value is None else str(value)


async def add_log(
    store: Store,
    tenant_id: int,
    job_ids: Sequence[UUID],
    attempts: Sequence[int],
    levels: Sequence[str],
    messages: Sequence[str],
    fields: Sequence[str | None],
) -> None:
    """Append lines to the logs of jobs, at most 1,000 a job."""
    await store.fetch(ADD_LOG, tenant_id, job_ids, attempts, levels, messages, fields)


async def declare_kind(store: Store, tenant_id: int | None, name: str, policy: Policy) -> None:
    """Upsert a kind's policy for one tenant, or (None) for all, present and future."""
    await store.fetch(
        DECLARE_KIND,
        tenant_id,
        name,
        policy.retry_limit,
        policy.retry_delay_s,
        policy.retry_backoff,
        policy.retry_max_delay_s,
        policy.retry_jitter,
        policy.timeout_s,
        policy.dead_letter,
        policy.concurrency,
        policy.rate,
        policy.burst,
        policy.key_concurrency,
        policy.key_rate,
        policy.key_burst,
    )


async def open_lines(store: Store, tenant_id: int | None, queues: Sequence[str]) -> list[tuple[int, int, str]]:
    """(tenant, queue id, name) of the queues with these names in one tenant, or (None) in all."""
    return [(row[0], row[1], row[2]) for row in await store.fetch(OPEN_LINES, tenant_id, list(queues))]


async def kind_names(store: Store, kind_ids: Sequence[int]) -> dict[int, str]:
    """Names of kinds by id."""
    return {row[0]: row[1] for row in await store.fetch(KIND_NAMES, list(kind_ids))}


async def kind_ids(store: Store, tenant_id: int, names: Sequence[str]) -> dict[int, str]:
    """The same, of one tenant's kinds that have these names."""
    return {row[0]: row[1] for row in await store.fetch(KIND_IDS, tenant_id, names)}


async def kind_timeouts(store: Store, kind_ids: Sequence[int]) -> dict[int, tuple[str, float, int]]:
    """(name, timeout in seconds, what is encrypted) of kinds by id; bits: 1 payload, 2 result."""
    return {row[0]: (row[1], row[2], row[3]) for row in await store.fetch(KIND_TIMEOUTS, list(kind_ids))}


async def lease_holds(store: Store, tenant_id: int, job_id: UUID, attempt: int) -> bool:
    """Whether this attempt still has its lease."""
    return bool(await store.fetchval(LEASE_HOLDS, tenant_id, job_id, attempt))


async def move_leases(
    store: Store, tenant_id: int, job_ids: Sequence[UUID], attempts: Sequence[int], from_session: int, to_session: int
) -> set[UUID]:
    """Give leases to another live session, the same attempts; those that moved."""
    return {row[0] for row in await store.fetch(MOVE_LEASES, tenant_id, job_ids, attempts, from_session, to_session)}


async def leased(store: Store, tenant_id: int, session_id: int, job_ids: Sequence[UUID]) -> list[tuple[Claimed, str, float]]:
    """(as it was claimed, queue, seconds to its deadline) of those of these jobs whose lease the session has."""
    rows = await store.fetch(LEASED, tenant_id, session_id, job_ids)
    return [(Claimed._make(tuple(row)[:9]), row[9], row[10]) for row in rows]
