"""`trunkline jobs`: look at jobs and change what becomes of them.

Always true: every answer names the jobs it did not find or could not change, and then the exit code is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

import typer

from trunkline.cli import show
from trunkline.cli.options import Delay, JobId, JobIds, Json, RunAt, Tenant, Timeout
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from trunkline.model import JobView

State = Literal["queued", "scheduled", "retrying", "no_handler", "waiting", "limited", "active", "failed", "cancelled", "completed"]
jobs = typer.Typer(no_args_is_help=True, help="List jobs, look at one, cancel, retry, move.")


@jobs.command("list")
def list_jobs(
    state: Annotated[State | None, typer.Option(help="Only jobs in this state.", show_default=False)] = None,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only this kind.", show_default=False)] = None,
    queue: Annotated[str | None, typer.Option(metavar="NAME", help="Only this queue.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, the newest.")] = 20,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    carry_out(_list(state, kind, queue, limit, tenant, as_json=as_json), as_json=as_json)


async def _list(state: str | None, kind: str | None, queue: str | None, limit: int, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli import documents
    from trunkline.cli.reach import application, existing_tenant
    from trunkline.model import checked_name, kind_name
    from trunkline.store import read

    kind, queue = kind and kind_name(kind), queue and checked_name("queue", queue)
    async with application(as_json=as_json) as app:
        tenant_id = await existing_tenant(app, tenant)
        found = await read.jobs(app.store, tenant_id, state=state, kind=kind, queue=queue, limit=limit)
    if as_json:
        show.emit({"jobs": [documents.job_document(job) for job in found]})
    elif not found:
        show.hint("No such job.")
    else:
        show.draw(job_table(found))


def job_table(found: Sequence[JobView]) -> Table:
    """A row for each job: enough to choose one."""
    from trunkline.cli.watch import percentage, situation

    with_queue = any(job.queue != job.kind for job in found)

    def row(job: JobView) -> list[str | Text]:
        what = (
            f"{percentage(job):.0f} % {situation(job)}" if job.state == "active" else situation(job).removeprefix(job.state).lstrip(":, ")
        )
        queue = [show.short(job.queue, 30)] if with_queue else []
        return [
            str(job.id),
            show.short(job.kind, 30),
            *queue,
            show.state(job.state),
            show.ago(job.created_at, brief=True),
            show.short(what, 120),
        ]

    columns = ("id", "kind", *(["queue"] if with_queue else []), "state", "created", "what")
    return show.table(columns, map(row, found), cut="what")


@jobs.command("show")
def show_job(
    job_id: JobId,
    decrypt: Annotated[bool, typer.Option("--decrypt", help="Show an encrypted payload and result; needs the keys.")] = False,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Everything about one job: where it stands and why, its attempts, its log."""
    from trunkline.cli.job_page import show_page

    carry_out(show_page(job_id, tenant, decrypt=decrypt, as_json=as_json), as_json=as_json)


