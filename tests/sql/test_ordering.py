"""Strict order: jobs of one ordering key run in the order they were put in, one at a time, and one that failed stops those behind it."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.limited import ids, ordered, wrongs
from trunkline.model import new_job
from trunkline.store import limits, operate


async def finish(queue, claimed) -> None:
    """Complete one."""
    assert set() == await queue.complete(claimed)


async def test_one_at_a_time_in_order(queue):
    """Whatever is claimed at once."""
    jobs = await ordered(queue, 5)
    order = []
    while claimed := await queue.claim(10):
        assert 1 == len(claimed)
        order += ids(claimed)
        await finish(queue, claimed[0])

    assert jobs == order
    assert 0 == await queue.count("ordering")
    assert [] == await wrongs(queue.store)


async def test_keys_and_queues_do_not_wait_for_each_other(queue):
    """The same key in another queue is another key."""
    a, b = (await ordered(queue, 2, "a"))[0], (await ordered(queue, 2, "b"))[0]
    other = await type(queue).open(queue.store, kind="other")
    c = (await ordered(other, 2, "a"))[0]

    assert {a, b} == set(ids(await queue.claim(10)))
    assert [c] == ids(await other.claim(10))


async def test_order_beats_priority_within_a_key(queue):
    """An urgent job behind another of its key waits for it."""
    first = await queue.put(ordering_key="o")
    urgent = await queue.put(ordering_key="o", priority=100)
    (claimed,) = await queue.claim(10)
    assert first == claimed.job_id
    await finish(queue, claimed)

    assert [urgent] == ids(await queue.claim(10))


@pytest.mark.parametrize("ending", ["failed", "snoozed", "retry_after", "lost", "released", "no_handler"])
async def test_a_job_that_will_run_again_stops_those_behind_it(queue, clock, ending):
    """Nobody passes it, however long it waits."""
    jobs = await ordered(queue, 3)
    (held,) = await queue.claim(10)
    await queue.settle(held, ending, delay_s=50)
    seen = ids(await queue.claim(10))
    if not seen:
        await clock.forward(60)
        await queue.tick()
        seen = ids(await queue.claim(10))

    assert jobs[:1] == seen
    assert [] == await wrongs(queue.store)


async def test_a_job_that_ended_failed_stops_those_behind_it_until_it_is_retried(queue):
    """A retry by hand runs it first, then the others."""
    jobs = await ordered(queue, 2)
    await queue.settle(await queue.claim_one(), "fatal")
    assert [] == await queue.claim(10)
    await queue.retry(jobs[0])
    (again,) = await queue.claim(10)
    await finish(queue, again)

    assert jobs == [again.job_id, *ids(await queue.claim(10))]
    assert [] == await wrongs(queue.store)


async def test_a_failed_job_can_be_skipped(queue):
    """The next one comes at once; skipping anything else is refused."""
    jobs = await ordered(queue, 3)
    held = await queue.claim_one()
    assert not await limits.skip_ordered(queue.store, queue.tenant_id, jobs[0])
    await queue.settle(held, "fatal")
    await queue.claim(10)
    assert await limits.skip_ordered(queue.store, queue.tenant_id, jobs[0])
    assert not await limits.skip_ordered(queue.store, queue.tenant_id, jobs[0])

    assert jobs[1:2] == ids(await queue.claim(10))


async def test_a_failed_job_that_was_skipped_and_is_retried_goes_to_the_end(queue):
    """Its place was given up."""
    jobs = await ordered(queue, 3)
    await queue.settle(await queue.claim_one(), "fatal")
    await limits.skip_ordered(queue.store, queue.tenant_id, jobs[0])
    await queue.retry(jobs[0])
    order = []
    while claimed := await queue.claim(10):
        order += ids(claimed)
        await finish(queue, claimed[0])

    assert [jobs[1], jobs[2], jobs[0]] == order


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_cancelling_any_of_them_lets_the_others_go_on(queue, which):
    """The head, one in the middle, the last; before and after a claim has looked."""
    jobs = await ordered(queue, 3)
    held = await queue.claim_one()
    await queue.claim(10)
    if which == 0:
        await queue.cancel(jobs[0])
        await queue.settle(held, "cancelled")
    else:
        await queue.cancel(jobs[which])
        await finish(queue, held)
    left = [job_id for n, job_id in enumerate(jobs) if n not in (0, which)]
    order = []
    while claimed := await queue.claim(10):
        order += ids(claimed)
        await finish(queue, claimed[0])

    assert left == order
    assert [] == await wrongs(queue.store)


async def test_a_head_that_is_for_later_stops_those_behind_it(queue, clock):
    """Also when it comes into the middle."""
    first = await queue.put(ordering_key="o")
    later = await queue.put(ordering_key="o", delay=100)
    last = await queue.put(ordering_key="o")
    await finish(queue, await queue.claim_one())
    assert [] == await queue.claim(10)
    await clock.forward(101)
    await queue.tick()
    (held,) = await queue.claim(10)
    await finish(queue, held)

    assert [later, last] == [held.job_id, *ids(await queue.claim(10))]
    assert first != later


async def test_a_place_that_is_committed_late_never_runs_beside_another(queue, sessions):
    """Its enqueue overlapped the other's, so either may come first; but one at a time, whatever the places say."""
    conn = await sessions.connect()
    transaction = conn.transaction()
    await transaction.start()
    early = await conn.fetchval("select trunkline.enqueue('work', '{}', '{\"ordering_key\": \"o\"}')")
    other = await type(queue).open(queue.store)
    assert other.queue_id == queue.queue_id
    waiting = sessions.start(queue.put(ordering_key="o"))
    await asyncio.sleep(0)
    await transaction.commit()
    late = await waiting
    first = await queue.claim(10)
    assert 1 == len(first)
    await finish(queue, first[0])

    assert {early, late} == {*ids(first), *ids(await queue.claim(10))}


