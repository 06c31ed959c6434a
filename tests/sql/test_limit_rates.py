"""Rates: in every half-open window of length T at most ceil(r T) + burst starts, by the database's clock at the claim."""

from __future__ import annotations

import math
from datetime import timedelta
from random import Random

import pytest

from tests.support.limited import bound, ids, keyed, wrongs
from trunkline.model import new_job
from trunkline.store import limits


async def starts(store) -> list[float]:
    """When each job began, seconds, in order."""
    rows = await store.fetch("select extract(epoch from claimed_at)::float8 from trunkline.lease order by 1")
    return [row[0] for row in rows]


def busiest(at: list[float], window_s: float) -> int:
    """The most starts that any half-open window holds; it is enough to look at those that begin with a start."""
    return max(sum(begin <= moment < begin + window_s for moment in at) for begin in at)


@pytest.mark.parametrize(("rate", "burst", "step_s"), [(1.0, 0, 0.31), (4.0, 3, 0.1), (2.0, 1, 1.7), (10.0, 0, 0.033)])
async def test_no_window_holds_more_than_its_share(queue, clock, rate, burst, step_s):
    """The clock moves in odd steps; each tick brings those whose permit has come."""
    await bound(queue, rate=rate, burst=burst)
    await queue.put_jobs([new_job("work", n, limit_key="k") for n in range(40)])
    for _ in range(30):
        await queue.claim(5)
        await clock.forward(step_s)
        await queue.tick()
    at = await starts(queue.store)

    assert [] == await wrongs(queue.store)
    assert len(at) >= min(40, burst + 1 + int(rate * 30 * step_s * 0.5))
    for window_s in (0.05, 1 / rate, 0.99, 1.0, 2.5, 7.0):
        assert busiest(at, window_s) <= math.ceil(round(rate * window_s, 6)) + burst


async def test_a_job_over_its_rate_comes_when_its_permit_does(queue, clock):
    """It is given a time, keeps its place, and nobody asks in between."""
    await bound(queue, rate=1, per_s=10)
    jobs = await keyed(queue, 3)
    assert jobs[:1] == ids(await queue.claim(5))
    due_in_s = [await queue.due_in_s(job_id) for job_id in jobs[1:]]
    await clock.forward(9)
    await queue.tick()
    too_early = await queue.claim(5)
    await clock.forward(1.1)
    await queue.tick()

    assert [pytest.approx(10, abs=1), pytest.approx(20, abs=1)] == due_in_s
    assert [] == too_early
    assert jobs[1:2] == ids(await queue.claim(5))


async def test_a_worker_that_comes_late_may_not_make_up_for_it(queue, clock):
    """Ten seconds nobody claimed: the permits of that time are gone, but for the burst."""
    await bound(queue, rate=1, burst=1)
    await keyed(queue, 10)
    first = await queue.claim(10)
    await clock.forward(60)
    await queue.tick()
    second = await queue.claim(10)

    assert (2, 2) == (len(first), len(second))
    assert [] == await wrongs(queue.store)


async def test_a_long_line_gives_times_to_its_heads_only(queue):
    """The rest waits in the line, so that a later urgent job may still go ahead of it."""
    await bound(queue, rate=5)
    await queue.put_jobs([new_job("work", n, limit_key="k") for n in range(100)])
    await queue.claim(5)
    given = await queue.store.fetchval("select count(*) from trunkline.deferred where run_at is not null")

    assert 5 == given


async def test_rate_and_concurrency_both_hold(queue, clock):
    """Two at once, one a second."""
    await bound(queue, concurrency=2, rate=1)
    await keyed(queue, 10)
    held: list = []
    for _ in range(6):
        held += await queue.claim(10)
        await clock.forward(1.01)
        await queue.tick()
    assert 2 == len(held)
    await queue.complete(*held)
    came = await queue.claim(10)

    assert 1 == len(came)
    assert [] == await wrongs(queue.store)


async def test_a_blocked_key_starts_nothing_before_its_time(queue, clock):
    """A provider said to wait: everybody of the key does, others do not."""
    jobs = await keyed(queue, 3)
    other = await keyed(queue, 1, "other")
    await limits.block_key(queue.store, queue.tenant_id, "k", 60)
    assert other == ids(await queue.claim(10))
    await clock.forward(59)
    await queue.tick()
    assert [] == await queue.claim(10)
    await clock.forward(2)
    await queue.tick()

    assert jobs == ids(await queue.claim(10))
    assert [] == await wrongs(queue.store)


async def test_a_block_is_lifted_at_once(queue):
    """`unblock` gives back those who wait."""
    jobs = await keyed(queue, 3)
    await limits.block_key(queue.store, queue.tenant_id, "k", 3600)
    await queue.claim(10)
    await limits.block_key(queue.store, queue.tenant_id, "k", None)

    assert jobs == ids(await queue.claim(10))
    assert [] == await wrongs(queue.store)


async def test_a_job_blocks_its_key_with_its_report_and_counts_no_failure(queue, clock):
    """429 with Retry-After: the job itself and all others of its key."""
    jobs = await keyed(queue, 3)
    (held,) = await queue.claim(1)
    assert "deferred" == await queue.settle(held, "blocked", delay_s=30)
    assert [] == await queue.claim(10)
    await clock.forward(31)
    await queue.tick()
    again = await queue.claim(10)

    assert set(jobs) == set(ids(again))
    assert {0} == {job.failures for job in again}
    assert [] == await wrongs(queue.store)


async def test_a_shorter_block_does_not_open_what_a_longer_one_shut(queue):
    """Two workers are told different times: the later one counts."""
    await keyed(queue, 2)
    first, second = await queue.claim(2)
    await queue.settle(first, "blocked", delay_s=300)
    await queue.settle(second, "blocked", delay_s=3)
    (limit,) = await limits.limits(queue.store, queue.tenant_id)
    now = await queue.store.fetchval("select trunkline.now()")

    assert limit.blocked_until - now > timedelta(seconds=200)


async def test_many_keys_keep_their_rates_apart(queue, clock):
    """Seeded: 12 keys, each with its rate, claimed in odd amounts."""
    chance = Random(7)
    rates = {f"k{n}": chance.choice((0.5, 1.0, 3.0)) for n in range(12)}
    for key, rate in rates.items():
        await bound(queue, name=key, rate=rate)
    await queue.put_jobs([new_job("work", n, limit_key=f"k{n % 12}") for n in range(240)])
    for _ in range(25):
        await queue.claim(chance.randrange(1, 20))
        await clock.forward(chance.uniform(0.05, 0.9))
        await queue.tick()
    rows = await queue.store.fetch(
        """select j.options ->> 'limit_key', array_agg(extract(epoch from l.claimed_at)::float8 order by l.claimed_at)
             from trunkline.lease as l join trunkline.job as j on j.id = l.job_id group by 1"""
    )

    assert 12 == len(rows)
    assert [] == await wrongs(queue.store)
    for key, at in rows:
        for window_s in (0.3, 1.0, 4.0):
            assert busiest(at, window_s) <= math.ceil(round(rates[key] * window_s, 6)), key
