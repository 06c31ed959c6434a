"""Writes items into a table of another server by their id, and notes beside them how far the sync is.

As an import does (imports.landing): the place of a sync is a row of the small table `trunkline_sync` in the target's schema, moved in
the transaction that writes the items. It is kept from run to run. A crash before the commit leaves neither, one after it both; a
target that is restored from a backup has the place that belongs to its rows. Whoever begins takes the row over by its version: an
attempt that was taken for dead writes nothing any more, so it can put no older item over a newer one.
Needs the extra `schema`; import this module only where a job runs. Blocking, in one thread. Called by: crm.run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, DateTime, MetaData, String, Table, insert, literal, select, update

from trunkline.connections import Connection
from trunkline.jobtypes.crm.pages import Item, Place
from trunkline.jobtypes.imports import values
from trunkline.jobtypes.imports.target import Refused, Target, Values, reason
from trunkline.model import Fail

MARKER = "trunkline_sync"
COUNTS = ("seen", "written", "refused")


class Overtaken(Exception):
    """Somebody else goes on with this sync."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a sync is, and what its present job has done."""

    version: int
    place: Place | None
    seen: int = 0
    written: int = 0
    refused: int = 0


class SyncLanding(Target):
    """One attempt's way into the table. Use as a context: it holds one session."""

    def __init__(self, connection: Connection, table: str, schema: str | None, *, key: str) -> None:
        super().__init__(connection, table, schema, mode="upsert", key=[key], purpose="sync")
        with self._closed_on_error():
            self._marker = self._made_marker(schema)

    def begin(self, sync_id: str, digest: str, job_id: str, *, full: bool) -> Standing:
        """Take the sync over from whoever had it.

        Args:
            digest: of what is asked for; another one than last time begins anew, because rows of before lack what is new.
            full: begin anew, where the last one who began was another job.
        """
        marker = self._marker
        with self._session.begin():
            row = self._session.execute(select(marker).where(marker.c.sync_id == sync_id).with_for_update()).one_or_none()
            if row is None:
                new = {"sync_id": sync_id, "digest": digest, "job_id": job_id, "version": 1, **dict.fromkeys(COUNTS, 0)}
                self._session.execute(insert(marker).values(**new, updated_at=_now()))
                return Standing(1, None)
            is_same_job = row.job_id == job_id
            goes_on = row.digest == digest and (is_same_job or not full) and row.changed_at is not None and self._has_rows()
            place = Place(row.changed_at.replace(tzinfo=UTC), row.last_id) if goes_on else None
            counts = {name: row._mapping[name] if is_same_job else 0 for name in COUNTS}
            forgotten = {} if goes_on else {"changed_at": None, "last_id": None}
            taken = {"version": row.version + 1, "digest": digest, "job_id": job_id, **counts, **forgotten, "updated_at": _now()}
            self._session.execute(update(marker).where(marker.c.sync_id == sync_id).values(**taken))
        return Standing(row.version + 1, place, **counts)

    def land(
        self, sync_id: str, standing: Standing, rows: Sequence[Values], unfit: int, place: Place | None
    ) -> tuple[Standing, list[Refused]]:
        """Write items and move to `place` (None: stay), both or neither; how far it is then, and which rows the table refused.

        Args:
            unfit: items that were refused before.
        Raises:
            Overtaken: another attempt began.
        """
        marker, refused = self._marker, list[Refused]()
        with self._session.begin():
            mine = update(marker).where(marker.c.sync_id == sync_id, marker.c.version == standing.version)
            if self._session.execute(mine.values(updated_at=_now())).rowcount != 1:
                raise Overtaken
            written = self._write(list(enumerate(rows)), refused)
            then = replace(
                standing,
                place=place or standing.place,
                seen=standing.seen + len(rows) + unfit,
                written=standing.written + written,
                refused=standing.refused + unfit + len(refused),
            )
            moved = {} if place is None else {"changed_at": place.at.astimezone(UTC).replace(tzinfo=None), "last_id": place.id}
            counts = {name: getattr(then, name) for name in COUNTS}
            self._session.execute(update(marker).where(marker.c.sync_id == sync_id).values(**moved, **counts))
        return then, refused

    def row_of(self, item: Item, mapping: Mapping[str, values.Column]) -> tuple[Values, list[tuple[str, str]]]:
        """The item as {column: value}, and what is wrong as (field, reason). Times go into columns without a zone as UTC."""
        whole = {column.name: item.get(field) for field, column in mapping.items() if isinstance(self.table.c[column.name].type, JSON)}
        cells = {field: self._shaped(item.get(field), column.name) for field, column in mapping.items() if column.name not in whole}
        row, wrong = values.converted(cells, {field: mapping[field] for field in cells})
        row |= whole
        for name, value in row.items():
            if isinstance(value, datetime) and value.tzinfo is not None and not getattr(self.table.c[name].type, "timezone", False):
                row[name] = value.astimezone(UTC).replace(tzinfo=None)
        return row, wrong

    def _shaped(self, cell: Any, column: str) -> Any:
        """The portal writes days as times: their first ten characters are the day."""
        is_day = isinstance(cell, str) and len(cell) > 10 and cell[10] == "T"
        return cell[:10] if is_day and self._python_of(column) is date else cell

    def _python_of(self, column: str) -> type | None:
        try:
            return self.table.c[column].type.python_type
        except NotImplementedError:
            return None

    def _has_rows(self) -> bool:
        return self._session.execute(select(literal(1)).select_from(self.table).limit(1)).first() is not None

    def _made_marker(self, schema: str | None) -> Table:
        marker = Table(
            MARKER,
            MetaData(),
            Column("sync_id", String(64), primary_key=True),
            Column("digest", String(64), nullable=False),
            Column("job_id", String(36), nullable=False),
            Column("version", BigInteger, nullable=False),
            Column("changed_at", DateTime()),
            Column("last_id", BigInteger),
            *(Column(name, BigInteger, nullable=False) for name in COUNTS),
            Column("updated_at", DateTime(), nullable=False),
            schema=schema,
        )
        refusal = self._made(marker)
        if refusal is None:
            return marker
        raise Fail(
            f"{self._connection}: the user may not make the table {MARKER}, which notes how far a sync is ({reason(refusal)}). "
            "Let it create tables in that schema, or make the table once."
        )


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
