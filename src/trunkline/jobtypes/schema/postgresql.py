"""PostgreSQL: how to open a read-only session, what its types are called, and what the planner believes about rows.

Always true: the reading is one repeatable-read, read-only transaction with a statement timeout; `search_path` is
`pg_catalog` alone, so names in types, defaults and keys come out qualified whatever the role's own path is.
Timeouts are set inside the transaction, because a pooler refuses them as start parameters.
"""

from __future__ import annotations

from sqlalchemy import Connection as Session
from sqlalchemy import Engine, and_, column, func, select, table

from trunkline.connections import Connection, engines
from trunkline.jobtypes.schema.shape import Schemas, Types

GROUP = 500  # a bulk question costs the same for one table as for many; a cancellation waits for one group
HAS_MATERIALIZED_VIEWS = True
CONNECT_S = 10
STATEMENT_S = 60

pg_namespace = table("pg_namespace", column("oid"), column("nspname"), schema="pg_catalog")
pg_class = table(
    "pg_class",
    *(column(name) for name in ("oid", "relname", "relnamespace", "relkind", "reltuples")),
    schema="pg_catalog",
)
pg_attribute = table(
    "pg_attribute",
    *(column(name) for name in ("attrelid", "attname", "attnum", "atttypid", "atttypmod", "attisdropped")),
    schema="pg_catalog",
)
in_schema = pg_class.join(pg_namespace, pg_namespace.c.oid == pg_class.c.relnamespace)


def engine(connection: Connection) -> Engine:
    """An engine for one read-only session."""
    return engines.postgresql(connection, purpose="schema-rebuild", read_only=True, statement_s=STATEMENT_S, connect_s=CONNECT_S)


def begin(session: Session) -> None:
    """Set the transaction's limits; the first statement of the reading, so it also takes the snapshot."""
    session.execute(
        select(
            func.set_config("statement_timeout", f"{STATEMENT_S}s", True),
            func.set_config("lock_timeout", f"{CONNECT_S}s", True),
            func.set_config("search_path", "pg_catalog", True),
        )
    )


def schemas(session: Session) -> Schemas:
    """Schemas of people: neither the catalogs nor anybody's temporary tables.

    Those the role has no USAGE on are hidden: the catalog shows their tables, but resolving the sequence of an identity
    column there is refused, which would end the whole reading.
    """
    may_use = func.has_schema_privilege(pg_namespace.c.oid, "usage")
    found = session.execute(
        select(pg_namespace.c.nspname, may_use)
        .where(~pg_namespace.c.nspname.startswith("pg_", autoescape=True))
        .where(pg_namespace.c.nspname != "information_schema")
    )
    rows = sorted((name, usable) for name, usable in found)
    return [name for name, usable in rows if usable], [name for name, usable in rows if not usable]


def type_names(session: Session, schema: str, tables: list[str]) -> Types:
    """The types as PostgreSQL prints them, with length, precision and schema."""
    names: Types = {}
    is_column = and_(pg_attribute.c.attrelid == pg_class.c.oid, pg_attribute.c.attnum > 0, ~pg_attribute.c.attisdropped)
    found = session.execute(
        select(
            pg_class.c.relname,
            pg_attribute.c.attname,
            func.format_type(pg_attribute.c.atttypid, pg_attribute.c.atttypmod),
        )
        .select_from(in_schema.join(pg_attribute, is_column))
        .where(pg_namespace.c.nspname == schema, pg_class.c.relkind.in_(("r", "p", "f", "v", "m")))
    )
    for name, column_name, type_name in found:
        names.setdefault(name, {})[column_name] = type_name
    return names


def row_estimates(session: Session, schema: str) -> dict[str, int]:
    """Rows by table as of the last VACUUM or ANALYZE; a table that saw neither is left out (-1 in the catalog)."""
    found = session.execute(
        select(pg_class.c.relname, pg_class.c.reltuples)
        .select_from(in_schema)
        .where(pg_namespace.c.nspname == schema, pg_class.c.relkind.in_(("r", "p", "m")), pg_class.c.reltuples >= 0)
    )
    return {row.relname: int(row.reltuples) for row in found}
