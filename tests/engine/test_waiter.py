"""Waiting for jobs to end: for a result, for any end, by many, and when no signal comes."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from tests.support.proxy import Proxy
from tests.support.until import until
from trunkline import Fail, Trunkline
from trunkline.errors import BadId, JobCancelled, JobFailed, NotFound, WaitTimeout
from trunkline.settings import Settings


@pytest.fixture
async def working(app: Trunkline):
    """An application whose worker ends jobs as they ask for."""

    @app.job("work", retry_limit=0)
    async def work(end: str = "well", value: object = None) -> object:
        if end == "badly":
            raise Fail("no such address")
        if end == "never":
            await asyncio.Event().wait()
        return value

    await app.start_worker(concurrency=50)
    return app


async def test_wait_answers_the_result(working):
    """As soon as it is there."""
    assert {"a": [1]} == await working.wait(await working.enqueue("work", {"value": {"a": [1]}}), 30)


async def test_a_job_without_a_result_is_waited_for_too(working):
    """None is an answer."""
    assert None is await working.wait(await working.enqueue("work"), 30)


async def test_waiting_for_a_job_that_has_ended_answers_at_once(working):
    """Nobody listens then."""
    job_id = await working.enqueue("work", {"value": 5})
    first = await working.wait(job_id, 30)

    assert 5 == first == await working.wait(job_id, 0)


async def test_a_failure_is_raised_with_the_jobs_error(working):
    """Its message is what the handler said."""
    job_id = await working.enqueue("work", {"end": "badly"})

    with pytest.raises(JobFailed, match="failed after 1 attempt: no such address"):
        await working.wait(job_id, 30)


async def test_a_cancelled_job_is_raised_as_such(working):
    """With the reason that was given."""
    job_id = await working.enqueue("work", delay=3600)
    waiting = asyncio.create_task(working.wait(job_id, 30))
    await until(lambda: working._presence[2]._waiting, "somebody waits")
    await working.cancel(job_id, reason="changed my mind")

    with pytest.raises(JobCancelled, match="changed my mind"):
        await waiting


async def test_a_wait_that_is_over_says_where_the_job_stands(working):
    """The job goes on."""
    job_id = await working.enqueue("work", delay=3600)

    with pytest.raises(WaitTimeout, match=r"still scheduled after 0\.05 s"):
        await working.wait(job_id, 0.05)
    assert {} == working._presence[2]._waiting


async def test_many_waiters_share_one_read(working, queue):
    """A hundred jobs, two callers each; reads are for all of them together."""
    ids = [await working.enqueue("work", {"value": n}, delay=3600) for n in range(50)]
    waiting = [asyncio.create_task(working.wait(job_id, 60)) for job_id in ids for _ in range(2)]
    await until(lambda: len(working._presence[2]._waiting) == 50, "all wait")
    reads: list[int] = []
    fetch = working.store.fetch

    async def noted(text, *arguments, **how):
        if "from trunkline.outcome where" in text:
            reads.append(len(arguments[1]))
        return await fetch(text, *arguments, **how)

    working.store.fetch = noted
    await queue.store.fetch("select trunkline.cancel_queued($1, $2, 'over')", queue.tenant_id, ids)
    answers = await asyncio.gather(*waiting, return_exceptions=True)

    assert {JobCancelled} == {type(answer) for answer in answers}
    assert len(reads) <= 5


async def test_a_caller_that_gives_up_waiting_leaves_nothing_behind(working):
    """Nor does it disturb another who waits for the same job."""
    job_id = await working.enqueue("work", delay=3600)
    one, other = [asyncio.create_task(working.wait(job_id, 60)) for _ in range(2)]
    await until(lambda: working._presence[2]._waiting, "both wait")
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    await working.cancel(job_id)

    with pytest.raises(JobCancelled):
        await other
    assert {} == working._presence[2]._waiting


async def test_waits_end_when_every_signal_is_lost(trunkline_url, queue):
    """Signals wake, reads tell: losing them costs a second."""
    with Proxy(trunkline_url) as proxy:
        proxy.mute()
        async with Trunkline(settings=Settings.load({}, database_url=proxy.url)) as app:
            job_id = await app.enqueue("work")
            waiting = asyncio.create_task(app.wait_ended(job_id, 30))
            await until(lambda: app._presence and app._presence[2]._waiting, "it waits")
            await queue.complete(await queue.claim_one())

            assert "completed" == (await waiting).state


@pytest.mark.parametrize("call", ["wait", "get", "cancel", "retry", "wait_ended"])
async def test_a_job_of_another_tenant_is_not_found(working, call):
    """ "Not yours" reads the same as "no such job"."""
    theirs = await working.enqueue("work", tenant="other", delay=60)
    for unknown in (theirs, uuid4()):
        with pytest.raises(NotFound):
            await getattr(working, call)(unknown)


@pytest.mark.parametrize("call", ["wait", "get", "cancel", "retry"])
async def test_an_id_that_is_none_is_refused(app, call):
    """Before the database is asked."""
    with pytest.raises(BadId):
        await getattr(app, call)("nonsense")


async def test_a_waiter_follows_its_process_into_a_new_session(working, queue, store):
    """What a dead session watched, nobody is told of; the new one asks again."""
    job_id = await working.enqueue("work", delay=3600)
    waiting = asyncio.create_task(working.wait_ended(job_id, 30))
    heart = working._presence[1]
    await until(lambda: working._presence[2]._waiting, "it waits")
    old = heart.session_id
    await store.fetch("update trunkline.session set dead_at = now() where session_id = $1", old)
    heart.tick_soon()
    await until(lambda: heart.session_id != old, "a new session")
    await queue.cancel(job_id)

    assert "cancelled" == (await waiting).state
