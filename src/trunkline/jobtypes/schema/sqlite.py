"""SQLite: how to open a file read-only, what its types are called, and how many rows ANALYZE saw.

Always true: the file is opened with `mode=ro`, so a wrong path makes no new file and nothing is ever written.
"""

from __future__ import annotations

from sqlalchemy import Connection as Session
from sqlalchemy import Engine, column, func, inspect, select, table

from trunkline.connections import Connection, engines
from trunkline.jobtypes.schema.shape import Schemas, Types

GROUP = 1  # every table is a few pragmas of its own
HAS_MATERIALIZED_VIEWS = False


def engine(connection: Connection) -> Engine:
    """An engine whose every connection opens the file read-only."""
    return engines.sqlite(connection, read_only=True)


def begin(session: Session) -> None:
    """Nothing to prepare: the file is read-only already."""


def schemas(session: Session) -> Schemas:
    """The one schema a file has; attached databases belong to a session, not to the file."""
    return ["main"], []


def type_names(session: Session, schema: str, tables: list[str]) -> Types:
    """The types as declared; SQLite keeps the text as it was written."""
    names: Types = {}
    for name in tables:
        info = func.pragma_table_xinfo(name).table_valued(column("name"), column("type"))
        names[name] = {row.name: row.type.lower() for row in session.execute(select(info.c.name, info.c.type))}
    return names


def row_estimates(session: Session, schema: str) -> dict[str, int]:
    """Rows by table, where ANALYZE has run: the first number of `stat` is the size of an index or of the table."""
    if not inspect(session).has_table("sqlite_stat1"):
        return {}
    stat1 = table("sqlite_stat1", column("tbl"), column("stat"))
    found: dict[str, int] = {}
    for row in session.execute(select(stat1.c.tbl, stat1.c.stat)):
        first = str(row.stat or "").split(" ")[0]
        if first.isdigit():  # a partial index knows only its own rows, so the largest figure counts
            found[row.tbl] = max(found.get(row.tbl, 0), int(first))
    return found
