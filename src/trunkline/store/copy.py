"""Many plain jobs into `job` and `ready` by binary COPY: the one state change that is not a function call.

Always true: the rows are the ones `enqueue_plain` would write (a test compares them); queue, kind and place in line come from
sql begin_copy() in the same transaction; all jobs of a call are one transaction. The rows are put together here because most of
their bytes are the same: the driver's own encoder took half of the time of a bulk enqueue. While the server writes one piece,
the next is taken from the caller and put together, so a caller's iterator runs beside the database.
Format: PostgreSQL documentation, COPY, "Binary Format": per row a field count, per field a length and big-endian bytes.
Called by: engine.producer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import itemgetter
from struct import Struct
from typing import NamedTuple

import asyncpg

from trunkline.model import NewJob
from trunkline.store import enqueue
from trunkline.store.pool import Store

BEGIN_COPY = "select queue_ids, kind_ids, ord, clock_timestamp(), has_quota from trunkline.begin_copy($1, $2, $3, $4)"
CHECK_QUOTA = "select trunkline.check_quota($1, $2, $3, $4)"
END_COPY = "select trunkline.end_copy($1, $2)"
NOTE = "select trunkline.note($1, 'queued', $2)"
CHECK_IDS = "select trunkline.check_ids($1)"
CAN_COPY = """select has_table_privilege('trunkline.job'::regclass, 'insert') and has_table_privilege('trunkline.ready'::regclass, 'insert')
   and not row_security_active('trunkline.job'::regclass)"""
JOB_COLUMNS = ("tenant_id", "id", "created_at", "queue_id", "kind_id", "payload")
READY_COLUMNS = ("tenant_id", "ord", "job_id", "queue_id", "attempt", "priority", "failures", "traits")

PIECE = 2000  # jobs of one COPY command: what fits into a socket's buffer, so that the server has it all while we go on
SLICE = 200  # jobs put together at a time: half a millisecond, then the socket gets its turn
_BEFORE, _AFTER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VERSION_OCTET = itemgetter(6)
_DAY = timedelta(hours=24)
_LENGTH, _ORD = Struct(">i").pack, Struct(">q").pack
_JOB_HEAD, _JOB_BODY = Struct(">hiqi").pack, Struct(">iqiiii").pack
_READY_HEAD, _READY_TAIL = Struct(">hiqi").pack, Struct(">iiiiihihih").pack

_Line = tuple[str, str, int]  # queue, kind, priority


class _Place(NamedTuple):
    """What all jobs of one line share, as bytes."""

    job: bytes
    ready: bytes
    queue_id: int


async def copy(store: Store, tenant_id: int, jobs: Iterable[NewJob]) -> list[NewJob]:
    """Insert plain jobs in one transaction and answer them; faster than `enqueue.plain` from a few hundred on.

    Row-level security refuses COPY to roles that are under it: `can_copy` tells. A caller's id that is there already is a
    repeat, not an error; such jobs go in by calls of 1,000. What `jobs` raises while it is read undoes the transaction.
    """
    source, taken = iter(jobs), list[NewJob]()
    try:
        async with store.connection() as conn, conn.transaction():
            await _Copying(store, conn, tenant_id).run(source, taken)
    except asyncpg.UniqueViolationError:
        taken += source
        for start in range(0, len(taken), 1000):
            await enqueue.jobs(store, tenant_id, taken[start : start + 1000])
    else:
        store.counts.enqueued(tenant_id, taken)
    return taken


async def can_copy(store: Store) -> bool:
    """Whether this role may COPY into the two tables."""
    return bool(await store.fetchval(CAN_COPY))


class _Copying:
    """One transaction: pieces in turn, one being written while the next is put together."""

    def __init__(self, store: Store, conn: asyncpg.Connection, tenant_id: int) -> None:
        self._store, self._conn, self._tenant_id = store, conn, tenant_id
        self._places: dict[_Line, _Place] = {}
        self._ord = 0  # of the job before the next
        self._low = self._high = b""  # ids within them need no further look
        self._has_quota = False
        self._writing: asyncio.Task[None] | None = None

    async def run(self, source: Iterator[NewJob], taken: list[NewJob]) -> None:
        """Write all of `source`, noting in `taken` what was read from it."""
        try:
            while rows := await self._read(source, taken):
                await self._written()
                self._writing = asyncio.create_task(self._write(rows))
            await self._written()
        except BaseException:
            if self._writing is not None:
                self._writing.cancel()
                with suppress(Exception, asyncio.CancelledError):
                    await self._writing
            raise
        if self._places:
            queue_ids = sorted({place.queue_id for place in self._places.values()})
            if await self._conn.fetchval(self._store.sql(END_COPY), self._tenant_id, queue_ids):  # somebody watches
                for start in range(0, len(taken), PIECE):
                    await self._conn.fetch(self._store.sql(NOTE), self._tenant_id, [job.id for job in taken[start : start + PIECE]])

    async def _read(self, source: Iterator[NewJob], taken: list[NewJob]) -> list[tuple[bytes, bytes]]:
        """The rows of one piece, in slices."""
        rows: list[tuple[bytes, bytes]] = []
        while len(rows) * SLICE < PIECE and (jobs := list(islice(source, SLICE))):
            taken += jobs
            if lines := {(job.queue, job.kind, job.priority) for job in jobs} - self._places.keys():
                await self._written()  # one statement at a time
                await self._begin(sorted(lines))
            if self._has_quota:
                await self._written()
                coming = len(rows) * SLICE + len(jobs)
                await self._conn.fetch(self._store.sql(CHECK_QUOTA), self._tenant_id, len(jobs), coming, len(taken) > len(jobs))
            ids = [job.id.bytes for job in jobs]
            if not self._are_good(ids):
                await self._written()
                await self._conn.fetch(self._store.sql(CHECK_IDS), [job.id for job in jobs])
            rows.append(self._rows(ids, jobs))
            await asyncio.sleep(0)  # the server waits for what is on its way
        return rows

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def _begin(self, lines: Sequence[_Line]) -> None:
        """Learn the places of lines; the first call gives the place in line to count from."""
        queues, kinds, priorities = zip(*lines, strict=True)
        queue_ids, kind_ids, ord_base, now, has_quota = await self._conn.fetchrow(
            self._store.sql(BEGIN_COPY), self._tenant_id, queues, kinds, priorities
        )
        self._has_quota = self._has_quota or has_quota
        self._ord = self._ord or ord_base
        self._low, self._high = _floor(now - _DAY), _floor(now + _DAY)
        for line, queue_id, kind_id in zip(lines, queue_ids, kind_ids, strict=True):
            self._places[line] = _place(line[2], queue_id, kind_id, now)

    def _are_good(self, ids: list[bytes]) -> bool:
        """Whether they are version 7 and of the day around the database clock; else sql check_ids() says what is wrong."""
        return self._low <= min(ids) and max(ids) < self._high and all(octet >> 4 == 7 for octet in set(map(_VERSION_OCTET, ids)))

    def _rows(self, ids: list[bytes], jobs: list[NewJob]) -> tuple[bytes, bytes]:
        """The rows of `job` and of `ready`."""
        places, length, ord_bytes, ord_before = self._places, _LENGTH, _ORD, self._ord
        head, ready_head, between = _JOB_HEAD(6, 8, self._tenant_id, 16), _READY_HEAD(8, 8, self._tenant_id, 8), _LENGTH(16)
        job_rows: list[bytes] = []
        ready_rows: list[bytes] = []
        for n, (job_id, job) in enumerate(zip(ids, jobs, strict=True), 1):
            place = places[job[2], job[1], job[3]]  # queue, kind, priority
            payload = job[4].encode()
            job_rows += (head, job_id, place[0], length(len(payload)), payload)
            ready_rows += (ready_head, ord_bytes(ord_before + n), between, job_id, place[1])
        self._ord += len(jobs)
        return b"".join(job_rows), b"".join(ready_rows)

    async def _write(self, rows: list[tuple[bytes, bytes]]) -> None:
        await self._send("job", JOB_COLUMNS, [row[0] for row in rows])
        await self._send("ready", READY_COLUMNS, [row[1] for row in rows])

    async def _send(self, table: str, columns: tuple[str, ...], parts: list[bytes]) -> None:
        await self._conn.copy_to_table(table, source=_framed(parts), schema_name=self._store.schema, columns=columns, format="binary")


def _place(priority: int, queue_id: int, kind_id: int, now: datetime) -> _Place:
    now_us = (now - _EPOCH) // timedelta(microseconds=1)  # the database's clock, as in every other way in
    return _Place(_JOB_BODY(8, now_us, 4, queue_id, 4, kind_id), _READY_TAIL(4, queue_id, 4, 0, 2, priority, 2, 0, 2, 0), queue_id)


def _floor(at: datetime) -> bytes:
    """The first six bytes of the UUIDv7s of a moment."""
    return ((at - _UNIX_EPOCH) // timedelta(milliseconds=1)).to_bytes(6, "big")


async def _framed(parts: list[bytes]) -> AsyncIterator[bytes]:
    yield _BEFORE
    for part in parts:
        yield part
    yield _AFTER
