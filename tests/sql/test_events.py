"""Which moves leave which events, and that nothing is left where nobody watches."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from trunkline.errors import InvalidInput, InvalidPayload, NotFound
from trunkline.model import new_job
from trunkline.store import copy, enqueue, events, operate, work

OPENED = """select coalesce(array_agg(distinct c.relname::text), '{}') from pg_locks as l join pg_class as c on c.oid = l.relation
 where l.pid = pg_backend_pid() and c.relname like 'event%'"""


async def watched(queue) -> None:
    """Somebody watches the queue's tenant."""
    await events.keep_watched(queue.store, [queue.tenant_id], 120)


async def noted(queue, *, said: bool = False) -> list[tuple]:
    """(what, attempt) in order, and forget them."""
    rows = await queue.store.fetch(
        "select job_id, what, attempt from trunkline.event where tenant_id = $1 and is_said = $2 order by seq", queue.tenant_id, said
    )
    await queue.store.fetch("delete from trunkline.event")
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("way", ["one", "plain", "jobs", "copy", "sql", "template", "schedule"])
async def test_every_way_in_leaves_one_event_a_job(queue, way):
    """Queued, in order; a duplicate leaves none."""
    await queue.put_plain(1)
    await watched(queue)
    jobs = [new_job("work", n) for n in range(1 if way == "one" else 3)]
    ids = [job.id for job in jobs]
    fetchval = queue.store.fetchval
    if way == "one":
        await enqueue.one(queue.store, queue.tenant_id, jobs[0])
    elif way == "plain":
        await enqueue.plain(queue.store, queue.tenant_id, jobs)
    elif way == "jobs":
        for _ in range(2):
            await queue.put_jobs(jobs)
    elif way == "copy":
        await copy.copy(queue.store, queue.tenant_id, jobs)
    elif way == "sql":
        ids = [await fetchval("select trunkline.enqueue('work', '{}', '{\"unique_key\": \"u\"}')") for _ in range(2)][:1]
    elif way == "template":
        await fetchval("select trunkline.save_template($1, 't', 'work', '{}', '{}')", queue.tenant_id)
        ids = [await fetchval("select trunkline.enqueue_template('t')")]
    else:
        await fetchval("select trunkline.schedule_job('s', 'work', '0 3 * * *')")
        ids = [await fetchval("select id from trunkline.run_schedule($1, 's')", queue.tenant_id)]

    assert [(job_id, "queued", None) for job_id in ids] == await noted(queue)


async def test_a_claim_and_a_report_leave_one_event_a_job(queue):
    """With their attempt; a report that comes twice, or late, leaves none."""
    await watched(queue)
    ids = await queue.put_plain(4)
    claimed = await queue.claim(4)
    await queue.complete(*claimed[:2])
    await queue.complete(*claimed[:3])
    await queue.complete(*claimed[:3])
    lost = claimed[3]._replace(attempt=7)
    await queue.complete(lost)
    told = await noted(queue)

    assert [(job_id, "started", 1) for job_id in ids] == told[4:8]
    assert [(job_id, "completed", 1) for job_id in ids[:3]] == told[8:]


async def test_a_claim_under_a_limit_leaves_an_event_for_those_who_start(queue):
    """Those who wait have not started."""
    await watched(queue)
    await queue.store.fetch("select trunkline.set_limit($1, 'queue', 'work', p_concurrency => 1)", queue.tenant_id)
    first = await queue.put()
    await queue.put()
    await noted(queue)
    await queue.claim(5)

    assert [(first, "started", 1)] == await noted(queue)


ENDINGS = {"failed": "retrying", "timed_out": "retrying", "lost": "retrying", "fatal": "failed", "cancelled": "cancelled"}
ENDINGS |= dict.fromkeys(("snoozed", "retry_after", "blocked", "no_handler", "released"), "queued")


