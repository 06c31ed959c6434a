"""`app.batches`: sending, filling, waiting for, cancelling and looking at batches."""

from __future__ import annotations

import asyncio

import pytest

from trunkline import Fail, Job, NewJob, Trunkline, new_job
from trunkline.errors import InvalidInput, InvalidPayload, NotFound, WaitTimeout


def declare(app: Trunkline) -> list[dict]:
    """Handlers; what callbacks were told of their batches."""
    told: list[dict] = []

    @app.job("double")
    async def double(n: int) -> int:
        return 2 * n

    @app.job("odd-fails", retry_limit=0)
    async def odd_fails(n: int) -> None:
        if n % 2:
            raise Fail("odd")

    @app.job("told")
    async def tell(job: Job) -> None:
        assert job.batch is not None
        told.append(job.batch)

    return told


async def test_a_batch_is_sent_awaited_and_followed_by_its_callbacks(app):
    """`wait` returns as soon as the last job has ended; callbacks know the counts."""
    told = declare(app)
    await app.start_worker(concurrency=20)
    sent = await app.batches.send(
        [("double", {"n": n}) for n in range(50)], on_success=new_job("told", priority=9), on_complete="told", name="fifty"
    )
    batch = await app.batches.wait(sent.id, timeout=30)
    for job_id in (batch.success_job, batch.complete_job):
        await app.wait(job_id, timeout=30)

    assert ("fifty", 50, 50, 100.0, True) == (batch.name, batch.total, batch.completed, batch.progress, batch.is_done)
    assert {"success", "complete"} == {said["event"] for said in told}
    assert {(str(sent.id), 50, 50, 0)} == {(said["id"], said["total"], said["completed"], said["failed"]) for said in told}
    assert [0, 2, 4] == [await app.wait(job.id) for job in sent.jobs[:3]]


async def test_the_failed_are_listed_a_page_at_a_time(app):
    """And there was no success."""
    told = declare(app)
    await app.start_worker(concurrency=20)
    sent = await app.batches.send([("odd-fails", {"n": n}) for n in range(10)], on_success="told", on_complete="told")
    batch = await app.batches.wait(sent.id, timeout=30)
    await app.wait(batch.complete_job, timeout=30)
    first = await app.batches.failed(sent.id, limit=3)
    rest = await app.batches.failed(sent.id, limit=3, cursor=first.cursor)

    assert (5, 5, None) == (batch.completed, batch.failed, batch.success_job)
    assert ["complete"] == [said["event"] for said in told]
    assert [1, 3, 5, 7, 9] == [job.payload["n"] for page in (first, rest) for job in page.jobs]
    assert None is rest.cursor is not first.cursor


@pytest.mark.parametrize(
    ("bad", "error", "says"),
    [
        (("double", {"n": float("nan")}), InvalidPayload, "job 2 of the batch: "),
        (("double", {}, {"priority": 500}), InvalidInput, "job 2 of the batch: priority is 500"),
        ("double", InvalidInput, "job 2 of the batch is 'double'"),
        (new_job("double", batch_id=new_job("x").id), InvalidInput, "job 2 of the batch: .* leave batch_id out"),
        (new_job("double", depends_on=[new_job("x").id]), NotFound, "no such job"),
    ],
)
async def test_one_bad_job_and_nothing_is_written(app, bad, error, says):
    """The error says which."""
    with pytest.raises(error, match=says):
        await app.batches.send([("double", {"n": 1}), new_job("double"), bad, ("double", {"n": 2})])

    assert [] == await app.batches.list()
    assert 0 == await app.store.fetchval("select count(*) from trunkline.job")


@pytest.mark.parametrize("given", [{"unique_key": "k"}, {"idempotency_key": "k"}, {"depends_on": [new_job("x").id]}])
async def test_a_callback_has_no_key_and_no_parent(app, given):
    """It could be refused when nobody is there to be told."""
    with pytest.raises(InvalidInput, match="on_complete has"):
        await app.batches.send([], on_complete=new_job("told", **given))


