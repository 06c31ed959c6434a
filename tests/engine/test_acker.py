"""Reports that wait for somebody else's lock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.sessions import Sessions
from tests.support.until import until
from trunkline.engine.acker import Acker
from trunkline.engine.context import Job
from trunkline.engine.handlers import make_handler
from trunkline.engine.reporter import Reporter
from trunkline.errors import Unflushed
from trunkline.model import Policy
from trunkline.settings import Settings
from trunkline.store import Store


@pytest.fixture
async def hasty(trunkline_url: str) -> AsyncIterator[Store]:
    """A store that gives a statement up after half a second."""
    store = await Store.connect(Settings.load({}, database_url=trunkline_url, command_timeout_s=0.5))
    yield store
    await store.close()


async def test_a_report_that_was_set_aside_is_still_known_and_counted(hasty, queue, store, trunkline_url):
    """Until it is written its lease must not pass for one that nobody knows of, and a shutdown waits for it."""
    done: list[str] = []
    acker = Acker(hasty, lambda job, what, settled: done.append(what))
    handler = make_handler(lambda: None, "work", queue=None, policy=Policy())
    await queue.put_plain(3)
    jobs = [Job(each, queue.tenant_id, "work", handler, hasty, Reporter(hasty)) for each in await queue.claim(3)]
    sessions = Sessions(trunkline_url, store)
    holder = await sessions.connect()
    sessions.start(acker.run())
    try:
        async with holder.transaction():
            await holder.execute("select from trunkline.lease where job_id = $1 for update", jobs[1].id)
            for job in jobs[:2]:
                acker.completed(job, None)
            await until(lambda: done == ["completed"], "the free one is written")
            acker.completed(jobs[2], None)
            await until(lambda: len(done) == 2, "a later one is written")
            known, pending = acker.fences(), acker.pending
            with pytest.raises(Unflushed, match="1 report"):
                await acker.drain(0.1)
        await acker.drain(20)
    finally:
        await sessions.close()

    assert jobs[1].fence in known
    assert (1, 0) == (pending, acker.pending)
    assert set() == acker.fences()
    assert ["completed"] * 3 == done
    await asyncio.sleep(0)


async def test_completions_of_a_flush_are_told_together_and_what_was_lost_alone(store, queue, trunkline_url):
    """One report among them comes too late: somebody else has its job."""
    lost: list[Job] = []
    completed: list[list[Job]] = []
    acker = Acker(store, lambda job, what, settled: lost.append(job) if what == "lost" else None, completed.append)
    handler = make_handler(lambda: None, "work", queue=None, policy=Policy())
    await queue.put_plain(5)
    jobs = [Job(each, queue.tenant_id, "work", handler, store, Reporter(store)) for each in await queue.claim(5)]
    jobs[3].attempt += 1  # not the attempt that holds the lease
    for job in jobs:
        acker.completed(job, None)
    sessions = Sessions(trunkline_url, store)
    sessions.start(acker.run())
    try:
        await acker.drain(20)
    finally:
        await sessions.close()

    assert [jobs[3]] == lost
    assert [[*jobs[:3], jobs[4]]] == completed
