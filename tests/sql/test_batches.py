"""Batches: counted without a counter, done exactly when the last child has ended, their callbacks sent once."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

import pytest

from tests.sql.test_locks import ACK, SETTLE, hold
from tests.support.queue import Queue
from trunkline.errors import InvalidInput, NotFound
from trunkline.model import new_job
from trunkline.model.job import new_id
from trunkline.store import work

COUNTS = "select state, total, completed, failed, cancelled from trunkline.batches where id = $1"
CALLBACK = {"kind": "work", "queue": "calls", "priority": 0, "payload": {"n": 1}}


async def opened(queue: Queue, *, success: bool = False, complete: bool = False) -> UUID:
    """An open batch."""
    batch_id = new_id()
    spec = json.dumps(CALLBACK)
    await queue.store.fetch(
        "select trunkline.open_batch($1, $2, null, $3, $4)",
        queue.tenant_id, batch_id, spec if success else None, spec if complete else None,
    )  # fmt: skip
    return batch_id


async def filled(queue: Queue, count: int, *, seal: bool = True, **how: bool) -> tuple[UUID, list[UUID]]:
    """A batch of `count` jobs; its id and theirs."""
    batch_id = await opened(queue, **how)
    jobs = [new_job("work", batch_id=batch_id) for _ in range(count)]
    if jobs:
        await queue.put_jobs(jobs)
    if seal:
        await sealed(queue, batch_id)
    return batch_id, [job.id for job in jobs]


async def sealed(queue: Queue, batch_id: UUID) -> None:
    await queue.store.fetch("select trunkline.seal_batch($1, $2)", queue.tenant_id, batch_id)


async def counts(queue: Queue, batch_id: UUID) -> tuple[str, int, int, int, int]:
    """(state, total, completed, failed, cancelled)."""
    row = await queue.store.fetchrow(COUNTS, batch_id)
    return row and tuple(row)


async def calls(queue: Queue) -> list[dict]:
    """What the callbacks that were sent say of their batch."""
    rows = await queue.store.fetch("select options from trunkline.jobs where queue = 'calls'")
    return sorted((json.loads(row[0])["batch"] for row in rows), key=lambda said: said["event"])


async def test_a_batch_is_done_when_its_last_child_has_ended(queue):
    """Retries count for nothing; both callbacks come, each once, and say what became of it."""
    batch_id, _ = await filled(queue, 3, success=True, complete=True)
    seen = [await counts(queue, batch_id)]
    one, two, three = await queue.claim(3)
    await queue.complete(one, two)
    await queue.settle(three, "released")
    seen.append(await counts(queue, batch_id))
    await queue.complete(await queue.claim_one())
    await queue.tick()
    said = await calls(queue)

    assert [("running", 3, 0, 0, 0), ("running", 3, 2, 0, 0)] == seen
    assert ("done", 3, 3, 0, 0) == await counts(queue, batch_id)
    assert ["complete", "success"] == [call["event"] for call in said]
    assert {"id": str(batch_id), "name": None, "event": "complete", "total": 3, "completed": 3, "failed": 0, "cancelled": 0} == said[0]


async def test_those_who_watch_are_told_at_once(queue, sessions):
    """With the batch's id, in the signal for jobs that ended."""
    batch_id, (child,) = await filled(queue, 1)
    await queue.store.fetch("select trunkline.watch($1, $2)", queue.session_id, [queue.tenant_id])
    listening = await sessions.connect()
    heard: list[str] = []
    await listening.add_listener("trunkline:signals", lambda *said: heard.append(said[3]))
    await queue.complete(await queue.claim_one())
    await listening.fetch("select 1")

    assert {f"ended {queue.tenant_id} {batch_id}", f"ended {queue.tenant_id} {child}"} == set(heard)


async def test_a_batch_with_failures_is_complete_and_no_success(queue):
    """Failed and cancelled children end it too."""
    batch_id, (_, second, _) = await filled(queue, 3, success=True, complete=True)
    await queue.cancel(second)
    one, two = await queue.claim(2)
    await queue.settle(one, "fatal")
    await queue.complete(two)

    assert ("done", 3, 1, 1, 1) == await counts(queue, batch_id)
    assert ["complete"] == [call["event"] for call in await calls(queue)]


