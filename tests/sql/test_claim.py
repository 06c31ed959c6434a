"""Taking work: whose turn it is, how many, behind which mark, and for whom."""

from __future__ import annotations

import pytest

from trunkline.errors import SessionLost
from trunkline.model import Policy, new_job
from trunkline.store import operate, sessions, work


async def test_the_highest_priority_goes_first_then_the_place_in_line(queue):
    """Priorities are served within a queue; first in, first out within a priority."""
    low, high = await queue.put(priority=0), await queue.put(priority=9)
    middle, second_high = await queue.put(priority=5), await queue.put(priority=9)

    assert [high, second_high, middle, low] == [c.job_id for c in await queue.claim(10)]


async def test_jobs_of_one_flush_keep_their_order(queue):
    """Order in is order in line, through either way in."""
    plain = await queue.put_plain(50)
    full = [row[0] for row in await queue.put_jobs([new_job("work", user_id="u") for _ in range(50)])]

    assert plain + full == [c.job_id for c in await queue.claim(100)]


async def test_a_limit_is_kept_across_priorities(queue):
    """A claim for three takes three, the most urgent ones."""
    jobs = {priority: await queue.put(priority=priority) for priority in (1, 2, 3, 4, 5)}

    assert [jobs[5], jobs[4], jobs[3]] == [c.job_id for c in await queue.claim(3)]
    assert [jobs[2], jobs[1]] == [c.job_id for c in await queue.claim(3)]
    assert [] == await queue.claim(3)


async def test_a_claim_raises_the_attempt_and_leaves_the_failures(queue):
    """The attempt is the fence; failures count what the policy counts."""
    await queue.put()
    first = await queue.claim_one()
    await queue.settle(first, "released")
    second = await queue.claim_one()

    assert [(1, 0), (2, 0)] == [(c.attempt, c.failures) for c in (first, second)]


async def test_a_claim_hands_over_the_whole_body(queue):
    """A worker needs no second read."""
    job_id = await queue.put({"n": [1, "zwei"]}, user_id="ann", priority=7, timeout=9)
    claimed = await queue.claim_one()

    assert (job_id, '{"n":[1,"zwei"]}', "ann", 7, '{"timeout":9}') == (
        claimed.job_id,
        claimed.payload,
        claimed.user_id,
        claimed.priority,
        claimed.options,
    )


async def test_the_deadline_is_the_claim_plus_the_timeout_of_kind_or_job(queue):
    """A job's own timeout wins over its kind's."""
    await work.declare_kind(queue.store, queue.tenant_id, "work", Policy(timeout_s=100))
    of_kind, of_job = await queue.put(), await queue.put(timeout=7)
    await queue.claim(2)
    views = [await queue.view(job_id) for job_id in (of_kind, of_job)]

    assert [100.0, 7.0] == [(view.deadline - view.started_at).total_seconds() for view in views]


async def test_a_mark_hides_what_lies_before_it(queue):
    """A claimer starts behind the places it has passed."""
    first, second, third = await queue.put_plain(3)
    (claimed,) = await queue.claim(1)
    await queue.settle(claimed, "released")

    assert [second, third] == [c.job_id for c in await queue.claim(10, marks={0: claimed.ord})]
    assert [first] == [c.job_id for c in await queue.claim(10)]


async def test_the_floor_holds_for_priorities_without_a_mark(queue):
    """Marks are per priority; the floor stands for all others."""
    early_low, early_high = await queue.put(priority=0), await queue.put(priority=3)
    both = await queue.claim(2)
    for claimed in both:
        await queue.settle(claimed, "released")
    floor = max(claimed.ord for claimed in both)
    late_high = await queue.put(priority=3)

    assert [late_high] == [c.job_id for c in await queue.claim(10, floor=floor)]
    assert [early_high] == [c.job_id for c in await queue.claim(10, floor=floor, marks={3: 0})]
    assert [early_low] == [c.job_id for c in await queue.claim(10)]


async def test_a_paused_queue_gives_nothing_and_loses_nothing(queue):
    """Pausing leaves the jobs where they are."""
    job_id = await queue.put()
    await operate.pause_queue(queue.store, queue.tenant_id, "work", True)
    while_paused = await queue.claim(10)
    await operate.pause_queue(queue.store, queue.tenant_id, "work", False)

    assert [] == while_paused
    assert [job_id] == [c.job_id for c in await queue.claim(10)]


async def test_another_queue_and_another_tenant_are_not_touched(queue, store):
    """A claim names one queue of one tenant."""
    mine = await queue.put()
    await queue.put(queue="elsewhere")
    theirs = await type(queue).open(store, tenant="other")
    await theirs.put()

    assert [mine] == [c.job_id for c in await queue.claim(10)]
    assert [] == await work.claim(store, theirs.tenant_id, queue.queue_id, queue.session_id, limit=10, floor=0, marks={})
    assert 1 == len(await theirs.claim(10))


async def test_a_session_that_is_over_claims_nothing(queue, clock):
    """Its leases were offered to others, so it must start again."""
    await queue.put()
    short = await queue.session(ttl_s=5)
    await clock.forward(60)
    await queue.tick()

    with pytest.raises(SessionLost):
        await queue.claim(1, session_id=short)
    assert 1 == await queue.count("ready")


async def test_a_session_that_said_goodbye_claims_nothing(queue):
    """A closed session is over at once."""
    await sessions.close_session(queue.store, queue.session_id)

    with pytest.raises(SessionLost):
        await queue.claim(1)


async def test_a_session_that_never_was_claims_nothing(queue):
    """Every lease has an owner that somebody can declare dead."""
    with pytest.raises(SessionLost):
        await queue.claim(1, session_id=987654)


async def test_two_claimers_at_once_share_the_jobs(queue, sessions):
    """A row that another claimer holds is skipped, not waited for."""
    ids = await queue.put_plain(10)
    one, other = await sessions.connect(), await sessions.connect()
    claim = "select job_id from trunkline.claim($1, $2, $3, 5, 0, '{}', '{}')"
    async with one.transaction():
        first = [r[0] for r in await one.fetch(claim, queue.tenant_id, queue.queue_id, queue.session_id)]
        second = [r[0] for r in await other.fetch(claim, queue.tenant_id, queue.queue_id, queue.session_id)]

    assert (ids[:5], ids[5:]) == (first, second)


async def test_a_claim_that_is_rolled_back_changed_nothing(queue, sessions):
    """A claimer that dies before its commit leaves the job in line, its attempt unraised."""
    job_id = await queue.put()
    conn = await sessions.connect()
    transaction = conn.transaction()
    await transaction.start()
    await conn.fetch("select job_id from trunkline.claim($1, $2, $3, 1, 0, '{}', '{}')", queue.tenant_id, queue.queue_id, queue.session_id)
    await transaction.rollback()

    assert ["ready"] == await queue.homes(job_id)
    assert 1 == (await queue.claim_one()).attempt
