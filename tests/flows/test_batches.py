"""Batches and families of jobs whose workers die."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.queue import Queue
from tests.support.until import until
from trunkline import Trunkline, new_job

RECOVERY_S = 60.0  # promised are 10 s; the rest is for a busy machine


async def test_a_batch_whose_worker_is_killed_ends_whole_and_calls_back_once(app: Trunkline, children, journal, gate, trunkline_url):
    """kill -9 with parents running, children waiting and others done: everything runs, and the callbacks come once."""
    victim = await children.worker(trunkline_url, concurrency=30).is_up()
    parents = [new_job("gated", {"gate": str(gate)}) for _ in range(10)]
    tied = [new_job("noop", depends_on=[parents[n % 10].id, parents[(n + 3) % 10].id]) for n in range(100)]
    sent = await app.batches.send([*parents, *tied, *(("noop", {}) for _ in range(90))], on_success="effect", on_complete="effect")
    await journal.wait_for("started", 100, who=victim.name)
    await children.worker(trunkline_url, concurrency=30).is_up()
    victim.kill()
    await journal.wait_for("started", 10, attempt=2, within_s=RECOVERY_S)
    gate.touch()
    batch = await app.batches.wait(sent.id, timeout=RECOVERY_S)
    for job_id in (batch.success_job, batch.complete_job):
        await app.wait(job_id, timeout=RECOVERY_S)
    first = {fact.job: fact for fact in reversed(journal.of("started")) if fact.attempt}

    assert (200, 200) == (batch.total, batch.completed)
    assert 2 == await app.store.fetchval("select count(*) from trunkline.jobs where kind = 'effect'")
    assert {job.id for job in tied} <= set(first)


async def test_a_batch_that_lost_the_process_which_filled_it_can_be_ended(app: Trunkline, trunkline_url):
    """It stays open and visible until somebody cancels it."""
    batch = app.batches.open(on_complete="effect")
    await batch.__aenter__()
    await batch.add([("noop", {})] * 3)  # and here the process dies: nobody leaves the block
    (left,) = await app.batches.list(only_open=True)
    await app.batches.cancel(left.id)
    found = await app.batches.wait(left.id, timeout=30)

    assert ("open", "done", 3) == (left.state, found.state, found.cancelled)
    assert found.complete_job is not None


@pytest.mark.chaos
async def test_a_hundred_thousand_children_end_on_many_connections(queue: Queue, app: Trunkline):
    """Flushes of every size at once, with the duty folding beside them: done once, counted right."""
    async with app.batches.open(on_complete="calls") as batch:
        await batch.add(new_job("work") for _ in range(100_000))

    async def worker(n: int) -> None:
        while claimed := await queue.claim((50, 200, 1000)[n % 3]):
            await queue.complete(*claimed)

    async def duty(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await queue.tick()
            await asyncio.sleep(0.5)

    stop = asyncio.Event()
    ticking = asyncio.create_task(duty(stop))
    await asyncio.gather(*(worker(n) for n in range(8)))
    stop.set()
    await ticking
    await until(lambda: _is_done(app, batch.id), "the batch is done")
    found = await app.batches.get(batch.id)

    assert (100_000, 100_000) == (found.total, found.completed)
    assert 1 == await app.store.fetchval("select ready from trunkline.queues where name = 'calls'")


async def _is_done(app: Trunkline, batch_id) -> bool:
    return (await app.batches.get(batch_id)).is_done