async def test_a_child_put_back_by_hand_opens_its_batch_again(queue):
    """What was sent is not sent twice; what was not sent yet may come now."""
    batch_id, _ = await filled(queue, 2, success=True, complete=True)
    one, two = await queue.claim(2)
    await queue.complete(one)
    await queue.settle(two, "fatal")
    await queue.retry(two.job_id)
    again = await counts(queue, batch_id)
    await queue.tick()
    await queue.complete(await queue.claim_one())

    assert ("running", 2, 1, 0, 0) == again
    assert ("done", 2, 2, 0, 0) == await counts(queue, batch_id)
    assert ["complete", "success"] == [call["event"] for call in await calls(queue)]


async def test_an_open_batch_is_not_done_however_few_are_left(queue):
    """Sealing it is."""
    batch_id, _ = await filled(queue, 1, seal=False, complete=True)
    await queue.complete(await queue.claim_one())
    before = await counts(queue, batch_id)
    await queue.tick()
    await sealed(queue, batch_id)
    await sealed(queue, batch_id)

    assert ("open", 1, 1, 0, 0) == before
    assert ("done", 1, 1, 0, 0) == await counts(queue, batch_id)
    assert 1 == len(await calls(queue))


async def test_a_batch_of_nothing_is_done_when_it_is_sealed(queue):
    """All of its nought jobs have completed."""
    batch_id, _ = await filled(queue, 0, success=True)

    assert ("done", 0, 0, 0, 0) == await counts(queue, batch_id)
    assert 1 == len(await calls(queue))


async def test_jobs_join_until_the_batch_is_done(queue):
    """Also a sealed one, from a child that still runs; afterwards, and into one of another tenant, they are refused whole."""
    batch_id, _ = await filled(queue, 1)
    child = await queue.claim_one()
    await queue.put(batch_id=batch_id)
    more = await counts(queue, batch_id)
    await queue.complete(child, await queue.claim_one())
    with pytest.raises(InvalidInput, match="takes no more jobs: it is done"):
        await queue.put_jobs([new_job("work"), new_job("work", batch_id=batch_id)])
    with pytest.raises(NotFound, match="no such batch"):
        await (await Queue.open(queue.store, tenant="other")).put(batch_id=batch_id)

    assert ("running", 2, 0, 0, 0) == more
    assert 2 == await queue.count("job")


async def test_duplicates_are_not_counted(queue):
    """A held key yields the job that holds it; the same call twice counts once."""
    await queue.put(idempotency_key="i")
    await queue.put(unique_key="u")
    batch_id = await opened(queue)
    jobs = [new_job("work", batch_id=batch_id, **key) for key in ({"idempotency_key": "i"}, {"unique_key": "u"}, {}, {"unique_key": "v"})]
    answers = [await queue.put_jobs(jobs) for _ in range(2)]

    assert [False, False, True, True] == [created for _, created in answers[0]]
    assert answers[0] == answers[1]
    assert ("open", 2, 0, 0, 0) == await counts(queue, batch_id)


async def test_children_that_end_with_their_parents_are_counted(queue):
    """And a child that is replaced."""
    batch_id = await opened(queue, complete=True)
    parent = await queue.put(batch_id=batch_id)
    await queue.put(batch_id=batch_id, depends_on=parent)
    await queue.put(batch_id=batch_id, unique_key="u")
    await sealed(queue, batch_id)
    await queue.put(unique_key="u", unique_replace=True)
    await queue.end(parent, "failed")

    assert ("done", 3, 0, 1, 2) == await counts(queue, batch_id)
    assert 1 == len(await calls(queue))


async def test_the_last_two_reports_at_the_same_moment(queue, sessions):
    """Neither sees the other: the second waits for the first, then counts again."""
    batch_id, ids = await filled(queue, 2, complete=True)
    await queue.claim(2)
    one, other = await sessions.connect(), await sessions.connect()
    first = await hold(one, ACK, queue.tenant_id, ids[:1], [1], [None])
    second = sessions.start(other.fetch(SETTLE, queue.tenant_id, ids[1:], [1], ["fatal"], [None], [None]))
    await sessions.blocked(other)
    await first.commit()
    await second

    assert ("done", 2, 1, 1, 0) == await counts(queue, batch_id)
    assert 1 == len(await calls(queue))


