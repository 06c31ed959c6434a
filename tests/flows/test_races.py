"""Two or more of us want the same thing at the same moment."""

from __future__ import annotations

import asyncio

from tests.support.until import until
from trunkline import new_job
from trunkline.store import enqueue, sessions, work

EVERYBODY_LOOKS = "update trunkline.duty set next_run_at = '-infinity'"


async def test_rescue_racing_ten_thousand_acks_leaves_each_job_with_one_of_them(
    sender, store, children, journal, chance, trunkline_url, verdict
):
    """The row lock decides each single one; who lost is told so, and nothing is done twice."""
    tenant_id = await sessions.tenant_id(store, "default")
    jobs = [new_job("noop") for _ in range(10_000)]
    for start in range(0, len(jobs), 1000):
        await enqueue.jobs(store, tenant_id, jobs[start : start + 1000])
    for job in jobs:
        journal.note("sent", job.id)
        journal.note("accepted", job.id, created=True)
    ((_, queue_id, _),) = await work.open_lines(store, tenant_id, ["noop"])
    victim, *rescuers = [await sessions.open_session(store, name, 30) for name in ("victim", "one", "two", "three")]
    claimed = []
    for _ in range(10):
        claimed += await work.claim(store, tenant_id, queue_id, victim, limit=1000, floor=0, marks={})
    for one in claimed:
        journal.note("started", one.job_id, one.attempt)
        journal.note("done", one.job_id, one.attempt, ending="completed")
    chance.shuffle(claimed)
    await store.fetch("update trunkline.session set dead_at = clock_timestamp() where session_id = $1", victim)

    async def ack(mine):
        for start in range(0, len(mine), 250):
            flush = mine[start : start + 250]
            lost = await work.ack_completed(store, tenant_id, [c.job_id for c in flush], [1] * len(flush), [None] * len(flush))
            for one in flush:
                journal.note("acked", one.job_id, 1, what="lost" if one.job_id in lost else "completed")

    async def rescue(session_id):
        while await store.fetchval("select exists (select from trunkline.lease)"):
            await store.fetch(EVERYBODY_LOOKS)
            await sessions.tick(store, session_id, 30, [], 0)

    await asyncio.gather(*(ack(claimed[n::4]) for n in range(4)), *(rescue(session_id) for session_id in rescuers))
    told = {what: len(journal.of("acked", what=what)) for what in ("completed", "lost")}
    await children.worker(trunkline_url, concurrency=200).is_up()
    final = await verdict()

    assert 10_000 == sum(told.values())
    assert 10_000 == final.count("completed")
    assert told["completed"] == sum(job.attempt == 1 for job in final.jobs.values())


async def test_two_hundred_senders_of_one_idempotency_key_over_two_processes_make_one_job(
    sender, children, journal, gate, trunkline_url, verdict
):
    """All of them are answered with the same id, and one of them is told that it is new."""
    pair = [children.sender(trunkline_url, count=100, at_once=100, key="order-17", gate=str(gate)) for _ in range(2)]
    for one in pair:
        await one.is_up()
    gate.touch()
    for one in pair:
        await one.ended()
    await children.worker(trunkline_url).is_up()
    final = await verdict()
    answered = journal.of("accepted")

    assert 200 == len(answered)
    assert final.jobs.keys() == {fact.job for fact in answered}
    assert [True] == [fact.more["created"] for fact in answered if fact.more["created"]]


async def test_senders_of_the_same_keys_in_any_order_neither_deadlock_nor_double(
    sender, store, children, journal, chance, trunkline_url, verdict
):
    """Bulk enqueues with the same forty keys, shuffled, from several callers; half of the keys are unique keys that free themselves."""
    await children.worker(trunkline_url, concurrency=20).is_up()

    async def send_shuffled(n):
        keys = list(range(40))
        chance.shuffle(keys)
        await sender.send_many([new_job("noop", **({"idempotency_key": f"k{k}"} if k % 2 else {"unique_key": f"k{k}"})) for k in keys])

    await asyncio.gather(*(send_shuffled(n) for n in range(25)))
    final = await verdict()
    deadlocks = await store.fetchval("select deadlocks from pg_stat_database where datname = current_database()")

    assert 0 == deadlocks
    assert 20 == len({fact.job for fact in journal.of("accepted")} & keyed_ids(await idempotent(store)))
    assert final.count("completed") == len(final.jobs)


async def idempotent(store):
    return await store.fetch("select job_id from trunkline.idempotency")


def keyed_ids(rows):
    return {row[0] for row in rows}


async def test_cancelling_while_jobs_are_claimed_acked_and_retried_answers_truthfully(
    sender, children, journal, chance, trunkline_url, verdict
):
    """Whoever was told `cancelled` finds a cancelled job; whoever was told that it had ended finds that."""
    for _ in range(2):
        await children.worker(trunkline_url, concurrency=10).is_up()
    sent: list = []

    async def send():
        for _ in range(60):
            sent.append(await sender.send(chance.choice(["noop", "flaky", "slow"]), {"fails": 1, "seconds": 0.01}))

    async def cancel():
        while len(sent) < 300:
            if sent:
                job_id = chance.choice(sent)
                journal.note("cancelled", job_id, answer=(await cancelled(sender, job_id)))
            await asyncio.sleep(0)

    await asyncio.gather(*(send() for _ in range(5)), *(cancel() for _ in range(3)))
    final = await verdict()

    assert 300 == final.count("completed") + final.count("cancelled") + final.count("failed")
    assert 0 == final.count("failed")


async def cancelled(sender, job_id):
    from trunkline.store import operate

    tenant_id = await sender.app.tenant_id(None)
    return (await operate.cancel(sender.app.store, tenant_id, [job_id], "by a test")).get(job_id)


async def test_redriving_while_workers_fail_jobs_keeps_each_in_one_place(sender, children, journal, trunkline_url, verdict):
    """Retry by hand, from three callers at once, of jobs that fail again and again until they may succeed."""
    for _ in range(2):
        await children.worker(trunkline_url, concurrency=10).is_up()
    ids = await sender.send_each("flaky", 60, {"fails": 1}, retry_limit=0)
    for job_id in ids:
        journal.note("retried", job_id)
    await journal.wait_for("acked", 60, what="failed")

    async def redrive():
        return await sender.app.redrive(kind="flaky")

    back = sum(await asyncio.gather(*(redrive() for _ in range(3))))  # a late caller finds some that failed again meanwhile
    await journal.wait_for("acked", 60 + back, what="failed")
    await until(lambda: no_live_job(sender), "no job lives")
    final = await verdict()

    assert 60 <= back
    assert 60 == final.count("failed")
    assert 60 + back == sum(final.attempts().values())


async def no_live_job(sender):
    return await sender.app.store.fetchval("select not exists (select from trunkline.lease) and not exists (select from trunkline.ready)")
