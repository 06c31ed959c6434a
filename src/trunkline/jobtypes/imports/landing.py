"""Writes chunks of rows into a table of another server, each exactly once, whatever dies in between.

The other server cannot share a transaction with ours, so the truth about how far an import is stands beside its rows: a small table
`trunkline_import` there has one row per import, and each chunk moves it in the transaction that writes the rows. An attempt first
advances that row from the position it believes in; if another attempt was faster, nothing is advanced and nothing is written. So a
crash before the commit leaves neither rows nor position, one after it leaves both, and two attempts at once cannot write one chunk twice.
Where the user may not make that table, only `upsert` and `skip` (by key) are taken, which may repeat a chunk without harm.
Always true: a row that the database refuses is found by halving its chunk under savepoints, and refused alone.
Needs the extra `schema`; import this module only where a job runs. Blocking.
Called by: imports.run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import BigInteger, Column, DateTime, Inspector, MetaData, String, Table, delete, insert, inspect, select, update
from sqlalchemy import Connection as Session
from sqlalchemy.exc import DataError, IntegrityError, NoSuchTableError, OperationalError, ProgrammingError

from trunkline.connections import Connection
from trunkline.connections.engines import engine
from trunkline.errors import ConnectionFailed
from trunkline.jobtypes.imports import values
from trunkline.model import Fail

MARKER = "trunkline_import"
MARKERS_KEPT = timedelta(days=60)
STATEMENT_S = 300
Mode = Literal["insert", "upsert", "skip"]
Values = dict[str, Any]
Refused = tuple[int, str]  # position in the chunk, why


@dataclass(frozen=True, slots=True)
class Position:
    """How far an import is: rows of the file taken, those of them in the table, those refused, and bytes of the reject file."""

    rows: int = 0
    imported: int = 0
    rejected: int = 0
    reject_bytes: int = 0


# Which rows of the chunk to write, which are refused, and how many of the others it took in itself.
Prepare = Callable[[Session, Table, Sequence[Values]], tuple[list[int], list[Refused], int]]


class Landing:
    """One attempt's way into the table. Use as a context: it holds one session."""

    def __init__(self, connection: Connection, table: str, schema: str | None, *, mode: Mode, key: Sequence[str]) -> None:
        self._mode, self._key, self._connection = mode, list(key), connection
        self._session = engine(connection, purpose="import", read_only=False, statement_s=STATEMENT_S).connect()
        try:
            self.table = self._reflected(table, schema)
            self._marker = self._made_marker(schema)
        except BaseException:
            self._session.close()
            raise

    def __enter__(self) -> Landing:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    @property
    def is_marked(self) -> bool:
        """Whether the position stands beside the rows."""
        return self._marker is not None

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

    def begin(self, import_id: str, sha256: str, otherwise: Position) -> Position:
        """Where to go on; `otherwise` where nothing is marked.

        Raises:
            Fail: the file is another one than the one this import began with.
        """
        if self._marker is None:
            return otherwise
        marker, now = self._marker, _now()
        with self._session.begin():
            self._session.execute(delete(marker).where(marker.c.updated_at < now - MARKERS_KEPT))
            row = self._session.execute(select(marker).where(marker.c.import_id == import_id)).one_or_none()
            if row is None:
                zero = dict.fromkeys(("rows_taken", "imported", "rejected", "reject_bytes"), 0)
                self._session.execute(insert(marker).values(import_id=import_id, sha256=sha256, updated_at=now, **zero))
                return Position()
        if row.sha256 != sha256:
            raise Fail(f"the file is not the one that this import began with ({row.rows_taken:,} rows are in). Start a new import.")
        return Position(row.rows_taken, row.imported, row.rejected, row.reject_bytes)

    def land(
        self,
        import_id: str,
        at: Position,
        rows: Sequence[Values],
        taken: int,
        prepare: Prepare | None,
        reject: Callable[[list[Refused]], int],
    ) -> Position:
        """Write one chunk and advance from `at`, both or neither.

        Args:
            taken: rows of the file that this chunk stands for, those refused before included.
            prepare: looks at the table first.
            reject: writes the refused rows of this chunk down, durably; the reject file's size then.
        Raises:
            ConnectionFailed: another attempt went on with this import meanwhile.
        """
        with self._session.begin():
            self._advance(import_id, at, replace(at, rows=at.rows + taken))
            chosen, refused, taken_in = prepare(self._session, self.table, rows) if prepare else (list(range(len(rows))), [], 0)
            written = taken_in + self._write([(n, rows[n]) for n in chosen], refused)
            size = reject(refused)
            bad = taken - len(rows) + len(refused)
            then = Position(at.rows + taken, at.imported + written, at.rejected + bad, size)
            self._note(import_id, then)
        return then

    def _advance(self, import_id: str, at: Position, then: Position) -> None:
        """Take the marker's row lock, which only the attempt that knows the position gets."""
        if (marker := self._marker) is not None:
            moved = update(marker).where(marker.c.import_id == import_id, marker.c.rows_taken == at.rows).values(rows_taken=then.rows)
            if self._session.execute(moved).rowcount != 1:
                raise ConnectionFailed("another attempt of this import went on meanwhile; this one ends and the next looks where it is.")

    def _note(self, import_id: str, then: Position) -> None:
        if (marker := self._marker) is not None:
            numbers = {"imported": then.imported, "rejected": then.rejected, "reject_bytes": then.reject_bytes, "updated_at": _now()}
            self._session.execute(update(marker).where(marker.c.import_id == import_id).values(**numbers))

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

    def _made_marker(self, schema: str | None) -> Table | None:
        numbers = ("rows_taken", "imported", "rejected", "reject_bytes")
        marker = Table(
            MARKER,
            MetaData(),
            Column("import_id", String(36), primary_key=True),
            Column("sha256", String(64), nullable=False),
            *(Column(name, BigInteger, nullable=False) for name in numbers),
            Column("updated_at", DateTime(), nullable=False),
            schema=schema,
        )
        for _ in range(2):  # another import may make it at the same moment
            try:
                with self._session.begin():
                    marker.create(self._session, checkfirst=True)
                return marker
            except (ProgrammingError, OperationalError, IntegrityError) as error:
                refusal = error
        if self._mode != "insert":
            return None
        raise Fail(
            f"{self._connection}: the user may not make the table {MARKER}, which keeps an import from writing rows twice "
            f"({reason(refusal)}). Let it create tables, or use upsert or skip with a unique key."
        ) from None


def _python(column: Column[Any]) -> type | None:
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


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
