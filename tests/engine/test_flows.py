"""`app.flows`, `job.parents`, `job.spawn`: jobs that follow each other, as a handler sees them."""

from __future__ import annotations

import random

import pytest

from trunkline import Fail, Job, Trunkline, new_job
from trunkline.errors import InvalidInput, JobCancelled, NotFound
from trunkline.model.family import after, in_batch, parents_first


def declare(app: Trunkline) -> list[str]:
    """Handlers that note their names as they run."""
    ran: list[str] = []

    @app.job("step", retry_limit=0)
    async def step(job: Job, name: str, fails: bool = False) -> dict:
        ran.append(name)
        if fails:
            raise Fail("no")
        return {"name": name, "after": sorted(parent.result["name"] for parent in (await job.parents()).values() if parent.result)}

    return ran


def step(name: str, **options):
    return new_job("step", {"name": name}, **options)


async def test_a_chain_fans_out_and_in_again(app):
    """Each step waits for all of the one before, and reads its results."""
    ran = declare(app)
    await app.start_worker(concurrency=10)
    steps = await app.flows.chain(step("a"), [step("b"), step("c"), step("d")], step("e"), step("f"))
    last = await app.wait(steps[-1][0], timeout=30)
    merged = await app.wait(steps[2][0])

    assert [1, 3, 1, 1] == [len(ids) for ids in steps]
    assert ("a", {"b", "c", "d"}, ["e", "f"]) == (ran[0], set(ran[1:4]), ran[4:])
    assert {"name": "e", "after": ["b", "c", "d"]} == merged
    assert {"name": "f", "after": ["e"]} == last


async def test_the_reason_of_a_job_that_fell_with_its_parent_is_told(app):
    """To those who wait for it, and to a child that runs anyway."""
    declare(app)
    seen = {}

    @app.job("cleanup")
    async def cleanup(job: Job) -> None:
        seen.update({parent: (its.kind, its.state, its.error["message"]) for parent, its in (await job.parents()).items()})

    await app.start_worker(concurrency=10)
    bad = new_job("step", {"name": "bad", "fails": True})
    ((bad_id,), (next_id, cleanup_id)) = await app.flows.chain(bad, [step("never"), new_job("cleanup", on_parent_failure="run")])
    with pytest.raises(JobCancelled, match=f"job {bad_id}, which it waited for, did not complete"):
        await app.wait(next_id, timeout=30)
    await app.wait(cleanup_id, timeout=30)

    assert {bad_id: ("step", "failed", "no")} == seen


async def test_a_flow_is_there_whole_or_not_at_all(app):
    """Unknown parents, circles and a transaction that is rolled back leave nothing."""
    a, b = step("a"), step("b")
    with pytest.raises(NotFound):
        await app.flows.chain(a, step("x", depends_on=[step("unknown").id]))
    with pytest.raises(InvalidInput, match=f"circle: .*{a.id}"):
        await app.flows.send([after(a, [b.id]), after(b, [a.id]), step("c")])
    with pytest.raises(InvalidInput, match="step 1 of the chain is empty"):
        await app.flows.chain(a, [], b)
    async with app.store.connection() as conn:
        transaction = conn.transaction()
        await transaction.start()
        await app.flows.chain(a, b, connection=conn)
        await transaction.rollback()

    assert 0 == await app.store.fetchval("select count(*) from trunkline.job")


async def test_many_jobs_go_in_parents_first_whatever_their_order(app):
    """A chain of 2,500, shuffled: more than one flush; answers come in the order asked."""
    jobs = [step("0")]
    for n in range(1, 2500):
        jobs.append(step(str(n), depends_on=[jobs[-1].id]))
    random.Random(1).shuffle(jobs)
    sent = await app.enqueue_many(jobs)

    assert [(job.id, True) for job in jobs] == sent
    assert [(1, 2499)] == [
        tuple(row)
        for row in await app.store.fetch("select (select count(*) from trunkline.ready), (select count(*) from trunkline.deferred)")
    ]


async def test_a_job_spawns_others_that_run_after_it(app):
    """In its batch, once, although its first attempt failed after spawning."""
    ran = declare(app)

    @app.job("split", retry_delay=0)
    async def split(job: Job) -> None:
        for n in range(3):
            await job.spawn("step", {"name": f"part {n}"})
        await job.spawn("step", {"name": "at once"}, key="first", after=False)
        if job.attempt == 1:
            raise RuntimeError("after the work")
        ran.append("split")

    await app.start_worker(concurrency=10)
    sent = await app.batches.send([("split", None)])
    batch = await app.batches.wait(sent.id, timeout=30)

    assert ["part 0", "part 1", "part 2"] == sorted(ran[ran.index("split") + 1 :])[-3:]
    assert sorted(["at once", "part 0", "part 1", "part 2", "split"]) == sorted(ran)
    assert (5, 5) == (batch.total, batch.completed)


async def test_a_spawned_job_and_the_end_of_its_parent_are_one_transaction(app):
    """Both commit, or neither."""
    ran = declare(app)

    @app.job("own", retry_delay=0)
    async def own(job: Job) -> None:
        async with app.store.connection() as conn, conn.transaction():
            await job.spawn("step", {"name": "child"}, connection=conn)
            await job.complete(connection=conn)

    await app.start_worker(concurrency=10)
    parent = await app.enqueue("own")
    await app.wait(parent, timeout=30)
    child = await app.store.fetchval("select id from trunkline.jobs where kind = 'step'")
    await app.wait(child, timeout=30)

    assert ["child"] == ran


def test_parents_come_first_and_the_others_stay_where_they_are():
    """A stable order."""
    a, b, c = step("a"), step("b"), step("c")
    late = after(a, [c.id])

    assert [0, 1, 2] == parents_first([a, b, c])
    assert [1, 2, 0] == parents_first([late, b, c])


def test_options_are_added_to_those_a_job_has():
    """And its own parents and keys are kept."""
    first, second = step("1"), step("2")
    job = after(step("x", depends_on=[first.id], unique_key="k", timeout=5), [second.id])

    assert f'"depends_on":["{first.id}","{second.id}"]' in (in_batch(job, first.id).options or "")
    assert '"timeout":5' in (job.options or "")
    with pytest.raises(InvalidInput, match="1000 is the most"):
        after(first, [step("p").id for _ in range(1001)])


async def test_what_is_no_job_is_named(trunkline_app):
    """Tuples, which batches take, have no ids to wait for."""
    for send in (trunkline_app.flows.chain(("first", {})), trunkline_app.flows.send([("first", {})])):
        with pytest.raises(InvalidInput, match=r"first.* is no job"):
            await send


async def test_a_child_that_ran_anyway_is_not_run_again_with_its_parent(app):
    """Retried by hand it waits for nobody, and sees its parent as it stands then."""
    saw: list[str] = []

    @app.job("parent", retry_limit=0)
    async def parent(job: Job) -> None:
        if job.attempt == 1:
            raise RuntimeError("at first")

    @app.job("child", retry_limit=0)
    async def child(job: Job) -> None:
        saw.extend(of.state for of in (await job.parents()).values())
        if job.attempt == 1:
            raise RuntimeError("at first")

    await app.start_worker(concurrency=10)
    first = await app.enqueue("parent")
    second = await app.enqueue("child", depends_on=[first], on_parent_failure="run")
    await app.wait_ended(second, 30)
    await app.pause("parent")
    await app.retry(first)
    await app.retry(second)
    await app.wait(second, 30)
    await app.resume("parent")
    await app.wait(first, 30)

    assert ["failed", "queued"] == saw
    assert (2, "completed") == ((ended := await app.get(second)).attempt, ended.state)
