"""/api/jobs: put in, look at, list, wait for, cancel, retry, explain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from trunkline.engine import Act
from trunkline.engine.records import Filter, JobStands
from trunkline.errors import Forbidden, InvalidInput, NotFound, NotRetryable, WaitTimeout
from trunkline.rest import answers, listing
from trunkline.rest.acting import once
from trunkline.rest.answers import json_answer
from trunkline.rest.api import MOST_WAITS, Api
from trunkline.rest.asking import Asked
from trunkline.rest.kinds import check_kind
from trunkline.rest.messages import NewJob, Options
from trunkline.rest.openapi import ID, describe
from trunkline.rest.paging import Cursor, Limit, PageNumber
from trunkline.rest.problems import Refused
from trunkline.rest.route import asked_of
from trunkline.wire import payload_text

Detail = Annotated[bool, Query(description="Tell the reasons for `queued` apart, and show everything that is known.")]
JOB = {"id": ID, "type": "resize", "status": "completed", "attempts": 1, "createdAt": "2027-01-31T09:00:00Z", "result": {"ok": True}}
MADE = {"id": ID, "type": "resize", "status": "queued", "createdAt": "2027-01-31T09:00:00Z"}


def add(api: Api, router: APIRouter) -> None:
    """Its routes."""
    _add_list(api, router)
    _add_one(api, router)
    _add_changes(router)

    @router.post(
        "/jobs",
        tags=["jobs"],
        **describe(
            answers.Made,
            status=201,
            also={200: answers.Made},
            body=NewJob,
            creates=True,
            refusals=(404,),
            example=MADE,
            sent={"type": "resize", "payload": {"path": "a.png"}, "options": {"priority": 5}},
        ),
    )
    async def create_job(request: Request) -> Response:
        """Put a job in. 200 instead of 201: `options.idempotencyKey` or `options.id` was used before, and this is the job that has it."""
        asked = asked_of(request)
        asked.require("send")
        raw, wanted = await asked.body(NewJob)
        return await once(asked, "POST /api/jobs", raw, lambda act: _create(asked, act, wanted))


async def _create(asked: Asked, act: Act, wanted: NewJob) -> tuple[int, answers.Made]:
    if (wanted.type is None) == (wanted.template is None):
        raise InvalidInput("the body needs `type` or `template`, one of them.")
    options = wanted.options
    if options.user_id is not None and not asked.principal.is_admin:
        raise Forbidden("options.userId needs the scope 'admin'. Leave it out, or ask with such a token.")
    given = options.given()
    if asked.principal.user_id is not None:
        given.setdefault("user_id", asked.principal.user_id)
    payload = payload_text(wanted.payload)
    await _check_parents(asked, options)
    if options.id is not None and (there := await act.found(asked.tenant_id, options.id)) is not None:
        listing.check_own(asked, options.id, there.user_id)
        return 200, _made(options.id, there)
    if wanted.template is not None:
        made = await act.enqueue_template(wanted.template, payload, tenant=asked.tenant, **given)
    else:
        check_kind(asked, wanted.type or "")
        made = await act.enqueue(wanted.type or "", payload, tenant=asked.tenant, **given)
    row = await act.stands(asked.tenant_id, made.id)
    if wanted.template is not None:
        check_kind(asked, row.kind)  # it is undone again
    if not made.created:
        if options.singleton_key is not None and not await act.holds_key(asked.tenant_id, row.kind, options.idempotency_key, made.id):
            raise Refused(409, "duplicate", f"job {made.id} holds the singletonKey and has not ended.", job_id=str(made.id))
        listing.check_own(asked, made.id, row.user_id)
        return 200, _made(made.id, row)
    listing.check_own(asked, made.id, row.user_id)  # its id was taken at this very moment
    return 201, answers.Made(id=made.id, type=row.kind, status="queued", created_at=row.created_at)


def _made(job_id: UUID, row: JobStands) -> answers.Made:
    """A job that was there before."""
    return answers.Made(id=job_id, type=row.kind, status=answers.status_of(row.state), created_at=row.created_at)  # type: ignore[arg-type]


async def _check_parents(asked: Asked, options: Options) -> None:
    """Whoever waits for a job learns when it ended: NotFound where one of them may not be seen."""
    if asked.only_user is None or not options.depends_on:
        return
    seen = await asked.api.services.records.fitting(asked.tenant_id, options.depends_on, Filter(user_id=asked.only_user))
    if hidden := [parent for parent in options.depends_on if parent not in set(seen)]:
        raise NotFound(f"options.dependsOn names {hidden[0]}: there is no such job. Put parents in before their children.")


def _add_list(api: Api, router: APIRouter) -> None:
    @router.get(
        "/jobs",
        tags=["jobs"],
        **describe(answers.Jobs, example={"data": [JOB], "pagination": {"page": 1, "limit": 20, "total": 1, "totalPages": 1}}),
    )
    async def list_jobs(
        request: Request,
        filter: listing.Query,
        page: PageNumber = 1,
        limit: Limit = 20,
        cursor: Cursor = None,
        detail: Detail = False,
    ) -> Response:
        """Jobs, newest first; failed and cancelled ones of a whole tenant by the time of their end."""
        asked = asked_of(request)
        asked.require("send", "watch")
        wanted = listing.wanted(asked, filter)
        return await listing.page_of(asked, wanted, page=page, limit=limit, cursor=cursor, detail=detail)


def _add_one(api: Api, router: APIRouter) -> None:
    @router.get("/jobs/{job_id}", tags=["jobs"], **describe(answers.Job, example=JOB, refusals=(404,)))
    async def get_job(request: Request, job_id: UUID, detail: Detail = False) -> Response:
        """Where a job stands."""
        asked = asked_of(request)
        asked.require("send", "watch")
        row = await api.services.records.job(asked.tenant_id, job_id, user_id=asked.only_user)
        return json_answer(answers.job_of(row, detail=detail))

    @router.get("/jobs/{job_id}/wait", tags=["jobs"], **describe(answers.Job, example=JOB, refusals=(404,)))
    async def wait_for_job(
        request: Request,
        job_id: UUID,
        timeout: Annotated[float, Query(ge=0, le=60, description="Seconds; the job as it stands then.")] = 30.0,
        detail: Detail = False,
    ) -> Response:
        """The job as soon as it has ended, or as it stands when the time is over: look at `status`."""
        asked = asked_of(request)
        asked.require("send", "watch")
        records = api.services.records
        row = await records.job(asked.tenant_id, job_id, user_id=asked.only_user)
        if answers.status_of(row.state) in ("queued", "active") and timeout > 0:
            async with _waiting(asked):
                with suppress(WaitTimeout):
                    await api.services.wait_ended(job_id, timeout, tenant=asked.tenant)
            row = await records.job(asked.tenant_id, job_id, user_id=asked.only_user)
        return json_answer(answers.job_of(row, detail=detail))

    @router.get("/jobs/{job_id}/history", tags=["jobs"], **describe(answers.History, refusals=(404,)))
    async def get_history(
        request: Request, job_id: UUID, limit: Annotated[int, Query(ge=1, le=100, description="Lines, the newest.")] = 100
    ) -> Response:
        """What became of a job, and what was said about it while that is kept (a day, the last 100), newest first."""
        asked = asked_of(request)
        asked.require("send", "watch")
        await api.services.records.job(asked.tenant_id, job_id, user_id=asked.only_user)
        found = await api.services.updates.get_job_history(job_id, limit, tenant=asked.tenant)
        updates = [
            answers.Update(
                job_id=job_id,
                status=one.status,
                timestamp=one.at,
                attempt=one.attempt,
                data=msgspec.Raw(one.data),
            )
            for one in found
        ]
        return json_answer(answers.History(data=updates))

    @router.get("/jobs/{job_id}/explain", tags=["jobs"], **describe(answers.Explanation, refusals=(404,)))
    async def explain_job(request: Request, job_id: UUID) -> Response:
        """Why a job is not running."""
        asked = asked_of(request)
        asked.require("send", "watch")
        row, reasons = await api.services.records.explain(asked.tenant_id, job_id, user_id=asked.only_user)
        why = [answers.Why(code=one.code, message=one.message) for one in reasons]
        return json_answer(answers.Explanation(id=row.id, status=answers.status_of(row.state), state=row.state, reasons=why))  # type: ignore[arg-type]


@asynccontextmanager
async def _waiting(asked: Asked) -> AsyncIterator[None]:
    """One long poll of a principal; Refused where it has too many."""
    waits, name = asked.api.waits, (asked.tenant_id, asked.name)
    if waits.get(name, 0) >= MOST_WAITS:
        raise Refused(429, "rate_limited", f"{MOST_WAITS} requests of yours wait already.", headers={"Retry-After": "1"}, retryable=True)
    waits[name] = waits.get(name, 0) + 1
    try:
        yield
    finally:
        waits[name] -= 1
        if not waits[name]:
            del waits[name]


def _add_changes(router: APIRouter) -> None:
    @router.delete(
        "/jobs/{job_id}",
        tags=["jobs"],
        **describe(answers.Message, also={202: answers.Requested}, example={"message": "Job cancelled"}, refusals=(404, 409)),
    )
    async def cancel_job(request: Request, job_id: UUID) -> Response:
        """Cancel a job. 202: it runs; its worker is told, and has 10 seconds."""
        asked = asked_of(request)
        asked.require("send")
        await asked.api.services.records.job(asked.tenant_id, job_id, user_id=asked.only_user)
        async with asked.acting() as act:
            word = await act.cancel_told(asked.tenant_id, job_id, tenant=asked.tenant)
            if word == "terminal":
                raise Refused(409, "already_ended", f"job {job_id} has ended: there is nothing to cancel.")
        if word == "requested":
            return json_answer(answers.Requested(message="Job cancellation requested"), 202)
        return json_answer(answers.Message(message="Job cancelled"))

    @router.post(
        "/jobs/{job_id}/retry", tags=["jobs"], **describe(answers.Retried, example={"id": ID, "status": "queued"}, refusals=(404, 409))
    )
    async def retry_job(request: Request, job_id: UUID) -> Response:
        """Put a failed or cancelled job back in line."""
        asked = asked_of(request)
        asked.require("send")
        row = await asked.api.services.records.job(asked.tenant_id, job_id, user_id=asked.only_user)
        async with asked.acting() as act:
            if not await act.retry_each([job_id], tenant=asked.tenant):
                state = answers.status_of(row.state)
                raise NotRetryable(f"job {job_id} is {state}: only failed and cancelled jobs whose singletonKey is free can be retried.")
        return json_answer(answers.Retried(id=job_id, status="queued"))
