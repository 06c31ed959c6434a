"""`Queue`: the store's functions in the words of a test, for one queue of one tenant, with a session that does not run out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from trunkline.model import Claimed, JobView, NewJob, Policy, new_job
from trunkline.store import Store, enqueue, operate, read, sessions, work

HOMES = ("ready", "deferred", "lease", "outcome")


class Queue:
    """One queue, by default `work` with kind `work`."""

    def __init__(self, store: Store, tenant_id: int, queue_id: int, session_id: int, kind: str) -> None:
        self.store, self.tenant_id, self.queue_id, self.session_id, self.kind = store, tenant_id, queue_id, session_id, kind

    @classmethod
    async def open(
        cls, store: Store, *, kind: str = "work", tenant: str = "default", policy: Policy | None = None, ttl_s: float = 1e6
    ) -> Queue:
        """Declare the kind, open its queue and a session of `ttl_s` seconds."""
        tenant_id = await sessions.tenant_id(store, tenant)
        await work.declare_kind(store, tenant_id, kind, policy or Policy(retry_jitter=0))
        ((_, queue_id, _),) = await work.open_lines(store, tenant_id, [kind])
        return cls(store, tenant_id, queue_id, await sessions.open_session(store, "test", ttl_s), kind)

    # -- in -----------------------------------------------------------------------

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

    # -- out ----------------------------------------------------------------------

    async def claim(
        self, limit: int = 1, *, session_id: int | None = None, floor: int = 0, marks: dict[int, int] | None = None
    ) -> list[Claimed]:
        """Claim, from the front unless told otherwise."""
        return await work.claim(
            self.store, self.tenant_id, self.queue_id, session_id or self.session_id, limit=limit, floor=floor, marks=marks or {}
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

    async def settle(
        self, claimed: Claimed, ending: str, *, error: str | None = '{"message": "no"}', delay_s: float | None = None
    ) -> str | None:
        """Report another ending; ready, deferred, failed or cancelled, or None when the lease was lost."""
        rows = await work.settle(self.store, self.tenant_id, [claimed.job_id], [claimed.attempt], [ending], [error], [delay_s])
        return rows[0].next if rows else None

    async def end(self, job_id: UUID, ending: str) -> None:
        """Bring a queued job to one of the terminal endings: completed, failed or cancelled."""
        if ending == "cancelled":
            await self.cancel(job_id)
            return
        (claimed,) = [c for c in await self.claim(1000) if c.job_id == job_id]
        if ending == "completed":
            await self.complete(claimed)
        else:
            await self.settle(claimed, "fatal")

    # -- what people do -------------------------------------------------------------

    async def cancel(self, job_id: UUID) -> str | None:
        """cancelled, requested, terminal, or None for an unknown job."""
        return (await operate.cancel(self.store, self.tenant_id, [job_id], "test")).get(job_id)

    async def retry(self, *job_ids: UUID) -> set[UUID]:
        """Retry by hand; those that went back."""
        return await operate.retry(self.store, self.tenant_id, list(job_ids))

    # -- what a process does ----------------------------------------------------------

    async def session(self, ttl_s: float = 1e6) -> int:
        """Another session."""
        return await sessions.open_session(self.store, "another", ttl_s)

    async def tick(self, session_id: int | None = None, *, mark: int = 0, ttl_s: float = 1e6) -> sessions.Tick:
        """The one call a second."""
        return await sessions.tick(self.store, session_id or self.session_id, ttl_s, [self.queue_id], mark)

    async def rescue(self) -> int:
        """Offer again what nobody works on; how many."""
        return int(await self.store.fetchval("select trunkline.rescue($1)", self.session_id))

    # -- what there is -------------------------------------------------------------------

    async def view(self, job_id: UUID) -> JobView:
        """The job as people see it."""
        found = await read.job(self.store, self.tenant_id, job_id)
        assert found is not None, f"no job {job_id}"
        return found

    async def state(self, job_id: UUID) -> str | None:
        """Where the job stands."""
        view = await read.job(self.store, self.tenant_id, job_id)
        return None if view is None else view.state

    async def homes(self, job_id: UUID) -> list[str]:
        """Every live table or outcome that holds the job; the first invariant says exactly one."""
        return [
            table
            for table in HOMES
            if await self.store.fetchval(
                f"select exists (select from trunkline.{table} where tenant_id = $1 and job_id = $2)", self.tenant_id, job_id
            )
        ]

    async def due_in_s(self, job_id: UUID) -> float:
        """Seconds from the database clock's now until a deferred job is due."""
        return float(
            await self.store.fetchval(
                "select extract(epoch from run_at - trunkline.now())::float8 from trunkline.deferred where job_id = $1", job_id
            )
        )

    async def endings(self, job_id: UUID) -> list[tuple[int, str]]:
        """(attempt, ending) of every attempt that did not complete."""
        return [(row["attempt"], row["ending"]) for row in await read.attempts(self.store, self.tenant_id, job_id)]

    async def keys(self) -> list[UUID]:
        """The holders of unique keys, in key order."""
        return [row[0] for row in await self.store.fetch("select job_id from trunkline.unique_key order by queue_id, key")]

    async def count(self, table: str) -> int:
        """Rows of a table."""
        return int(await self.store.fetchval(f"select count(*) from trunkline.{table}"))
