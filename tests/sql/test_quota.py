"""Quotas: what a tenant may have queued and how fast it may enqueue, by every way in."""

from __future__ import annotations

import pytest

from trunkline.errors import QuotaExceeded
from trunkline.model import new_job
from trunkline.store import copy, enqueue, limits


async def by_one(queue, count):
    """One call each."""
    for n in range(count):
        await enqueue.one(queue.store, queue.tenant_id, new_job("work", n))


async def by_plain(queue, count):
    """One call for all."""
    await enqueue.plain(queue.store, queue.tenant_id, [new_job("work", n) for n in range(count)])


async def by_jobs(queue, count):
    """The full path."""
    await enqueue.jobs(queue.store, queue.tenant_id, [new_job("work", n, user_id="u") for n in range(count)])


async def by_copy(queue, count):
    """COPY."""
    await copy.copy(queue.store, queue.tenant_id, [new_job("work", n) for n in range(count)])


WAYS = [by_one, by_plain, by_jobs, by_copy]


async def bounded(queue, **bounds):
    """Give the tenant a quota."""
    await limits.set_quota(queue.store, queue.tenant_id, **{"queued": None, "rate": None, "per_s": 1.0, "burst": 0, **bounds})


@pytest.mark.parametrize("way", WAYS)
async def test_a_full_tenant_is_refused_and_nothing_is_written(queue, way):
    """Until some of its jobs have started."""
    await bounded(queue, queued=10)
    await way(queue, 8)
    await queue.put(delay=100)
    await way(queue, 1)
    with pytest.raises(QuotaExceeded, match="10 jobs"):
        await way(queue, 1)
    assert 9 == await queue.count("ready")
    await queue.claim(1)
    await way(queue, 1)

    assert 9 == await queue.count("ready")


@pytest.mark.parametrize("way", WAYS)
async def test_a_tenant_that_is_too_fast_is_told_when_to_come_back(queue, clock, way):
    """The refusal carries the seconds; then it passes."""
    await bounded(queue, rate=1, per_s=10, burst=2)
    await way(queue, 3)
    with pytest.raises(QuotaExceeded) as refused:
        await way(queue, 1)
    assert 3 == await queue.count("job")
    assert refused.value.retry_after_s == pytest.approx(10, abs=2)
    await clock.forward(refused.value.retry_after_s + 0.01)
    await way(queue, 1)

    assert 4 == await queue.count("job")


async def test_a_quota_that_is_taken_away_bounds_nothing(queue):
    """And other tenants were never bound."""
    await bounded(queue, queued=0)
    other = await type(queue).open(queue.store, tenant="other")
    await by_plain(other, 5)
    with pytest.raises(QuotaExceeded):
        await by_one(queue, 1)
    await bounded(queue)
    await by_one(queue, 1)

    assert None is await limits.quota(queue.store, queue.tenant_id)
    assert 0 == await queue.store.fetchval("select bit_or(gates) from trunkline.queue")


async def test_a_queue_that_comes_later_is_bounded_too(queue):
    """The quota is the tenant's."""
    await bounded(queue, queued=1)
    await queue.put_jobs([new_job("later")])
    with pytest.raises(QuotaExceeded):
        await queue.put_jobs([new_job("another")])


async def test_jobs_that_were_there_already_are_not_charged(queue):
    """A repeat of a call whose answer was lost creates nothing."""
    await bounded(queue, rate=1, per_s=1000)
    job = new_job("work", user_id="u")
    first = await queue.put_jobs([job])
    again = await queue.put_jobs([job])

    assert first == again