async def test_every_ending_of_an_attempt_says_what_became_of_the_job(queue):
    """Handed back or put off is queued."""
    await watched(queue)
    told = {}
    for ending in ENDINGS:
        job_id = await queue.put(priority=len(told))
        claimed = await queue.claim_one()
        await noted(queue)
        await queue.settle(claimed, ending, delay_s=60)
        told[ending] = await noted(queue)
        assert [(job_id, ENDINGS[ending], 1)] == told[ending], ending

    assert ENDINGS.keys() == told.keys()


async def test_a_rescue_leaves_events(queue, clock):
    """Nobody reported; the session ran out."""
    await watched(queue)
    mine = await queue.session(ttl_s=5)
    job_id = await queue.put()
    await queue.claim_one(session_id=mine)
    await noted(queue)
    await queue.store.fetch("update trunkline.session set dead_at = clock_timestamp() where session_id = $1", mine)
    await queue.rescue()

    assert [(job_id, "retrying", 1)] == await noted(queue)


async def test_people_s_moves_leave_events(queue):
    """A cancel, a retry by hand, a replacement."""
    await watched(queue)
    first, second = await queue.put(), await queue.put(unique_key="u")
    await noted(queue)
    await operate.cancel(queue.store, queue.tenant_id, [first], "no")
    assert [(first, "cancelled", 0)] == await noted(queue)
    await queue.retry(first)
    assert [(first, "queued", None)] == await noted(queue)
    third = await queue.put(unique_key="u", unique_replace=True)

    assert [(second, "cancelled", 0), (third, "queued", None)] == await noted(queue)


async def test_children_batches_and_copies_leave_events(queue):
    """In the order in which they follow from each other."""
    await watched(queue)
    batch_id = await queue.store.fetchval('select trunkline.batch(\'[{"kind": "work", "options": {"dead_letter": "dead"}}]\', \'{}\')')
    parent = await queue.store.fetchval("select job_id from trunkline.batch_job")
    child = await queue.put(depends_on=[str(parent)])
    await noted(queue)
    await queue.settle(await queue.claim_one(), "fatal")
    told = await noted(queue)
    copied = await queue.store.fetchval("select job_id from trunkline.ready")

    assert [(parent, "started", 1), (parent, "failed", 1)] == told[:2]
    assert {(copied, "queued", None), (child, "cancelled", 0), (batch_id, "batch_completed", None)} == set(told[2:])
    assert 5 == len(told)


async def test_a_whole_life_that_nobody_watches_opens_no_table_of_events(queue, sessions):
    """All ways in, the claim, the ack and the settle, in one transaction, by the locks it holds at its end."""
    other = await queue.store.fetchval("select trunkline.tenant_id('other')")
    await events.keep_watched(queue.store, [other], 120)
    await queue.put_plain(1)
    conn = await sessions.connect()
    async with conn.transaction():
        for text, jobs in ((enqueue.ONE, 1), (enqueue.PLAIN, 3)):
            made = [new_job("work", n) for n in range(jobs)]
            columns = [[getattr(job, name) for job in made] for name in ("id", "kind", "queue", "priority", "payload", "user_id")]
            await conn.fetch(text, queue.tenant_id, *([column[0] for column in columns] if jobs == 1 else columns))
        await conn.fetch("select trunkline.enqueue('work')")
        claimed = await conn.fetch(work.CLAIM, queue.tenant_id, queue.queue_id, queue.session_id, 10, 0, [], [])
        ids, attempts = [row["job_id"] for row in claimed], [row["attempt"] for row in claimed]
        await conn.fetch(work.ACK_COMPLETED, queue.tenant_id, ids[:3], attempts[:3], None)
        await conn.fetch(work.SETTLE, queue.tenant_id, ids[3:], attempts[3:], ["failed"] * 3, ["{}"] * 3, [None] * 3)

        assert 6 == len(claimed)
        assert [] == await conn.fetchval(OPENED)
    await events.keep_watched(queue.store, [queue.tenant_id], 120)
    async with conn.transaction():
        await conn.fetch(work.CLAIM, queue.tenant_id, queue.queue_id, queue.session_id, 10, 0, [], [])
        await conn.fetch("select trunkline.enqueue('work')")
        assert [] != await conn.fetchval(OPENED)  # it looks at the right thing


