"""Idempotency keys (one job for ever, or for a window) and unique keys (one live job at a time)."""

from __future__ import annotations

import asyncio

import pytest

from trunkline.model import new_job
from trunkline.store import operate


async def to_the_start_of_a_slot(queue, clock, slot_s: int) -> None:
    """Move the clock to one second after a slot began, so that the test stays within it."""
    into_slot_s = float(await queue.store.fetchval("select extract(epoch from trunkline.now()) % $1::integer", slot_s))
    await clock.forward(slot_s - into_slot_s + 1)


# -- idempotency -------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [None, "completed", "failed", "cancelled"])
async def test_the_same_idempotency_key_is_the_same_job_whatever_its_state(queue, ending):
    """A client that sends again gets the id it had, even after the job ended."""
    first = await queue.put(idempotency_key="order-1")
    if ending:
        await queue.end(first, ending)

    assert [(first, False)] == await queue.put_jobs([new_job("work", {"other": "body"}, idempotency_key="order-1")])
    assert 1 == await queue.count("job")


async def test_an_idempotency_key_belongs_to_its_kind_and_tenant(queue, store):
    """The same word elsewhere is another key."""
    theirs = await type(queue).open(store, tenant="other")
    ids = {
        await queue.put(idempotency_key="k"),
        (await queue.put_jobs([new_job("other-kind", idempotency_key="k")]))[0][0],
        await theirs.put(idempotency_key="k"),
    }

    assert 3 == len(ids)


async def test_an_idempotency_key_can_be_used_again_when_its_window_is_over(queue, clock):
    """A window in seconds, by the database's clock."""
    first = await queue.put(idempotency_key="k", idempotency_window=60)
    await clock.forward(59)
    within = await queue.put(idempotency_key="k", idempotency_window=60)
    await clock.forward(2)
    after = await queue.put(idempotency_key="k", idempotency_window=60)

    assert first == within
    assert first != after
    assert after == await queue.put(idempotency_key="k")


async def test_one_key_many_times_in_one_flush_is_the_first_job(queue):
    """As if they had come one by one."""
    jobs = [new_job("work", n, idempotency_key="k") for n in range(4)]

    assert [(jobs[0].id, True)] + [(jobs[0].id, False)] * 3 == await queue.put_jobs(jobs)
    assert 1 == await queue.count("ready")


async def test_a_second_sender_of_a_key_waits_for_the_first_and_gets_its_job(queue, sessions):
    """While the first transaction is open nobody can know whether the job will exist."""
    one, other = await sessions.connect(), await sessions.connect()
    send = """select trunkline.enqueue('work', '{}', '{"idempotency_key": "k"}')"""
    transaction = one.transaction()
    await transaction.start()
    first = await one.fetchval(send)
    second = sessions.start(other.fetchval(send))
    await sessions.blocked(other)
    await transaction.commit()

    assert first == await second
    assert 1 == await queue.count("job")


async def test_a_second_sender_gets_a_job_of_its_own_when_the_first_rolls_back(queue, sessions):
    """A key taken by nobody is free."""
    one, other = await sessions.connect(), await sessions.connect()
    send = """select trunkline.enqueue('work', '{}', '{"idempotency_key": "k"}')"""
    transaction = one.transaction()
    await transaction.start()
    first = await one.fetchval(send)
    second = sessions.start(other.fetchval(send))
    await sessions.blocked(other)
    await transaction.rollback()

    assert first != await second
    assert [await second] == [row[0] for row in await queue.store.fetch("select id from trunkline.job")]


async def test_a_job_that_lost_its_unique_key_leaves_no_idempotency_key(queue):
    """Nothing was created, so there is nothing to repeat."""
    holder = await queue.put(unique_key="u")
    refused = await queue.put_jobs([new_job("work", unique_key="u", idempotency_key="i")])
    await queue.complete(await queue.claim_one())
    later = await queue.put_jobs([new_job("work", unique_key="u", idempotency_key="i")])

    assert [(holder, False)] == refused
    assert later[0][1]


