"""Limits under real workers: keys with bounds under kill -9, rates and blocks through handlers, order, and pauses that hold."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from uuid import UUID

import pytest

from tests.support.limited import wrongs
from tests.support.until import until
from trunkline import Job, RetryAfter
from trunkline.errors import QuotaExceeded, TimedOut
from trunkline.store import limits

LEASES = """select j.options ->> 'limit_key', count(*) from trunkline.lease as l
  join trunkline.job as j on (j.tenant_id, j.id) = (l.tenant_id, l.job_id) group by 1"""


async def watch_leases(store, bounds, over: asyncio.Event) -> None:
    """In no snapshot does a key have more leases than its bound, nor anything else that must not be."""
    while not over.is_set():
        for key, count in await store.fetch(LEASES):
            assert count <= bounds[key], key
        assert [] == await wrongs(store)
        await asyncio.sleep(0.01)


def overlaps(journal, keys: dict[UUID, str]) -> dict[str, int]:
    """The most handlers of each key that ran at once, by the journal's own order."""
    now: dict[str, set] = defaultdict(set)
    most: dict[str, int] = defaultdict(int)
    for fact in journal:
        if fact.job not in keys:
            continue
        key = keys[fact.job]
        if fact.fact == "started":
            now[key].add((fact.job, fact.attempt))
            most[key] = max(most[key], len(now[key]))
        elif fact.fact == "done":
            now[key].discard((fact.job, fact.attempt))
    return dict(most)


async def test_a_hundred_keys_keep_their_bounds_while_workers_are_killed(sender, children, journal, trunkline_url, verdict):
    """Limits 1, 2 and 5; three workers, two of them killed with slots in their hands; every job ends."""
    bounds = {f"k{n}": (1, 2, 5)[n % 3] for n in range(100)}
    store, tenant_id = sender.app.store, await sender.app.tenant_id(None)
    for key, concurrency in bounds.items():
        await limits.set_limit(store, tenant_id, "key", key, concurrency=concurrency, rate=None, per_s=1, burst=0)
    keys = {}
    for key in bounds:
        for job_id in await sender.send_each("slow", 6, {"seconds": 0.02}, at_once=6, limit_key=key):
            keys[job_id] = key
    over = asyncio.Event()
    watching = asyncio.create_task(watch_leases(store, bounds, over))
    victims = [await children.worker(trunkline_url, concurrency=20).is_up() for _ in range(2)]
    await journal.wait_for("started", 150)
    for victim in victims:
        victim.kill()
    await children.worker(trunkline_url, concurrency=20).is_up()
    final = await verdict()
    over.set()
    await watching

    assert 600 == final.count("completed")
    # A killed handler never says "done", so only keys that no killed attempt was part of can be counted from outside.
    lost = {keys[fact.job] for fact in journal.of("started") if not journal.of("done", job=fact.job, attempt=fact.attempt)}
    most = overlaps(journal.facts(), keys)
    assert {} == {key: n for key, n in most.items() if key not in lost and n > bounds[key]}
    assert 0 == await store.fetchval("select count(*) from trunkline.slot")


async def test_a_key_with_one_at_a_time_goes_through_a_worker_without_waiting_for_polls(app):
    """Each end brings the next: two hundred jobs of one key, and no tick is needed for any of them."""
    at_once, most = 0, 0

    @app.job("sync", key_concurrency=1)
    async def sync() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1

    await app.start_worker(concurrency=20)
    ids = [await app.enqueue("sync", limit_key="account") for _ in range(200)]
    for job_id in ids:
        await app.wait(job_id, timeout=30)

    assert 1 == most


async def test_jobs_of_an_ordering_key_run_in_order_through_failures(app):
    """The third fails once: nobody passes it."""
    seen = []

    @app.job("step", retry_delay=0.05)
    async def step(job: Job, n: int) -> None:
        seen.append(n)
        if n == 2 and job.attempt == 1:
            raise RuntimeError("once")

    await app.start_worker(concurrency=10)
    ids = [await app.enqueue("step", {"n": n}, ordering_key="order-17", priority=n) for n in range(6)]
    await app.wait(ids[-1], timeout=30)

    assert [0, 1, 2, 2, 3, 4, 5] == seen


async def test_a_providers_wait_stops_every_job_of_its_account(app):
    """One handler is told to come back: no other job of the account starts before, and no failure is counted."""
    began: dict[str, list[float]] = defaultdict(list)

    @app.job("send", retry_limit=0, key_concurrency=1)
    async def send(job: Job, account: str) -> int:
        began[account].append(time.monotonic())
        if account == "a" and len(began["a"]) == 1:
            raise RetryAfter(0.5, "flood wait", key=True)
        return job.failures

    await app.start_worker(concurrency=10)
    ids = [await app.enqueue("send", {"account": a}, limit_key=a) for a in ("a", "a", "a", "b", "b")]

    assert [0] * 5 == [await app.wait(job_id, timeout=30) for job_id in ids]
    assert (4, 2) == (len(began["a"]), len(began["b"]))
    assert 0.5 <= min(began["a"][1:]) - began["a"][0]  # the wait counts from the report, which came after the start


