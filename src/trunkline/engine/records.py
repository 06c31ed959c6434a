"""`app.records`: what people read of jobs, through the reading role: one, pages, why one is not running.

Always true: payloads and results travel as JSON text, opened where they are encrypted and this process has the key; a job of
another user reads as one that is not there.
Part of the application. Calls: store.pages, store.reader.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from trunkline.engine.acts import Act, Actable, not_there
from trunkline.engine.explain import Reason, reasons
from trunkline.model import JobView
from trunkline.model.payload import decode
from trunkline.model.secret_fields import ENVELOPE
from trunkline.store import inspect, limits, pages, requests
from trunkline.store.pages import LOOKS, Filter, JobRow, JobStands, Page, Place, QueueRow
from trunkline.store.reader import Reader

__all__ = ["LOOKS", "Filter", "Health", "JobRow", "JobStands", "Page", "Place", "QueueRow", "Records"]
WAITS_S = 30.0  # a worker that lives takes the first job of a tenant within seconds
_SEALED = f'"{ENVELOPE}"'


class Health(NamedTuple):
    """healthy; degraded: over a tenth of the last 100 that ended failed, or an alert of the tenant is raised; unhealthy: the first job
    in line has stood there for WAITS_S and none of the tenant's runs, or a queue is stalled. Paused queues do not count."""

    status: str
    queued: int
    active: int
    failed: int
    last_ended_at: datetime | None


class Records:
    """Of one application. `user_id` narrows to one user's jobs; None: the tenant's."""

    def __init__(self, reach: Actable) -> None:
        self._reach, self._privacy = reach, reach.privacy
        self._reader: Reader | None = None
        self._secrets: dict[int, bytes] = {}

    async def reader(self) -> Reader:
        """The way behind the second wall."""
        if self._reader is None:
            self._reader = Reader(await self._reach.open())
        return self._reader

    async def job(self, tenant_id: int, job_id: UUID, *, user_id: str | None = None) -> JobRow:
        """One job; NotFound also where it is another user's."""
        row = await pages.job(await self.reader(), tenant_id, job_id)
        if row is None or (user_id is not None and row.user_id != user_id):
            raise not_there(job_id)
        return self._revealed(tenant_id, row)

    async def page(self, tenant_id: int, wanted: Filter, *, limit: int, after: Place | None = None, offset: int = 0) -> Page:
        """A page of jobs, newest first."""
        found = await pages.page(await self.reader(), tenant_id, wanted, limit=limit, after=after, offset=offset)
        return found._replace(jobs=[self._revealed(tenant_id, row) for row in found.jobs])

    async def ids(self, tenant_id: int, wanted: Filter, *, limit: int) -> list[UUID]:
        """Ids of the jobs that fit, newest first."""
        return await pages.ids(await self.reader(), tenant_id, wanted, limit=limit)

    async def fitting(self, tenant_id: int, job_ids: list[UUID], wanted: Filter) -> list[UUID]:
        """Those of these jobs that fit."""
        return await pages.fitting(await self.reader(), tenant_id, job_ids, wanted)

    async def explain(self, tenant_id: int, job_id: UUID, *, user_id: str | None = None) -> tuple[JobRow, list[Reason]]:
        """Why a job is not running, the decisive reason first; none for one that has ended."""
        row = await self.job(tenant_id, job_id, user_id=user_id)
        store = await self._reach.open()
        around = await inspect.standing(store, tenant_id, job_id)
        if around is None:
            raise not_there(job_id)
        held = await limits.held_by(store, tenant_id, job_id) if row.state == "limited" else None
        waiting = await pages.parents(await self.reader(), tenant_id, job_id) if row.state == "waiting" else 0
        return row, reasons(row, around, held=held, parents=waiting)

    async def queues(self, tenant_id: int) -> list[QueueRow]:
        """The tenant's queues by name, at most 1,000; each count stops at 10,000."""
        return await pages.queues(await self.reader(), tenant_id)

    async def health(self, tenant_id: int) -> Health:
        """How the tenant's jobs do."""
        found = await pages.health(await self.reader(), tenant_id)
        share = found.recently_failed / found.recent if found.recent else 0.0
        nobody_works = (found.waited_s or 0.0) > WAITS_S and not found.active
        word = "unhealthy" if nobody_works or found.stalled else "degraded" if share > 0.1 or found.alerts else "healthy"
        return Health(word, found.queued, found.active, found.failed, found.last_ended_at)

    @asynccontextmanager
    async def looking(self, tenant_id: int) -> AsyncIterator[Act]:
        """The services that list schedules and templates, behind the second wall: they can read and nothing else."""
        async with (await self.reader()).within(tenant_id) as bound:
            yield Act(self._reach, bound)

    async def ping(self) -> None:
        """Whether the database answers; Unavailable where it does not."""
        await (await self.reader()).ping()

    async def secret(self, tenant_id: int) -> bytes:
        """What cursors of this tenant are signed with."""
        if tenant_id not in self._secrets:
            self._secrets[tenant_id] = await requests.secret(await self._reach.open(), tenant_id)
        return self._secrets[tenant_id]

    def _revealed(self, tenant_id: int, row: JobRow) -> JobRow:
        """Encrypted values opened; plain ones stay the text that they are."""
        if not any(text is not None and _SEALED in text for text in (row.payload, row.result)):
            return row
        shown = self._privacy.reveal(_view(tenant_id, row))
        return row._replace(payload=_text(row.payload, shown.payload), result=_text(row.result, shown.result))


def _text(kept: str | None, shown: Any) -> str | None:
    return msgspec.json.encode(shown).decode() if kept is not None and _SEALED in kept else kept


def _view(tenant_id: int, row: JobRow) -> JobView:
    values: dict[str, Any] = row._asdict()
    del values["result_omitted"]
    for name in ("payload", "result", "error", "progress", "options"):
        values[name] = None if values[name] is None else decode(values[name])
    return JobView(tenant_id=tenant_id, **values)
