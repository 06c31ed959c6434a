"""`trunkline audit`: who did what."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from trunkline.cli import show
from trunkline.cli.options import Json, Tenant, moment
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from rich.table import Table

    from trunkline.audit import Noted

Since = Annotated[
    datetime | None, typer.Option(parser=moment, metavar="TIME", help="From this time on (ISO 8601 with a time zone).", show_default=False)
]
Until = Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="Before this time.", show_default=False)]


def audit(
    actor: Annotated[str | None, typer.Option(metavar="ID", help="A user, a token's id or an account.", show_default=False)] = None,
    act: Annotated[str | None, typer.Option(metavar="THING.VERB", help="Such as job.cancelled.", show_default=False)] = None,
    subject: Annotated[str | None, typer.Option(metavar="THING:ID", help="Such as job:ID or queue:NAME.", show_default=False)] = None,
    since: Since = None,
    until: Until = None,
    installation: Annotated[bool, typer.Option("--installation", help="What belongs to no tenant: migrations, rotated keys.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Rows.")] = 20,
    after: Annotated[str | None, typer.Option(metavar="ID", help="Go on behind this row.", show_default=False)] = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Who created, cancelled, retried, paused or changed what, newest first."""
    if installation and tenant is not None:
        raise typer.BadParameter("--tenant is given, too: need one of them.", param_hint="--installation")
    wanted = {"actor": actor, "act": act, "subject": subject, "since": since, "until": until}
    carry_out(_list(wanted, limit, after, tenant, installation=installation, as_json=as_json), as_json=as_json)


async def _list(wanted: dict[str, Any], limit: int, after: str | None, tenant: str | None, *, installation: bool, as_json: bool) -> None:
    from trunkline.audit import INSTALLATION, Audit
    from trunkline.cli.reach import application, existing_tenant
    from trunkline.model import as_uuid

    behind = None if after is None else as_uuid(after, "audit row")
    async with application(as_json=as_json) as app:
        tenant_id = INSTALLATION if installation else await existing_tenant(app, tenant)
        found, further = await Audit(app.store).list(tenant_id, **wanted, after=behind, limit=limit)
    if as_json:
        show.emit({"audit": [_document(row) for row in found], "next": further})
    elif not found and further is None:
        asked = behind is not None or any(value is not None for value in wanted.values())
        show.hint("No act fits." if asked else "Nothing yet: what people do through the API or the command line appears here.")
    else:
        show.draw(_table(found))
        _hint(further)


def _hint(further: UUID | None) -> None:
    if further is not None:
        show.hint(f"Go on: trunkline audit --after {further}")


def _document(row: Noted) -> dict[str, object]:
    import msgspec

    return {
        "id": row.id,
        "at": row.at,
        "actorKind": row.actor_kind,
        "actor": row.actor,
        "act": row.act,
        "subject": row.subject,
        "via": row.via,
        "address": row.address,
        "detail": None if row.detail is None else msgspec.json.decode(row.detail),
    }


def _table(found: list[Noted]) -> Table:
    rows = (
        [
            f"{row.at:%Y-%m-%d %H:%M:%S}",
            f"{row.actor_kind} {show.short(row.actor, 40)}",
            row.act,
            show.short(row.subject, 60),
            f"{row.via} {row.address or ''}".strip(),
        ]
        for row in found
    )
    return show.table(("at (UTC)", "who", "did", "what", "from"), rows, cut="what")
