"""Writes chunks of rows into a table of another server, each exactly once, whatever dies in between.

The other server cannot share a transaction with ours, so the truth about how far an import is stands beside its rows: a small table
`trunkline_import` there has one row per import, and each chunk moves it in the transaction that writes the rows. An attempt first
advances that row from the position it believes in; if another attempt was faster, nothing is advanced and nothing is written. So a
crash before the commit leaves neither rows nor position, one after it leaves both, and two attempts at once cannot write one chunk twice.
Where the user may not make that table, only `upsert` and `skip` (by key) are taken, which may repeat a chunk without harm.
Always true: a chunk's rows and its position are committed together.
Needs the extra `schema`; import this module only where a job runs. Blocking.
Called by: imports.run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, Column, DateTime, MetaData, String, Table, delete, insert, select, update
from sqlalchemy import Connection as Session

from trunkline.connections import Connection
from trunkline.errors import ConnectionFailed
from trunkline.jobtypes.imports.target import Mode, Refused, Target, Values, reason
from trunkline.model import Fail

MARKER = "trunkline_import"
MARKERS_KEPT = timedelta(days=60)


@dataclass(frozen=True, slots=True)
class Position:
    """How far an import is: rows of the file taken, those of them in the table, those refused, and bytes of the reject file."""

    rows: int = 0
    imported: int = 0
    rejected: int = 0
    reject_bytes: int = 0


# Which rows of the chunk to write, which are refused, and how many of the others it took in itself.
Prepare = Callable[[Session, Table, Sequence[Values]], tuple[list[int], list[Refused], int]]


class Landing(Target):
    """One attempt's way into the table. Use as a context: it holds one session."""

    def __init__(self, connection: Connection, table: str, schema: str | None, *, mode: Mode, key: Sequence[str]) -> None:
        super().__init__(connection, table, schema, mode=mode, key=key, purpose="import")
        with self._closed_on_error():
            self._marker = self._made_marker(schema)

    @property
    def is_marked(self) -> bool:
        """Whether the position stands beside the rows."""
        return self._marker is not None

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
        refusal = self._made(marker)
        if refusal is None:
            return marker
        if self._mode != "insert":
            return None
        raise Fail(
            f"{self._connection}: the user may not make the table {MARKER}, which keeps an import from writing rows twice "
            f"({reason(refusal)}). Let it create tables, or use upsert or skip with a unique key."
        ) from None


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
