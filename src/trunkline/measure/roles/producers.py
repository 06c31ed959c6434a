"""Producer processes of ours, through the public API."""

from __future__ import annotations

import asyncio
import time

import asyncpg
from uuid_utils.compat import uuid7

from trunkline import NewJob, new_job
from trunkline.measure.child import Parent
from trunkline.measure.floors import SINGLE
from trunkline.measure.roles.workers import KIND, application
from trunkline.store import sessions
from trunkline.store.copy import BEGIN_COPY

FEED = 1000  # jobs of one call while feeding


def made(first: int, after: int) -> list[NewJob]:
    """Jobs number `first` to `after` - 1."""
    return [new_job(KIND, {"n": n}) for n in range(first, after)]


async def enqueue(parent: Parent, url: str, *, jobs: int, made_before: bool) -> None:
    """Put many jobs in with one call. Unless `made_before`, they come from a generator: the time to make them counts.

    Their queue is there, as the floor's is: who makes it holds up whoever else would use it until that is committed.
    """
    await line_of(url)
    async with application(url) as app:
        await app.tenant_id(None)
        parent.say("ready")
        await parent.expect("go")
        batch = made(0, jobs) if made_before else []
        began, cpu_before = time.monotonic(), time.process_time()
        await app.enqueue_many(batch if made_before else (new_job(KIND, {"n": n}) for n in range(jobs)))
        ended, cpu_s = time.monotonic(), time.process_time() - cpu_before
        parent.say("enqueued", seconds=ended - began, cpu_s=cpu_s)
        await parent.expect("stop")  # until then the parent may look at our backends
    parent.say("done")


async def enqueue_single(parent: Parent, url: str, *, jobs: int, pairs: int) -> None:
    """Put jobs in one by one, ours and the floor's in turn, each on its own connection.

    Turns are single calls, not blocks: the time of a commit drifts within a second.
    """
    async with application(url) as app:
        store, tenant_id = app.store, await app.tenant_id(None)
        queue_ids, kind_ids, ord_base, *_ = (await store.fetch(BEGIN_COPY, tenant_id, [KIND], [KIND], [0]))[0]
        conn = await asyncpg.connect(url)
        floor = await conn.prepare(SINGLE)
        parent.say("ready")
        await parent.expect("go")
        ours_s, floor_s = [0.0] * pairs, [0.0] * pairs

        async def ours(n: int) -> None:
            began = time.perf_counter()
            await app.enqueue(KIND, {"n": n})
            ours_s[n * pairs // jobs] += time.perf_counter() - began

        async def raw(n: int) -> None:
            job_id = uuid7()
            began = time.perf_counter()
            await floor.fetch(tenant_id, job_id, queue_ids[0], kind_ids[0], f'{{"n":{n}}}', ord_base + n)
            floor_s[n * pairs // jobs] += time.perf_counter() - began

        for n in range(jobs):
            for turn in (ours, raw) if n % 2 == 0 else (raw, ours):
                await turn(n)
        await conn.close()
    parent.say("done", ours_s=ours_s, floor_s=floor_s)


async def feed(parent: Parent, url: str, *, seconds: float, lead: int) -> None:
    """Put jobs in for a while, never more than `lead` ahead of the worker."""
    async with application(url) as app:
        await app.tenant_id(None)
        parent.say("ready")
        await parent.expect("go")
        jobs, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            if jobs + FEED - parent.handled > lead:
                await asyncio.sleep(0.001)
            else:
                await app.enqueue_many(made(jobs, jobs + FEED))
                jobs += FEED
    parent.say("done", jobs=jobs)


async def line_of(app_url: str) -> tuple[int, int, int, int]:
    """(tenant, queue, kind, place in line) of the bench's own line, made if needed."""
    async with application(app_url) as app:
        tenant_id = await sessions.tenant_id(app.store, app.settings.tenant)
        queue_ids, kind_ids, ord_base, *_ = (await app.store.fetch(BEGIN_COPY, tenant_id, [KIND], [KIND], [0]))[0]
        return tenant_id, queue_ids[0], kind_ids[0], ord_base