async def test_a_repeat_in_the_same_flush_of_a_job_that_lost_its_unique_key_names_the_holder(queue):
    """An id that was never created is never answered."""
    holder = await queue.put(unique_key="u")
    answers = await queue.put_jobs([new_job("work", unique_key="u", idempotency_key="i"), new_job("work", idempotency_key="i")])

    assert [(holder, False)] * 2 == answers


# -- unique ---------------------------------------------------------------------------------


async def test_a_live_job_holds_its_unique_key(queue):
    """At most one live job per key, queued or running."""
    first = await queue.put(unique_key="u")
    while_queued = await queue.put_jobs([new_job("work", unique_key="u")])
    await queue.claim_one()
    while_active = await queue.put_jobs([new_job("work", unique_key="u")])

    assert [(first, False)] == while_queued == while_active


@pytest.mark.parametrize("ending", ["failed", "snoozed", "released", "lost", "no_handler", "retry_after", "timed_out"])
async def test_a_job_that_will_run_again_keeps_its_unique_key(queue, ending):
    """Waiting for a retry is living."""
    first = await queue.put(unique_key="u")
    await queue.settle(await queue.claim_one(), ending, delay_s=60)

    assert first == await queue.put(unique_key="u")


@pytest.mark.parametrize("ending", ["completed", "failed", "cancelled"])
async def test_every_terminal_ending_frees_the_unique_key(queue, ending):
    """The next job may come."""
    first = await queue.put(unique_key="u")
    await queue.end(first, ending)

    assert first != await queue.put(unique_key="u")


async def test_a_cancelled_attempt_and_a_cancelled_wait_free_the_unique_key(queue):
    """From the lease and from the deferred jobs as from the line."""
    running = await queue.put(unique_key="a")
    await queue.settle(await queue.claim_one(), "cancelled")
    waiting = await queue.put(unique_key="b", delay=100)
    await queue.cancel(waiting)

    assert running != await queue.put(unique_key="a")
    assert waiting != await queue.put(unique_key="b")


async def test_a_unique_key_belongs_to_its_queue(queue):
    """The same word in another queue is another key."""
    assert await queue.put(unique_key="u") != await queue.put(unique_key="u", queue="elsewhere")


async def test_a_time_slot_admits_one_job_whatever_becomes_of_it(queue, clock):
    """Once a minute means once a minute, also when the job was quick."""
    await to_the_start_of_a_slot(queue, clock, 60)
    first = await queue.put(unique_key="u", unique_for=60)
    await queue.complete(await queue.claim_one())
    same_slot = await queue.put(unique_key="u", unique_for=60)
    await clock.forward(60)
    next_slot = await queue.put(unique_key="u", unique_for=60)

    assert first == same_slot
    assert first != next_slot


async def test_replace_takes_the_place_of_a_job_that_has_not_started(queue):
    """The newest wish counts; the older job ends cancelled and says why."""
    old = await queue.put("old", unique_key="u", delay=100)
    ((new, created),) = await queue.put_jobs([new_job("work", "new", unique_key="u", unique_replace=True)])
    view = await queue.view(old)

    assert (True, "cancelled", "replaced by a newer job with its unique key") == (created, view.state, view.error["message"])
    assert new == await queue.put(unique_key="u")


async def test_replace_leaves_a_running_job_and_takes_its_key(queue):
    """What runs goes on; its end does not free the key of its successor."""
    old = await queue.put(unique_key="u")
    claimed = await queue.claim_one()
    new = await queue.put(unique_key="u", unique_replace=True)
    state = await queue.state(old)
    await queue.complete(claimed)

    assert ("active", "completed") == (state, await queue.state(old))
    assert new == await queue.put(unique_key="u")


async def test_of_several_replacements_in_one_flush_the_last_stays(queue):
    """As if they had come one by one."""
    jobs = [new_job("work", n, unique_key="u", unique_replace=True) for n in range(3)]

    assert [(jobs[2].id, False)] * 2 + [(jobs[2].id, True)] == await queue.put_jobs(jobs)
    assert 1 == await queue.count("ready")