async def test_ten_thousand_jobs_go_in_at_once_and_no_more(app):
    """In the order given, duplicates not counted; beyond, the open form."""
    held = await app.enqueue("double", {"n": -1}, idempotency_key="held")
    jobs: list[NewJob] = [new_job("double", {"n": n}) for n in range(9_999)]
    sent = await app.batches.send([*jobs, new_job("double", idempotency_key="held")])
    with pytest.raises(InvalidInput, match="10,001 jobs in one batch"):
        await app.batches.send([*jobs, *jobs[:2]])
    batch = await app.batches.get(sent.id)

    assert ([*(job.id for job in jobs), held], 9_999) == ([job.id for job in sent.jobs], sum(job.created for job in sent.jobs))
    assert ("running", 9_999, 0.0) == (batch.state, batch.total, batch.progress)
    assert [job.id for job in jobs] == [
        row[0] for row in await app.store.fetch("select job_id from trunkline.ready where traits & 2 <> 0 order by ord")
    ]


async def test_a_batch_in_the_callers_transaction_exists_if_and_only_if_it_commits(app):
    """Batch, jobs and seal alike."""
    async with app.store.connection() as conn:
        transaction = conn.transaction()
        await transaction.start()
        await app.batches.send([("double", {"n": 1})], connection=conn)
        await transaction.rollback()
        async with conn.transaction():
            sent = await app.batches.send([("double", {"n": 1})], on_complete="told", connection=conn)

    assert [sent.id] == [batch.id for batch in await app.batches.list()]
    assert 1 == (await app.batches.get(sent.id)).total


async def test_a_batch_is_filled_in_parts_and_sealed_at_the_end(app):
    """Its jobs run meanwhile; it is not done before."""
    declare(app)
    await app.start_worker(concurrency=20)
    async with app.batches.open(name="parts") as batch:
        (first,) = await batch.add([("double", {"n": 1})])
        await app.wait(first.id, timeout=30)
        between = await app.batches.get(batch.id)
        await batch.add(("double", {"n": n}) for n in range(1500))
    done = await app.batches.wait(batch.id, timeout=30)

    assert ("open", 1, 1) == (between.state, between.total, between.completed)
    assert ("done", 1501, 1501) == (done.state, done.total, done.completed)


async def test_a_block_that_fails_cancels_its_batch(app):
    """What was not started is cancelled, and the callback for every ending comes."""
    with pytest.raises(ZeroDivisionError):
        async with app.batches.open(on_complete="told") as batch:
            await batch.add([("double", {"n": 1})] * 3)
            raise ZeroDivisionError
    found = await app.batches.get(batch.id)

    assert ("done", 3, 3) == (found.state, found.total, found.cancelled)
    assert found.complete_job is not None


async def test_waiting_for_a_batch_can_be_given_up(app):
    """Says how far it is."""
    sent = await app.batches.send([("double", {"n": 1})] * 2)
    with pytest.raises(WaitTimeout, match=r"2 of 2 jobs left after 0\.1 s"):
        await app.batches.wait(sent.id, timeout=0.1)
    with pytest.raises(NotFound):
        await app.batches.wait(sent.jobs[0].id)


async def test_those_who_wait_hear_of_a_cancelled_batch(app):
    """A running child is told and ends; the rest never starts."""
    begun = asyncio.Event()

    @app.job("slow")
    async def slow() -> None:
        begun.set()
        await asyncio.sleep(60)

    await app.start_worker(concurrency=1)
    sent = await app.batches.send([("slow", {})] * 3)
    await asyncio.wait_for(begun.wait(), 30)
    waiting = asyncio.create_task(app.batches.wait(sent.id, timeout=30))
    cancelled, requested = await app.batches.cancel(sent.id)
    batch = await waiting

    assert 3 == cancelled + requested and requested >= 1
    assert ("done", 3, 0) == (batch.state, batch.cancelled, batch.remaining)
