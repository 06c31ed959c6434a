"""What the gateway asks of the application it belongs to. `app.Trunkline` is one."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol
from uuid import UUID

from trunkline.engine import Act, Batches, Enqueued, Schedules, Sealing
from trunkline.model import JobView
from trunkline.model.actor import Actor
from trunkline.realtime import Updates
from trunkline.settings import Settings


class Services(Protocol):
    """Jobs of a tenant, by its name."""

    settings: Settings

    @property
    def batches(self) -> Batches:
        """Jobs sent together."""
        ...

    @property
    def schedules(self) -> Schedules:
        """Jobs made by the clock."""
        ...

    @property
    def sealing(self) -> Sealing:
        """What encrypts jobs, and what remote workers answer."""
        ...

    @property
    def updates(self) -> Updates:
        """The history of jobs."""
        ...

    def acting(self, who: Actor, *, address: str | None = None) -> AbstractAsyncContextManager[Act]:
        """One transaction in somebody's name."""
        ...

    async def known_tenant_id(self, name: str | None) -> int:
        """The id of a tenant by name; NotFound."""
        ...

    async def enqueue_checked(
        self, kind: str, payload: Any = None, *, tenant: str | None = None, connection: Any = None, **options: Any
    ) -> Enqueued:
        """Put one job in."""
        ...

    async def ended(self, tenant_id: int, identity: UUID, timeout_s: float | None) -> None:
        """Return when this job or batch has ended; TimeoutError when it had not in time."""
        ...

    async def get(self, job_id: UUID | str, *, tenant: str | None = None) -> JobView:
        """Where a job stands; NotFound."""
        ...

    async def cancel(self, job_id: UUID | str, *, reason: str = "cancelled by request", tenant: str | None = None) -> bool:
        """Cancel a job; False: it had ended."""
        ...

    async def queue_size(self, queue: str, before: str = "active", *, tenant: str | None = None) -> int:
        """Jobs in states before `before`."""
        ...

    async def idempotency_holder(self, kind: str, key: str, *, tenant: str | None = None) -> UUID | None:
        """The job that holds an idempotency key."""
        ...