async def test_replace_works_within_a_time_slot(queue, clock):
    """A debounce: one job a slot, with the newest body."""
    await to_the_start_of_a_slot(queue, clock, 3600)
    old = await queue.put("old", unique_key="u", unique_for=3600)
    new = await queue.put("new", unique_key="u", unique_for=3600, unique_replace=True)

    assert ("cancelled", "queued") == (await queue.state(old), await queue.state(new))


async def test_a_replacement_that_is_sent_again_does_not_replace_itself(queue):
    """An answer was lost: the job that was accepted must stay."""
    await queue.put(unique_key="u")
    job = new_job("work", unique_key="u", unique_replace=True)
    await queue.put_jobs([job])
    again = await queue.put_jobs([job])

    assert [(job.id, True)] == again
    assert "queued" == await queue.state(job.id)


async def test_a_replacement_that_is_sent_again_does_not_replace_its_successor(queue):
    """Later wishes stay later."""
    first, second = (new_job("work", n, unique_key="u", unique_replace=True) for n in range(2))
    await queue.put_jobs([first])
    await queue.put_jobs([second])
    await queue.put_jobs([first])

    assert ("cancelled", "queued") == (await queue.state(first.id), await queue.state(second.id))


async def test_a_key_is_not_taken_again_by_a_repeat_whose_job_has_ended(queue):
    """The key would never be freed."""
    job = new_job("work", unique_key="u")
    await queue.put_jobs([job])
    await queue.complete(await queue.claim_one())
    await queue.put_jobs([job])

    assert job.id != await queue.put(unique_key="u")


async def test_two_transactions_racing_for_a_unique_key_make_one_job(queue, sessions):
    """The second waits and is given the holder."""
    one, other = await sessions.connect(), await sessions.connect()
    send = """select trunkline.enqueue('work', '{}', '{"unique_key": "u"}')"""
    transaction = one.transaction()
    await transaction.start()
    first = await one.fetchval(send)
    second = sessions.start(other.fetchval(send))
    await sessions.blocked(other)
    await transaction.commit()

    assert first == await second
    assert 1 == await queue.count("ready")


async def test_many_senders_of_one_key_at_once_make_one_job(queue):
    """Whoever comes first, all are told the same."""
    answers = await asyncio.gather(*(queue.put_jobs([new_job("work", n, unique_key="u")]) for n in range(20)))

    assert 1 == len({answer[0][0] for answer in answers})
    assert 1 == sum(answer[0][1] for answer in answers)


async def test_an_enqueue_in_an_open_transaction_does_not_hold_up_the_ack_that_frees_its_key(queue, sessions):
    """An application's long transaction must not stop a worker's flush."""
    holder = await queue.put(unique_key="u")
    claimed = await queue.claim_one()
    conn = await sessions.connect()
    transaction = conn.transaction()
    await transaction.start()
    told = await conn.fetchval("""select trunkline.enqueue('work', '{}', '{"unique_key": "u"}')""")
    stale = await asyncio.wait_for(queue.complete(claimed), 10)
    await transaction.commit()

    assert (holder, set()) == (told, stale)
    assert "completed" == await queue.state(holder)


async def test_retry_by_hand_waits_for_nobody_who_holds_the_key(queue):
    """The key of an ended job may belong to another by now: it stays ended."""
    old = await queue.put(unique_key="u")
    await queue.end(old, "failed")
    new = await queue.put(unique_key="u")
    refused = await queue.retry(old)
    await queue.end(new, "completed")
    accepted = await queue.retry(old)

    assert (set(), {old}) == (refused, accepted)
    assert old == await queue.put(unique_key="u")


async def test_of_two_ended_jobs_with_one_key_only_one_goes_back(queue):
    """A redrive cannot bring a key two live jobs."""
    ids = []
    for _ in range(2):
        ids.append(await queue.put(unique_key="u"))
        await queue.end(ids[-1], "failed")

    assert 1 == len(await queue.retry(*ids))
    assert 1 == await operate.redrive(queue.store, queue.tenant_id, None, None, 10) + await queue.count("ready")
