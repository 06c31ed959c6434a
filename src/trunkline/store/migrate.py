"""Brings a database to this version's schema: migrations once, functions whenever their text changed.

Always true: everything happens in one transaction under an advisory lock, so two migrators at once are safe and a failure
leaves nothing behind; a migration that ran is never edited (its checksum is kept); a schema with somebody else's tables
is refused.
Called by: app, cli, testing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version

import asyncpg

from trunkline import sql
from trunkline.errors import MigrationFailed, SchemaOutdated
from trunkline.model.actor import Actor
from trunkline.store import audit
from trunkline.store.sqlstate import translated

OLDEST_SERVER = 150000

_BOOK = """
create schema if not exists trunkline;
create table if not exists trunkline.migration (
  name       text primary key,
  checksum   text not null,
  works_from text not null,
  applied_at timestamptz not null default clock_timestamp()
);
create table if not exists trunkline.function_file (
  name       text primary key,
  checksum   text not null,
  applied_at timestamptz not null default clock_timestamp()
);
"""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a run did: names of the migrations and function files it applied, in order. Both empty: it was up to date."""

    migrations: tuple[str, ...]
    functions: tuple[str, ...]


def code_version() -> str:
    """This package's version, such as "0.1.0"."""
    return version("trunkline")


def script(schema: str) -> str:
    """The whole schema as one script for people who apply SQL by hand; run it in one transaction, on an empty schema."""
    parts = ["begin;", sql.render(_BOOK, schema)]
    for file in sql.migrations():
        parts += [
            f"-- {file.name}",
            sql.render(file.text, schema),
            sql.render(
                f"insert into trunkline.migration (name, checksum, works_from) values ('{file.name}', '{file.checksum}', '{file.works_from}');",  # noqa: S608 - our own file names
                schema,
            ),
        ]
    for file in sql.functions():
        parts += [
            f"-- {file.name}",
            sql.render(file.text, schema),
            sql.render(f"insert into trunkline.function_file (name, checksum) values ('{file.name}', '{file.checksum}');", schema),  # noqa: S608
        ]
    parts += [sql.render("select trunkline.make_partitions();", schema), "commit;"]
    return "\n".join(parts) + "\n"


async def migrate(conn: asyncpg.Connection, schema: str, *, partition_days: int = 7, actor: Actor | None = None) -> Migrated:
    """Apply what is missing.

    Args:
        actor: who asked for it, for the log of the installation.

    Raises:
        MigrationFailed: the server is too old, the schema is somebody else's, or a migration's text changed after it ran.
    """
    if (found := conn.get_server_version()).major < OLDEST_SERVER // 10000:
        raise MigrationFailed(f"PostgreSQL {found.major}.{found.minor} is too old: need 15 or newer.")
    with translated():
        async with conn.transaction():
            await conn.execute("select pg_advisory_xact_lock(hashtext($1))", f"trunkline:migrate:{schema}")
            await _refuse_foreign(conn, schema)
            await conn.execute(sql.render(_BOOK, schema))
            ran = await _run_migrations(conn, schema)
            replaced = await _replace_functions(conn, schema, has_new_tables=bool(ran))
            await conn.execute(sql.render("select trunkline.make_partitions($1)", schema), partition_days)
            if actor is not None and (ran or replaced):
                detail = {"version": code_version(), "migrations": ran, "functions": len(replaced)}
                who, said = (actor.kind, actor.id, "schema.migrated", [f"schema:{schema}"], actor.via, actor.address), json.dumps(detail)
                await conn.execute(sql.render(audit.NOTE, schema), 0, *who, said)
    return Migrated(ran, replaced)


async def check(conn: asyncpg.Connection, schema: str) -> None:
    """Raise SchemaOutdated unless this code works with the schema as it is."""
    ours = tuple(file.name for file in sql.migrations())
    if not await conn.fetchval("select to_regclass($1) is not null", f"{schema}.migration"):
        raise SchemaOutdated(f"the schema {schema!r} is not there. Run: trunkline migrate")
    rows = await conn.fetch(sql.render("select name, works_from from trunkline.migration order by name", schema))
    missing = [name for name in ours if name not in {row["name"] for row in rows}]
    if missing:
        raise SchemaOutdated(f"the schema {schema!r} lacks {', '.join(missing)}. Run: trunkline migrate")
    for row in rows:
        if row["name"] not in ours and _number(row["works_from"]) > _number(code_version()):
            raise SchemaOutdated(
                f"migration {row['name']} needs Trunkline {row['works_from']} or newer, this is {code_version()}. Upgrade this process."
            )


async def _refuse_foreign(conn: asyncpg.Connection, schema: str) -> None:
    if await conn.fetchval("select to_regclass($1) is not null", f"{schema}.migration"):
        return
    foreign = await conn.fetchval(
        "select string_agg(c.relname, ', ' order by c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = $1 and c.relkind in ('r', 'p', 'v', 'm', 'f')",
        schema,
    )
    if foreign:
        raise MigrationFailed(
            f"schema {schema!r} holds tables that are not Trunkline's ({foreign}). Choose another name in TRUNKLINE_SCHEMA."
        )


async def _run_migrations(conn: asyncpg.Connection, schema: str) -> tuple[str, ...]:
    done = {row["name"]: row["checksum"] for row in await conn.fetch(sql.render("select name, checksum from trunkline.migration", schema))}
    ran = []
    for file in sql.migrations():
        if (before := done.get(file.name)) == file.checksum:
            continue
        if before is not None:
            raise MigrationFailed(
                f"migration {file.name} was changed after it ran here. Restore its text and put the change into a new migration."
            )
        await conn.execute(sql.render(file.text, schema))
        await conn.execute(
            sql.render("insert into trunkline.migration (name, checksum, works_from) values ($1, $2, $3)", schema),
            file.name,
            file.checksum,
            file.works_from,
        )
        ran.append(file.name)
    return tuple(ran)


async def _replace_functions(conn: asyncpg.Connection, schema: str, *, has_new_tables: bool) -> tuple[str, ...]:
    """Those whose text changed; and the grants, when there is anything new to grant."""
    done = {
        row["name"]: row["checksum"] for row in await conn.fetch(sql.render("select name, checksum from trunkline.function_file", schema))
    }
    changed = [file for file in sql.functions() if done.get(file.name) != file.checksum]
    if not changed and not has_new_tables:
        return ()
    for file in [*changed, *(f for f in sql.functions() if f.name.startswith("99_") and f not in changed)]:
        await conn.execute(sql.render(file.text, schema))
        await conn.execute(
            sql.render(
                "insert into trunkline.function_file (name, checksum) values ($1, $2)"
                " on conflict (name) do update set checksum = excluded.checksum, applied_at = clock_timestamp()",
                schema,
            ),
            file.name,
            file.checksum,
        )
    return tuple(file.name for file in changed)


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
