"""Databases made, cloned and dropped. For tests, demos and benchmarks; a running application never needs it.

Always true: a database's name is quoted, and only names that start with `trunkline_` are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from trunkline.errors import InvalidInput
from trunkline.store.migrate import migrate
from trunkline.store.pool import Store
from trunkline.store.sqlstate import translated


def database_url(url: str, name: str) -> str:
    """The same server and user, another database."""
    place, mark, query = url.partition("?")
    scheme, _, rest = place.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{name}{mark}{query}"


async def create_database(admin_url: str, name: str, *, template: str | None = None) -> str:
    """Create a database, empty or as a copy of `template` (to which nobody may be connected); its URL."""
    with translated():
        conn = await asyncpg.connect(admin_url)
        try:
            await conn.execute(f'create database "{_checked(name)}"' + (f' template "{_checked(template)}"' if template else ""))
        finally:
            await conn.close()
    return database_url(admin_url, name)


async def move_clock(store: Store, offset_s: float) -> None:
    """Let the database clock of one installation go `offset_s` seconds ahead of time. For tests: deadlines follow at once."""
    await store.fetch(
        "create or replace function trunkline.now() returns timestamptz language sql volatile parallel safe as"
        f" $$ select clock_timestamp() + interval '{offset_s:.6f} seconds' $$"
    )


async def drop_database(admin_url: str, name: str) -> None:
    """Drop a database and cut who is connected; nothing happens when it is not there."""
    with translated():
        conn = await asyncpg.connect(admin_url)
        try:
            await conn.execute(f'drop database if exists "{_checked(name)}" with (force)')
        finally:
            await conn.close()


async def migrated_template(admin_url: str, name: str = "trunkline_template") -> str:
    """Make a migrated database once, however many processes ask at the same time; its name."""
    with translated():
        conn = await asyncpg.connect(admin_url)
        try:
            await conn.execute("select pg_advisory_lock(hashtext($1))", name)
            if not await conn.fetchval("select exists (select from pg_database where datname = $1)", name):
                await conn.execute(f'create database "{_checked(name)}_new"')
                fresh = await asyncpg.connect(database_url(admin_url, f"{name}_new"))
                await migrate(fresh, "trunkline")
                await fresh.close()
                await conn.execute(f'alter database "{name}_new" rename to "{name}"')
        finally:
            await conn.close()
    return name


async def load_once(admin_url: str, name: str, scripts: Sequence[str], *, unless_schema: str) -> str:
    """Make a database (`name` is an identifier) and run `scripts` in it, once, however many processes ask at the same time; its URL.

    Everything after `create database` is one transaction, so a half-made one is never seen. `unless_schema` is the schema whose
    presence says that it is complete.
    """
    with translated():
        conn = await asyncpg.connect(admin_url, statement_cache_size=0)
        try:
            if not await conn.fetchval("select exists (select from pg_database where datname = $1)", name):
                # template0: nobody can be connected to it, which would refuse the copy, and it takes any encoding.
                await conn.execute(f"create database \"{name}\" template template0 encoding 'UTF8'")
        except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            pass  # another process made it between the question and the statement
        finally:
            await conn.close()
        conn = await asyncpg.connect(database_url(admin_url, name), statement_cache_size=0)
        try:
            async with conn.transaction():
                await conn.execute("select pg_advisory_xact_lock(hashtext('trunkline:load'))")
                if not await conn.fetchval("select to_regnamespace($1) is not null", unless_schema):
                    for script in scripts:
                        await conn.execute(script)
        finally:
            await conn.close()
    return database_url(admin_url, name)


def _checked(name: str) -> str:
    if not name.startswith("trunkline_") or '"' in name:
        raise InvalidInput(f"database name {name!r}: need one that starts with trunkline_ and has no quotes.")
    return name
