"""A look for plain text where only sealed text may stand: every row of every table of the schema, as text."""

from __future__ import annotations

from typing import Any

TABLES = """select c.oid::regclass::text from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
 where n.nspname = 'trunkline' and c.relkind = 'r' order by 1"""


async def tables_with(conn: Any, marker: str) -> list[str]:
    """The tables (partitions by themselves) that hold `marker` anywhere in a row: payloads, errors, logs, progress, events, options, ..."""
    tables = [row[0] for row in await conn.fetch(TABLES)]
    look = " union all ".join(f"(select '{table}' from {table} as t where position($1 in t::text) > 0 limit 1)" for table in tables)
    return [row[0] for row in await conn.fetch(look, marker)]
