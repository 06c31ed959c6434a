"""An act: what one person asked for, in one transaction, with the rows that say who did it and the answer to a repeated request.

Always true: every verb that changes something notes who did it in this transaction, and one that changed nothing notes nothing;
everything that is done through an `Act` commits together when its block ends, and is undone together when it raises;
what must wait for the commit (claims that began before a pause) is waited for after it.
Called by: rest, gateway, cli, app. Calls: store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol
from uuid import UUID

import msgspec

from trunkline.engine.batches import Batches
from trunkline.engine.flows import Flows
from trunkline.engine.limits import Limits
from trunkline.engine.operations import Operations
from trunkline.engine.privacy import Privacy
from trunkline.engine.producer import Enqueued
from trunkline.engine.prompts import Prompts
from trunkline.engine.reach import Reach
from trunkline.engine.retention import Retention
from trunkline.engine.schedules import Schedules
from trunkline.engine.templates import Templates
from trunkline.engine.tenants import Tenants
from trunkline.errors import InvalidInput, NotFound
from trunkline.model import JobView, NewJob, as_uuids, kind_name
from trunkline.model.actor import Actor
from trunkline.store import Store, audit, operate, pages, read, requests
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
    """The verbs of an application inside one transaction. `store` is that transaction; each verb notes `actor` as who did it.

    `actor` None: somebody who looks, and is not noted.
    """

    def __init__(self, reach: Actable, store: Bound, actor: Actor | None = None) -> None:
        self._reach = reach
        self.store, self.actor = store, actor
        self.settings, self.privacy = reach.settings, reach.privacy
        self.schedules, self.templates, self.prompts = Schedules(self), Templates(self), Prompts(self)
        self.batches, self.flows = Batches(self), Flows(self)
        self.limits, self.retention, self.tenants = Limits(self), Retention(self), Tenants(self)
        self._afterwards: list[Callable[[Store], Awaitable[None]]] = []

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
        """Put many jobs in; they exist if and only if the act does. One row of the log for all: how many of which kinds."""
        given, tenant_id = list(jobs), await self.tenant_id(tenant)
        async with self.store.connection() as ours:
            made = await self._reach.enqueue_many(given, tenant=tenant, connection=connection or ours)
        kinds = Counter(job.kind for job, one in zip(given, made, strict=True) if one.created)
        if total := kinds.total():
            await self.noted(tenant_id, "jobs.created", f"jobs:{total}", types=dict(kinds.most_common(20)))
        return made

    async def wait_ended(self, job_id: UUID | str, timeout: float | None = None, *, tenant: str | None = None) -> JobView:
        """Refused: what is done here is seen by nobody before the act ends, so waiting for others would be for ever."""
        raise InvalidInput("an act cannot wait for a job: let it end first.")

    async def ended(self, tenant_id: int, identity: UUID, timeout_s: float | None) -> None:
        """Refused, as `wait_ended`."""
        raise InvalidInput("an act cannot wait for a job: let it end first.")

    # -- what differs inside a transaction ------------------------------------------------

    async def enqueue(self, kind: str, payload: Any = None, *, tenant: str | None = None, **options: Any) -> Enqueued:
        """Put one job in; it exists if and only if the act does."""
        return await self._created(kind, await self.enqueue_checked(kind, payload, tenant=tenant, **options), tenant)

    async def enqueue_checked(self, kind: str | None, payload: Any = None, *, tenant: str | None = None, **options: Any) -> Enqueued:
        """As `enqueue`, for services that are given an act instead of the application: they note what it is for, and not the job."""
        await self.tenant_id(tenant)  # made outside: asked for again while this transaction made it, it would wait for itself
        async with self.store.connection() as ours:
            return await self._reach.enqueue_checked(kind, payload, tenant=tenant, connection=ours, **options)

    async def enqueue_template(self, template: str, payload: Any = None, *, tenant: str | None = None, **options: Any) -> Enqueued:
        """The same from a template."""
        return await self._created(
            None, await self.enqueue_checked(None, payload, template=template, tenant=tenant, **options), tenant, template
        )

    async def _created(self, kind: str | None, made: Enqueued, tenant: str | None, template: str | None = None) -> Enqueued:
        if made.created:
            named = None if kind is None else kind_name(kind)
            await self.noted(await self.tenant_id(tenant), "job.created", f"job:{made.id}", type=named, template=template)
        return made

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

    async def cancel_told(self, tenant_id: int, job_id: UUID, *, tenant: str | None) -> str:
        """Cancel one job: cancelled, requested (it runs, and is told) or terminal (it had ended). NotFound without it."""
        answers = await self.cancel_each([job_id], tenant=tenant)
        if job_id not in answers:
            raise not_there(job_id)
        return answers[job_id]

    async def cancel_many(self, job_ids: list[UUID], *, tenant: str | None = None) -> list[UUID]:
        """Cancel jobs wherever they stand; those that were not over."""
        return [job_id for job_id, answer in (await self.cancel_each(job_ids, tenant=tenant)).items() if answer != "terminal"]

    async def reprioritize(self, job_ids: UUID | str | Sequence[UUID | str], priority: int, *, tenant: str | None = None) -> int:
        """Change the priority (0..100) of jobs that have not started, one or several; how many."""
        given, tenant_id = as_uuids(job_ids), await self.known_tenant_id(tenant)
        moved = [i for i in sorted(set(given)) if await operate.reprioritize(self.store, tenant_id, [i], priority)]
        await self.noted(tenant_id, "job.reprioritized", [f"job:{job_id}" for job_id in moved], priority=priority)
        return len(moved)

    # -- who did it ------------------------------------------------------------------------

    async def noted(self, tenant_id: int, act: str, subjects: str | Sequence[str], **detail: Any) -> None:
        """Add to the audit log, within this transaction, what was just done to what: a row for each of `subjects`.

        What is done by the verbs of this act is noted by them; this is for what is done beside them.

        Args:
            act: thing.verb, such as job.cancelled; subjects: such as job:ID.
            detail: JSON, 8 KB at the most, without payloads and secrets; None is left out.
        """
        named = [subjects] if isinstance(subjects, str) else subjects
        if self.actor is None or not named:
            return
        said = {key: value for key, value in detail.items() if value is not None}
        who = (self.actor.kind, self.actor.id, self.actor.via, self.actor.address)
        await audit.note(self.store, tenant_id, who, act, named, msgspec.json.encode(said).decode() if said else None)

    async def after_commit(self, work: Callable[[Store], Awaitable[None]]) -> None:
        """What has to wait until this is committed."""
        self._afterwards.append(work)

    # -- requests that may be repeated -----------------------------------------------------

    async def claim(self, request: Request) -> Claim:
        """Ask whether a request with a key is to be carried out here."""
        return await requests.claim(self.store, request)

    async def answered(self, request: Request, status: int, text: str) -> None:
        """Keep the answer, which commits with the act."""
        await requests.answer(self.store, request, status, text)

    async def settle(self) -> None:
        """What had to wait for the commit."""
        store = await self._reach.open()
        for work in self._afterwards:
            await work(store)


@asynccontextmanager
async def acting(reach: Actable, actor: Actor) -> AsyncIterator[Act]:
    """One transaction for what one person asked for, in that person's name."""
    store = await reach.open()
    async with transaction(store, actor.tenant_id) as bound:
        act = Act(reach, bound, actor)
        yield act
    await act.settle()


def not_there(job_id: UUID) -> NotFound:
    """The one sentence for a job that is not there and for one that is not yours."""
    return NotFound(f"job {job_id}: there is no such job. Ids end with their job when its retention is over.")