async def test_progress_and_what_is_said_are_kept_without_a_watcher(queue):
    """History shows them; nobody is notified."""
    job_id = await queue.put()
    claimed = await queue.claim_one()
    await work.save_progress(queue.store, queue.tenant_id, [job_id, job_id], [1, 9], ['{"percentage": 5}', "1"])
    await events.emit(queue.store, queue.tenant_id, job_id, "update", '{"a": 1}', "halfway")
    await events.broadcast(queue.store, queue.tenant_id, "hello", "1", None)
    await queue.complete(claimed)

    assert [(job_id, "progress", 1), (job_id, "update", None)] == await noted(queue, said=True)
    assert [] == await noted(queue)


async def test_what_cannot_be_said_is_refused(queue):
    """By SQL, whoever asks."""
    job_id = await queue.put()
    refused = [("queued", "1", None, InvalidInput), ("update", "1", "", InvalidInput), ("update", "1", None, InvalidInput)]
    refused += [("update", "1", "x" * 101, InvalidInput), ("update", '"' + "x" * 70_000 + '"', "a", InvalidPayload)]
    for what, data, status, error in [*refused, ("progress", '"\\u0000"', None, InvalidPayload)]:
        with pytest.raises(error):
            await events.emit(queue.store, queue.tenant_id, job_id, what, data, status)
    for event, user_id in (("", None), ("x" * 101, None), ("x", ""), ("x", "u" * 501)):
        with pytest.raises(InvalidInput):
            await events.broadcast(queue.store, queue.tenant_id, event, "1", user_id)


async def test_nothing_is_said_about_another_tenant_s_job(queue):
    """It is not there."""
    other = await queue.store.fetchval("select trunkline.tenant_id('other')")
    job_id = await queue.put()
    with pytest.raises(NotFound):
        await events.emit(queue.store, other, job_id, "update", "1", "x")
    assert [] == await events.history(queue.store, other, job_id, 100, 86400)


@pytest.mark.parametrize("is_watched", [False, True])
async def test_history_is_the_same_whether_anybody_watched_or_not(queue, is_watched):
    """Moves from where the job stands and stood, and what was said, newest first, nothing twice."""
    if is_watched:
        await watched(queue)
    job_id = await queue.put(retry_delay=0)
    await queue.settle(await queue.claim_one(), "failed", error='{"message": "once"}')
    await queue.tick()
    claimed = await queue.claim_one()
    await work.save_progress(queue.store, queue.tenant_id, [job_id], [2], ['{"percentage": 50}'])
    await events.emit(queue.store, queue.tenant_id, job_id, "update", '{"a": 1}', "halfway")
    await queue.complete(claimed, result="7")
    lines = await events.history(queue.store, queue.tenant_id, job_id, 100, 86400)

    assert ["completed", "update", "progress", "started", "retrying", "started", "queued"] == [line.what for line in lines]
    assert [2, None, 2, 2, 1, 1, None] == [line.attempt for line in lines]
    assert [7, {"a": 1}, {"percentage": 50}, None, {"message": "once"}, None, None] == [json.loads(line.data or "null") for line in lines]
    assert ["completed", "update", "progress"] == [
        line.what for line in await events.history(queue.store, queue.tenant_id, job_id, 3, 86400)
    ]


