"""`trunkline batches`: jobs that were sent together; how far they are, what failed, and their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trunkline.cli import show
from trunkline.cli.batch_send import send
from trunkline.cli.options import Json, Tenant, Timeout
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from trunkline.model import BatchView

batches = typer.Typer(no_args_is_help=True, help="Send batches, list them, look at one, wait for it, cancel it.")
batches.command("send")(send)
BatchId = Annotated[str, typer.Argument(metavar="ID", help="The batch's id.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")]


@batches.command("list")
def list_batches(
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are not done.")] = False,
    limit: Limit = 20,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """List batches, newest first."""
    carry_out(_list(only_open, limit, tenant, as_json=as_json), as_json=as_json)


async def _list(only_open: bool, limit: int, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.documents import batch_document
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        found = await app.batches.list(limit=limit, only_open=only_open, tenant=tenant)
    if as_json:
        show.emit({"batches": [batch_document(batch) for batch in found]})
    elif not found:
        show.hint("No batch is open." if only_open else "No batch yet: trunkline batches send JSON, or app.batches.send in a program.")
    else:
        show.draw(_table(found))


def _table(found: list[BatchView]) -> Table:
    numbers = ("total", "completed", "failed", "cancelled")

    def row(batch: BatchView) -> list[str | Text]:
        counts = (batch.total, batch.completed, batch.failed, batch.cancelled)
        named = show.short(batch.name or "", 60)
        return [
            str(batch.id),
            batch.state,
            *(f"{n:,}" for n in counts),
            f"{batch.progress:.0f} %",
            show.ago(batch.created_at, brief=True),
            named,
        ]

    return show.table(("id", "state", *numbers, "ended", "created", "name"), map(row, found), right=(*numbers, "ended"), cut="name")


@batches.command("show")
def show_batch(batch_id: BatchId, tenant: Tenant = None, as_json: Json = False) -> None:
    """Where a batch stands, and its callbacks."""
    carry_out(_show(batch_id, tenant, as_json=as_json), as_json=as_json)


async def _show(batch_id: str, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        batch = await app.batches.get(batch_id, tenant=tenant)
    _print(batch, as_json=as_json)


def _print(batch: BatchView, *, as_json: bool) -> None:
    from trunkline.cli.documents import batch_document

    if as_json:
        show.emit(batch_document(batch))
        return
    ended = f"{batch.ended:,} of {batch.total:,} ({batch.progress:.0f} %): {batch.completed:,} completed, {batch.failed:,} failed, {batch.cancelled:,} cancelled"
    show.draw(
        show.facts(
            [
                ("Batch", batch.id),
                ("Name", batch.name),
                ("State", batch.state),
                ("Ended", ended),
                ("Created", show.moment(batch.created_at)),
                ("Sealed", show.moment(batch.sealed_at)),
                ("Cancelled", show.moment(batch.cancelled_at)),
                ("Done", show.moment(batch.done_at)),
                ("on_success", batch.success_job),
                ("on_complete", batch.complete_job),
            ]
        )
    )
    if batch.state == "open":
        show.say("\nMore jobs may come. If nobody fills it any more, end it: trunkline batches cancel ID", style="yellow")
    if batch.failed:
        show.hint(f"What failed: trunkline batches failed {batch.id}")


@batches.command()
def wait(
    batch_id: BatchId,
    timeout: Timeout = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Wait until every job has ended; exit code 1 unless all completed."""
    if not carry_out(_wait(batch_id, timeout, tenant, as_json=as_json), as_json=as_json):
        raise typer.Exit(1)


async def _wait(batch_id: str, timeout_s: float | None, tenant: str | None, *, as_json: bool) -> bool:
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        batch = await app.batches.wait(batch_id, timeout_s, tenant=tenant)
    _print(batch, as_json=as_json)
    return batch.completed == batch.total


@batches.command()
def cancel(
    batch_id: BatchId,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Kept with each job.")] = "its batch was cancelled",
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Cancel what is left of a batch; running jobs are told and have 10 seconds."""
    carry_out(_cancel(batch_id, reason, tenant, as_json=as_json), as_json=as_json)


async def _cancel(batch_id: str, reason: str, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        async with audited(app) as act:
            begun = await act.batches.begin_cancel(batch_id, reason=reason, tenant=tenant)
        cancelled, requested = await app.batches.go_on_cancelling(batch_id, begun, reason=reason, tenant=tenant)
    if as_json:
        show.emit({"id": batch_id, "cancelled": cancelled, "requested": requested})
    else:
        told = f", {show.count(requested, 'running job')} told to end" if requested else ""
        show.say(f"{show.count(cancelled, 'job')} cancelled{told}.")


@batches.command()
def failed(
    batch_id: BatchId,
    limit: Limit = 20,
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="Behind this job: the cursor of the page before.", show_default=False)
    ] = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """The jobs of a batch that failed, oldest first."""
    carry_out(_failed(batch_id, limit, after, tenant, as_json=as_json), as_json=as_json)


async def _failed(batch_id: str, limit: int, after: str | None, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.documents import job_document
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        page = await app.batches.failed(batch_id, limit=limit, cursor=after, tenant=tenant)
    if as_json:
        show.emit({"failed": [job_document(job) for job in page.jobs], "cursor": page.cursor})
    elif not page.jobs:
        show.say("None failed.", style="green")
    else:
        rows = ([str(job.id), show.short(job.kind, 30), show.ago(job.finished_at, brief=True), show.reason(job.error)] for job in page.jobs)
        show.draw(show.table(("id", "kind", "failed", "error"), rows, cut="error"))
        if page.cursor:
            show.hint(f"There are more: --after {page.cursor}")
