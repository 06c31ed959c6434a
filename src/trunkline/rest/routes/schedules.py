"""/api/schedules: rules that make jobs."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from trunkline.engine import Act
from trunkline.errors import Forbidden, InvalidInput, NotFound
from trunkline.model import ScheduleView
from trunkline.rest import answers, recurring
from trunkline.rest.acting import once
from trunkline.rest.answers import json_answer
from trunkline.rest.api import Api
from trunkline.rest.asking import Asked
from trunkline.rest.kinds import check_kind
from trunkline.rest.messages import NewSchedule
from trunkline.rest.openapi import ID, describe
from trunkline.rest.paging import Limit, PageNumber, sliced
from trunkline.rest.route import asked_of
from trunkline.wire import payload_text

SENT = {"name": "nightly", "type": "report", "payload": {"path": "/all"}, "cron": "0 3 * * *", "tz": "Europe/Berlin"}


def add(api: Api, router: APIRouter) -> None:
    """Its routes."""
    _add_reads(api, router)
    _add_switches(api, router)

    @router.post(
        "/schedules",
        tags=["schedules"],
        **describe(
            recurring.Schedule, status=201, also={200: recurring.Schedule}, body=NewSchedule, creates=True, refusals=(404,), sent=SENT
        ),
    )
    async def save_schedule(request: Request) -> Response:
        """Make a schedule, or replace the one of that name (200)."""
        asked = asked_of(request)
        asked.require_tenant("send")
        raw, wanted = await asked.body(NewSchedule)
        return await once(asked, "POST /api/schedules", raw, lambda act: _save(asked, act, wanted))

    @router.delete(
        "/schedules/{name}", tags=["schedules"], **describe(answers.Message, example={"message": "Schedule deleted"}, refusals=(404,))
    )
    async def delete_schedule(request: Request, name: str) -> Response:
        """Take it away; its jobs stay."""
        asked = asked_of(request)
        asked.require_tenant("send")
        async with asked.acting() as act:
            if not await act.schedules.delete(name, tenant=asked.tenant):
                raise NotFound(f"schedule {name[:80]!r}: there is none of that name.")
        return json_answer(answers.Message(message="Schedule deleted"))


async def _save(asked: Asked, act: Act, wanted: NewSchedule) -> tuple[int, recurring.Schedule]:
    options = wanted.options.given()
    if options.get("user_id") is not None and not asked.principal.is_admin:
        raise Forbidden("options.userId needs the scope 'admin'. Leave it out, or ask with such a token.")
    if (wanted.type is None) == (wanted.template is None):
        raise InvalidInput("the body needs `type` or `template`, one of them.")
    kind = wanted.type or (await act.templates.get(wanted.template or "", tenant=asked.tenant)).kind
    check_kind(asked, kind)
    view, is_new = await act.schedules.save(
        wanted.name,
        wanted.type,
        payload_text(wanted.payload),
        cron=wanted.cron,
        every=wanted.every,
        at=wanted.at,
        tz=wanted.tz,
        template=wanted.template,
        missed=wanted.missed,
        missed_limit=wanted.missed_limit,
        overlap=wanted.overlap,
        tenant=asked.tenant,
        **options,
    )
    return (201 if is_new else 200), schedule_of(view)


def _add_reads(api: Api, router: APIRouter) -> None:
    @router.get("/schedules", tags=["schedules"], **describe(recurring.Schedules))
    async def list_schedules(request: Request, page: PageNumber = 1, limit: Limit = 20) -> Response:
        """The tenant's schedules by name, of the first 1,000."""
        asked = asked_of(request)
        asked.require_tenant("send", "watch")
        async with api.services.records.looking(asked.tenant_id) as look:
            found, said = sliced(await look.schedules.list(tenant=asked.tenant), page, limit)
        return json_answer(recurring.Schedules(data=[schedule_of(one) for one in found], pagination=said))

    @router.get("/schedules/{name}", tags=["schedules"], **describe(recurring.Schedule, refusals=(404,)))
    async def get_schedule(request: Request, name: str) -> Response:
        """One schedule."""
        asked = asked_of(request)
        asked.require_tenant("send", "watch")
        async with api.services.records.looking(asked.tenant_id) as look:
            return json_answer(schedule_of(await look.schedules.get(name, tenant=asked.tenant)))

    @router.get("/schedules/{name}/firings", tags=["schedules"], **describe(recurring.Firings, refusals=(404,)))
    async def list_firings(request: Request, name: str, limit: Limit = 20) -> Response:
        """What it fired, newest due time first."""
        asked = asked_of(request)
        asked.require_tenant("send", "watch")
        async with api.services.records.looking(asked.tenant_id) as look:
            await look.schedules.get(name, tenant=asked.tenant)
            found = await look.schedules.firings(name, limit, tenant=asked.tenant)
        data = [recurring.Firing(due_at=one.due_at, fired_at=one.fired_at, job_id=one.job_id, by_hand=one.by_hand) for one in found]
        return json_answer(recurring.Firings(data=data))


def _add_switches(api: Api, router: APIRouter) -> None:
    @router.post("/schedules/{name}/pause", tags=["schedules"], **describe(answers.Switched, refusals=(404,)))
    async def pause_schedule(request: Request, name: str) -> Response:
        """Fire no more; what falls due meanwhile is not made up for."""
        return await _switch(request, name, pause=True)

    @router.post("/schedules/{name}/resume", tags=["schedules"], **describe(answers.Switched, refusals=(404,)))
    async def resume_schedule(request: Request, name: str) -> Response:
        """Undo a pause: the next time is the first one from now on."""
        return await _switch(request, name, pause=False)

    @router.post(
        "/schedules/{name}/run",
        tags=["schedules"],
        **describe(recurring.Fired, status=201, creates=True, example={"jobId": ID}, refusals=(404,)),
    )
    async def run_schedule(request: Request, name: str) -> Response:
        """Make its job now, whatever the rule says."""
        asked = asked_of(request)
        asked.require_tenant("send")

        async def run(act: Act) -> tuple[int, recurring.Fired]:
            view = await act.schedules.get(name, tenant=asked.tenant)
            check_kind(asked, view.kind or (await act.templates.get(view.template or "", tenant=asked.tenant)).kind)
            job_id = await act.schedules.run_now(name, tenant=asked.tenant)
            return 201, recurring.Fired(job_id=job_id)

        return await once(asked, f"POST /api/schedules/{name[:150]}/run", b"", run)


async def _switch(request: Request, name: str, *, pause: bool) -> Response:
    asked = asked_of(request)
    asked.require_tenant("send")
    async with asked.acting() as act:
        changed = await (act.schedules.pause(name, tenant=asked.tenant) if pause else act.schedules.resume(name, tenant=asked.tenant))
    return json_answer(answers.Switched(name=name, paused=pause, changed=changed))


def schedule_of(view: ScheduleView) -> recurring.Schedule:
    """A schedule as people see it."""
    return recurring.Schedule(
        name=view.name,
        type=view.kind,
        template=view.template,
        payload=view.payload,
        options=view.options,
        cron=view.rule.cron,
        every=view.rule.every_s,
        at=view.rule.at,
        tz=view.rule.time_zone,
        missed=view.missed,  # type: ignore[arg-type]
        missed_limit=view.missed_limit,
        state=view.state,
        next_run_at=view.next_run_at,
        last_run_at=view.last_run_at,
        paused_at=view.paused_at,
        error=view.error,
        created_at=view.created_at,
        updated_at=view.updated_at,
    )
