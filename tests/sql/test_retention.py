"""Ended jobs go when their queue's time is over, one by one; nothing that is needed goes with them."""

from __future__ import annotations

import json

import pytest

from tests.sql.test_partitions import DAY_S, keep_history, old_job, slices
from tests.support.queue import Queue
from trunkline.errors import InvalidInput
from trunkline.store import history

MONTH_S = 30 * DAY_S


async def keep(queue: Queue, **keep_s: int | None) -> dict[str, int | None]:
    """Set the queue's retention."""
    return await history.set_retention(queue.store, queue.tenant_id, queue.kind, keep_s)


async def sweep(queue: Queue, most: int = 1000, retention_s: float = MONTH_S) -> int:
    """Everything that is due, in pieces; how many jobs went."""
    deleted = 0
    while (piece := await history.sweep(queue.store, retention_s, most)).looked:
        deleted += piece.deleted
    return deleted


async def ended(queue: Queue, ending: str = "completed", **options: object):
    """A job that ended just now."""
    job_id = await queue.put(**options)
    await queue.end(job_id, ending)
    return job_id


async def test_each_state_has_a_time_of_its_own(queue):
    """What is not named stays; null follows the installation again."""
    first = await keep(queue, completed=60, failed=7200)
    second = await keep(queue, failed=None, cancelled=3600)
    third = await keep(queue, completed=None, cancelled=None)

    assert {"completed": 60, "failed": 7200, "cancelled": None} == first
    assert {"completed": 60, "failed": None, "cancelled": 3600} == second
    assert {"completed": None, "failed": None, "cancelled": None} == third
    assert [] == await history.retention(queue.store)


@pytest.mark.parametrize(
    "wrong", ['{"completed": 59}', '{"done": 60}', '{"failed": "1h"}', '{"failed": 60.5}', '{"failed": 315360001}', "[60]", "null"]
)
async def test_a_retention_that_cannot_be_is_refused(queue, wrong):
    """With the state and the value."""
    with pytest.raises(InvalidInput, match="retention"):
        await queue.store.fetch("select trunkline.set_retention($1, 'work', $2::jsonb)", queue.tenant_id, wrong)


async def test_a_job_past_its_queues_time_goes_with_all_that_was_kept_of_it(queue, clock):
    """Body, outcome, attempts, log, checkpoint and key; a job of the same tenant's other queue stays."""
    store, other = queue.store, await Queue.open(queue.store, kind="other")
    await keep(queue, completed=3600)
    gone = await queue.put(idempotency_key="k")
    claimed = await queue.claim_one()
    await store.fetch("insert into trunkline.checkpoint values ($1, $2, 1, now(), '1')", queue.tenant_id, gone)
    await store.fetch("select trunkline.add_log($1, $2, '{1}', '{info}', '{x}', '{null}')", queue.tenant_id, [gone])
    await store.fetch("insert into trunkline.attempt values ($1, $2, 1, now(), now(), 1, 'failed', null)", queue.tenant_id, gone)
    await queue.complete(claimed)
    stays = await ended(other)
    early = await sweep(queue)
    await clock.forward(3700)
    due = await sweep(queue)
    again = await queue.put(idempotency_key="k")

    assert (0, 1) == (early, due)
    assert "completed" == await queue.state(stays)
    assert [0, 0, 0] == [await queue.count(table) for table in ("checkpoint", "job_log", "attempt")]
    assert [again, stays] != [gone, stays]
    assert "queued" == await queue.state(again)


async def test_only_the_states_that_were_given_a_time_go(queue, clock):
    """Completed jobs after an hour, dead letters as always."""
    await keep(queue, completed=3600)
    done, failed, cancelled = [await ended(queue, ending) for ending in ("completed", "failed", "cancelled")]
    live = await queue.put(delay=90000)
    await clock.forward(7200)
    await sweep(queue)

    assert [None, "failed", "cancelled", "scheduled"] == [await queue.state(job_id) for job_id in (done, failed, cancelled, live)]


