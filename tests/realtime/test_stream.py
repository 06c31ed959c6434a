"""What a watcher is told: every committed move once, in order, whatever commits late."""

from __future__ import annotations

import asyncio
import json

from tests.support.until import WITHIN_S, until
from trunkline.realtime import Stream, stream, telling
from trunkline.store import events as store_events
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


async def test_large_results_are_told_in_parts_and_none_is_left_out(queue, open_stream):
    """A read takes about 8 MB of a tenant; events without data stand between."""
    told = await open_stream(queue.tenant_id)
    ids = await queue.put_plain(24)
    claimed = await queue.claim(24)
    large = '"' + "x" * 1_000_000 + '"'
    await work.ack_completed(queue.store, queue.tenant_id, ids, [1] * 24, [large if n % 2 else None for n in range(24)])
    await told.until(72)
    assert 24 == len(claimed)
    ended = [event for event in told.events if event.what == "completed"]

    assert ids == [event.job_id for event in ended]
    assert [len(large) if n % 2 else 4 for n in range(24)] == [len(event.data) for event in ended]
    assert max(told.bursts) < 72


async def test_many_events_at_once_are_told_in_order(queue, open_stream):
    """More than one read takes."""
    told = await open_stream(queue.tenant_id)
    ids = await queue.put_plain(1300)
    await told.until(1300)

    assert ids == [event.job_id for event in told.events]
    assert len(told.bursts) > 2


async def test_a_lost_signal_costs_a_poll(queue, open_stream):
    """Nobody listens here."""
    told = await open_stream(queue.tenant_id, listens=False)
    job_id = await queue.put()

    assert [job_id] == [event.job_id for event in await told.until(1)]


async def test_a_database_that_was_away_loses_nothing(queue, open_stream):
    """Every connection is cut while events come."""
    told = await open_stream(queue.tenant_id)
    ids = [await queue.put()]
    await told.until(1)
    await queue.store.fetch(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    )
    ids += [await queue.put(), await queue.put()]
    await told.until(3)

    assert ids == [event.job_id for event in told.events]


async def test_one_read_serves_a_burst(queue, open_stream):
    """Signals that come while one is read make one more, however many they are; who is not watched makes none."""
    other = await queue.store.fetchval("select trunkline.tenant_id('other')")
    told = await open_stream(queue.tenant_id)
    for _ in range(30):
        told.stream.heard("events", [str(other)])
    assert not told.stream._wake.is_set()
    reads = told.stream.reads
    for _ in range(30):
        told.stream.heard("events", [str(queue.tenant_id)])
    await told.caught_up(queue.tenant_id)

    assert told.stream.reads <= reads + 3


async def test_a_hearer_that_fails_keeps_nobody_else_from_hearing(queue, open_stream):
    """And hears the next burst."""
    told = await open_stream(queue.tenant_id)
    calls = []

    def fail(burst) -> None:
        calls.append(len(burst))
        raise ValueError("no")

    told.stream._hearers.insert(0, fail)
    await queue.put()
    await told.until(1)
    await queue.put()
    await told.until(2)

    assert 2 == sum(calls)


async def test_who_is_left_is_told_nothing_and_may_be_watched_again(queue, open_stream):
    """From then on."""
    told = await open_stream()
    unwatch = told.stream.watch(queue.tenant_id)
    twice = told.stream.watch(queue.tenant_id)
    await told.stream.ready(queue.tenant_id)
    unwatch()
    unwatch()
    first = await queue.put()
    await told.until(1)
    twice()
    await queue.put()
    told.stream.watch(queue.tenant_id)
    await told.stream.ready(queue.tenant_id)
    third = await queue.put()
    await told.until(2)

    assert [first, third] == [event.job_id for event in told.events]


async def test_a_move_that_had_looked_before_anybody_watched_is_waited_for(queue, open_stream, sessions):
    """It commits without an event, and before the stream is ready."""
    await queue.put_plain(1)
    conn = await sessions.connect()
    transaction = conn.transaction()
    await transaction.start()
    await conn.fetchval("select trunkline.enqueue('work')")
    told = await open_stream()
    told.stream.watch(queue.tenant_id)
    ready = sessions.start(told.stream.ready(queue.tenant_id))
    await until(lambda: told.stream._settling, "it waits for whoever looked")
    assert not ready.done()
    await transaction.commit()
    await ready
    job_id = await queue.put()

    assert [job_id] == [event.job_id for event in await told.until(1)]


async def test_a_stream_that_is_woken_and_stopped_at_once_stops(queue):
    """However far the wake-up has come when it is cancelled."""
    for steps in range(6):
        made = Stream(queue.store, lambda hear: lambda: None)
        await made.start()
        made.watch(queue.tenant_id)
        await made.ready(queue.tenant_id, WITHIN_S)
        for _ in range(20):
            await asyncio.sleep(0)  # it waits again
        made._wake.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        running, stopping = made._tasks[0], asyncio.create_task(made.stop())
        done, _ = await asyncio.wait([stopping], timeout=5)
        running.cancel()

        assert done, steps


async def test_who_asks_amid_a_burst_is_answered_after_the_next_one(queue, open_stream, monkeypatch):
    """The rest of a burst is older than the question: what committed before it has been told when it is answered."""
    monkeypatch.setattr(stream, "BURST", 2)
    monkeypatch.setattr(telling, "BURST", 2)
    told = await open_stream(queue.tenant_id)
    read, asked = store_events.read, []

    async def told_by_then(job_id) -> list[str]:
        await told.stream.caught_up(queue.tenant_id)
        return told.whats(job_id)

    async def read_and_ask(*where, **how):
        found = await read(*where, **how)
        if len(found.told) == 2 and not asked:
            asked.append(asyncio.create_task(told_by_then(await queue.put())))
            await asyncio.sleep(0)
        return found

    monkeypatch.setattr(store_events, "read", read_and_ask)
    await queue.store.fetchval("select count(*) from (select trunkline.enqueue('a', '{}') from generate_series(1, 3)) as x")
    await until(lambda: bool(asked), "it is asked amid a burst")

    assert ["queued"] == await asked[0]