async def test_a_report_in_a_long_transaction_stops_no_other(queue, sessions):
    """The second gives up waiting for the lock; whoever comes last, or the duty, finishes the batch."""
    batch_id, ids = await filled(queue, 2, complete=True)
    await queue.claim(2)
    one = await sessions.connect()
    first = await hold(one, ACK, queue.tenant_id, ids[:1], [1], [None])
    await work.ack_completed(queue.store, queue.tenant_id, ids[1:], [1], [None])
    await queue.tick()
    between = await counts(queue, batch_id)
    await first.commit()
    unseen = await counts(queue, batch_id)
    await queue.store.fetch("update trunkline.duty set next_run_at = '-infinity'")
    await queue.tick()

    assert ("running", 2, 1, 0, 0) == between
    assert ("running", 2, 2, 0, 0) == unseen
    assert ("done", 2, 2, 0, 0) == await counts(queue, batch_id)
    assert (1, 0) == (len(await calls(queue)), await queue.count("batch_delta"))


async def test_jobs_that_are_just_joining_keep_a_batch_from_being_done(queue, sessions):
    """Their transaction is still open when the last child known so far ends."""
    batch_id, ids = await filled(queue, 1, complete=True)
    await queue.claim(1)
    putting = await sessions.connect()
    joining = await hold(putting, "select trunkline.enqueue('work', '{}', $1::jsonb)", json.dumps({"batch_id": str(batch_id)}))
    await work.ack_completed(queue.store, queue.tenant_id, ids, [1], [None])
    await joining.commit()

    assert ("running", 2, 1, 0, 0) == await counts(queue, batch_id)
    assert [] == await calls(queue)


async def test_a_retry_by_hand_beside_the_last_report_keeps_the_batch_open(queue, sessions):
    """Whoever is second sees the first."""
    batch_id, _ = await filled(queue, 2, complete=True)
    failed, last = await queue.claim(2)
    await queue.settle(failed, "fatal")
    retrying, acking = await sessions.connect(), await sessions.connect()
    retry = await hold(retrying, "select trunkline.retry($1, $2)", queue.tenant_id, [failed.job_id])
    ack = sessions.start(acking.fetch(ACK, queue.tenant_id, [last.job_id], [1], [None]))
    await sessions.blocked(acking)
    await retry.commit()
    await ack

    assert ("running", 2, 1, 0, 0) == await counts(queue, batch_id)
    assert [] == await calls(queue)


async def test_many_connections_end_five_thousand_children_and_one_sees_the_last(queue, trunkline_url):
    """Small flushes and large ones at once, some children failing; folds in between change nothing."""
    batch_id = await opened(queue, complete=True)
    jobs = [new_job("work", n, batch_id=batch_id) for n in range(5000)]
    for start in range(0, 5000, 500):
        await queue.put_jobs(jobs[start : start + 500])
    await sealed(queue, batch_id)

    async def worker(n: int) -> None:
        while claimed := await queue.claim((7, 40, 150, 400)[n % 4], floor=0):
            failing = [c for c in claimed if int(c.payload) % 10 == 0]
            await queue.complete(*(c for c in claimed if int(c.payload) % 10))
            if failing:
                await work.settle(queue.store, queue.tenant_id, [c.job_id for c in failing], [1] * len(failing), ["fatal"] * len(failing),
                                  [None] * len(failing), [None] * len(failing))  # fmt: skip
            if n == 0 and int(claimed[0].payload) < 2500:
                await queue.store.fetch("select trunkline.keep_batch($1, $2)", queue.tenant_id, batch_id)

    await asyncio.gather(*(worker(n) for n in range(8)))

    assert ("done", 5000, 4500, 500, 0) == await counts(queue, batch_id)
    assert 1 == len(await calls(queue))


async def test_while_many_children_are_left_nobody_locks_the_batch(queue, sessions):
    """A report that cannot be the last passes a locked row without waiting."""
    batch_id, ids = await filled(queue, 1, seal=False)
    await queue.store.fetch(
        "insert into trunkline.batch_delta (tenant_id, batch_id, total) values ($1, $2, 50000)", queue.tenant_id, batch_id
    )
    await sealed(queue, batch_id)
    await queue.claim(1)
    gate, acking = await sessions.connect(), await sessions.connect()
    holding = await hold(gate, "select from trunkline.batch for update")
    await acking.execute("set statement_timeout = '400ms'")  # less than anybody waits for the row
    await acking.fetch(ACK, queue.tenant_id, ids, [1], [None])
    await holding.rollback()

    assert ("running", 50001, 1, 0, 0) == await counts(queue, batch_id)


