"""`trunkline migrate`: bring the schema up to date, ask whether it is, or print it as SQL."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from trunkline.cli import show
from trunkline.cli.options import Json
from trunkline.cli.run import carry_out

if TYPE_CHECKING:
    from trunkline.model.actor import Actor
    from trunkline.settings import Settings
    from trunkline.store.migrate import Migrated

LONGEST_S = 600.0  # one statement of a migration may take longer than a worker's ever should


def migrate(
    print_sql: Annotated[
        bool, typer.Option("--print", help="Print the whole schema as SQL, for a person to apply; connect to nothing.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 when the schema is not what this version needs.")
    ] = False,
    schema: Annotated[str | None, typer.Option(metavar="NAME", help="Schema. Unset: TRUNKLINE_SCHEMA.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Bring the database's schema to this version. Safe to run again, and from several places at once."""
    if print_sql and check:
        raise typer.BadParameter("--print and --check are both given: need one of them.", param_hint="--print")
    if print_sql:
        carry_out(_print(schema, as_json=as_json), as_json=as_json)
    else:
        carry_out(_migrate(schema, check=check, as_json=as_json), as_json=as_json)


async def apply(settings: Settings, actor: Actor | None = None) -> Migrated:
    """Bring the schema of a reachable database up to date; `actor`: who asked for it, for the audit log."""
    from trunkline.store import Store
    from trunkline.store import migrate as migrations

    store = await Store.connect(settings.model_copy(update={"command_timeout_s": LONGEST_S, "pool_max": 2}))
    try:
        async with store.connection() as conn:
            return await migrations.migrate(conn, settings.schema_name, partition_days=settings.partition_days, actor=actor)
    finally:
        await store.close()


async def _print(schema: str | None, *, as_json: bool) -> None:
    from trunkline.cli.reach import load_settings
    from trunkline.store.migrate import script

    settings = load_settings(schema_name=schema)
    text = script(settings.schema_name)
    if as_json:
        show.emit({"schema": settings.schema_name, "sql": text})
    else:
        sys.stdout.write(text)


async def _migrate(schema: str | None, *, check: bool, as_json: bool) -> None:
    from trunkline.cli.reach import database, load_settings
    from trunkline.model.actor import Actor
    from trunkline.store.migrate import Migrated, code_version

    settings = load_settings(schema_name=schema)
    async with database(settings, make=not check, quiet=as_json) as reached:
        migrated = Migrated((), ())
        if check:
            await _check(reached.settings)
        else:
            migrated = await apply(reached.settings, Actor.operator())
    name = settings.schema_name
    if as_json:
        show.emit({"schema": name, "version": code_version(), "migrations": migrated.migrations, "functions": migrated.functions})
        return
    for file in migrated.migrations:
        show.say(f"applied  {file}")
    if migrated.functions:
        show.say(f"replaced {show.count(len(migrated.functions), 'function file')}")
    show.say(f"Schema {name!r} is what Trunkline {code_version()} needs.", style="green")


async def _check(settings: Settings) -> None:
    from trunkline.errors import SchemaOutdated
    from trunkline.store import Store, inspect
    from trunkline.store import migrate as migrations

    store = await Store.connect(settings.model_copy(update={"pool_max": 2}))
    try:
        async with store.connection() as conn:
            await migrations.check(conn, settings.schema_name)
        if outdated := await inspect.outdated_functions(store):
            raise SchemaOutdated(
                f"functions of another version are in the schema {settings.schema_name!r} ({', '.join(outdated)}). Run: trunkline migrate"
            )
    finally:
        await store.close()
