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
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
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

SLICE = 200  # jobs put together at a time: half a millisecond, then the socket gets its turn
COPY_S = 0.1  # a caller whose iterator is slow holds up no COPY command for longer, so that none runs into its timeout
NOTED = 2000  # events of one statement
_BEFORE, _AFTER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VERSION_OCTET = itemgetter(6)
_DAY = timedelta(hours=24)
_LENGTH, _ORD = Struct(">i").pack, Struct(">q").pack
_JOB_HEAD, _JOB_BODY = Struct(">hiqi").pack, Struct(">iqiiii").pack
_READY_HEAD, _READY_TAIL = Struct(">hiqi").pack, Struct(">iiiiihihih").pack

_Line = tuple[str, str, int]  # queue, kind, priority


class SourceFailed(Exception):
    """The caller's iterator raised `error`: nobody may take it for something that the database said."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error


class _Place(NamedTuple):
    """What all jobs of one line share, as bytes."""

    job: bytes
    ready: bytes
    queue_id: int


def _nothing() -> None:
    """Nobody waits for it."""


async def _at_once() -> None:
    """Nothing is waited for."""


async def copy(
    store: Store,
    tenant_id: int,
    jobs: Iterable[NewJob],
    *,
    all_read: Callable[[], None] = _nothing,
    turn: Callable[[], Awaitable[None]] = _at_once,
) -> list[NewJob]:
    """Insert plain jobs in one transaction and answer them; faster than `enqueue.plain` from a few hundred on.

    Row-level security refuses COPY to roles that are under it: `can_copy` tells. A caller's id that is there already is a
    repeat, not an error; such jobs go in by calls of 1,000.

    Args:
        all_read: called when `jobs` has ended; what is left is to be written.
        turn: awaited before anything is committed, or counted together with what others commit; what it raises undoes the transaction.
    Raises:
        SourceFailed: with what `jobs` raised while it was read, whatever it was; the transaction is undone.
    """
    source, read = _Source(jobs), list[NewJob]()
    try:
        async with store.connection() as conn, conn.transaction():
            copying = _Copying(store, conn, tenant_id, source, read, turn)
            await copying.jobs()
            all_read()
            await copying.ready()
            await turn()
    except asyncpg.UniqueViolationError:  # of `job`: not all is read yet, and nobody is to read on before this has ended
        read += source.read()
        await turn()
        for start in range(0, len(read), 1000):
            await enqueue.jobs(store, tenant_id, read[start : start + 1000])
    except Exception:
        if source.raised is not None:  # it may have been lost together with the connection, and is more than that
            raise source.raised from None
        raise
    else:
        store.counts.enqueued(tenant_id, read)
    return read


class _Source:
    """What the caller gives, and what it raised instead."""

    def __init__(self, jobs: Iterable[NewJob]) -> None:
        self._jobs = iter(jobs)
        self.raised: SourceFailed | None = None

    def read(self, most: int | None = None) -> list[NewJob]:
        """The next ones, up to `most`.

        Raises:
            SourceFailed: with what the caller's iterator raised, now or before.
        """
        if self.raised is not None:
            raise self.raised
        try:
            return list(islice(self._jobs, most))
        except BaseException as error:  # noqa: BLE001 - it goes back to whose it is
            self.raised = SourceFailed(error)
            raise self.raised from None


async def can_copy(store: Store) -> bool:
    """Whether this role may COPY into the two tables."""
    return bool(await store.fetchval(CAN_COPY))


class _Copying:
    """One transaction: all rows of `job`, then all of `ready`."""

    def __init__(
        self,
        store: Store,
        conn: asyncpg.Connection,
        tenant_id: int,
        source: _Source,
        read: list[NewJob],
        turn: Callable[[], Awaitable[None]],
    ) -> None:
        """`read`: what was read from `source` is noted there."""
        self._store, self._conn, self._tenant_id = store, conn, tenant_id
        self._source, self._jobs, self._turn = source, read, turn
        self._places: dict[_Line, _Place] = {}
        self._ord = 0  # of the job before the next
        self._low = self._high = b""  # ids within them need no further look
        self._has_quota = False
        self._ready: list[bytes] = []
        self._slice: list[NewJob] = []  # read, and not written

    async def jobs(self) -> None:
        """Write the rows of `job`, reading `source` as they go out: one COPY, and another after each question in between."""
        self._read()
        while self._slice:
            await self._ask()
            await self._send("job", JOB_COLUMNS, self._stream())
            if self._source.raised is not None:
                raise self._source.raised

    async def ready(self) -> None:
        """Write the rows of `ready`, and tell who waits for them or watches."""
        if not self._places:
            return
        await self._send("ready", READY_COLUMNS, memoryview(b"".join((_BEFORE, *self._ready, _AFTER))))
        queue_ids = sorted({place.queue_id for place in self._places.values()})
        if await self._conn.fetchval(self._store.sql(END_COPY), self._tenant_id, queue_ids):  # somebody watches
            ids = [job.id for job in self._jobs]
            for start in range(0, len(ids), NOTED):
                await self._conn.fetch(self._store.sql(NOTE), self._tenant_id, ids[start : start + NOTED])

    def _read(self) -> None:
        self._slice = self._source.read(SLICE)
        self._jobs += self._slice

    async def _stream(self) -> AsyncIterator[bytes]:
        """Rows for one COPY. It ends before a slice that needs a question, and with what the caller's iterator raised."""
        until = time.monotonic() + COPY_S
        yield _BEFORE
        while True:
            yield self._rows(self._slice)
            await asyncio.sleep(0)  # the server waits for what is on its way
            try:
                self._read()
            except SourceFailed:  # raised when the COPY has ended
                self._slice = []
            if not self._slice or self._has_quota or time.monotonic() > until or self._new_lines() or not self._are_good():
                break
        yield _AFTER

    async def _ask(self) -> None:
        """What has to be known before the slice is written."""
        if lines := self._new_lines():
            await self._begin(sorted(lines))
        if self._has_quota:
            await self._turn()  # else it would not see what is about to be committed
            new, all_of_us = len(self._slice), len(self._jobs)
            await self._conn.fetch(self._store.sql(CHECK_QUOTA), self._tenant_id, new, all_of_us, all_of_us > new)
        if not self._are_good():
            await self._conn.fetch(self._store.sql(CHECK_IDS), [job.id for job in self._slice])

    def _new_lines(self) -> set[_Line]:
        return {(job.queue, job.kind, job.priority) for job in self._slice} - self._places.keys()

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

    def _are_good(self) -> bool:
        """Whether the slice's ids are version 7 and of the day around the database clock; else sql check_ids() says what is wrong."""
        ids = [job.id.bytes for job in self._slice]
        return self._low <= min(ids) and max(ids) < self._high and all(octet >> 4 == 7 for octet in set(map(_VERSION_OCTET, ids)))

    def _rows(self, jobs: list[NewJob]) -> bytes:
        """The rows of `job`; those of `ready` are kept."""
        places, length, ord_bytes, ord_before = self._places, _LENGTH, _ORD, self._ord
        head, ready_head, between = _JOB_HEAD(6, 8, self._tenant_id, 16), _READY_HEAD(8, 8, self._tenant_id, 8), _LENGTH(16)
        job_rows: list[bytes] = []
        ready_rows: list[bytes] = []
        for n, job in enumerate(jobs, 1):
            place = places[job[2], job[1], job[3]]  # queue, kind, priority
            job_id, payload = job[0].bytes, job[4].encode()
            job_rows += (head, job_id, place[0], length(len(payload)), payload)
            ready_rows += (ready_head, ord_bytes(ord_before + n), between, job_id, place[1])
        self._ord += len(jobs)
        self._ready.append(b"".join(ready_rows))
        return b"".join(job_rows)

    async def _send(self, table: str, columns: tuple[str, ...], rows: AsyncIterator[bytes] | memoryview) -> None:
        await self._conn.copy_to_table(table, source=rows, schema_name=self._store.schema, columns=columns, format="binary")


def _place(priority: int, queue_id: int, kind_id: int, now: datetime) -> _Place:
    now_us = (now - _EPOCH) // timedelta(microseconds=1)  # the database's clock, as in every other way in
    return _Place(_JOB_BODY(8, now_us, 4, queue_id, 4, kind_id), _READY_TAIL(4, queue_id, 4, 0, 2, priority, 2, 0, 2, 0), queue_id)


def _floor(at: datetime) -> bytes:
    """The first six bytes of the UUIDv7s of a moment."""
    return ((at - _UNIX_EPOCH) // timedelta(milliseconds=1)).to_bytes(6, "big")
