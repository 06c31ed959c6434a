"""An act: what one person asked for, in one transaction, with the note of who did it and the answer to a repeated request.

Always true: everything that is done through an `Act` commits together when its block ends, and is undone together when it raises;
what must wait for the commit (claims that began before a pause) is waited for after it.
Called by: rest, cli. Calls: store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Protocol
from uuid import UUID

from trunkline.engine.limits import claims_over
from trunkline.engine.operations import Operations
from trunkline.engine.privacy import Privacy
from trunkline.engine.producer import Enqueued
from trunkline.engine.reach import Reach
from trunkline.engine.schedules import Schedules
from trunkline.engine.templates import Templates
from trunkline.errors import InvalidInput, NotFound
from trunkline.model import JobView, NewJob
from trunkline.store import Store, operate, pages, read, requests
from trunkline.store.bound import Bound, transaction
from trunkline.store.pages import JobStands
from trunkline.store.requests import Claim, Request

__all__ = ["Act", "Actable", "Claim", "Request", "acting", "not_there"]


class Actable(Reach, Protocol):
    """An application in whose transactions people act."""

    privacy: Privacy

    async def enqueue_checked(
        self,
        kind: str | None = None,
        payload: Any = None,
        *,
        template: str | None = None,
        tenant: str | None = None,
        connection: Any = None,
        **options: Any,
    ) -> Enqueued:
        """Put one job in."""
        ...


class Act(Operations):
    """The verbs of an application inside one transaction. `store` is that transaction."""

    def __init__(self, reach: Actable, store: Bound) -> None:
        self._reach = reach
        self.store = store
        self.settings, self.privacy = reach.settings, reach.privacy
        self.schedules = Schedules(self)
        self.templates = Templates(self)
        self._afterwards: list[Callable[[], Awaitable[None]]] = []

    async def open(self, *, migrate: bool | None = None) -> Store:
        """The transaction."""
        return self.store

    async def tenant_id(self, name: str | None) -> int:
        """The id of a tenant by name."""
        return await self._reach.tenant_id(name)

    async def known_tenant_id(self, name: str | None) -> int:
        """The same; NotFound where there is no such tenant."""
        return await self._reach.known_tenant_id(name)

    async def checked_job(self, kind: str, payload: Any, tenant: str | None, options: dict[str, Any]) -> NewJob:
        """A job by the application's settings."""
        return await self._reach.checked_job(kind, payload, tenant, options)

    async def enqueue_many(self, jobs: Iterable[NewJob], *, tenant: str | None = None, connection: Any = None) -> list[Enqueued]:
        """Put many jobs in; they exist if and only if the act does."""
        return await self._reach.enqueue_many(jobs, tenant=tenant, connection=connection or self.store.conn)

    async def wait_ended(self, job_id: UUID | str, timeout: float | None = None, *, tenant: str | None = None) -> JobView:
        """Refused: what is done here is seen by nobody before the act ends, so waiting for others would be for ever."""
        raise InvalidInput("an act cannot wait for a job: let it end first.")

    async def ended(self, tenant_id: int, identity: UUID, timeout_s: float | None) -> None:
        """Refused, as `wait_ended`."""
        raise InvalidInput("an act cannot wait for a job: let it end first.")

    # -- what differs inside a transaction ------------------------------------------------

    async def enqueue(self, kind: str, payload: Any, *, tenant: str | None = None, **options: Any) -> Enqueued:
        """Put one job in; it exists if and only if the act does."""
        return await self._reach.enqueue_checked(kind, payload, tenant=tenant, connection=self.store.conn, **options)

    async def enqueue_checked(self, kind: str, payload: Any = None, *, tenant: str | None = None, **options: Any) -> Enqueued:
        """As `enqueue`, for services that are given an act instead of the application."""
        return await self.enqueue(kind, payload, tenant=tenant, **options)

    async def enqueue_template(self, template: str, payload: Any, *, tenant: str | None = None, **options: Any) -> Enqueued:
        """The same from a template."""
        return await self._reach.enqueue_checked(None, payload, template=template, tenant=tenant, connection=self.store.conn, **options)

    async def pause(self, queue: str, *, tenant: str | None = None) -> bool:
        """Stop claims from a queue; after the commit, claims that began before are waited for."""
        changed = await operate.pause_queue(self.store, await self.known_tenant_id(tenant), queue, True)

        async def wait() -> None:
            await claims_over(await self._reach.open(), f"the queue {queue!r} is paused")

        self._afterwards.append(wait)
        return changed

    async def stands(self, tenant_id: int, job_id: UUID) -> JobStands:
        """Where a job stands, read within the act."""
        found = await self.found(tenant_id, job_id)
        if found is None:
            raise not_there(job_id)
        return found

    async def found(self, tenant_id: int, job_id: UUID) -> JobStands | None:
        """The same; None: no such job."""
        return await pages.stands(self.store, tenant_id, job_id)

    async def holds_key(self, tenant_id: int, kind: str, key: str | None, job_id: UUID) -> bool:
        """Whether a job is the holder of an idempotency key."""
        return key is not None and job_id == await read.idempotency_holder(self.store, tenant_id, kind, key)

    async def cancel_told(self, tenant_id: int, job_id: UUID) -> str:
        """Cancel one job: cancelled, requested (it runs, and is told) or terminal (it had ended). NotFound without it."""
        answers = await operate.cancel(self.store, tenant_id, [job_id], "cancelled by request")
        if job_id not in answers:
            raise not_there(job_id)
        return answers[job_id]

    async def cancel_many(self, job_ids: list[UUID], *, reason: str = "cancelled by request", tenant: str | None = None) -> list[UUID]:
        """Cancel jobs wherever they stand; those that were not over."""
        answers = await operate.cancel(self.store, await self.known_tenant_id(tenant), job_ids, reason)
        return [job_id for job_id, answer in answers.items() if answer != "terminal"]

    async def retry_many(self, job_ids: list[UUID], *, tenant: str | None = None) -> list[UUID]:
        """Put failed and cancelled jobs back in line; those that went."""
        return list(await operate.retry(self.store, await self.known_tenant_id(tenant), job_ids))

    # -- requests that may be repeated -----------------------------------------------------

    async def claim(self, request: Request) -> Claim:
        """Ask whether a request with a key is to be carried out here."""
        return await requests.claim(self.store, request)

    async def answered(self, request: Request, status: int, text: str) -> None:
        """Keep the answer, which commits with the act."""
        await requests.answer(self.store, request, status, text)

    async def settle(self) -> None:
        """What had to wait for the commit."""
        for wait in self._afterwards:
            await wait()


@asynccontextmanager
async def acting(reach: Actable) -> AsyncIterator[Act]:
    """One transaction for what one person asked for."""
    store = await reach.open()
    async with transaction(store) as bound:
        act = Act(reach, bound)
        yield act
    await act.settle()


def not_there(job_id: UUID) -> NotFound:
    """The one sentence for a job that is not there and for one that is not yours."""
    return NotFound(f"job {job_id}: there is no such job. Ids end with their job when its retention is over.")
