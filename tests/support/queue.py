"""`Queue`: the store's functions in the words of a test, for one queue of one tenant, with a session that does not run out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from trunkline.model import Claimed, NewJob, Policy, new_job
from trunkline.store import Store, enqueue, operate, read, sessions, work


class Queue:
    """One queue, by default `work` with kind `work`."""

    def __init__(self, store: Store, tenant_id: int, queue_id: int, session_id: int, kind: str) -> None:
        self.store, self.tenant_id, self.queue_id, self.session_id, self.kind = store, tenant_id, queue_id, session_id, kind

    @classmethod
    async def open(cls, store: Store, *, kind: str = "work", tenant: str = "default", policy: Policy | None = None, ttl_s: float = 1e6) -> Queue:
        """Declare the kind, open its queue and a session of `ttl_s` seconds."""
        tenant_id = await sessions.tenant_id(store, tenant)
        await work.declare_kind(store, tenant_id, kind, policy or Policy(retry_jitter=0))
        ((_, queue_id, _),) = await work.open_lines(store, tenant_id, [kind])
        return cls(store, tenant_id, queue_id, await sessions.open_session(store, "test", ttl_s), kind)

    async def put(self, payload: Any = None, **options: Any) -> UUID:
        """Enqueue one job through the full path; the id that now stands for it."""
        return (await self.put_jobs([new_job(self.kind, payload, **options)]))[0][0]

    async def put_jobs(self, jobs: Sequence[NewJob]) -> list[tuple[UUID, bool]]:
        """Enqueue jobs through the full path; (id, created) of each."""
        return await enqueue.jobs(self.store, self.tenant_id, jobs)

    async def put_plain(self, count: int) -> list[UUID]:
        """Enqueue plain jobs through the fast path; their ids in order."""
        jobs = [new_job(self.kind, {"n": n}) for n in range(count)]
        await enqueue.plain(self.store, self.tenant_id, jobs)
        return [job.id for job in jobs]

    async def claim(self, limit: int = 1, *, session_id: int | None = None, floor: int = 0) -> list[Claimed]:
        """Claim from the front."""
        return await work.claim(
            self.store, self.tenant_id, self.queue_id, session_id or self.session_id, limit=limit, floor=floor, marks={}
        )

    async def claim_one(self, **how: Any) -> Claimed:
        """Claim exactly one."""
        (claimed,) = await self.claim(1, **how)
        return claimed

    async def complete(self, *claimed: Claimed, result: str | None = None) -> set[UUID]:
        """Ack as completed; the jobs whose lease was lost."""
        return await work.ack_completed(
            self.store, self.tenant_id, [c.job_id for c in claimed], [c.attempt for c in claimed], [result] * len(claimed)
        )

    async def settle(self, claimed: Claimed, ending: str, *, error: str | None = '{"message": "no"}', delay_s: float | None = None) -> str | None:
        """Report another ending; ready, deferred, failed or cancelled, or None when the lease was lost."""
        rows = await work.settle(self.store, self.tenant_id, [claimed.job_id], [claimed.attempt], [ending], [error], [delay_s])
        return rows[0].next if rows else None

    async def state(self, job_id: UUID) -> str | None:
        """Where the job stands."""
        view = await read.job(self.store, self.tenant_id, job_id)
        return None if view is None else view.state

    async def cancel(self, job_id: UUID) -> str | None:
        """cancelled, requested, terminal, or None for an unknown job."""
        return (await operate.cancel(self.store, self.tenant_id, [job_id], "test")).get(job_id)

    async def homes(self, job_id: UUID) -> list[str]:
        """Every live table or outcome that holds the job; the first invariant says exactly one."""
        return [
            table
            for table in ("ready", "deferred", "lease", "outcome")
            if await self.store.fetchval(f"select exists (select from trunkline.{table} where tenant_id = $1 and job_id = $2)", self.tenant_id, job_id)
        ]
