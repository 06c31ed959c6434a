"""Leases of claims whose answer never came: looked for when it is time, also by a worker with nothing else to do."""

from __future__ import annotations

import asyncio

from tests.support.until import until
from trunkline.store import work


async def test_an_idle_worker_wakes_to_look(app, queue, store):
    """Everything it serves sleeps, and nobody's signal will come."""
    app.job("other")(lambda: None)
    worker = await app.start_worker()
    fetcher = worker._fetcher
    await until(lambda: all(fetcher._sleeper.is_asleep(line) for line in fetcher._order), "it sleeps")
    job_id = await queue.put()
    await work.claim(store, queue.tenant_id, queue.queue_id, worker._heart.session_id, limit=1, floor=0, marks={})
    before = await queue.state(job_id)
    fetcher._strays_at = [fetcher._clock() + 0.3]
    fetcher.freed()
    await until(lambda: not fetcher._strays_at, "it looked")

    assert ("active", "queued") == (before, await queue.state(job_id))


async def test_a_look_that_is_due_waits_quietly_for_the_session_to_be_trusted_again(app):
    """It may not claim and not release meanwhile; turning round and round would only burn the processor."""
    app.job("work")(lambda: None)
    worker = await app.start_worker()
    worker._tasks[0].cancel()
    fetcher, worker._heart._renewed_at = worker._fetcher, float("-inf")
    fetcher._strays_at = [0.0]
    step = asyncio.create_task(fetcher._step())
    for _ in range(20):
        await asyncio.sleep(0)
    is_waiting = not step.done()
    fetcher.freed()
    await step

    assert is_waiting
    assert [0.0] == fetcher._strays_at
