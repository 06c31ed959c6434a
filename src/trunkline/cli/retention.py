"""`trunkline retention`: how long each queue keeps ended jobs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from trunkline.cli import show
from trunkline.cli.options import Json, Tenant
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from rich.table import Table

    from trunkline.store.history import Kept

STATES = ("completed", "failed", "cancelled")
UNITS_S = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
retention = typer.Typer(invoke_without_command=True, help="How long each queue keeps ended jobs.")
Time = Annotated[str | None, typer.Option(metavar="TIME", help="90s, 15m, 12h, 30d, or `default`.", show_default=False)]


@retention.callback()
def all_retention(ctx: typer.Context, tenant: Tenant = None, as_json: Json = False) -> None:
    """How long each queue keeps ended jobs."""
    if ctx.invoked_subcommand is None:
        carry_out(_list(tenant, as_json=as_json), as_json=as_json)
    elif tenant is not None or as_json:
        raise typer.BadParameter(f"write it behind the command: trunkline retention {ctx.invoked_subcommand} ... --tenant NAME --json")


@retention.command("list")
def list_retention(tenant: Tenant = None, as_json: Json = False) -> None:
    """Queues with a retention of their own; all others follow TRUNKLINE_RETENTION."""
    carry_out(_list(tenant, as_json=as_json), as_json=as_json)


@retention.command("set")
def set_retention(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="The queue.")],
    completed: Time = None,
    failed: Time = None,
    cancelled: Time = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Keep a queue's ended jobs for so long, by how they ended. What is left out stays as it is."""
    wanted = {state: _seconds(state, text) for state, text in zip(STATES, (completed, failed, cancelled), strict=True) if text is not None}
    if not wanted:
        raise typer.BadParameter("name at least one of --completed, --failed and --cancelled.")
    carry_out(_set(queue, wanted, tenant, as_json=as_json), as_json=as_json)


async def _list(tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.reach import application

    async with application(as_json=as_json) as app:
        found, kept_s = await app.retention.list(tenant=tenant), app.settings.retention_s
    if as_json:
        show.emit({"retentionS": kept_s, "queues": [{"queue": each.queue, **_states(each)} for each in found]})
        return
    if found:
        show.draw(_table(found))
    show.hint(f"{'All other queues keep' if found else 'Every queue keeps'} ended jobs for {show.span(kept_s)} (TRUNKLINE_RETENTION).")


def _table(found: list[Kept]) -> Table:
    return show.table(("queue", *STATES), ([show.short(each.queue, 60), *map(said, each[2:])] for each in found), right=STATES, cut="queue")


async def _set(queue: str, wanted: dict[str, int | None], tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application

    async with application(as_json=as_json) as app, audited(app) as act:
        kept = await act.retention.set(queue, tenant=tenant, **wanted)
    if as_json:
        show.emit({"queue": queue, **kept})
    else:
        show.say(f"Queue {queue!r} keeps ended jobs: " + ", ".join(f"{state} {said(kept[state])}" for state in STATES) + ".")


def _states(kept: Kept) -> dict[str, int | None]:
    return {"completed": kept.completed, "failed": kept.failed, "cancelled": kept.cancelled}


def said(seconds: int | None) -> str:
    """For people."""
    return "default" if seconds is None else show.span(seconds)


def _seconds(state: str, text: str) -> int | None:
    if text == "default":
        return None
    found = re.fullmatch(r"(\d+)(s|m|min|h|d|)", text)
    if found is None:
        raise typer.BadParameter(f"{text!r}: need a time such as 90s, 15m, 12h or 30d, or `default`.", param_hint=f"--{state}")
    return int(found[1]) * UNITS_S[found[2]]