async def test_history_of_one_job_is_bounded(queue):
    """Beyond 2,000 in any case; beyond 100 when nobody can ask for them any more."""
    job_id = await queue.put()
    other = await queue.put()
    fill = """insert into trunkline.event (tenant_id, job_id, is_said, what, happened_at) select $1, $2, true, 'progress', clock_timestamp() - $3::interval
                from generate_series(1, $4)"""
    await queue.store.fetch(fill, queue.tenant_id, job_id, timedelta(minutes=11), 300)
    await queue.store.fetch(fill, queue.tenant_id, job_id, timedelta(0), 50)
    await queue.store.fetch(fill, queue.tenant_id, other, timedelta(0), 2500)
    gone = await queue.store.fetchval("select trunkline.trim_events($1, $2)", queue.tenant_id, [job_id, other])

    assert (250 + 500, 100 + 2000) == (gone, await queue.count("event"))


async def test_the_slot_of_tomorrow_is_emptied_and_no_other(queue):
    """What is kept reaches back a day at least."""
    insert = "insert into trunkline.event (tenant_id, is_said, what, slot) values ($1, true, 'x', $2)"
    for slot in range(3):
        await queue.store.fetch(insert, queue.tenant_id, slot)
    today = await queue.store.fetchval("select (extract(epoch from clock_timestamp())::bigint / 86400 % 3)::integer")
    await queue.store.fetch("select trunkline.sweep_events()")

    assert sorted([today, (today + 2) % 3]) == [
        row[0] for row in await queue.store.fetch("select slot::integer from trunkline.event order by 1")
    ]


async def test_whoever_looked_before_a_tenant_was_watched_is_known(queue, sessions):
    """Its transaction is open and may still commit a move without an event."""
    await queue.put_plain(1)
    before = await sessions.connect()
    transaction = before.transaction()
    await transaction.start()
    await before.fetchval("select trunkline.enqueue('work')")
    await watched(queue)
    assert 1 == len(await events.lookers(queue.store))
    await transaction.rollback()

    assert set() == await events.lookers(queue.store)


async def test_a_watch_that_goes_on_keeps_its_beginning(queue, clock):
    """One that lapsed begins anew."""
    ((_, since, is_new),) = await events.keep_watched(queue.store, [queue.tenant_id], 120)
    await clock.forward(140)
    ((_, later, still_new),) = await events.keep_watched(queue.store, [queue.tenant_id], 120)
    assert (True, False, since) == (is_new, still_new, later)
    await clock.forward(140 + 151)
    ((_, anew, is_new),) = await events.keep_watched(queue.store, [queue.tenant_id], 120)

    assert is_new and anew > since


async def test_a_tenant_whose_gates_are_held_is_not_watched_yet(queue, sessions):
    """Somebody's open transaction made a queue: who asks is told nothing of it, and asks again."""
    conn = await sessions.connect()
    transaction = conn.transaction()
    await transaction.start()
    await conn.fetchval("select trunkline.enqueue('another')")
    assert [] == await events.keep_watched(queue.store, [queue.tenant_id], 120)
    await transaction.commit()
    ((tenant_id, _, is_new),) = await events.keep_watched(queue.store, [queue.tenant_id], 120)
    assert (queue.tenant_id, True) == (tenant_id, is_new)
    new = await queue.store.fetchval("select trunkline.enqueue('another')")
    third = await queue.store.fetchval("select trunkline.enqueue('third')")

    assert [(new, "queued", None), (third, "queued", None)] == await noted(queue)


async def test_gates_close_an_hour_after_the_last_watcher(queue, clock):
    """And open again."""
    gates = "select bit_or(gates) from trunkline.queue where tenant_id = $1"
    await watched(queue)
    await clock.forward(3000)
    await queue.store.fetch("select trunkline.sweep_events()")
    assert 8 == await queue.store.fetchval(gates, queue.tenant_id)
    await clock.forward(4000)
    await queue.store.fetch("select trunkline.sweep_events()")
    assert (0, 0) == (await queue.store.fetchval(gates, queue.tenant_id), await queue.count("watched"))
    await watched(queue)
    job_id = await queue.put()

    assert [(job_id, "queued", None)] == await noted(queue)
