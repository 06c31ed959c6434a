"""`trunkline dead-letters`: jobs that ended failed, kept to be looked at and put back in line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trunkline.cli import show
from trunkline.cli.options import Json, Tenant
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from rich.table import Table

    from trunkline.model import JobView

dead_letters = typer.Typer(no_args_is_help=True, help="Jobs that failed for good: list them, put them back in line.")
Queue = Annotated[str | None, typer.Option(metavar="NAME", help="Only of this queue.", show_default=False)]
Kind = Annotated[str | None, typer.Option(metavar="KIND", help="Only of this kind.", show_default=False)]


@dead_letters.command("list")
def list_dead(
    queue: Queue = None,
    kind: Kind = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, the newest.")] = 20,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Failed jobs, newest first, with what went wrong."""
    carry_out(_list(queue, kind, limit, tenant, as_json=as_json), as_json=as_json)


@dead_letters.command()
def redrive(
    queue: Queue = None,
    kind: Kind = None,
    job_id: Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="This job; may be repeated.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All of the tenant.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the oldest failures first.")] = 1000,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Put failed jobs back in line with the same ids and a clean record."""
    if not (queue or kind or job_id or every):
        raise typer.BadParameter("say which: --queue, --kind, --id, or --all.")
    if job_id and (queue or kind or every):
        raise typer.BadParameter("--id names the jobs: leave out the other filters.", param_hint="--id")
    carry_out(_redrive(queue, kind, job_id or [], limit, tenant, as_json=as_json), as_json=as_json)


async def _list(queue: str | None, kind: str | None, limit: int, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.documents import job_document
    from trunkline.cli.reach import application, existing_tenant
    from trunkline.model import kind_name
    from trunkline.store import read

    async with application(as_json=as_json) as app:
        tenant_id = await existing_tenant(app, tenant)
        found = await read.jobs(app.store, tenant_id, state="failed", kind=kind and kind_name(kind), queue=queue, limit=limit)
    if as_json:
        show.emit({"deadLetters": [job_document(job) for job in found]})
    elif not found:
        show.say("No dead letters.", style="green")
    else:
        show.draw(_table(found))
        show.hint("Look closer:  trunkline jobs show ID")
        show.hint("Back in line: trunkline dead-letters redrive --id ID")


def _table(found: list[JobView]) -> Table:
    rows = ([str(job.id), show.short(job.kind, 30), show.ago(job.finished_at, brief=True), show.reason(job.error)] for job in found)
    return show.table(("id", "kind", "failed", "error"), rows, cut="error")


async def _redrive(queue: str | None, kind: str | None, job_ids: list[str], limit: int, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application, existing_tenant
    from trunkline.errors import NotRetryable
    from trunkline.model import as_uuid

    wanted = [as_uuid(job_id) for job_id in job_ids]
    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        if wanted:
            async with audited(app) as act:
                back = await act.retry_each(wanted, tenant=tenant)
            if left := [str(job_id) for job_id in wanted if job_id not in back]:
                raise NotRetryable(
                    f"{show.count(len(back), 'job')} went back in line; not these, which are not failed or cancelled, "
                    f"or whose unique key another job holds: {', '.join(left)}."
                )
            count = len(back)
        else:
            async with audited(app) as act:
                count = await act.redrive(queue=queue, kind=kind, limit=limit, tenant=tenant)
    if as_json:
        show.emit({"redriven": count})
    else:
        show.say(f"{show.count(count, 'job')} back in line.")
