"""Writes rows into a table of another server, told apart from what the table refuses.

Always true: one session, closed at the end; the table's key is unique where rows are written by key; a row that the database refuses is
found by halving its chunk under savepoints, and refused alone.
Needs the extra `schema`; import this module only where a job runs. Blocking, in one thread.
Called by: imports.landing, crm.landing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Self

from sqlalchemy import JSON, Column, Inspector, MetaData, Table, insert, inspect
from sqlalchemy.exc import DataError, IntegrityError, NoSuchTableError, OperationalError, ProgrammingError

from trunkline.connections import Connection
from trunkline.connections.engines import engine
from trunkline.jobtypes.imports import values
from trunkline.model import Fail

STATEMENT_S = 300
Mode = Literal["insert", "upsert", "skip"]
Values = dict[str, Any]
Refused = tuple[int, str]  # position in the chunk, why


class Target:
    """One attempt's session on the table. Use as a context."""

    def __init__(self, connection: Connection, table: str, schema: str | None, *, mode: Mode, key: Sequence[str], purpose: str) -> None:
        self._mode, self._key, self._connection = mode, list(key), connection
        self._session = engine(connection, purpose=purpose, read_only=False, statement_s=STATEMENT_S).connect()
        with self._closed_on_error():
            self.table = self._reflected(table, schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def columns(self) -> dict[str, values.Column]:
        """What each column of the table takes; generated ones are left out."""
        found = {}
        for column in self.table.columns:
            if column.computed is None:
                has_default = column.server_default is not None or column.identity is not None or column is self.table.autoincrement_column
                is_required = not column.nullable and not has_default
                found[column.name] = values.Column(
                    column.name, _python(column), longest=getattr(column.type, "length", None), is_required=is_required
                )
        return found

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._session.close()
            raise

    def _made(self, table: Table) -> Exception | None:
        """Make a table of ours where it is not there yet; why it cannot be made."""
        refusal: Exception | None = None
        for _ in range(2):  # another job may make it at the same moment
            try:
                with self._session.begin():
                    table.create(self._session, checkfirst=True)
                return None
            except (ProgrammingError, OperationalError, IntegrityError) as error:
                refusal = error
        return refusal

    def _write(self, rows: list[tuple[int, Values]], refused: list[Refused]) -> int:
        """How many were written; a refused row is added to `refused`."""
        if not rows:
            return 0
        try:
            with self._session.begin_nested():
                counted = {"preserve_rowcount": self._mode == "skip"}
                done = self._session.execute(self._statement(list(rows[0][1])), [row for _, row in rows], execution_options=counted)
                return done.rowcount if self._mode == "skip" and done.rowcount >= 0 else len(rows)
        except (IntegrityError, DataError) as error:
            if len(rows) == 1:
                refused.append((rows[0][0], reason(error)))
                return 0
        half = len(rows) // 2
        return self._write(rows[:half], refused) + self._write(rows[half:], refused)

    def _statement(self, names: list[str]) -> Any:
        if self._mode == "insert":
            return insert(self.table)
        others = [name for name in names if name not in self._key]
        if self._connection.dialect == "mysql":
            from sqlalchemy.dialects.mysql import insert as mysql_insert

            made = mysql_insert(self.table)
            keeps = {self._key[0]: self.table.c[self._key[0]]}  # nothing changes; IGNORE would swallow other errors, too
            return made.on_duplicate_key_update(
                keeps if self._mode == "skip" or not others else {name: made.inserted[name] for name in others}
            )
        if self._connection.dialect == "postgresql":
            from sqlalchemy.dialects.postgresql import insert as on_conflict_insert
        else:
            from sqlalchemy.dialects.sqlite import insert as on_conflict_insert  # type: ignore[assignment]
        statement = on_conflict_insert(self.table)
        if self._mode == "skip" or not others:
            return statement.on_conflict_do_nothing(index_elements=self._key)
        return statement.on_conflict_do_update(index_elements=self._key, set_={name: statement.excluded[name] for name in others})

    def _reflected(self, name: str, schema: str | None) -> Table:
        try:
            with self._session.begin():
                table = Table(name, MetaData(), schema=schema, autoload_with=self._session, resolve_fks=False)
        except NoSuchTableError:
            raise Fail(f"there is no table {name!r} in {self._connection} that the user may see. Check the name and its schema.") from None
        for column in table.columns:
            if isinstance(column.type, JSON):
                column.type.none_as_null = True  # an empty cell is no JSON null
        if strange := [column for column in self._key if column not in table.columns]:
            raise Fail(f"the key names the column {strange[0]!r}, which table {name!r} does not have.")
        if self._mode != "insert" and not self._is_unique(name, schema, table):
            raise Fail(
                f"{self._mode} needs a key that is unique in table {name!r}, and {', '.join(self._key) or 'none'} is not. Make it unique."
            )
        return table

    def _is_unique(self, name: str, schema: str | None, table: Table) -> bool:
        with self._session.begin():
            seen: Inspector = inspect(self._session)
            found: list[set[str | None]] = [set(one["column_names"]) for one in seen.get_unique_constraints(name, schema)]
            found += [set(one["column_names"]) for one in seen.get_indexes(name, schema) if one["unique"] and not _is_partial(one)]
        return bool(self._key) and set(self._key) in [*found, {column.name for column in table.primary_key.columns}]


def _python(column: Column[Any]) -> type | None:
    if isinstance(column.type, JSON):
        return dict  # SQLAlchemy says object
    try:
        return column.type.python_type
    except NotImplementedError:
        return None  # a type of the database's own: it reads text


def _is_partial(index: Any) -> bool:
    return bool(index.get("expressions")) or any(name.endswith("_where") for name in index.get("dialect_options", {}))


def reason(error: Exception) -> str:
    """Why the database refused a row: the driver's first line, which names constraint and value."""
    raised = getattr(error, "orig", None) or error
    return (str(raised.args[-1] if raised.args else raised).strip().splitlines() or [type(error).__name__])[0][:300]
