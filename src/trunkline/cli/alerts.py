"""`trunkline alerts`: what is wrong now, and what was within a day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trunkline.cli import show
from trunkline.cli.options import Json, Tenant
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from trunkline.engine import Alert


def alerts(
    every: Annotated[bool, typer.Option("--all", help="Also those that were resolved within a day.")] = False,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Alerts that are raised, of every tenant and of the installation; with --tenant of that one. Exit status 1 where there are some."""
    if code := carry_out(_list(tenant, only_active=not every, as_json=as_json), as_json=as_json):
        raise typer.Exit(code)


async def _list(tenant: str | None, *, only_active: bool, as_json: bool) -> int:
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        if tenant is not None:
            await existing_tenant(app, tenant)
        found = await app.alerts.list(tenant=tenant, only_active=only_active)
    if as_json:
        show.emit({"alerts": [alert.as_dict() for alert in found]})
    elif not found:
        show.hint("No alert is raised." if only_active else "No alert was raised within a day.")
    else:
        show.draw(_table(found))
    return int(any(alert.state == "alert" for alert in found))


def _table(found: list[Alert]) -> Table:
    from rich.text import Text

    def row(alert: Alert) -> list[str | Text]:
        at = alert.raised_at if alert.resolved_at is None else alert.resolved_at
        state = Text(alert.state, style="red" if alert.state == "alert" else "green")
        return [state, alert.name, show.ago(at, brief=True), show.short(alert.message.removeprefix("resolved: "), 200)]

    return show.table(("state", "alert", "since", "what"), map(row, found), cut="what")
