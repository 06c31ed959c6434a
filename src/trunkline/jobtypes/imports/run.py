"""One attempt of an import: file to rows, rows to values, values to the table, what is wrong to the reject file.

Always true: rows are taken in the file's order in chunks; each chunk is in the table and in the reject file, or in neither; a later
attempt goes on behind the last chunk, whoever wrote it. The reject file is cut back to what belongs to committed chunks before
anything is added, under the lock of the import's own row, so it never has a row twice.
Blocking, in a thread of its own. Called by: bulk_import, lead_import.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from trunkline.connections import Connection
from trunkline.connections.failures import refused as translated
from trunkline.jobtypes.files import sha256_of
from trunkline.jobtypes.formats import CsvWriter, Sink
from trunkline.jobtypes.imports import values
from trunkline.jobtypes.imports.landing import Landing, Position, Prepare
from trunkline.jobtypes.imports.sources import Format, Row, Source, opened
from trunkline.jobtypes.imports.target import Mode, Refused
from trunkline.jobtypes.schema.bridge import Bridge
from trunkline.model import Fail

REJECTS = ("line", "column", "error", "row")
MOST_REJECT_BYTES = 1024**3
LONGEST_ROW = 5000  # characters of a refused row that are kept
Check = Callable[[dict[str, Any]], list[tuple[str, str]]]  # changes a row's values; what is wrong, by column


@dataclass(frozen=True, slots=True)
class Order:
    """What to import, from where to where."""

    import_id: str
    file: Path
    rejects: Path
    kind: Format
    connection: Connection
    table: str
    schema: str | None
    mapping: Mapping[str, str] | None
    required: Sequence[str]
    mode: Mode
    key: Sequence[str]
    chunk_rows: int
    max_rejects: int | None
    delimiter: str
    encoding: str
    sheet: str | None


@dataclass(slots=True)
class Work:
    """What a kind of import adds: `check` per row, `prepare` per chunk with a look at the table."""

    check: Check | None = None
    prepare: Prepare | None = None
    needs: Sequence[str] = field(default_factory=tuple)  # columns that must be mapped


def run(order: Order, work: Work, bridge: Bridge, kept: Any) -> Position:
    """Import everything that is not in yet.

    Args:
        kept: the checkpoint of the attempt before; counts only where the table holds no position.
    Raises:
        Fail: file, mapping, table or rights are wrong, or too many rows. ConnectionFailed: worth another attempt.
    """
    connection = order.connection
    try:
        with Landing(connection, order.table, order.schema, mode=order.mode, key=order.key) as landing:
            return _Attempt(order, work, bridge, landing).through(kept)
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        failure = translated(error, connection, "import into")
    raise failure  # outside of the handler, so that the driver's words do not travel along as its context


class _Attempt:
    def __init__(self, order: Order, work: Work, bridge: Bridge, landing: Landing) -> None:
        self._order, self._work, self._bridge, self._landing = order, work, bridge, landing

    def through(self, kept: Any) -> Position:
        order, landing = self._order, self._landing
        sha256 = sha256_of(order.file)
        before = Position(**kept["position"]) if isinstance(kept, dict) and kept.get("sha256") == sha256 else Position()
        at = landing.begin(order.import_id, sha256, before)
        with opened(order.file, order.kind, delimiter=order.delimiter, encoding=order.encoding, sheet=order.sheet) as source:
            return self._from(at, source, sha256)

    def _from(self, at: Position, source: Source, sha256: str) -> Position:
        order, landing = self._order, self._landing
        rows = islice(source.rows, at.rows, None)
        first = list(islice(rows, order.chunk_rows))
        mapping = self._mapping(source, first)
        for chunk in _chunks(first, rows, order.chunk_rows):
            self._bridge.check()
            at = self._land(at, chunk, mapping)
            if not landing.is_marked:
                self._bridge.keep({"sha256": sha256, "position": asdict(at)})
            self._tell(at, source)
        return at

    def _land(self, at: Position, chunk: list[Row], mapping: Mapping[str, values.Column]) -> Position:
        wrong: list[tuple[Row, str, str]] = []
        good: list[tuple[Row, dict[str, Any]]] = []
        for row in chunk:
            found, problems = ({}, [("", row.error)]) if row.error is not None else values.converted(row.values, mapping)
            if not problems and self._work.check is not None:
                problems = self._work.check(found)
            if problems:
                wrong += [(row, column, problem) for column, problem in problems[:5]]
            else:
                good.append((row, found))
        bad = len(chunk) - len(good)

        def reject(refused: list[Refused]) -> int:
            total = at.rejected + bad + len(refused)
            if self._order.max_rejects is not None and total > self._order.max_rejects:
                raise Fail(
                    f"{total:,} rows were refused, more than maxRejects ({self._order.max_rejects:,}). First: {_first(wrong, good, refused)}"
                )
            lines = [*wrong, *((good[n][0], "", reason) for n, reason in refused)]
            return self._write_down(at.reject_bytes, sorted(lines, key=lambda line: line[0].line))

        return self._landing.land(self._order.import_id, at, [found for _, found in good], len(chunk), self._work.prepare, reject)

    def _mapping(self, source: Source, first: list[Row]) -> dict[str, values.Column]:
        """Column of the file -> column of the table."""
        order, table = self._order, self._landing.columns()
        there = source.columns or sorted({name for row in first if row.error is None for name in row.values})
        asked = order.mapping
        if asked is None:
            by_name = {name.lower(): name for name in table}
            asked = {name: by_name[name.lower()] for name in there if name.lower() in by_name}
        if not asked:
            raise Fail(f"no column of the file ({', '.join(there[:20]) or 'none'}) is one of the table {order.table!r}. Give a mapping.")
        _check_mapping(asked, there if source.columns is not None else None, table, order)
        for name in order.required:
            table[name].is_required = True
        missing = [name for name, column in table.items() if column.is_required and name not in asked.values()]
        if missing := missing + [name for name in (*order.key, *self._work.needs) if name not in asked.values() and name not in missing]:
            raise Fail(f"the column {missing[0]!r} of the table needs a value, and no column of the file is mapped to it.")
        return {name: table[column] for name, column in asked.items()}

    def _write_down(self, size: int, lines: list[tuple[Row, str, str]]) -> int:
        """Cut the reject file back to `size`, add lines, and make it durable; its size then."""
        path = self._order.rejects
        if not lines and not size:
            path.unlink(missing_ok=True)
            return 0
        with path.open("r+b" if path.exists() else "x+b") as file:
            file.truncate(min(size, path.stat().st_size))
            file.seek(0, os.SEEK_END)
            sink = Sink(file, MOST_REJECT_BYTES)
            writer = CsvWriter(sink, REJECTS, header=file.tell() == 0)
            writer.write([(row.line, column, reason, _json(row.values)) for row, column, reason in lines])
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def _tell(self, at: Position, source: Source) -> None:
        """At most a few times a second reach the database; the reporter sees to that."""
        message = f"{at.imported:,} rows imported, {at.rejected:,} refused"
        self._bridge.report(round(5 + 90 * source.fraction(), 2), message, current=at.rows)


def _chunks(first: list[Row], rest: Iterator[Row], size: int) -> Iterator[list[Row]]:
    chunk = first
    while chunk:
        yield chunk
        chunk = list(islice(rest, size))


def _check_mapping(asked: Mapping[str, str], there: list[str] | None, table: Mapping[str, values.Column], order: Order) -> None:
    for source, column in asked.items():
        if there is not None and source not in there:
            raise Fail(f"the mapping names the column {source[:80]!r}, which the file does not have. It has: {', '.join(there[:20])}.")
        if column not in table:
            raise Fail(f"the mapping leads to the column {column[:80]!r}, which table {order.table!r} does not have or makes itself.")
    twice = [column for column in asked.values() if list(asked.values()).count(column) > 1]
    if twice:
        raise Fail(f"two columns of the file are mapped to {twice[0]!r}.")
    if strange := [name for name in order.required if name not in table]:
        raise Fail(f"required names the column {strange[0]!r}, which table {order.table!r} does not have.")


def _first(wrong: list[tuple[Row, str, str]], good: list[tuple[Row, dict[str, Any]]], refused: list[Refused]) -> str:
    row, column, reason = wrong[0] if wrong else (good[refused[0][0]][0], "", refused[0][1])
    return f"line {row.line}{f', {column}' if column else ''}: {reason}."


def _json(found: Mapping[str, Any]) -> str:
    return msgspec.json.encode(found, enc_hook=str).decode()[:LONGEST_ROW]
