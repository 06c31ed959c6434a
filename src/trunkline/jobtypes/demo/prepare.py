"""Creates the demonstration database on a server we may create databases on.

Always true: it may be called any number of times, also at once; a database that is there and complete is left alone;
a half-made one cannot be seen, because everything after `create database` is one transaction.
Called by: cli, tests.
"""

from __future__ import annotations

import re
from importlib.resources import files
from urllib.parse import urlsplit

import asyncpg

from trunkline.errors import InvalidInput

PARTS = ("shop.sql", "shop_office.sql", "shop_rows.sql")
LOCK = 0x7472756E6B6C6964  # any number: advisory locks belong to one database, and this one is ours


async def prepare_demo_database(admin_url: str, name: str = "trunkline_demo_shop") -> str:
    """Make sure the database `name` exists with the shop in it, analyzed.

    Args:
        admin_url: postgresql:// URL of a user that may create databases.
        name: a lower-case identifier, at most 63 characters.
    Returns:
        The URL of the database, with everything else as in `admin_url`.
    Raises:
        InvalidInput: `name` is not an identifier.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
        raise InvalidInput(f"demo database name {name!r}: need 1 to 63 of a-z 0-9 _, starting with a letter or _.")
    await _create(admin_url, name)
    url = _with_database(admin_url, name)
    conn = await asyncpg.connect(url, statement_cache_size=0)
    try:
        await _load(conn)
    finally:
        await conn.close()
    return url


async def _create(admin_url: str, name: str) -> None:
    conn = await asyncpg.connect(admin_url, statement_cache_size=0)
    try:
        if not await conn.fetchval("select exists (select from pg_database where datname = $1)", name):
            # template0: nobody can be connected to it, which would refuse the copy, and it takes any encoding.
            await conn.execute(f"create database \"{name}\" template template0 encoding 'UTF8'")
    except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        pass  # another process made it between the question and the statement
    finally:
        await conn.close()


async def _load(conn: asyncpg.Connection) -> None:
    async with conn.transaction():
        await conn.execute("select pg_advisory_xact_lock($1)", LOCK)
        if await conn.fetchval("select to_regnamespace('support') is not null"):
            return
        for name in PARTS:
            await conn.execute(files("trunkline.jobtypes.demo").joinpath(name).read_text("utf-8"))
        await conn.execute("analyze")  # row estimates are null until it has run


def _with_database(url: str, name: str) -> str:
    """`url` with another database. Not urlunsplit: it drops the "//" of a URL without a host."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{name}" + (f"?{parts.query}" if parts.query else "")
