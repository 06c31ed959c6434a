"""`schedule_job`, `unschedule_job`, `list_schedules`: jobs made by the clock.

A schedule made here has the name of the jobs it makes, as their kind has it: `ai_generation` and `ai-generation` are one.
"""

from __future__ import annotations

from trunkline import model
from trunkline.errors import NotFound, QuotaExceeded
from trunkline.gateway.commands.asked import Asked
from trunkline.model import kind_name
from trunkline.wire import payload_text
from trunkline.wire.answers import Ok, Scheduled, Schedules, ScheduleView
from trunkline.wire.calls import ListSchedules, ScheduleJob, ScheduleOptions, UnscheduleJob

MOST = 1000  # schedules of a tenant, as many as a list shows


async def schedule_job(asked: Asked, call: ScheduleJob) -> Scheduled:
    """Make a schedule, or replace the tenant's one of that name; an impossible pattern is refused here and now."""
    name, tenant, schedules = kind_name(call.name), asked.principal.tenant, asked.services.schedules
    options = call.options or ScheduleOptions()
    given = asked.options(call.name, options)
    try:
        await schedules.get(name, tenant=tenant)
    except NotFound:
        if len(await _all(asked)) >= MOST:
            raise QuotaExceeded(f"this customer has {MOST} schedules already. Unschedule some first.") from None
    async with asked.acting() as act:
        made = await act.schedules.create(
            name, name, payload_text(call.data), cron=call.cron_pattern, tz=options.tz, tenant=tenant, **given
        )
    return Scheduled(schedule_id=made.name)


async def unschedule_job(asked: Asked, call: UnscheduleJob) -> Ok:
    """Take it away; one that is not there is none now either. The jobs it made stay."""
    async with asked.acting() as act:
        for name in sorted({call.name, kind_name(call.name)}):
            await act.schedules.delete(name, tenant=asked.principal.tenant)
    return Ok()


async def list_schedules(asked: Asked, call: ListSchedules) -> Schedules:
    """The tenant's, by name."""
    return Schedules(schedules=[ScheduleView.of(schedule) for schedule in await _all(asked)])


async def _all(asked: Asked) -> list[model.ScheduleView]:
    try:
        return await asked.services.schedules.list(tenant=asked.principal.tenant)
    except NotFound:  # a tenant is made by its first job
        return []
