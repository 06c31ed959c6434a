"""MySQL and MariaDB: how to open a read-only session, what its types are called, and what InnoDB estimates.

Always true: the session is read-only; connecting takes at most 10 s and each answer 60 s. A URL that names a database
reads that one; a URL that names none reads every database the user may see.
"""

from __future__ import annotations

from sqlalchemy import Connection as Session
from sqlalchemy import Engine, column, inspect, select, table

from trunkline.connections import Connection, engines
from trunkline.jobtypes.schema.shape import Schemas, Types

SYSTEM_SCHEMAS = frozenset({"information_schema", "mysql", "performance_schema", "sys"})
GROUP = 1  # every table is a SHOW CREATE TABLE of its own, so progress and cancellation may be as fine as that
HAS_MATERIALIZED_VIEWS = False
CONNECT_S = 10
STATEMENT_S = 60

catalog_tables = table(
    "tables",
    *(column(name) for name in ("table_schema", "table_name", "table_type", "table_rows")),
    schema="information_schema",
)
catalog_columns = table(
    "columns",
    *(column(name) for name in ("table_schema", "table_name", "column_name", "column_type", "ordinal_position")),
    schema="information_schema",
)


def engine(connection: Connection) -> Engine:
    """An engine for one read-only session."""
    return engines.mysql(connection, purpose="schema-rebuild", read_only=True, statement_s=STATEMENT_S, connect_s=CONNECT_S)


def begin(session: Session) -> None:
    """Nothing to prepare: the session was made read-only when it was opened."""


def schemas(session: Session) -> Schemas:
    """The database in the URL, or all that the user may see except the server's own; what it may not, it cannot name."""
    chosen = session.engine.url.database
    names = [chosen] if chosen else inspect(session).get_schema_names()
    return sorted(name for name in names if name.lower() not in SYSTEM_SCHEMAS), []


def type_names(session: Session, schema: str, tables: list[str]) -> Types:
    """The types with everything that belongs to them, such as "int(10) unsigned"; views too, which SHOW may refuse."""
    names: Types = {}
    found = session.execute(
        select(catalog_columns.c.table_name, catalog_columns.c.column_name, catalog_columns.c.column_type)
        .where(catalog_columns.c.table_schema == schema)
        .order_by(catalog_columns.c.table_name, catalog_columns.c.ordinal_position)
    )
    for name, column_name, type_name in found:
        names.setdefault(name, {})[column_name] = type_name
    return names


def row_estimates(session: Session, schema: str) -> dict[str, int]:
    """Rows by table as the storage engine estimates them."""
    found = session.execute(
        select(catalog_tables.c.table_name, catalog_tables.c.table_rows)
        .where(catalog_tables.c.table_schema == schema, catalog_tables.c.table_type == "BASE TABLE")
        .where(catalog_tables.c.table_rows.is_not(None))
    )
    return {name: int(rows) for name, rows in found}
