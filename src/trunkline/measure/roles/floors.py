"""The processes of the floors: the driver and a statement, nothing else."""

from __future__ import annotations

import asyncio
import io
import struct
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from trunkline.measure.child import Parent
from trunkline.measure.floors import CHANNEL, RAW_CLAIM
from trunkline.measure.roles.producers import FEED, line_of
from trunkline.measure.roles.workers import SAY_S
from trunkline.store import sessions
from trunkline.store import work as ours
from trunkline.store.copy import JOB_COLUMNS, READY_COLUMNS

FLUSH = 1000  # what the engine claims and acks at most
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's own
_HEADER, _END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


async def copy(parent: Parent, url: str, *, jobs: int, chunk: int) -> None:
    """COPY rows that were made before into `job` and `ready`, in transactions of `chunk` jobs, as our producer does."""
    tenant_id, queue_id, kind_id, ord_base = await line_of(url)
    now_us = int((datetime.now(UTC) - _EPOCH).total_seconds() * 1_000_000)
    chunks = []
    for start in range(0, jobs, chunk):
        ids = [uuid7() for _ in range(start, min(start + chunk, jobs))]
        job = b"".join(_job(tenant_id, job_id, now_us, queue_id, kind_id, n) for n, job_id in enumerate(ids, start))
        ready = b"".join(_ready(tenant_id, ord_base + n, job_id, queue_id) for n, job_id in enumerate(ids, start))
        chunks.append((_HEADER + job + _END, _HEADER + ready + _END))
    conn = await asyncpg.connect(url)
    parent.say("ready")
    await parent.expect("go")
    began = time.monotonic()
    for job_rows, ready_rows in chunks:
        async with conn.transaction():
            await _copy(conn, "job", JOB_COLUMNS, job_rows)
            await _copy(conn, "ready", READY_COLUMNS, ready_rows)
    parent.say("enqueued", seconds=time.monotonic() - began)
    await parent.expect("stop")
    await conn.close()
    parent.say("done")


async def _copy(conn: asyncpg.Connection, table: str, columns: tuple[str, ...], rows: bytes) -> None:
    await conn.copy_to_table(table, schema_name="trunkline", columns=columns, source=io.BytesIO(rows), format="binary")


def _job(tenant_id: int, job_id: UUID, now_us: int, queue_id: int, kind_id: int, n: int) -> bytes:
    payload = b'{"n":%d}' % n
    head = struct.pack(">hiqi16siqiiii", 6, 8, tenant_id, 16, job_id.bytes, 8, now_us, 4, queue_id, 4, kind_id)
    return head + struct.pack(">i", len(payload)) + payload


def _ready(tenant_id: int, ord_: int, job_id: UUID, queue_id: int) -> bytes:
    return struct.pack(">hiqiqi16siiiiihihih", 8, 8, tenant_id, 8, ord_, 16, job_id.bytes, 4, queue_id, 4, 0, 2, 0, 2, 0, 2, 0)


async def driver(parent: Parent, url: str) -> None:
    """The same SQL without Python's work per job: what a drain takes when only statements are passed on.

    The same claims and acks over the same wire, on two connections with one of each under way, as a worker has them; rows
    are asked for their fence and dropped. Only what Trunkline does per job in Python is missing, so the ratio to this says
    what that costs. (A loop inside the server delivers no job to anybody, and has both cores of a small host for itself.)
    """
    tenant_id, queue_id, _, _ = await line_of(url)
    claiming, acking = await asyncpg.connect(url), await asyncpg.connect(url)
    session_id = await claiming.fetchval(sessions.OPEN, "bench floor", 86_400.0)
    claimed: asyncio.Queue[list[Any]] = asyncio.Queue(maxsize=1)  # so one claim and one ack are under way

    async def claim() -> None:
        mark = 0
        while rows := await claiming.fetch(ours.CLAIM, tenant_id, queue_id, session_id, FLUSH, mark, [], []):
            mark = rows[-1]["ord"]
            await claimed.put(rows)
        await claimed.put([])

    parent.say("ready")
    await parent.expect("go")
    began, cpu_before, jobs = time.monotonic(), time.process_time(), 0
    task = asyncio.create_task(claim())
    while rows := await claimed.get():
        ids, attempts = [row["job_id"] for row in rows], [row["attempt"] for row in rows]
        await acking.fetch(ours.ACK_COMPLETED, tenant_id, ids, attempts, [None] * len(rows))
        jobs += len(rows)
    await task
    ended, cpu_s = time.monotonic(), time.process_time() - cpu_before
    parent.say("drained", seconds=ended - began, jobs=jobs, cpu_s=cpu_s)
    await parent.expect("stop")
    await claiming.close()
    await acking.close()
    parent.say("done")


async def work(parent: Parent, url: str) -> None:
    """Claim from the raw table until told to stop; an empty table is asked again after a millisecond."""
    conn = await asyncpg.connect(url)
    claim = await conn.prepare(RAW_CLAIM)
    parent.say("ready")
    await parent.expect("go")
    began = ended = said = time.monotonic()
    count = 0
    stop = asyncio.create_task(parent.expect("stop"))
    while not stop.done():
        if rows := await claim.fetch(FLUSH):
            count += len(rows)
            ended = time.monotonic()
        if ended - said > SAY_S or (not rows and said < ended):
            said = ended
            parent.say("seen", at=ended, handled=count, recorded=count)
        if not rows:
            await asyncio.wait([stop], timeout=0.001)
    await conn.close()
    parent.say("done", began=began, ended=ended, count=count)


async def answer(parent: Parent, url: str) -> None:
    """LISTEN; on each notification claim one job on the same idle connection and say when it was here."""
    conn = await asyncpg.connect(url)
    claim = await conn.prepare(RAW_CLAIM)
    told: asyncio.Queue[None] = asyncio.Queue()
    await conn.add_listener(CHANNEL, lambda *_: told.put_nowait(None))
    parent.say("ready")
    stop = asyncio.create_task(parent.expect("stop"))
    while not stop.done():
        waiting = asyncio.create_task(told.get())
        await asyncio.wait([stop, waiting], return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            break
        rows = await claim.fetch(1)
        at = time.monotonic_ns()
        for _, payload in rows:
            parent.say("began", n=int(payload), at=at)
    await conn.close()
    parent.say("done")


async def feed(parent: Parent, url: str, *, seconds: float, lead: int) -> None:
    """Fill the raw table by COPY for a while, never more than `lead` ahead of its worker."""
    conn = await asyncpg.connect(url)
    parent.say("ready")
    await parent.expect("go")
    jobs, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        if jobs + FEED - parent.handled > lead:
            await asyncio.sleep(0.001)
        else:
            rows = [(f'{{"n":{n}}}',) for n in range(jobs, jobs + FEED)]
            await conn.copy_records_to_table("job", schema_name="bench_floor", columns=("payload",), records=rows)
            jobs += FEED
    await conn.close()
    parent.say("done", jobs=jobs)
