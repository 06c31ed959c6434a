"""What people do to jobs that are there: look, cancel, retry, redrive, reschedule, reprioritise; pause queues.

Part of the application (`app.Trunkline`); each method is one call of the store.
Always true: nothing here makes a tenant; asking for one that is not there raises NotFound.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from trunkline.engine.limits import claims_over
from trunkline.engine.privacy import Privacy, is_hidden
from trunkline.engine.sealing import Sealing
from trunkline.engine.vault import no_key
from trunkline.errors import JobCancelled, JobFailed, NotFound, NotRetryable
from trunkline.model import JobView, NewJob, as_uuid, as_uuids, aware, checked_name, kind_name
from trunkline.model.policy import whole
from trunkline.store import Store, operate, read


class Operations(ABC):
    """The methods of an application that act on jobs by id, and that make jobs by its settings."""

    privacy: Privacy

    @abstractmethod
    async def open(self, *, migrate: bool | None = None) -> Store:
        """The store, connected on first use; the application's own."""

    @abstractmethod
    async def tenant_id(self, name: str | None) -> int:
        """The id of a tenant by name; the application's own."""

    @abstractmethod
    async def known_tenant_id(self, name: str | None) -> int:
        """The same, NotFound where there is no such tenant; the application's own."""

    @abstractmethod
    async def wait_ended(self, job_id: UUID | str, timeout: float | None = None, *, tenant: str | None = None) -> JobView:
        """The job, as soon as it has ended; the application's own."""

    async def noted(self, tenant_id: int, act: str, subjects: str | Sequence[str], **detail: Any) -> None:
        """Nothing: who acts is known within `app.acting(...)` only."""
        return

    async def after_commit(self, work: Callable[[Store], Awaitable[None]]) -> None:
        """At once: what was done is committed."""
        await work(await self.open())

    def new_job(self, kind: str, payload: Any = None, **options: Any) -> NewJob:
        """A checked job for `enqueue_many`, by this application's settings: sizes, names of secrets, kinds that may have them."""
        return self.privacy.new_job(kind, payload, **options)

    async def checked_job(self, kind: str, payload: Any, tenant: str | None, options: dict[str, Any]) -> NewJob:
        """The same; before a secret is refused, the database is asked whether the kind is encrypted."""
        return await self.privacy.checked(kind, payload, tenant, options)

    @property
    def sealing(self) -> Sealing:
        """What encrypts jobs on their way in."""
        return self.privacy.sealing

    async def get(self, job_id: UUID | str, *, tenant: str | None = None) -> JobView:
        """Where a job stands, with what is encrypted opened where this process has the key; NotFound when this tenant has no such job."""
        identity = as_uuid(job_id)
        job = await read.job(await self.open(), await self.known_tenant_id(tenant), identity)
        if job is None:
            raise NotFound(f"job {identity}: this tenant has no such job. Ids end with their job when its retention is over.")
        return self.privacy.reveal(job)

    async def cancel(self, job_id: UUID | str, *, reason: str = "cancelled by request", tenant: str | None = None) -> bool:
        """Cancel a job; a running one is told and has 10 s. False: it had already ended."""
        identity = as_uuid(job_id)
        answers = await self.cancel_each([identity], reason=reason, tenant=tenant)
        if identity not in answers:
            raise NotFound(f"job {identity}: this tenant has no such job.")
        return answers[identity] != "terminal"

    async def cancel_each(
        self, job_ids: Sequence[UUID], *, reason: str = "cancelled by request", tenant: str | None = None
    ) -> dict[UUID, str]:
        """Cancel jobs; for each that is there: cancelled, requested (it runs, and is told) or terminal (it had ended)."""
        tenant_id = await self.known_tenant_id(tenant)
        answers = await operate.cancel(await self.open(), tenant_id, job_ids, reason)
        done = sorted(job_id for job_id, answer in answers.items() if answer != "terminal")
        await self.noted(tenant_id, "job.cancelled", [f"job:{job_id}" for job_id in done], reason=reason[:500])
        return answers

    async def retry(self, job_id: UUID | str, *, tenant: str | None = None) -> None:
        """Put a failed or cancelled job back in line, same id.

        Raises:
            NotRetryable: it is in another state, or another live job holds its unique key.
        """
        job = await self.get(job_id, tenant=tenant)
        if job.id not in await self.retry_each([job.id], tenant=tenant):
            raise NotRetryable(f"job {job.id} is {job.state}: only failed and cancelled jobs whose unique key is free can be retried.")

    async def retry_each(self, job_ids: Sequence[UUID], *, tenant: str | None = None) -> set[UUID]:
        """Put failed and cancelled jobs back in line; those that went."""
        tenant_id = await self.known_tenant_id(tenant)
        back = await operate.retry(await self.open(), tenant_id, job_ids)
        await self.noted(tenant_id, "job.retried", [f"job:{job_id}" for job_id in sorted(back)])
        return back

    async def redrive(self, *, queue: str | None = None, kind: str | None = None, limit: int = 1000, tenant: str | None = None) -> int:
        """Put up to `limit` dead letters (failed jobs) back in line, oldest first; how many."""
        whole("limit", limit, 0, 2**31 - 1)
        queue, kind = queue and checked_name("queue", queue), kind and kind_name(kind)
        tenant_id = await self.known_tenant_id(tenant)
        count = await operate.redrive(await self.open(), tenant_id, queue, kind, limit)
        if count:
            await self.noted(tenant_id, "dead_letters.redrove", f"queue:{queue or '*'}", type=kind, count=count)
        return count

    async def reschedule(self, job_id: UUID | str, run_at: datetime, *, tenant: str | None = None) -> bool:
        """Change when a job that has not started will run; False when it is not queued."""
        at, identity, tenant_id = aware("run_at", run_at), as_uuid(job_id), await self.known_tenant_id(tenant)
        if moved := await operate.reschedule(await self.open(), tenant_id, identity, at):
            await self.noted(tenant_id, "job.rescheduled", f"job:{identity}", run_at=run_at.isoformat())
        return moved

    async def reprioritize(self, job_ids: UUID | str | Sequence[UUID | str], priority: int, *, tenant: str | None = None) -> int:
        """Change the priority (0..100) of jobs that have not started, one or several; how many."""
        given = as_uuids(job_ids)
        return await operate.reprioritize(await self.open(), await self.known_tenant_id(tenant), given, priority)

    async def pause(self, queue: str, *, tenant: str | None = None) -> bool:
        """Stop claims from a queue; running jobs go on. False: it was paused. A queue that is not there yet is made, paused.

        When this returns, no job of the queue starts any more.
        """
        changed = await self._switch(queue, tenant, True)
        await self.after_commit(lambda store: claims_over(store, f"the queue {queue!r} is paused"))
        return changed

    async def resume(self, queue: str, *, tenant: str | None = None) -> bool:
        """Undo `pause`. False: it was not paused. NotFound: this tenant has no such queue."""
        return await self._switch(queue, tenant, False)

    async def _switch(self, queue: str, tenant: str | None, paused: bool) -> bool:
        tenant_id = await self.known_tenant_id(tenant)
        if changed := await operate.pause_queue(await self.open(), tenant_id, queue, paused):
            await self.noted(tenant_id, f"queue.{'paused' if paused else 'resumed'}", f"queue:{queue}")
        return changed

    async def wait(self, job_id: UUID | str, timeout: float | None = None, *, tenant: str | None = None) -> Any:
        """The result of a job, as soon as it has ended.

        Raises:
            WaitTimeout: it had not ended within `timeout` seconds.
            JobFailed, JobCancelled: how it ended instead.
            NotFound: this tenant has no such job. NotReadable: its result is encrypted and no key of this process opens it.
        """
        job = await self.wait_ended(job_id, timeout, tenant=tenant)
        message = job.error.get("message", "") if isinstance(job.error, dict) else ""
        if job.state == "failed":
            raise JobFailed(f"job {job.id} failed after {job.attempt} attempt{'' if job.attempt == 1 else 's'}: {message}")
        if job.state == "cancelled":
            raise JobCancelled(f"job {job.id} was cancelled: {message}")
        if is_hidden(job.result):
            raise no_key("result", job.kind)
        return job.result

    async def queue_size(self, queue: str, before: str = "active", *, tenant: str | None = None) -> int:
        """Jobs of a queue in states before `before`, in the order created < retry < active < completed < cancelled < failed."""
        return await read.queue_size(await self.open(), await self.known_tenant_id(tenant), queue, before)

    async def idempotency_holder(self, kind: str, key: str, *, tenant: str | None = None) -> UUID | None:
        """The job that holds an idempotency key of a kind, or None."""
        return await read.idempotency_holder(await self.open(), await self.known_tenant_id(tenant), kind, key)
