"""Keeping history for its time: retention per queue, the deletion of single jobs, slices that go, and how much room it all takes.

Always true: what may go is decided in SQL; the statements that must stand outside a transaction are worded there and run here.
Called by: engine.history, engine.retention, cli (doctor).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from trunkline.store.pool import Store

BEGIN = "select made, keys, leaving from trunkline.begin_history($1, $2, $3)"
SWEEP = "select looked, deleted from trunkline.sweep($1, $2)"
LET_GO = "select statement, dropped from trunkline.let_go($1, $2)"
DROP = "select trunkline.drop_partition($1, $2)"
OWNS = "select pg_has_role(c.relowner, 'usage') from pg_class as c where c.oid = 'trunkline.job'::regclass"
SET_RETENTION = "select trunkline.set_retention($1, $2, $3::jsonb)"
RETENTION = """select t.name, q.name, q.keep_s[1], q.keep_s[2], q.keep_s[3] from trunkline.queue as q join trunkline.tenant as t using (tenant_id)
 where q.keep_s is not null and ($1::bigint is null or q.tenant_id = $1) order by t.name, q.name limit 1000"""
# Every table of ours, and every partition by itself with the slice that it is part of.
TABLES = """select coalesce(p.relname, c.relname)::text, case when p.oid is null then '' else ltrim(substr(c.relname, length(p.relname) + 1), '_p') end,
       pg_table_size(c.oid), pg_indexes_size(c.oid), coalesce(s.n_live_tup, 0), coalesce(s.n_dead_tup, 0), greatest(s.last_autovacuum, s.last_vacuum)
  from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
  left join pg_inherits as i on i.inhrelid = c.oid left join pg_class as p on p.oid = i.inhparent
  left join pg_stat_all_tables as s on s.relid = c.oid
 where n.nspname = $1 and c.relkind = 'r' order by 1, 2"""
SLICES = """select s.suffix, trunkline.id_time(s.low), trunkline.id_time(s.high), x.leaving_since from trunkline.slices() as s
  left join trunkline.slice as x on x.suffix = s.suffix"""
OLDEST_SNAPSHOT_S = """select max(extract(epoch from clock_timestamp() - coalesce(xact_start, backend_start)))::float8 from pg_stat_activity
 where backend_xmin is not null and pid <> pg_backend_pid() and datname = current_database()"""
LONGEST_S = "select max(k)::float8 from trunkline.queue as q cross join lateral unnest(q.keep_s) as k"
MAX_STEPS = 12  # of one slice: three tables, each may need a second statement


class Begun(NamedTuple):
    """What the minute's round found: partitions made, keys freed, slices to let go."""

    made: int
    keys: int
    leaving: Sequence[str]


class Swept(NamedTuple):
    """Ended jobs looked at, and deleted. `looked` 0: nothing more is due now."""

    looked: int
    deleted: int


class Kept(NamedTuple):
    """How long a queue keeps ended jobs, seconds; None: as long as the installation."""

    tenant: str
    queue: str
    completed: int | None
    failed: int | None
    cancelled: int | None


class TableSize(NamedTuple):
    """A table with all its partitions; sizes in bytes, counts as the statistics have them."""

    name: str
    partitions: int
    bytes: int
    index_bytes: int
    live: int
    dead: int
    vacuumed_at: datetime | None


class PieceSize(NamedTuple):
    """A table, or one slice of a partitioned one (`slice` then is its suffix); sizes in bytes, counts as the statistics have them."""

    name: str
    slice: str
    bytes: int
    index_bytes: int
    live: int
    dead: int
    vacuumed_at: datetime | None


class Slice(NamedTuple):
    """A slice of history by the time inside its jobs' ids."""

    suffix: str
    begins_at: datetime
    ends_at: datetime
    leaving_since: datetime | None


@dataclass(frozen=True, slots=True)
class Storage:
    """How much room an installation takes.

    Attributes:
        tables: largest first; slices_of: the same with every slice by itself.
        longest_s: the longest that any queue keeps history, if longer than the installation.
    """

    tables: tuple[TableSize, ...]
    slices_of: tuple[PieceSize, ...]
    slices: tuple[Slice, ...]
    retention: tuple[Kept, ...]
    longest_s: float | None
    oldest_snapshot_s: float | None


async def begin(store: Store, session_id: int, retention_s: float, partition_days: int) -> Begun | None:
    """The minute's round over history; None when somebody else does it."""
    row = await store.fetchrow(BEGIN, session_id, retention_s, partition_days)
    return None if row is None else Begun(*row)


async def sweep(store: Store, retention_s: float, most: int) -> Swept:
    """Delete single jobs that are past their time, among the next `most` ended ones."""
    rows = await store.fetch(SWEEP, retention_s, most)
    return Swept(*rows[0])


async def let_go(store: Store, suffix: str, retention_s: float) -> bool:
    """Drop a slice, step by step beside everybody's work; False when it is needed after all.

    The tables' owner detaches them concurrently. Anybody else has the function do it at once, under locks that wait half a second.

    Raises:
        TimedOut: somebody has used the tables for the whole command timeout; the next call goes on where this one stopped.
    """
    if not await store.fetchval(OWNS):
        return bool(await store.fetchval(DROP, suffix, retention_s))
    for _ in range(MAX_STEPS):
        rows = await store.fetch(LET_GO, suffix, retention_s)
        statement, dropped = rows[0]
        if statement is None:
            return bool(dropped)
        async with store.connection() as conn:
            await conn.execute(statement)
    return False


async def set_retention(store: Store, tenant_id: int, queue: str, keep_s: Mapping[str, int | None]) -> dict[str, int | None]:
    """Set the states named in `keep_s`; what counts for all three from now on."""
    row = await store.fetchval(SET_RETENTION, tenant_id, queue, json.dumps(dict(keep_s)))
    kept: dict[str, int | None] = json.loads(row)
    return kept


async def retention(store: Store, tenant_id: int | None = None) -> list[Kept]:
    """Queues with a retention of their own, of one tenant or of all; at most 1,000."""
    return [Kept(*row) for row in await store.fetch(RETENTION, tenant_id)]


async def storage(store: Store) -> Storage:
    """Sizes, dead rows, slices and retention. Reads the catalog, the statistics and small tables; no history."""
    pieces = [PieceSize(*row) for row in await store.fetch(TABLES, store.schema)]
    return Storage(
        tables=tuple(sorted(_whole(pieces), key=lambda each: (-each.bytes, each.name))),
        slices_of=tuple(pieces),
        slices=tuple(Slice(*row) for row in await store.fetch(SLICES)),
        retention=tuple(await retention(store)),
        longest_s=await store.fetchval(LONGEST_S),
        oldest_snapshot_s=await store.fetchval(OLDEST_SNAPSHOT_S),
    )


def _whole(pieces: Sequence[PieceSize]) -> Iterator[TableSize]:
    """A partitioned table is the sum of its partitions."""
    for name, group in groupby(pieces, key=lambda each: each.name):
        own = list(group)
        yield TableSize(
            name,
            sum(each.slice != "" for each in own),
            sum(each.bytes for each in own),
            sum(each.index_bytes for each in own),
            sum(each.live for each in own),
            sum(each.dead for each in own),
            max((each.vacuumed_at for each in own if each.vacuumed_at is not None), default=None),
        )
