"""`trunkline prompts`: versioned texts for `ai-generation`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli import show
from trunkline.cli.options import Json, Tenant
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from trunkline.engine.prompts import PromptView

prompts = typer.Typer(invoke_without_command=True, help="List prompts for ai-generation; save and show them.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The prompt.")]


@prompts.callback()
def all_prompts(ctx: typer.Context, tenant: Tenant = None, as_json: Json = False) -> None:
    """List prompts for ai-generation; save and show them."""
    if ctx.invoked_subcommand is None:
        carry_out(_list(tenant, as_json=as_json), as_json=as_json)
    elif tenant is not None or as_json:
        raise typer.BadParameter(f"write it behind the command: trunkline prompts {ctx.invoked_subcommand} ... --tenant NAME --json")


@prompts.command("list")
def list_prompts(tenant: Tenant = None, as_json: Json = False) -> None:
    """Each prompt with its newest version."""
    carry_out(_list(tenant, as_json=as_json), as_json=as_json)


@prompts.command()
def save(
    name: Name,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The text; unset: standard input.", show_default=False)] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="What the model is told about its role.", show_default=False)] = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Store a new version, unless nothing changed."""
    try:
        body = sys.stdin.read() if file is None else file.read_text("utf-8")
    except (OSError, UnicodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}.") from None
    carry_out(_save(name, body, system, tenant, as_json=as_json), as_json=as_json)


@prompts.command("show")
def show_prompt(
    name: Name,
    version: Annotated[int | None, typer.Option(min=1, metavar="N", help="Which; unset: the newest.", show_default=False)] = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """One version of a prompt."""
    carry_out(_show(name, version, tenant, as_json=as_json), as_json=as_json)


def prompt_document(one: PromptView) -> dict[str, Any]:
    """{name, version, system, body, createdBy, createdAt}."""
    words = {"name": one.name, "version": one.version, "system": one.system, "body": one.body}
    return {**words, "createdBy": one.created_by, "createdAt": one.created_at}


async def _list(tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        found = await app.prompts.list(tenant=tenant)
    if as_json:
        show.emit({"prompts": [prompt_document(one) for one in found]})
    elif not found:
        show.hint("No prompt yet: trunkline prompts save NAME FILE")
    else:
        rows = ([show.short(one.name, 60), str(one.version), show.short(one.body, 120)] for one in found)
        show.draw(show.table(("prompt", "version", "text"), rows, right=("version",), cut="text"))


async def _save(name: str, body: str, system: str | None, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        async with audited(app) as act:
            version = await act.prompts.save(name, body, system=system, tenant=tenant)
    if as_json:
        show.emit({"name": name, "version": version})
    else:
        show.say(f"Prompt {name!r} is at version {version}.")


async def _show(name: str, version: int | None, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        one = await app.prompts.get(name, version, tenant=tenant)
    if as_json:
        show.emit(prompt_document(one))
        return
    facts = [("Prompt", one.name), ("Version", one.version), ("System", one.system), ("Saved", show.moment(one.created_at))]
    show.draw(show.facts([(label, None if value is None else show.visible(value)) for label, value in facts]))
    show.say(show.visible(one.body))