async def test_a_smaller_place_that_appears_while_another_runs_waits_for_it(queue, sessions):
    """The queue is marked already, so the second enqueue does not wait for the first one's transaction."""
    await finish_all(queue, await ordered(queue, 1, "before"))
    conn = await sessions.connect()
    transaction = conn.transaction()
    await transaction.start()
    early = await conn.fetchval("select trunkline.enqueue('work', '{}', '{\"ordering_key\": \"o\"}')")
    (late,) = await ordered(queue, 1)
    (held,) = await queue.claim(10)
    await transaction.commit()
    while_running = await queue.claim(10)
    await finish(queue, held)

    assert late == held.job_id
    assert [] == while_running
    assert [early] == ids(await queue.claim(10))


async def finish_all(queue, jobs) -> None:
    """Run them to their ends."""
    for _ in jobs:
        await finish(queue, await queue.claim_one())


async def test_a_claim_that_is_rolled_back_keeps_the_order(queue, sessions):
    """The head goes back with it."""
    jobs = await ordered(queue, 2)
    conn = await sessions.connect()
    transaction = conn.transaction()
    await transaction.start()
    await conn.fetch("select * from trunkline.claim($1, $2, $3, 5, 0, '{}', '{}')", queue.tenant_id, queue.queue_id, queue.session_id)
    await transaction.rollback()

    assert jobs[:1] == ids(await queue.claim(10))


async def test_jobs_of_one_flush_keep_the_order_of_the_flush(queue):
    """Not that of their ids."""
    made = [new_job("work", n, ordering_key="o") for n in range(20)]
    made.sort(key=lambda job: job.id.int, reverse=True)
    await queue.put_jobs(made)
    order = []
    while claimed := await queue.claim(50):
        order += ids(claimed)
        await finish(queue, claimed[0])

    assert [job.id for job in made] == order


async def test_a_place_behind_a_clock_that_was_set_back_is_still_behind(queue):
    """Places follow those that are there, not the clock alone."""
    (first,) = await ordered(queue, 1)
    await queue.store.fetch("update trunkline.ordering set ord = ord + 3600 * 1000000::bigint * 4096")
    second, third = await ordered(queue, 2)
    order = []
    while claimed := await queue.claim(10):
        order += ids(claimed)
        await finish(queue, claimed[0])

    assert [first, second, third] == order


async def test_a_redrive_of_several_failed_jobs_keeps_their_order(queue):
    """Places are kept while jobs are dead letters."""
    jobs = await ordered(queue, 3)
    await queue.settle(await queue.claim_one(), "fatal")
    await operate.redrive(queue.store, queue.tenant_id, None, "work", 100)
    order = []
    while claimed := await queue.claim(10):
        order += ids(claimed)
        await finish(queue, claimed[0])

    assert jobs == order
    assert [] == await wrongs(queue.store)
