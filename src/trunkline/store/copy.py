"""Many plain jobs into `job` and `ready` by binary COPY: the one state change that is not a function call.

Always true: the rows are the ones `enqueue_plain` would write (a test compares them); queue, kind and place in line come from
sql begin_copy() in the same transaction. The rows are put together here because most of their bytes are the same: the
driver's own encoder took half of the time of a bulk enqueue.
Format: PostgreSQL documentation, COPY, "Binary Format": per row a field count, per field a length and big-endian bytes.
Called by: engine.producer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from struct import Struct
from typing import NamedTuple

import asyncpg

from trunkline.model import NewJob
from trunkline.store import enqueue
from trunkline.store.pool import Store

BEGIN_COPY = "select queue_ids, kind_ids, ord, clock_timestamp() from trunkline.begin_copy($1, $2, $3, $4, $5)"
WAKE = "select trunkline.wake($1)"
CHECK_IDS = "select trunkline.check_ids($1)"
CAN_COPY = """select has_table_privilege('trunkline.job'::regclass, 'insert') and has_table_privilege('trunkline.ready'::regclass, 'insert')
   and not row_security_active('trunkline.job'::regclass)"""
JOB_COLUMNS = ("tenant_id", "id", "created_at", "queue_id", "kind_id", "payload")
READY_COLUMNS = ("tenant_id", "ord", "job_id", "queue_id", "attempt", "priority", "failures", "traits")

CHUNK_ROWS = 500
_BEFORE, _AFTER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_LENGTH, _ORD = Struct(">i").pack, Struct(">q").pack
_JOB_HEAD, _JOB_BODY = Struct(">hiqi").pack, Struct(">iqiiii").pack
_READY_HEAD, _READY_TAIL = Struct(">hiqi").pack, Struct(">iiiiihihih").pack


class _Place(NamedTuple):
    """What all jobs of one (queue, kind, priority) share, as bytes."""

    job: bytes
    ready: bytes
    queue_id: int


async def copy(store: Store, tenant_id: int, jobs: Sequence[NewJob]) -> None:
    """Insert plain jobs in one transaction; faster than `enqueue.plain` from a few hundred on.

    Row-level security refuses COPY to roles that are under it: `can_copy` tells. A caller's id that is there already is a
    repeat, not an error; such a list goes in by calls of 1,000.
    """
    try:
        await _copy(store, tenant_id, jobs)
    except asyncpg.UniqueViolationError:
        for start in range(0, len(jobs), 1000):
            await enqueue.jobs(store, tenant_id, jobs[start : start + 1000])


async def _copy(store: Store, tenant_id: int, jobs: Sequence[NewJob]) -> None:
    lines = sorted({(job.queue, job.kind, job.priority) for job in jobs})
    queues, kinds, priorities = zip(*lines, strict=True)
    async with store.connection() as conn, conn.transaction():
        await conn.fetch(store.sql(CHECK_IDS), [min(job.id for job in jobs), max(job.id for job in jobs)])
        queue_ids, kind_ids, ord_base, now = await conn.fetchrow(store.sql(BEGIN_COPY), tenant_id, queues, kinds, priorities, len(jobs))
        places = {line: _place(line[2], q, k, now) for line, q, k in zip(lines, queue_ids, kind_ids, strict=True)}
        ids = [job.id.bytes for job in jobs]
        at = [places[job.queue, job.kind, job.priority] for job in jobs]
        await _send(conn, store, "job", JOB_COLUMNS, _job_parts(tenant_id, ids, at, jobs))
        await _send(conn, store, "ready", READY_COLUMNS, _ready_parts(tenant_id, ids, at, ord_base))
        await conn.fetch(store.sql(WAKE), sorted(set(queue_ids)))


async def can_copy(store: Store) -> bool:
    """Whether this role may COPY into the two tables."""
    return bool(await store.fetchval(CAN_COPY))


def _place(priority: int, queue_id: int, kind_id: int, now: datetime) -> _Place:
    now_us = (now - _EPOCH) // timedelta(microseconds=1)  # the database's clock, as in every other way in
    return _Place(_JOB_BODY(8, now_us, 4, queue_id, 4, kind_id), _READY_TAIL(4, queue_id, 4, 0, 2, priority, 2, 0, 2, 0), queue_id)


def _job_parts(tenant_id: int, ids: Sequence[bytes], at: Sequence[_Place], jobs: Sequence[NewJob]) -> Iterator[bytes]:
    head = _JOB_HEAD(6, 8, tenant_id, 16)
    for job_id, place, job in zip(ids, at, jobs, strict=True):
        payload = job.payload.encode()
        yield b"".join((head, job_id, place.job, _LENGTH(len(payload)), payload))


def _ready_parts(tenant_id: int, ids: Sequence[bytes], at: Sequence[_Place], ord_base: int) -> Iterator[bytes]:
    head, between = _READY_HEAD(8, 8, tenant_id, 8), _LENGTH(16)
    for n, (job_id, place) in enumerate(zip(ids, at, strict=True), 1):
        yield b"".join((head, _ORD(ord_base + n), between, job_id, place.ready))


async def _send(conn: asyncpg.Connection, store: Store, table: str, columns: tuple[str, ...], rows: Iterator[bytes]) -> None:
    await conn.copy_to_table(table, source=_chunks(rows), schema_name=store.schema, columns=columns, format="binary")


async def _chunks(rows: Iterator[bytes]) -> AsyncIterator[bytes]:
    """In pieces, so that the server writes rows while the next are put together."""
    yield _BEFORE
    while chunk := b"".join(islice(rows, CHUNK_ROWS)):
        yield chunk
    yield _AFTER