@jobs.command()
def watch(
    job_id: JobId,
    timeout: Timeout = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Follow a job until it has ended; exit code 1 unless it completed."""
    if not carry_out(_watch(job_id, timeout, tenant, as_json=as_json), as_json=as_json):
        raise typer.Exit(1)


async def _watch(job_id: str, timeout_s: float | None, tenant: str | None, *, as_json: bool) -> bool:
    from trunkline.cli.reach import application, existing_tenant
    from trunkline.cli.watch import ending, follow, teller
    from trunkline.model import as_uuid

    identity = as_uuid(job_id)
    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        with teller(as_json=as_json) as tell:
            job = await follow(app, identity, tell, tenant=tenant, timeout_s=timeout_s)
    if job.state != "completed" and not as_json:
        show.say(ending(job), style="red", stderr=True)
    return job.state == "completed"


@jobs.command()
def cancel(
    job_ids: JobIds,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Kept with the job.")] = "cancelled by request",
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Cancel jobs; a running one is told and has 10 seconds."""
    _answer(carry_out(_cancel(job_ids, reason, tenant, as_json=as_json), as_json=as_json), {"cancelled", "requested"}, as_json=as_json)


async def _cancel(job_ids: list[str], reason: str, tenant: str | None, *, as_json: bool) -> dict[UUID, str]:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application, existing_tenant
    from trunkline.model import as_uuid

    wanted = [as_uuid(job_id) for job_id in job_ids]
    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        async with audited(app) as act:
            answers = await act.cancel_each(wanted, reason=reason, tenant=tenant)
    return {job_id: answers.get(job_id, "not_found") for job_id in wanted}


@jobs.command()
def retry(job_ids: JobIds, tenant: Tenant = None, as_json: Json = False) -> None:
    """Put failed or cancelled jobs back in line, with the same ids."""
    _answer(carry_out(_retry(job_ids, tenant, as_json=as_json), as_json=as_json), {"queued"}, as_json=as_json)


async def _retry(job_ids: list[str], tenant: str | None, *, as_json: bool) -> dict[UUID, str]:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application, existing_tenant
    from trunkline.model import as_uuid
    from trunkline.store import read

    wanted = [as_uuid(job_id) for job_id in job_ids]
    async with application(as_json=as_json) as app:
        tenant_id = await existing_tenant(app, tenant)
        async with audited(app) as act:
            back = await act.retry_each(wanted, tenant=tenant)
        left = {job_id: await read.job(app.store, tenant_id, job_id) for job_id in wanted if job_id not in back}
    answers = {job_id: "queued" for job_id in wanted if job_id in back}
    return answers | {job_id: "not_found" if job is None else f"not_retryable ({job.state})" for job_id, job in left.items()}


@jobs.command()
def reschedule(
    job_id: JobId,
    run_at: RunAt = None,
    delay: Delay = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Change when a job that has not started will run."""
    if (run_at is None) == (delay is None):
        raise typer.BadParameter("need one of --run-at and --delay; --delay 0 is now.", param_hint="--run-at")
    from datetime import UTC, datetime, timedelta

    at = run_at or datetime.now(UTC) + timedelta(seconds=delay or 0)

    async def work() -> dict[UUID, str]:
        from trunkline.cli.audited import audited
        from trunkline.cli.reach import application, existing_tenant
        from trunkline.model import as_uuid

        identity = as_uuid(job_id)
        async with application(as_json=as_json) as app:
            await existing_tenant(app, tenant)
            async with audited(app) as act:
                moved = await act.reschedule(identity, at, tenant=tenant)
        return {identity: "rescheduled" if moved else "not_queued"}

    _answer(carry_out(work(), as_json=as_json), {"rescheduled"}, as_json=as_json)


@jobs.command()
def reprioritize(
    job_ids: JobIds,
    priority: Annotated[int, typer.Option(min=0, max=100, help="Higher first.")],
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Change the priority of jobs that have not started."""
    _answer(carry_out(_reprioritize(job_ids, priority, tenant, as_json=as_json), as_json=as_json), {"reprioritized"}, as_json=as_json)


async def _reprioritize(job_ids: list[str], priority: int, tenant: str | None, *, as_json: bool) -> dict[UUID, str]:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application, existing_tenant
    from trunkline.model import as_uuid

    wanted = [as_uuid(job_id) for job_id in job_ids]
    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        answers = {}
        for job_id in wanted:
            async with audited(app) as act:
                moved = await act.reprioritize([job_id], priority, tenant=tenant)
            answers[job_id] = "reprioritized" if moved else "not_queued"
        return answers


SENTENCES = {
    "requested": "is running: its worker was told to stop it",
    "terminal": "had already ended",
    "not_found": "is not known here",
    "not_queued": "has started, has ended or is not known here",
    "queued": "is back in line",
}


def _answer(answers: dict[UUID, str], good: set[str], *, as_json: bool) -> None:
    """Say what became of each job; exit code 1 when it was not what was asked for."""
    if as_json:
        show.emit({"jobs": [{"id": job_id, "answer": answer} for job_id, answer in answers.items()]})
    else:
        for job_id, answer in answers.items():
            show.say(f"{job_id}  {SENTENCES.get(answer, answer)}", style=None if answer in good else "red")
    if not good.issuperset(answers.values()):
        raise typer.Exit(1)
