"""`trunkline queues`: how full each queue is; pause and resume."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import typer

from trunkline.cli import show
from trunkline.cli.options import Json, Tenant
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from trunkline.store.read import QueueView

queues = typer.Typer(invoke_without_command=True, help="List queues; pause and resume them.")
QueueName = Annotated[str, typer.Argument(metavar="NAME", help="The queue.")]


@queues.callback()
def all_queues(ctx: typer.Context, tenant: Tenant = None, as_json: Json = False) -> None:
    """List queues; pause and resume them."""
    if ctx.invoked_subcommand is None:
        carry_out(_list(tenant, as_json=as_json), as_json=as_json)
    elif tenant is not None or as_json:  # else `queues --tenant a pause b` would pause somebody else's b
        raise typer.BadParameter(f"write it behind the command: trunkline queues {ctx.invoked_subcommand} ... --tenant NAME --json")


@queues.command("list")
def list_queues(tenant: Tenant = None, as_json: Json = False) -> None:
    """Each queue with what waits, runs and failed."""
    carry_out(_list(tenant, as_json=as_json), as_json=as_json)


@queues.command()
def pause(name: QueueName, tenant: Tenant = None, as_json: Json = False) -> None:
    """Take no more jobs from a queue; running ones go on."""
    carry_out(_switch(name, tenant, paused=True, as_json=as_json), as_json=as_json)


@queues.command()
def resume(name: QueueName, tenant: Tenant = None, as_json: Json = False) -> None:
    """Undo a pause."""
    carry_out(_switch(name, tenant, paused=False, as_json=as_json), as_json=as_json)


async def _list(tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.documents import queue_document
    from trunkline.cli.reach import application, existing_tenant
    from trunkline.store import read

    async with application(as_json=as_json) as app:
        found = await read.queues(app.store, await existing_tenant(app, tenant))
    if as_json:
        show.emit({"queues": [queue_document(queue) for queue in found]})
    elif not found:
        show.hint("No queue yet: the first job or worker of a kind makes one.")
    else:
        show.draw(_table(found))


def _table(found: list[QueueView]) -> Table:
    from rich.text import Text

    numbers = ("in line", "later", "running", "failed")

    def row(queue: QueueView) -> list[str | Text]:
        paused = Text(f"paused {show.ago(queue.paused_at, brief=True)}" if queue.paused_at else "", style="yellow")
        counts = (queue.ready, queue.deferred, queue.active, queue.failed)
        return [show.short(queue.name, 60), *(f"{number:,}" for number in counts), paused]

    return show.table(("queue", *numbers, ""), map(row, found), right=numbers, cut="queue")


async def _switch(name: str, tenant: str | None, *, paused: bool, as_json: bool) -> None:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application, existing_tenant, listed
    from trunkline.errors import NotFound
    from trunkline.store import read

    async with application(as_json=as_json) as app:
        tenant_id = await existing_tenant(app, tenant)
        known = [queue.name for queue in await read.queues(app.store, tenant_id)]
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"Did you mean {near[0]!r}?" if near else f"There are: {listed(known)}."
            raise NotFound(f"there is no queue {show.short(name, 80)!r}. {meant}")
        async with audited(app) as act:
            changed = await (act.pause if paused else act.resume)(name, tenant=tenant)
    word = "paused" if paused else "running"
    if as_json:
        show.emit({"queue": name, "paused": paused, "changed": changed})
    else:
        show.say(f"Queue {name!r} is {word}." if changed else f"Queue {name!r} was {word} already.")
