"""The plan that PostgreSQL makes for a statement inside one of our functions.

The statement is taken from the installed function, its parameters and variables become parameters of a prepared statement,
and it is planned as the function plans it: with the function's settings, and as a generic plan.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import asyncpg
import pytest


class Plan(NamedTuple):
    """`scans`: (node, table, index) of each scan of a table; `blocks`: shared blocks touched, when it was executed."""

    scans: tuple[tuple[str, str, str | None], ...]
    blocks: int

    def of(self, table: str) -> set[str]:
        """How a table is reached; slices count as their table."""
        return {node for node, name, _ in self.scans if re.fullmatch(rf"{table}(_p\d+)?", name)}

    @property
    def sequential(self) -> set[str]:
        """Tables that are read from end to end."""
        return {name for node, name, _ in self.scans if node == "Seq Scan"}


async def plan_of(conn: asyncpg.Connection, function: str, begins: str, values: dict[str, str]) -> Plan:
    """Execute, within a transaction that is rolled back, the statement of `function` that begins with `begins`.

    Args:
        values: SQL literals by the name of parameter or variable; those without one are null.
    """
    row = await conn.fetchrow(
        """select prosrc, proconfig, coalesce(proargnames, '{}') as names,
                  array(select format_type(t, null) from unnest(coalesce(proallargtypes, proargtypes::oid[])) as t) as types
             from pg_proc where pronamespace = 'trunkline'::regnamespace and proname = $1""",
        function,
    )
    source = row["prosrc"]
    statement = source[source.index(begins) :].split(";", 1)[0]
    if statement.count(")") > statement.count("("):  # it stood in array( ... )
        statement = statement[: statement.rindex(")")]
    statement = re.sub(r"\binto v_\w+(, v_\w+)*(?=\s+from)", "", statement)
    types = dict(zip(row["names"], row["types"], strict=False)) | dict(
        re.findall(r"^  (v_\w+) (?:constant )?([\w.\[\]]+)", source, re.MULTILINE)
    )
    names = sorted({name for name in re.findall(r"\b[pv]_\w+", statement) if name in types})
    numbered = {name: f"${n}" for n, name in enumerate(names, 1)}
    statement = re.sub(r"\b[pv]_\w+", lambda m: numbered.get(m[0], m[0]), statement)
    transaction = conn.transaction()
    await transaction.start()
    try:
        for name, value in (setting.split("=", 1) for setting in row["proconfig"] or ()):
            if name != "search_path":
                await conn.execute("select set_config($1, $2, true)", name, value)
        await conn.execute(f"prepare asked ({', '.join(types[name] for name in names)}) as {statement}")
        literals = ", ".join(values.get(name, "null") for name in names)
        found = await conn.fetchval(f"explain (analyze, buffers, timing off, format json) execute asked ({literals})")
        await conn.execute("deallocate asked")
    finally:
        await transaction.rollback()
    return _plan(json.loads(found)[0]["Plan"])


def _plan(root: dict[str, Any]) -> Plan:
    scans, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", [])
        if "Relation Name" in node and node["Node Type"] != "ModifyTable":
            scans.append((node["Node Type"], node["Relation Name"], node.get("Index Name")))
        elif node["Node Type"] == "Bitmap Index Scan":
            scans.append((node["Node Type"], "", node.get("Index Name")))
    return Plan(tuple(scans), root["Shared Hit Blocks"] + root["Shared Read Blocks"])


def may_walk(conn: asyncpg.Connection, request: pytest.FixtureRequest) -> None:
    """Skip where PostgreSQL before 17 walks the tenant's index: keys of a list that is to come in an order, of a table it believes empty.

    Until the next analyze; the order is that of locks, so it is worth more than the plan (docs/decisions/0002).
    """
    if conn.get_server_version().major < 17 and "analyzed empty" in request.node.callspec.id:
        pytest.skip("PostgreSQL before 17 walks an index for an ordered list of keys while it believes the table empty")
