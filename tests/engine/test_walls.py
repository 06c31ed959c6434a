"""Tenants in one worker: an id is unique within its tenant only, and a caller may choose one."""

from __future__ import annotations

import asyncio

from trunkline import Job
from trunkline.model.job import new_id


async def test_a_cancel_reaches_its_tenants_job_only(app):
    """Whoever knows another's job id and takes it for a job of their own stops nothing by it."""
    begun: dict[int, asyncio.Event] = {}
    may_end = asyncio.Event()

    @app.job("work", tenants="all", retry_limit=0)
    async def work(job: Job) -> str:
        begun[job.tenant_id].set()
        await may_end.wait()
        return "done"

    job_id, tenants = new_id(), ("victim", "other")
    for tenant in tenants:
        begun[await app.tenant_id(tenant)] = asyncio.Event()
        await app.enqueue("work", id=job_id, tenant=tenant)
    await app.start_worker(concurrency=5)
    await asyncio.wait_for(asyncio.gather(*(event.wait() for event in begun.values())), 30)
    await app.cancel(job_id, tenant="other")
    ended = await app.wait_ended(job_id, 30, tenant="other")
    may_end.set()

    assert "cancelled" == ended.state
    assert "done" == await app.wait(job_id, 30, tenant="victim")
