"""Reads the schema of one registered database, blocking, through SQLAlchemy's inspector.

Always true: nothing is written and no row of a table is read or counted; every driver error comes out translated;
`on_table` is called once per table and view, before it is read or assembled, and whatever it raises ends the reading.
Needs the extra `schema`; import this module only where a job runs.
Called by: schema_rebuild, in a thread of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Connection as Session
from sqlalchemy import Engine, inspect
from sqlalchemy.exc import DBAPIError, SAWarning, SQLAlchemyError

from trunkline.connections import Connection, Dialect, failures
from trunkline.connections.failures import Cause, cause_of, translated
from trunkline.jobtypes.schema import mysql, postgresql, sqlite
from trunkline.jobtypes.schema.assemble import Facts, assemble
from trunkline.jobtypes.schema.shape import Reading, Schemas, Table, TableKind, Types

OnTable = Callable[[int, int, str], None]  # number from 1, how many, name
DENIED = "The user may not read its definition."


class Source(Protocol):
    """What differs between databases; each is a module."""

    GROUP: int
    HAS_MATERIALIZED_VIEWS: bool

    def engine(self, connection: Connection) -> Engine:
        """An engine that opens read-only sessions."""

    def begin(self, session: Session) -> None:
        """Prepare the one transaction of the reading."""

    def schemas(self, session: Session) -> Schemas:
        """Names of the schemas to read, and of those that cannot be."""

    def type_names(self, session: Session, schema: str, tables: list[str]) -> Types:
        """The database's own words for the types, at least of `tables`."""

    def row_estimates(self, session: Session, schema: str) -> dict[str, int]:
        """Table -> rows, where the database has an estimate."""


SOURCES: dict[Dialect, Source] = {"postgresql": postgresql, "mysql": mysql, "sqlite": sqlite}


def read(connection: Connection, *, on_connected: Callable[[], None], on_table: OnTable) -> Reading:
    """Read everything `connection` shows.

    Args:
        on_connected: Called once, as soon as the database has answered.
        on_table: Called with the number of the table from 1, how many there are, and its name (with its schema unless
            that is the default one).
    Raises:
        Fail: A person must mend something: credentials, rights, name, setup.
        ConnectionFailed: The same reading may succeed later.
    """
    # Types and indexes SQLAlchemy cannot model are no news here: the types come from the database itself.
    warnings.filterwarnings("ignore", category=SAWarning, module=r"trunkline\.jobtypes\.schema\.")
    source = SOURCES[connection.dialect]
    session = _opened(source, connection)
    try:
        with session:
            source.begin(session)
            on_connected()
            return _Run(session, source, connection, on_table).reading()
    except SQLAlchemyError as error:
        failure = translated(error, connection)
    raise failure  # outside of the handler, so that the driver's words do not travel along as its context


def _opened(source: Source, connection: Connection) -> Session:
    """A session that has reached the server. Drivers raise more than their own errors while they connect."""
    try:
        return source.engine(connection).connect()
    except (SQLAlchemyError, ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        failure = translated(error, connection)
    raise failure


class _Run:
    """One reading: the session it has and what it tells on the way."""

    def __init__(self, session: Session, source: Source, connection: Connection, on_table: OnTable) -> None:
        self._session = session
        self._source = source
        self._connection = connection
        self._on_table = on_table
        self._inspector = inspect(session)
        self._seen = 0
        self._total = 0

    def reading(self) -> Reading:
        schemas, hidden = self._source.schemas(self._session)
        if hidden and not schemas:
            raise failures.hidden(self._connection, hidden)
        named = {schema: self._names(schema) for schema in schemas}
        self._total = sum(len(names) for names in named.values())
        tables = [table for schema, names in named.items() for table in self._tables(schema, names)]
        tables.sort(key=lambda table: (table.schema, table.name))
        return Reading(self._connection.dialect, tuple(schemas), tuple(tables), tuple(hidden))

    def _names(self, schema: str) -> dict[str, TableKind]:
        """Tables first, then views; within each by name."""
        names: dict[str, TableKind] = dict.fromkeys(sorted(self._inspector.get_table_names(schema)), "table")
        if self._source.HAS_MATERIALIZED_VIEWS:
            names.update(dict.fromkeys(sorted(self._inspector.get_materialized_view_names(schema)), "materializedView"))
        names.update(dict.fromkeys(sorted(self._inspector.get_view_names(schema)), "view"))
        return names

    def _tables(self, schema: str, names: dict[str, TableKind]) -> list[Table]:
        tables = [name for name, kind in names.items() if kind == "table"]
        types = self._source.type_names(self._session, schema, tables)
        estimates = self._source.row_estimates(self._session, schema)
        found: list[Table] = []
        order = list(names)
        for start in range(0, len(order), self._source.GROUP):
            group = order[start : start + self._source.GROUP]
            self._tell(schema, group[0])
            facts = self._facts(schema, group, names[group[0]])
            for name in group:
                if name != group[0]:
                    self._tell(schema, name)
                bare = Table(schema=schema, name=name, kind=names[name], estimated_rows=estimates.get(name))
                found.append(assemble(bare, facts, types.get(name, {}), self._session.dialect))
        return found

    def _tell(self, schema: str, name: str) -> None:
        self._seen += 1
        is_default = schema == self._inspector.default_schema_name
        self._on_table(self._seen, self._total, name if is_default else f"{schema}.{name}")

    def _facts(self, schema: str, group: list[str], kind: TableKind) -> Facts:
        """What the inspector says about a group. One broken view says why instead of ending the reading."""
        try:
            return Facts.read(self._inspector, schema, group, columns_only=kind == "view" and len(group) == 1)
        except DBAPIError as error:
            cause = cause_of(error)
            if kind != "view" or len(group) > 1 or cause not in (Cause.other, Cause.permission):
                raise
            return Facts(unreadable=DENIED) if cause is Cause.permission else Facts()
