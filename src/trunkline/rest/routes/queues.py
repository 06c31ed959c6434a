"""/api/queues: how full they are; pause and resume."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from trunkline.errors import NotFound
from trunkline.rest import answers
from trunkline.rest.answers import json_answer
from trunkline.rest.api import Api
from trunkline.rest.openapi import describe
from trunkline.rest.paging import Limit, PageNumber, sliced
from trunkline.rest.route import asked_of

Before = Annotated[
    Literal["retry", "active", "completed"],
    Query(description="Count jobs in states before this one, in the order created < retry < active < completed."),
]


def add(api: Api, router: APIRouter) -> None:
    """Its routes."""

    @router.get("/queues", tags=["queues"], **describe(answers.Queues))
    async def list_queues(request: Request, page: PageNumber = 1, limit: Limit = 20) -> Response:
        """The tenant's queues by name, of the first 1,000; each count stops at 10,000."""
        asked = asked_of(request)
        asked.require_tenant("send", "work", "watch")
        found, said = sliced(await api.services.records.queues(asked.tenant_id), page, limit)
        data = [
            answers.Queue(
                name=one.name,
                paused=one.paused_at is not None,
                paused_at=one.paused_at,
                waiting=one.ready,
                deferred=one.deferred,
                active=one.active,
            )
            for one in found
        ]
        return json_answer(answers.Queues(data=data, pagination=said))

    @router.get("/queues/{name}/size", tags=["queues"], **describe(answers.Size, refusals=(404,)))
    async def get_queue_size(request: Request, name: str, before: Before = "active") -> Response:
        """How many jobs of a queue stand before a state."""
        asked = asked_of(request)
        asked.require_tenant("send", "work", "watch")
        await _known(api, asked.tenant_id, name)
        return json_answer(answers.Size(name=name, size=await api.services.queue_size(name, before, tenant=asked.tenant)))

    @router.post("/queues/{name}/pause", tags=["queues"], **describe(answers.Switched, refusals=(404,)))
    async def pause_queue(request: Request, name: str) -> Response:
        """Start no more jobs of a queue; running ones go on. When this is answered, none starts any more."""
        return await _switch(api, request, name, pause=True)

    @router.post("/queues/{name}/resume", tags=["queues"], **describe(answers.Switched, refusals=(404,)))
    async def resume_queue(request: Request, name: str) -> Response:
        """Undo a pause."""
        return await _switch(api, request, name, pause=False)


async def _switch(api: Api, request: Request, name: str, *, pause: bool) -> Response:
    asked = asked_of(request)
    asked.require_tenant("admin")
    await _known(api, asked.tenant_id, name)
    async with asked.acting() as act:
        changed = await (act.pause(name, tenant=asked.tenant) if pause else act.resume(name, tenant=asked.tenant))
    return json_answer(answers.Switched(name=name, paused=pause, changed=changed))


async def _known(api: Api, tenant_id: int, name: str) -> None:
    if name not in {one.name for one in await api.services.records.queues(tenant_id)}:
        raise NotFound(f"queue {name[:80]!r}: there is none of that name.")
