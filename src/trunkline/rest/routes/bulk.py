"""/api/jobs/bulk: cancel and retry jobs by a filter; /api/dead-letters: failed jobs, listed and put back in line."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter
from fastapi import Query as Parameter
from starlette.requests import Request
from starlette.responses import Response

from trunkline.errors import InvalidInput
from trunkline.model import kind_name
from trunkline.rest import answers, listing
from trunkline.rest.answers import json_answer
from trunkline.rest.api import Api
from trunkline.rest.asking import Asked
from trunkline.rest.messages import Bulk, BulkFilter, Redrive
from trunkline.rest.openapi import describe
from trunkline.rest.paging import Cursor, Limit, PageNumber
from trunkline.rest.route import asked_of

MOST = 1000  # jobs of one request
SENT = {"filter": {"status": "queued", "type": "resize"}}
Word = Annotated[str | None, Parameter(min_length=1, max_length=200)]


def add(api: Api, router: APIRouter) -> None:
    """Its routes."""

    @router.post("/jobs/bulk/cancel", tags=["jobs"], **describe(answers.Count, body=Bulk, sent=SENT, example={"count": 3, "more": False}))
    async def cancel_jobs(request: Request) -> Response:
        """Cancel up to 1,000 jobs that fit; `more` tells whether to ask again. Running ones are told."""
        return await _bulk(request, "cancel")

    @router.post("/jobs/bulk/retry", tags=["jobs"], **describe(answers.Count, body=Bulk, sent=SENT, example={"count": 3, "more": False}))
    async def retry_jobs(request: Request) -> Response:
        """Put up to 1,000 failed and cancelled jobs that fit back in line."""
        return await _bulk(request, "retry")

    @router.get("/dead-letters", tags=["dead letters"], **describe(answers.Jobs))
    async def list_dead_letters(
        request: Request, type: Word = None, queue: Word = None, page: PageNumber = 1, limit: Limit = 20, cursor: Cursor = None
    ) -> Response:
        """Jobs that ended failed, the latest first."""
        asked = asked_of(request)
        asked.require("send", "watch")
        wanted = listing.filter_of(asked, status="failed", kind=type, queue=queue)
        return await listing.page_of(asked, wanted, page=page, limit=limit, cursor=cursor, detail=True)

    @router.post("/dead-letters/redrive", tags=["dead letters"], **describe(answers.Count, body=Redrive, sent={"queue": "resize"}))
    async def redrive(request: Request) -> Response:
        """Put failed jobs of a queue or a type back in line, oldest end first."""
        asked = asked_of(request)
        asked.require_tenant("send")
        _, wanted = await asked.body(Redrive)
        if wanted.queue is None and wanted.type is None:
            raise InvalidInput("the filter is empty: name a queue or a type.")
        kind = None if wanted.type is None else kind_name(wanted.type)
        async with asked.acting() as act:
            count = await act.redrive(queue=wanted.queue, kind=kind, limit=wanted.limit, tenant=asked.tenant)
        return json_answer(answers.Count(count=count, more=count >= wanted.limit))


async def _bulk(request: Request, verb: Literal["cancel", "retry"]) -> Response:
    asked = asked_of(request)
    asked.require("send")
    _, sent = await asked.body(Bulk)
    if sent.filter == BulkFilter():
        raise InvalidInput(
            "the filter is empty: name at least one of ids, status, type, queue, userId, createdAfter, createdBefore, error."
        )
    ids, more = await _picked(asked, sent.filter, verb)
    done: Collection[UUID] = ()
    if ids:
        async with asked.acting() as act:
            done = await (act.cancel_many(ids, tenant=asked.tenant) if verb == "cancel" else act.retry_each(ids, tenant=asked.tenant))
    return json_answer(answers.Count(count=len(done), more=more))


async def _picked(asked: Asked, sent: BulkFilter, verb: Literal["cancel", "retry"]) -> tuple[list[UUID], bool]:
    """Ids of jobs that fit, that are the principal's, and to which the verb may apply; and whether there may be more."""
    records = asked.api.services.records
    wanted = listing.filter_of(
        asked,
        status=sent.status,
        kind=sent.type,
        queue=sent.queue,
        user_id=sent.user_id,
        created_after=sent.created_after,
        created_before=sent.created_before,
        error=sent.error,
    )
    if sent.ids is not None:
        return await records.fitting(asked.tenant_id, sent.ids, wanted), False
    if wanted.states:
        each = [wanted]
    else:
        states = [answers.WAITING, ("active",)] if verb == "cancel" else [("failed",), ("cancelled",)]
        each = [listing.narrowed(wanted, one) for one in states]
    if (verb == "cancel" and sent.status in ("completed", "failed", "cancelled")) or (
        verb == "retry" and sent.status in ("queued", "active", "completed")
    ):
        raise InvalidInput(f"jobs with status {sent.status!r} cannot be {'cancelled' if verb == 'cancel' else 'retried'}.")
    found: list[UUID] = []
    for one in each:
        if len(found) < MOST:
            found += await records.ids(asked.tenant_id, one, limit=MOST - len(found))
    return found, len(found) >= MOST
