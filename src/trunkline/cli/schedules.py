"""`trunkline schedules`: make, look at, pause, run and delete schedules."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli import show
from trunkline.cli.documents import schedule_document
from trunkline.cli.enqueue import kind_and_payload
from trunkline.cli.options import Json, Options, Tenant, job_options, moment, seconds
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from trunkline.app import Trunkline
    from trunkline.model import ScheduleView
    from trunkline.store.schedules import Firing

schedules = typer.Typer(invoke_without_command=True, help="List schedules; create, pause, run and delete them.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule.")]
STYLES = {"active": "green", "paused": "yellow", "broken": "bold red", "over": "dim"}


@schedules.callback()
def all_schedules(ctx: typer.Context, tenant: Tenant = None, as_json: Json = False) -> None:
    """List schedules; create, pause, run and delete them."""
    if ctx.invoked_subcommand is None:
        carry_out(_list(tenant, as_json=as_json), as_json=as_json)
    elif tenant is not None or as_json:
        raise typer.BadParameter(f"write it behind the command: trunkline schedules {ctx.invoked_subcommand} ... --tenant NAME --json")


@schedules.command("list")
def list_schedules(tenant: Tenant = None, as_json: Json = False) -> None:
    """Each schedule with its rule and when it is due next."""
    carry_out(_list(tenant, as_json=as_json), as_json=as_json)


@schedules.command()
def create(
    name: Name,
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="The job type; not with --template.", show_default=False)] = None,
    payload: Annotated[str | None, typer.Argument(metavar="JSON", help="The payload.", show_default=False)] = None,
    cron: Annotated[
        str | None, typer.Option(metavar="'0 3 * * *'", help="Five fields, or six with seconds first.", show_default=False)
    ] = None,
    every: Annotated[
        float | None, typer.Option(parser=seconds, metavar="90|5m|2h", help="An interval instead, 1 s at least.", show_default=False)
    ] = None,
    at: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="Once, at this time (ISO 8601).", show_default=False)
    ] = None,
    tz: Annotated[str, typer.Option(metavar="ZONE", help="Time zone of --cron, such as Europe/Berlin.")] = "UTC",
    start: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="First firing of --every. Unset: one interval from now.", show_default=False),
    ] = None,
    missed: Annotated[str, typer.Option(metavar="skip|once|all", help="Firings at which no worker was there.")] = "once",
    missed_limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many with --missed all.")] = 100,
    overlap: Annotated[str, typer.Option(metavar="allow|skip", help="skip: no job while one that it made is live.")] = "allow",
    template: Annotated[str | None, typer.Option(metavar="NAME", help="A template instead of a kind.", show_default=False)] = None,
    option: Options = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Make a schedule, or replace the one of that name."""
    kind, body = kind_and_payload(kind, payload, template)
    rule = {"cron": cron, "every": every, "at": at, "tz": tz, "start": start}
    how = {"template": template, "missed": missed, "missed_limit": missed_limit, "overlap": overlap, **rule, **job_options(option or [])}

    async def work(app: Trunkline) -> ScheduleView:
        from trunkline.cli.audited import audited

        async with audited(app) as act:
            return await act.schedules.create(name, kind, body, tenant=tenant, **how)

    carry_out(_shown(work, tenant, as_json=as_json, makes=True), as_json=as_json)


@schedules.command("show")
def show_schedule(name: Name, tenant: Tenant = None, as_json: Json = False) -> None:
    """Everything about one, with its next five firings and its last ones."""

    async def work(app: Trunkline) -> ScheduleView:
        return await app.schedules.get(name, tenant=tenant)

    carry_out(_shown(work, tenant, as_json=as_json), as_json=as_json)


@schedules.command()
def pause(name: Name, tenant: Tenant = None, as_json: Json = False) -> None:
    """Fire no more until it is resumed."""
    carry_out(_switch(name, tenant, paused=True, as_json=as_json), as_json=as_json)


@schedules.command()
def resume(name: Name, tenant: Tenant = None, as_json: Json = False) -> None:
    """Undo a pause; what fell due meanwhile is not made up for."""
    carry_out(_switch(name, tenant, paused=False, as_json=as_json), as_json=as_json)


@schedules.command()
def delete(name: Name, tenant: Tenant = None, as_json: Json = False) -> None:
    """Take one away; its jobs stay."""
    carry_out(_delete(name, tenant, as_json=as_json), as_json=as_json)


@schedules.command()
def run(name: Name, tenant: Tenant = None, as_json: Json = False) -> None:
    """Make its job now and print the id."""
    carry_out(_run(name, tenant, as_json=as_json), as_json=as_json)


