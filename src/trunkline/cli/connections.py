"""`trunkline connections`: register databases, rebuild and show their schemas."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli import show
from trunkline.cli.options import Json, Tenant
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from trunkline.store.connections import ConnectionView

connections = typer.Typer(invoke_without_command=True, help="List registered databases; add, rebuild, show and delete them.")
Identity = Annotated[str, typer.Argument(metavar="ID", help="The connection's id or name.")]


@connections.callback()
def all_connections(ctx: typer.Context, tenant: Tenant = None, as_json: Json = False) -> None:
    """List registered databases; add, rebuild, show and delete them."""
    if ctx.invoked_subcommand is None:
        carry_out(_list(tenant, as_json=as_json), as_json=as_json)
    elif tenant is not None or as_json:
        raise typer.BadParameter(f"write it behind the command: trunkline connections {ctx.invoked_subcommand} ... --tenant NAME --json")


@connections.command("list")
def list_connections(tenant: Tenant = None, as_json: Json = False) -> None:
    """Each registered database, without its password."""
    carry_out(_list(tenant, as_json=as_json), as_json=as_json)


@connections.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call it.")],
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Test a database and register it. Its URL is read from standard input, or asked for: arguments are seen by everybody."""
    url = typer.prompt("URL", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    carry_out(_add(name, url.strip(), tenant, as_json=as_json), as_json=as_json)


@connections.command()
def rebuild(
    identity: Identity,
    force: Annotated[bool, typer.Option("--force", help="Store the schema also when it did not change.")] = False,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Enqueue a schema-rebuild, or name the one that is there already."""
    carry_out(_rebuild(identity, tenant, force=force, as_json=as_json), as_json=as_json)


@connections.command("schema")
def show_schema(identity: Identity, tenant: Tenant = None, as_json: Json = False) -> None:
    """The schema that was last read, as JSON."""
    carry_out(_schema(identity, tenant, as_json=as_json), as_json=as_json)


@connections.command()
def diff(identity: Identity, tenant: Tenant = None, as_json: Json = False) -> None:
    """What changed at the last change that a rebuild found."""
    carry_out(_diff(identity, tenant, as_json=as_json), as_json=as_json)


@connections.command()
def delete(identity: Identity, tenant: Tenant = None, as_json: Json = False) -> None:
    """Take one away, with the schema that was read there."""
    carry_out(_delete(identity, tenant, as_json=as_json), as_json=as_json)


def connection_document(one: ConnectionView) -> dict[str, Any]:
    """{id, name, dialect, url, server, createdBy, createdAt}; the URL without its password."""
    words = {"name": one.name, "dialect": one.dialect, "url": one.url, "server": one.server}
    return {"id": one.id, **words, "createdBy": one.created_by, "createdAt": one.created_at}


async def _list(tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        found = await app.connections.list(tenant=tenant)
    if as_json:
        show.emit({"connections": [connection_document(one) for one in found]})
    elif not found:
        show.hint("No database is registered yet: trunkline connections add NAME < file-with-the-url")
    else:
        rows = ([show.short(one.name, 40), str(one.id), show.short(one.server, 30), show.short(one.url, 120)] for one in found)
        show.draw(show.table(("connection", "id", "server", "url"), rows, cut="url"))


async def _add(name: str, url: str, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        tested = await app.connections.tested(url, name=name)
        async with audited(app) as act:
            made = await app.connections.within(act).keep(tested, tenant=tenant)
    if as_json:
        show.emit(connection_document(made))
    else:
        show.say(f"{made.server} is registered as {made.name!r}: {made.id}")


async def _rebuild(identity: str, tenant: str | None, *, force: bool, as_json: bool) -> None:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        async with audited(app) as act:
            job_id, created = await app.connections.within(act).rebuild(identity, force=force, tenant=tenant)
    if as_json:
        show.emit({"jobId": job_id, "created": created})
    else:
        show.say(f"Enqueued: {job_id}" if created else f"A rebuild is there already: {job_id}")


async def _schema(identity: str, tenant: str | None, *, as_json: bool) -> None:
    import msgspec

    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        found = await app.connections.schema(identity, tenant=tenant)
    schema = msgspec.json.decode(found.schema)
    if as_json:
        times = {"capturedAt": found.captured_at, "checkedAt": found.checked_at}
        show.emit({"connectionId": found.connection_id, "fingerprint": found.fingerprint, **times, "schema": schema})
    else:
        show.say(show.pretty(schema))


async def _diff(identity: str, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        found = await app.connections.diff(identity, tenant=tenant)
    if as_json:
        show.emit(found)
        return
    tables = found["tables"]
    lines = [*(f"+ {name}" for name in tables["added"]), *(f"- {name}" for name in tables["removed"])]
    for table in tables["changed"]:
        columns = table["columns"]
        lines.append(f"~ {table['name']}")
        lines += [f"    + {name}" for name in columns["added"]] + [f"    - {name}" for name in columns["removed"]]
        lines += [f"    ~ {column['name']}" for column in columns["changed"]] + [f"    ~ {field}" for field in table["after"]]
    for line in lines or ["Nothing changed."]:
        show.say(show.visible(line))


async def _delete(identity: str, tenant: str | None, *, as_json: bool) -> None:
    from trunkline.cli.audited import audited
    from trunkline.cli.reach import application, existing_tenant

    async with application(as_json=as_json) as app:
        await existing_tenant(app, tenant)
        async with audited(app) as act:
            await app.connections.within(act).delete(identity, tenant=tenant)
    if as_json:
        show.emit({"connection": identity, "deleted": True})
    else:
        show.say("It is gone.")