async def test_a_rate_is_kept_by_workers_and_no_permit_waits_for_a_poll(app):
    """Twenty a second: no window holds more, and all of them come."""

    @app.job("call", rate=20, burst=2)
    async def call() -> None: ...

    await app.start_worker(concurrency=10)
    ids = [await app.enqueue("call") for _ in range(30)]
    for job_id in ids:
        await app.wait(job_id, timeout=30)
    rows = await app.store.fetch("select extract(epoch from started_at)::float8 from trunkline.outcome order by 1")
    at = [row[0] for row in rows]

    assert 30 == len(at)
    for window_s, most in ((0.05, 3), (0.1, 4), (0.5, 12), (1.0, 22)):
        assert max(sum(begin <= moment < begin + window_s for moment in at) for begin in at) <= most


async def test_nothing_starts_after_a_pause_has_returned(app):
    """Queue, kind, key, tenant: whatever a busy worker is about to claim."""
    started = 0

    @app.job("busy")
    async def busy() -> None:
        nonlocal started
        started += 1
        await asyncio.sleep(0)

    await app.start_worker(concurrency=5)
    for pause, resume in (
        (lambda: app.pause("busy"), lambda: app.resume("busy")),
        (lambda: app.limits.pause(kind="busy"), lambda: app.limits.resume(kind="busy")),
        (lambda: app.limits.pause(key="k"), lambda: app.limits.resume(key="k")),
        (lambda: app.limits.pause(everything=True), lambda: app.limits.resume(everything=True)),
    ):
        ids = [await app.enqueue("busy", limit_key="k") for _ in range(60)]
        assert await pause()
        paused_at = await app.store.fetchval("select clock_timestamp()")
        await until(lambda: app.store.fetchval("select not exists (select from trunkline.lease)"), "what was claimed has run")
        before = started
        app._worker._heart.ticked.clear()
        app._worker._heart.tick_soon()
        await app._worker._heart.ticked.wait()
        assert before == started
        assert not await app.store.fetchval("select exists (select from trunkline.outcome where started_at > $1)", paused_at)
        assert await resume()
        for job_id in ids:
            await app.wait(job_id, timeout=30)


async def test_a_pause_that_cannot_be_sure_says_so(app, trunkline_url, monkeypatch):
    """Somebody keeps a transaction open in which it claimed."""
    import asyncpg

    from trunkline.engine import limits as engine_limits

    monkeypatch.setattr(engine_limits, "CLAIMS_WITHIN_S", 0.1)
    store, tenant_id = app.store, await app.tenant_id(None)
    await app.enqueue("work")
    queue_id = await store.fetchval("select queue_id from trunkline.queue")
    session_id = await store.fetchval("select trunkline.open_session('x', 1e6)")
    conn = await asyncpg.connect(trunkline_url)
    try:
        async with conn.transaction():
            await conn.fetch("select from trunkline.claim($1, $2, $3, 5, 0, '{}', '{}')", tenant_id, queue_id, session_id)
            with pytest.raises(TimedOut, match="is paused, but"):
                await app.pause("work")
    finally:
        await conn.close()
    assert not await app.pause("work")


async def test_a_producer_over_its_quota_hears_when_to_come_back(app):
    """Those who share a flush are refused one by one."""
    await app.limits.quota("small", queued=5)
    answers = await asyncio.gather(*(app.enqueue("work", tenant="small") for _ in range(12)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, QuotaExceeded)]
    await app.limits.quota("fast", rate=1, per=60)
    await app.enqueue("work", tenant="fast")
    with pytest.raises(QuotaExceeded) as told:
        await app.enqueue("work", tenant="fast")

    assert (5, 7) == (len(answers) - len(refused), len(refused))
    assert told.value.retry_after_s is not None
    assert 50 < told.value.retry_after_s <= 60


async def test_limits_are_set_listed_and_taken_away(app):
    """Names in, names out."""
    await app.limits.set(queue="mail", concurrency=3)
    await app.limits.set(kind="send_mail", rate=30, per=60, burst=5)
    await app.limits.set(key="customer-9", concurrency=2)
    await app.limits.block("customer-9", 60)
    found = {(x.scope, x.queue or x.kind or x.key): x for x in await app.limits.list()}

    assert {("queue", "mail"), ("kind", "send-mail"), ("key", "customer-9")} == set(found)
    assert (3, None) == (found["queue", "mail"].concurrency, found["queue", "mail"].rate)
    assert pytest.approx(0.5) == found["kind", "send-mail"].rate
    assert found["key", "customer-9"].blocked_until is not None
    assert await app.limits.remove(key="customer-9")
    assert not await app.limits.remove(key="customer-9")
