"""`trunkline tenants`: who is there, and what share of shared workers each gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trunkline.cli import show
from trunkline.cli.options import Json
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from rich.table import Table

    from trunkline.store.tenants import TenantView

tenants = typer.Typer(invoke_without_command=True, help="List tenants; set their shares of workers that serve all.")


@tenants.callback()
def all_tenants(ctx: typer.Context, as_json: Json = False) -> None:
    """List tenants; set their shares of workers that serve all."""
    if ctx.invoked_subcommand is None:
        carry_out(_list(as_json=as_json), as_json=as_json)
    elif as_json:
        raise typer.BadParameter(f"write it behind the command: trunkline tenants {ctx.invoked_subcommand} ... --json")


@tenants.command("list")
def list_tenants(as_json: Json = False) -> None:
    """Each tenant with its weight and what waits and runs."""
    carry_out(_list(as_json=as_json), as_json=as_json)


@tenants.command()
def weight(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The tenant.")],
    shares: Annotated[int, typer.Argument(metavar="WEIGHT", min=1, max=1000, help="1 is what everybody has.")],
    as_json: Json = False,
) -> None:
    """Give a tenant so many shares of workers that serve all tenants."""
    carry_out(_weigh(name, shares, as_json=as_json), as_json=as_json)


async def _list(*, as_json: bool) -> None:
    from trunkline.cli.reach import application

    async with application(as_json=as_json) as app:
        found = await app.tenants.list()
    if as_json:
        show.emit({"tenants": [_document(tenant) for tenant in found]})
    elif not found:
        show.hint("No tenant yet: the first job makes one.")
    else:
        show.draw(_table(found))


def _document(tenant: TenantView) -> dict[str, object]:
    return {
        "name": tenant.name,
        "weight": tenant.weight,
        "createdAt": show.moment(tenant.created_at),
        "ready": tenant.ready,
        "deferred": tenant.deferred,
        "active": tenant.active,
    }


def _table(found: list[TenantView]) -> Table:
    numbers = ("weight", "in line", "later", "running")

    def row(tenant: TenantView) -> list[str]:
        counts = (tenant.weight, tenant.ready, tenant.deferred, tenant.active)
        return [show.short(tenant.name, 63), *(f"{number:,}" for number in counts), show.ago(tenant.created_at, brief=True)]

    return show.table(("tenant", *numbers, "since"), map(row, found), right=numbers, cut="tenant")


async def _weigh(name: str, shares: int, *, as_json: bool) -> None:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, name)
        async with audited(app) as act:
            before = await act.tenants.set_weight(name, shares)
    if as_json:
        show.emit({"tenant": name, "weight": shares, "before": before})
    else:
        show.say(f"Tenant {name!r} has weight {shares}" + (f"; it was {before}." if before != shares else " already."))
