"""`trunkline templates`: named kinds with payload and options, from which jobs are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli import show
from trunkline.cli.documents import template_document
from trunkline.cli.enqueue import payload_value
from trunkline.cli.options import Json, Options, Tenant, job_options
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from trunkline.model import TemplateView

templates = typer.Typer(invoke_without_command=True, help="List job templates; save, show and delete them.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The template.")]


@templates.callback()
def all_templates(ctx: typer.Context, tenant: Tenant = None, as_json: Json = False) -> None:
    """List job templates; save, show and delete them."""
    if ctx.invoked_subcommand is None:
        carry_out(_list(tenant, as_json=as_json), as_json=as_json)
    elif tenant is not None or as_json:
        raise typer.BadParameter(f"write it behind the command: trunkline templates {ctx.invoked_subcommand} ... --tenant NAME --json")


@templates.command("list")
def list_templates(tenant: Tenant = None, as_json: Json = False) -> None:
    """Each template with what it makes."""
    carry_out(_list(tenant, as_json=as_json), as_json=as_json)


@templates.command()
def save(
    name: Name,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="The job type.")],
    payload: Annotated[str, typer.Argument(metavar="JSON", help="What jobs start from.")] = "{}",
    option: Options = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Make a template, or replace the one of that name."""
    body, options = payload_value(payload), job_options(option or [])
    carry_out(_save(name, kind, body, options, tenant, as_json=as_json), as_json=as_json)


@templates.command("show")
def show_template(name: Name, tenant: Tenant = None, as_json: Json = False) -> None:
    """Its kind, payload and options."""
    carry_out(_show(name, tenant, as_json=as_json), as_json=as_json)


@templates.command()
def delete(name: Name, tenant: Tenant = None, as_json: Json = False) -> None:
    """Take one away; its jobs stay."""
    carry_out(_delete(name, tenant, as_json=as_json), as_json=as_json)


async def _list(tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        found = await app.templates.list(tenant=tenant)
    if as_json:
        show.emit({"templates": [template_document(one) for one in found]})
    elif not found:
        show.hint("No template yet: trunkline templates save NAME KIND JSON.")
    else:
        rows = ([show.short(one.name, 60), show.short(one.kind, 60), show.short(show.pretty(one.payload))] for one in found)
        show.draw(show.table(("template", "kind", "payload"), rows, cut="payload"))


async def _save(name: str, kind: str, payload: Any, options: dict[str, Any], tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application

    async with application(as_json=as_json) as app:
        async with audited(app) as act:
            await act.templates.save(name, kind, payload, tenant=tenant, **options)
        _print(await app.templates.get(name, tenant=tenant), as_json=as_json)


async def _show(name: str, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        _print(await app.templates.get(name, tenant=tenant), as_json=as_json)


def _print(one: TemplateView, *, as_json: bool) -> None:
    if as_json:
        show.emit(template_document(one))
        return
    values = [("Payload", show.pretty(one.payload)), ("Options", show.pretty(one.options) if one.options else None)]
    show.draw(show.facts([("Template", one.name), ("Kind", one.kind), *values, ("Saved", show.moment(one.updated_at))]))


async def _delete(name: str, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application, existing_tenant
    from trunkline.errors import NotFound

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        async with audited(app) as act:
            gone = await act.templates.delete(name, tenant=tenant)
        if not gone:
            raise NotFound(f"template {name[:80]!r}: this tenant has none of that name.")
    if as_json:
        show.emit({"template": name, "deleted": True})
    else:
        show.say(f"Template {name!r} is gone.")
