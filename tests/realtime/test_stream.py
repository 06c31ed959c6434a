"""What a watcher is told: every committed move once, in order, whatever commits late."""

from __future__ import annotations

import json

from trunkline.store import work


async def test_the_life_of_a_job_is_told_as_it_is_committed(queue, open_stream):
    """Queued, started, progress, completed with its result."""
    told = await open_stream(queue.tenant_id)
    job_id = await queue.put()
    claimed = await queue.claim_one()
    await work.save_progress(queue.store, queue.tenant_id, [job_id], [1], ['{"percentage": 50}'])
    await queue.complete(claimed, result='{"ok": true}')
    events = await told.until(4)

    assert ["queued", "started", "progress", "completed"] == told.whats(job_id)
    assert [None, 1, 1, 1] == [event.attempt for event in events]
    assert {("work", "work", queue.tenant_id)} == {(event.queue, event.kind, event.tenant_id) for event in events}
    assert [b"null", b"null", b'{"percentage": 50}', b'{"ok": true}'] == [event.data for event in events]
    assert ["queued", "started", "in_progress", "completed"] == [event.status for event in events]
    assert [False, False, False, True] == [event.is_terminal for event in events]
    assert 4 == len({event.offset for event in events})


async def test_failures_say_whether_they_are_tried_again(queue, open_stream):
    """With the error of their attempt."""
    told = await open_stream(queue.tenant_id)
    job_id = await queue.put(retry_limit=1, retry_delay=0)
    await queue.settle(await queue.claim_one(), "failed", error='{"message": "first"}')
    await queue.tick()
    await queue.settle(await queue.claim_one(), "failed", error='{"message": "second"}')
    events = await told.until(5)

    assert ["queued", "started", "retrying", "started", "failed"] == told.whats(job_id)
    assert ["first", "second"] == [json.loads(events[n].data)["message"] for n in (2, 4)]


async def test_a_transaction_that_commits_late_is_told_late_and_once(queue, open_stream, sessions):
    """Its numbers lie below those that were told already."""
    told = await open_stream(queue.tenant_id)
    conn = await sessions.connect()
    transaction = conn.transaction()
    await transaction.start()
    late = await conn.fetchval("select trunkline.enqueue('late', '{}', '{}', 'default')")
    early = await queue.put()
    await told.until(1)
    await told.caught_up(queue.tenant_id)
    assert [early] == [event.job_id for event in told.events]
    await transaction.commit()
    await told.until(2)
    await told.caught_up(queue.tenant_id)

    assert [early, late] == [event.job_id for event in told.events]


async def test_a_tenant_that_nobody_watches_leaves_no_events(queue, open_stream):
    """Another one may be watched meanwhile."""
    other = await queue.store.fetchval("select trunkline.tenant_id('other')")
    told = await open_stream(other)
    await queue.complete(*await queue.claim(len(await queue.put_plain(3))))

    assert 0 == await queue.count("event")
    assert [] == await told.caught_up(other)
