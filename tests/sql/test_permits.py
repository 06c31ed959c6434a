"""Permits: what is no start of a job, a request to a provider, draws on the rate of a limit key, too."""

from __future__ import annotations

import asyncio
import math

import pytest

from tests.support.limited import wrongs
from trunkline.engine import Permits
from trunkline.model import RetryAfter, new_job
from trunkline.store import limits


async def taken(queue, times: int = 1, *, rate: float = 0.001, burst: int = 4) -> list[float]:
    """The answers to so many who ask at once, shortest wait first."""
    asked = (limits.take_permit(queue.store, queue.tenant_id, "k", rate=rate, burst=burst) for _ in range(times))
    return sorted(await asyncio.gather(*asked))


async def test_of_many_who_ask_at_once_as_many_go_as_the_rate_lets(queue, clock):
    first = await taken(queue, 20)
    await clock.forward(2000)
    second = await taken(queue, 20)
    await clock.forward(60_000)
    await queue.tick()  # what is idle may be forgotten meanwhile, with nothing lost
    third = await taken(queue, 20)

    wait_s = pytest.approx(1000, abs=100)
    assert [0.0] * 5 + [wait_s] * 15 == first
    assert [0.0] * 2 + [wait_s] * 18 == second
    assert [0.0] * 5 + [wait_s] * 15 == third


async def test_starts_of_jobs_and_permits_draw_on_one_rate_and_what_was_set_counts(queue):
    await limits.set_limit(queue.store, queue.tenant_id, "key", "k", concurrency=None, rate=1, per_s=1000, burst=2)
    await queue.put_jobs([new_job("work", n, limit_key="k") for n in range(5)])
    started = len(await queue.claim(1))
    permits = await taken(queue, 5, rate=1000.0, burst=1000)
    more = len(await queue.claim(5))

    assert (1, 0) == (started, more)
    assert [0.0, 0.0] == permits[:2]
    assert all(wait_s > 900 for wait_s in permits[2:])
    assert [] == await wrongs(queue.store)


async def test_a_key_that_is_shut_or_paused_gives_none_and_the_latest_wait_counts(queue):
    permits = Permits(queue.store, queue.tenant_id, "k", rate=0.001, burst=4)
    await permits.take()
    await permits.shut(1000)
    await permits.shut(20)
    (shut,) = await taken(queue)
    with pytest.raises(RetryAfter, match="no room now") as caught:
        await permits.take()
    await limits.pause(queue.store, queue.tenant_id, "key", "k", True)
    (paused,) = await taken(queue)
    with pytest.raises(RetryAfter, match="paused"):
        await permits.take()

    assert pytest.approx(1000, abs=100) == shut
    assert pytest.approx(1000, abs=100) == caught.value.seconds
    assert math.isinf(paused)