async def test_deletion_goes_on_where_it_stopped(queue, clock):
    """A piece looks at a few jobs of one slice, tenant after tenant; a pass that is over does not begin again at once."""
    queues = [queue, await Queue.open(queue.store, tenant="a"), await Queue.open(queue.store, tenant="b")]
    for each in queues:
        await keep(each, completed=3600)
        await each.put_plain(5)
        await each.complete(*await each.claim(5))
        await ended(each, "failed")
    await clock.forward(3700)
    pieces = [await history.sweep(queue.store, MONTH_S, 4) for _ in range(12)]

    assert 15 == sum(piece.deleted for piece in pieces)
    assert all(piece.deleted <= 4 and piece.looked <= 5 for piece in pieces)
    assert 0 == pieces[-1].looked
    assert 3 == await queue.count("job")


async def test_a_job_that_is_just_being_retried_stays(queue, clock, sessions):
    """Whoever is first wins: here it is the retry."""
    await keep(queue, failed=3600)
    retried, gone = await ended(queue, "failed"), await ended(queue, "failed")
    await clock.forward(3700)
    conn = await sessions.connect()
    async with conn.transaction():
        await conn.fetch("select trunkline.retry($1, $2)", queue.tenant_id, [retried])
        assert 1 == await sweep(queue)

    assert ["queued", None] == [await queue.state(retried), await queue.state(gone)]
    assert retried == (await queue.claim_one()).job_id


async def test_a_job_that_an_open_transaction_was_answered_with_stays(queue, clock, sessions):
    """It asked for the key and was told who holds it."""
    await keep(queue, completed=3600)
    holder, gone = await ended(queue, idempotency_key="asked"), await ended(queue, idempotency_key="not")
    await clock.forward(3700)
    conn = await sessions.connect()
    ask = """select id from trunkline.enqueue_jobs($1, array[trunkline.new_id()], '{work}', '{work}', '{0}', '{"{}"}', '{null}', '{null}', '{null}', '{asked}', '{null}')"""
    async with conn.transaction():
        answered = await conn.fetchval(ask, queue.tenant_id)
        assert 1 == await sweep(queue)

    assert holder == answered
    assert ["completed", None] == [await queue.state(holder), await queue.state(gone)]


@pytest.mark.parametrize("into", ["ready", "deferred", "lease"])
async def test_a_live_job_keeps_its_slice_but_not_its_neighbours(queue, into):
    """Else a job that is scheduled in two years would keep a week of history for two years."""
    live = await old_job(queue, into=into)
    gone = await old_job(queue)
    before = await slices(queue)
    row = await queue.store.fetchrow("select * from trunkline.keep_history($1, $2, 7)", queue.session_id, MONTH_S)

    assert (0, 1) == (row["dropped"], row["deleted"])
    assert before == await slices(queue)
    assert await queue.view(live)
    assert None is await queue.state(gone)


async def test_a_queue_that_keeps_longer_keeps_its_own_jobs_only(queue):
    """The slice stays for them, their neighbours go; and when their time is over the slice goes as a whole."""
    other = await Queue.open(queue.store, kind="other")
    await keep(other, failed=int(60 * DAY_S))
    kept, gone = await old_job(other), await old_job(queue)
    await queue.store.fetch("update trunkline.job set queue_id = $1 where id = $2", other.queue_id, kept)
    done = await keep_history(queue)
    await sweep(queue)
    states = [await queue.state(job_id) for job_id in (kept, gone)]
    await keep(other, failed=None)
    dropped = [suffix for suffix in await old_suffixes(queue) if await history.let_go(queue.store, suffix, MONTH_S)]

    assert (0, 0) == done
    assert ["failed", None] == states
    assert 1 == len(dropped)


async def test_a_queue_that_keeps_less_does_not_keep_its_slice(queue):
    """A late finish counts by the queue's own time."""
    await keep(queue, failed=3600)
    id_ = await old_job(queue, into="late")
    await queue.store.fetch("update trunkline.outcome set finished_at = finished_at - interval '2 hours' where job_id = $1", id_)

    assert (0, 1) == await keep_history(queue)


async def test_the_answer_is_json(queue):
    """As people see it in psql."""
    said = await queue.store.fetchval("select trunkline.set_retention($1, 'later', '{\"failed\": 86400}')", queue.tenant_id)

    assert {"completed": None, "failed": 86400, "cancelled": None} == json.loads(said)


async def old_suffixes(queue: Queue) -> list[str]:
    """Slices that may go."""
    return [row[0] for row in await queue.store.fetch("select * from trunkline.old_slices($1)", MONTH_S)]