async def test_a_callback_that_is_refused_costs_no_report_and_is_sent_later(queue):
    """Whatever keeps it from being put in now: the child has ended, and the duty tries again."""
    batch_id, _ = await filled(queue, 1, complete=True)
    await queue.store.fetch("create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no room'; end $$")
    await queue.store.fetch("create trigger refuse before insert on trunkline.ready for each row execute function refuse()")
    lost = await queue.complete(await queue.claim_one())
    await queue.tick()
    between = await counts(queue, batch_id)
    await queue.store.fetch("drop trigger refuse on trunkline.ready")
    await queue.store.fetch("update trunkline.duty set next_run_at = '-infinity'")
    await queue.tick()

    assert (set(), ("running", 1, 1, 0, 0)) == (lost, between)
    assert "done" == (await counts(queue, batch_id))[0]
    assert 1 == len(await calls(queue))


async def test_cancelling_a_batch_ends_what_waits_and_asks_what_runs(queue):
    """It is closed first, then in slices; nobody joins any more, and the batch is done when the last one has ended."""
    batch_id, ids = await filled(queue, 5, seal=False, complete=True)
    await queue.claim(1)
    after, answers = None, []
    while True:
        row = await queue.store.fetchrow("select * from trunkline.cancel_batch($1, $2, 'enough', $3, 2)", queue.tenant_id, batch_id, after)
        answers.append((row["cancelled"], row["requested"]))
        if (after := row["last"]) is None:
            break
    with pytest.raises(InvalidInput, match="it is cancelled"):
        await queue.put(batch_id=batch_id)
    before = await counts(queue, batch_id)
    await work.settle(queue.store, queue.tenant_id, ids[:1], [1], ["cancelled"], [None], [None])

    assert [(0, 0), (1, 1), (2, 0), (1, 0)] == answers
    assert ("cancelling", 5, 0, 0, 4) == before
    assert ("done", 5, 0, 0, 5) == await counts(queue, batch_id)
    assert 1 == len(await calls(queue))


async def test_a_batch_is_written_in_sql_by_one_sentence(queue):
    """All or nothing; an error says which job."""
    batch_id = await queue.store.fetchval(
        """select trunkline.batch('[{"kind": "work"}, {"kind": "work", "payload": {"n": 2}, "options": {"priority": 5}}]',
             '{"name": "two", "on_complete": {"kind": "work", "options": {"queue": "calls"}}}')"""
    )
    first, second = await queue.claim(2)
    with pytest.raises(InvalidInput, match="job 1 of the batch: option priority is 500"):
        await queue.store.fetch("""select trunkline.batch('[{"kind": "work"}, {"kind": "work", "options": {"priority": 500}}]')""")
    with pytest.raises(InvalidInput, match="a callback is sent when the batch is done"):
        await queue.store.fetch("""select trunkline.batch('[]', '{"on_success": {"kind": "a", "options": {"unique_key": "k"}}}')""")
    await queue.complete(first, second)

    assert {"n": 2} == json.loads(first.payload)
    assert ("two", "complete") == ((await calls(queue))[0]["name"], (await calls(queue))[0]["event"])
    assert (1, ("done", 2, 2, 0, 0)) == (await queue.count("batch"), await counts(queue, batch_id))


async def test_batches_are_forgotten_with_history(queue, clock):
    """Done ones, after retention; a child that is put back by hand then counts for nobody."""
    batch_id, _ = await filled(queue, 1)
    kept, _ = await filled(queue, 1)
    child, _ = await queue.claim(2)
    await queue.settle(child, "fatal")
    await clock.forward(1000)
    await queue.store.fetch("select trunkline.forget_batches(500)")
    await queue.retry(child.job_id)
    await queue.complete(await queue.claim_one())

    assert None is await counts(queue, batch_id)
    assert ("running", 1, 0, 0, 0) == await counts(queue, kept)
    assert (1, 1) == (await queue.count("batch_job"), await queue.count("batch_delta"))
