"""Hosts whose clock is an hour off: what they send and what they run follows the database's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

HOUR_S = 3600.0
DELAY_S = 1.5


@pytest.mark.parametrize("clock_off", [HOUR_S, -HOUR_S])
async def test_jobs_of_a_host_with_a_wrong_clock_are_neither_late_nor_early(children, journal, trunkline_url, verdict, clock_off):
    """A delay is counted from when the database heard of it; ids an hour off are as good as others."""
    await children.worker(trunkline_url, concurrency=20).is_up()
    at_once = children.sender(trunkline_url, count=100, clock_off=clock_off)
    later = children.sender(trunkline_url, count=50, clock_off=clock_off, delay=DELAY_S)
    await at_once.ended()
    await later.ended()
    final = await verdict()
    sent = {fact.job: fact.at for fact in journal.of("sent", who=later.name)}
    waited = [fact.at - sent[fact.job] for fact in journal.of("started") if fact.job in sent]

    assert 150 == final.count("completed")
    assert 50 == len(waited)
    assert min(waited) >= DELAY_S - 0.01


async def test_a_worker_whose_clock_is_ahead_cancels_nothing_that_has_not_expired(sender, children, trunkline_url, verdict):
    """`expires_at` is the database's business."""
    await children.worker(trunkline_url, clock_off=HOUR_S).is_up()
    await sender.send_each("noop", 20, expires_at=datetime.now(UTC) + timedelta(minutes=10))
    final = await verdict()

    assert 20 == final.count("completed")


async def test_a_worker_whose_clock_is_behind_runs_nothing_that_has_expired(sender, children, trunkline_url, verdict):
    """The same the other way round."""
    await sender.send_each("noop", 20, expires_at=datetime.now(UTC) - timedelta(minutes=10))
    await children.worker(trunkline_url, clock_off=-HOUR_S).is_up()
    final = await verdict()

    assert 20 == final.count("cancelled")


@pytest.mark.parametrize("clock_off", [HOUR_S, -HOUR_S])
async def test_a_worker_with_a_wrong_clock_keeps_deadlines_sessions_and_retries(
    children, sender, journal, trunkline_url, verdict, clock_off
):
    """Nothing times out, nobody is taken for dead, and retries come after their delay."""
    await children.worker(trunkline_url, concurrency=20, clock_off=clock_off, timeout=30).is_up()
    await children.worker(trunkline_url, concurrency=20, timeout=30).is_up()
    await sender.send_each("flaky", 60, {"fails": 2}, retry_limit=2)
    await sender.send_each("slow", 20, {"seconds": 0.3}, retry_limit=0)
    final = await verdict()

    assert 80 == final.count("completed")
