"""What a service asks of the application it belongs to: the open store, and tenants by name.

A service (operations, schedules, batches, limits, ...) holds a `Reach` instead of a store, so that the database is opened by
whichever method is called first.
Implemented by: app.Trunkline.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol
from uuid import UUID

from trunkline.engine.producer import Enqueued
from trunkline.engine.sealing import Sealing
from trunkline.model import JobView, NewJob
from trunkline.settings import Settings
from trunkline.store import Store


class Reach(Protocol):
    """The application as its services see it."""

    settings: Settings

    @property
    def sealing(self) -> Sealing:
        """What encrypts jobs on their way in."""
        ...

    async def checked_job(self, kind: str, payload: Any, tenant: str | None, options: dict[str, Any]) -> NewJob:
        """A job by the application's settings, with options as of `new_job`."""
        ...

    async def open(self, *, migrate: bool | None = None) -> Store:
        """The store, connected on first use."""
        ...

    async def tenant_id(self, name: str | None) -> int:
        """The id of a tenant by name; None: the default tenant."""
        ...

    async def known_tenant_id(self, name: str | None) -> int:
        """The same for those who only ask: NotFound where `tenant_id` would make one."""
        ...

    async def enqueue_many(self, jobs: Iterable[NewJob], *, tenant: str | None = None, connection: Any = None) -> list[Enqueued]:
        """Put many jobs in, in their order."""
        ...

    async def noted(self, tenant_id: int, act: str, subjects: str | Sequence[str], **detail: Any) -> None:
        """Add to the audit log what was just done to what, a row for each; within an act in somebody's name, and nothing otherwise.

        Args:
            act: thing.verb, such as job.cancelled; subjects: such as job:ID.
            detail: small, JSON, without payloads and secrets.
        """
        ...

    async def after_commit(self, work: Callable[[Store], Awaitable[None]]) -> None:
        """Carry out what needs the change to be seen by all, with a store that is no transaction: now, or when the act has ended."""
        ...

    async def ended(self, tenant_id: int, identity: UUID, timeout_s: float | None) -> None:
        """Return when this job or batch has ended; TimeoutError when it had not in time."""
        ...

    async def wait_ended(self, job_id: UUID | str, timeout: float | None = None, *, tenant: str | None = None) -> JobView:
        """The job, as soon as it has ended."""
        ...