async def _list(tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        found = await app.schedules.list(tenant=tenant)
    if as_json:
        show.emit({"schedules": [schedule_document(one) for one in found]})
    elif not found:
        show.hint("No schedule yet: trunkline schedules create, or @app.schedule beside a handler.")
    else:
        show.draw(_table(found))


def _table(found: list[ScheduleView]) -> Table:
    from rich.text import Text

    def row(one: ScheduleView) -> list[str | Text]:
        what = f"template {one.template}" if one.template else one.kind
        state = Text(one.state + (": failed" if one.error and one.state == "active" else ""), style=STYLES.get(one.state, ""))
        return [show.short(one.name, 60), show.short(what, 60), rule_text(one), state, show.ago(one.next_run_at), show.ago(one.last_run_at)]

    return show.table(("schedule", "makes", "rule", "", "next", "last"), map(row, found), cut="makes")


def rule_text(one: ScheduleView) -> str:
    """`0 3 * * * Europe/Berlin`, `every 5 min`, `at 2027-01-31 09:00:00 UTC`."""
    rule = one.rule
    if rule.cron is not None:
        return show.short(rule.cron, 60) + ("" if rule.time_zone == "UTC" else f" {rule.time_zone}")
    if rule.every_s is not None:
        return f"every {show.span(rule.every_s)}"
    return f"at {rule.at:%Y-%m-%d %H:%M:%S} UTC"


async def _shown(work: Any, tenant: str | None, *, as_json: bool, makes: bool = False) -> None:
    """Do `work`, which answers a schedule, and print all there is to know about it. `makes`: the tenant, too, as an enqueue would."""
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        if not makes:
            await existing_tenant(app, tenant)
        one: ScheduleView = await work(app)
        upcoming = [] if one.state == "broken" else await app.schedules.next(one.name, tenant=tenant)
        firings = await app.schedules.firings(one.name, 5, tenant=tenant)
    if as_json:
        show.emit({**schedule_document(one), "next": upcoming, "firings": [firing._asdict() for firing in firings]})
        return
    _print(one, upcoming, firings)
    if one.state == "unplanned":
        show.hint("A worker process fires it; the first one that runs plans it within a second.")


def _print(one: ScheduleView, upcoming: list[datetime], firings: list[Firing]) -> None:
    work = [("Schedule", one.name), ("Kind", one.kind), ("Template", one.template)]
    if one.payload is not None:
        work.append(("Payload", show.short(show.pretty(one.payload))))
    if one.options:
        work.append(("Options", show.short(show.pretty(one.options))))
    missed = f"all, the latest {one.missed_limit} at most" if one.missed == "all" else one.missed
    source = "code" if one.declared_by_code else None
    facts = [("Rule", rule_text(one)), ("Missed", missed), ("Declared by", source), ("State", one.state), ("Error", one.error)]
    show.draw(show.facts([*work, *facts, ("Last", show.moment(one.last_run_at))]))
    zone, times = one.rule.time_zone, [(one.rule.local(time), time) for time in upcoming]
    if times:
        rows = ([f"{there:%a %Y-%m-%d %H:%M:%S %z} {zone}", f"{time:%Y-%m-%d %H:%M:%S}"] for there, time in times)
        show.draw(show.table(("next", "UTC"), rows))
    if firings:
        show.draw(show.table(("fired for", "", "job"), ([f"{f.due_at:%Y-%m-%d %H:%M:%S}", _how(f), str(f.job_id)] for f in firings)))


def _how(firing: Firing) -> str:
    return "by hand" if firing.by_hand else "" if firing.is_new else "was live already"


async def _switch(name: str, tenant: str | None, *, paused: bool, as_json: bool) -> None:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        async with audited(app) as act:
            changed = await (act.schedules.pause if paused else act.schedules.resume)(name, tenant=tenant)
    word = "paused" if paused else "active"
    if as_json:
        show.emit({"schedule": name, "paused": paused, "changed": changed})
    else:
        show.say(f"Schedule {name!r} is {word}." if changed else f"Schedule {name!r} was {word} already.")


async def _delete(name: str, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application, existing_tenant
    from trunkline.errors import NotFound

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        async with audited(app) as act:
            gone = await act.schedules.delete(name, tenant=tenant)
        if not gone:
            raise NotFound(f"schedule {name[:80]!r}: this tenant has none of that name.")
    if as_json:
        show.emit({"schedule": name, "deleted": True})
    else:
        show.say(f"Schedule {name!r} is gone.")


async def _run(name: str, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        async with audited(app) as act:
            job_id = await act.schedules.run_now(name, tenant=tenant)
    if as_json:
        show.emit({"schedule": name, "id": job_id})
    else:
        show.say(str(job_id))
