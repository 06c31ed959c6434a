"""Heartbeats, and what happens to the leases of those who stop: rescue, deadlines, cancels that were ignored."""

from __future__ import annotations

import pytest

from tests.support.until import until
from trunkline.store import sessions as store_sessions

TTL_S = 8.0


async def is_safe(queue, xmax: int) -> bool:
    """Whether every transaction before `xmax` has ended; those of other tests on this server count too, so ask again."""
    return (await queue.tick()).xmin >= xmax


async def test_the_leases_of_a_dead_process_are_offered_again(queue, clock):
    """A dead worker process within 10 s."""
    dead = await queue.session(TTL_S)
    job_id = await queue.put()
    lost = await queue.claim_one(session_id=dead)
    await clock.forward(TTL_S + 1)
    tick = await queue.tick()

    assert [queue.queue_id] == tick.work
    assert (["ready"], [(1, "lost")]) == (await queue.homes(job_id), await queue.endings(job_id))
    assert 2 == (await queue.claim_one()).attempt
    assert {job_id} == await queue.complete(lost)


async def test_a_job_that_kills_its_worker_ends_some_day(queue, clock):
    """Lost counts as a failure."""
    job_id = await queue.put(retry_limit=2)
    for _ in range(3):
        dead = await queue.session(TTL_S)
        await queue.claim_one(session_id=dead)
        await clock.forward(TTL_S + 1)
        await queue.tick()

    assert ("failed", [(1, "lost"), (2, "lost"), (3, "lost")]) == (await queue.state(job_id), await queue.endings(job_id))
    assert "the worker went away" == (await queue.view(job_id)).error["message"]


async def test_the_leases_of_a_process_that_said_goodbye_are_offered_again(queue, clock):
    """It released what it could; the rest is rescued at once."""
    leaving = await queue.session()
    job_id = await queue.put()
    await queue.claim_one(session_id=leaving)
    await store_sessions.close_session(queue.store, leaving)
    await clock.forward(1)
    await queue.tick()

    assert ["ready"] == await queue.homes(job_id)


async def test_a_renewed_session_keeps_its_leases(queue, clock):
    """Heartbeats are per process, never per job."""
    alive = await queue.session(TTL_S)
    job_id = await queue.put()
    await queue.claim_one(session_id=alive)
    for _ in range(5):
        await clock.forward(TTL_S - 2)
        assert (await queue.tick(alive, ttl_s=TTL_S)).alive
        await queue.tick()

    assert "active" == await queue.state(job_id)


async def test_a_session_that_ran_out_but_was_not_declared_dead_can_be_renewed(queue, clock):
    """The row lock decides, not the time alone."""
    late = await queue.session(TTL_S)
    await clock.forward(TTL_S + 100)

    assert (await queue.tick(late, ttl_s=TTL_S)).alive


async def test_a_session_declared_dead_learns_it_at_its_next_tick(queue, clock):
    """It is over for good; its process starts a new one."""
    dead = await queue.session(TTL_S)
    await clock.forward(TTL_S + 1)
    await queue.tick()

    assert not (await queue.tick(dead, ttl_s=TTL_S)).alive


async def test_a_renewal_that_races_the_declaration_of_death_loses_or_wins_but_not_both(queue, clock, sessions):
    """The second waits for the first and then sees what it did."""
    late = await queue.session(TTL_S)
    await clock.forward(TTL_S + 1)
    burying, renewing = await sessions.connect(), await sessions.connect()
    transaction = burying.transaction()
    await transaction.start()
    buried = await burying.fetchval("select trunkline.bury_sessions()")
    renewal = sessions.start(renewing.fetchval("select trunkline.renew($1, 8)", late))
    await sessions.blocked(renewing)
    await transaction.commit()

    assert (True, False) == (buried, await renewal)


async def test_a_session_that_is_just_being_renewed_is_not_declared_dead(queue, clock, sessions):
    """The undertaker skips a row that somebody holds."""
    late = await queue.session(TTL_S)
    await clock.forward(TTL_S + 1)
    renewing = await sessions.connect()
    transaction = renewing.transaction()
    await transaction.start()
    renewed = await renewing.fetchval("select trunkline.renew($1, 8)", late)
    buried = await queue.store.fetchval("select trunkline.bury_sessions()")
    await transaction.commit()

    assert (True, False) == (renewed, buried)
    assert (await queue.tick(late, ttl_s=TTL_S)).alive


async def test_a_heartbeat_writes_only_when_a_third_of_its_time_has_passed(queue, clock):
    """One update each 2 to 3 s and process, however often it ticks."""
    session_id = await queue.session(TTL_S)
    read = "select xmin::text from trunkline.session where session_id = $1"
    versions = []
    for _ in range(6):
        await clock.forward(1)
        await queue.tick(session_id, ttl_s=TTL_S)
        versions.append(await queue.store.fetchval(read, session_id))

    assert 3 == len(set(versions))


async def test_a_deadline_that_passed_is_found_by_the_net(queue, clock):
    """A hung handler at its deadline, even when its own process does not stop it."""
    job_id = await queue.put(timeout=30)
    hung = await queue.claim_one()
    await clock.forward(29)
    await queue.tick()
    before = await queue.state(job_id)
    await clock.forward(7)
    await queue.tick()

    assert ("active", "retrying", [(1, "timed_out")]) == (before, await queue.state(job_id), await queue.endings(job_id))
    assert {job_id} == await queue.complete(hung)


async def test_a_cancel_that_was_ignored_for_ten_seconds_is_carried_out(queue, clock):
    """The handler had its time."""
    job_id = await queue.put()
    deaf = await queue.claim_one()
    await queue.cancel(job_id)
    await clock.forward(6)
    await queue.tick()
    before = await queue.state(job_id)
    await clock.forward(6)
    await queue.tick()

    assert ("active", "cancelled") == (before, await queue.state(job_id))
    assert {job_id} == await queue.complete(deaf)


async def test_a_cancelled_job_of_a_dead_process_is_cancelled_not_offered_again(queue, clock):
    """Somebody wanted it gone."""
    dead = await queue.session(TTL_S)
    job_id = await queue.put()
    await queue.claim_one(session_id=dead)
    await queue.cancel(job_id)
    await clock.forward(TTL_S + 1)
    await queue.tick()

    assert "cancelled" == await queue.state(job_id)


async def test_rescue_serves_every_tenant_at_once(queue, store, clock):
    """One process's duty is everybody's."""
    dead = await queue.session(TTL_S)
    others = [await type(queue).open(store, tenant=f"t{n}") for n in range(3)]
    for each in (queue, *others):
        await each.put()
        await each.claim_one(session_id=dead)
    await clock.forward(TTL_S + 1)

    assert 4 == await queue.rescue()
    assert [["queued"]] * 4 == [
        [(await each.store.fetchval("select state from trunkline.jobs where tenant_id = $1", each.tenant_id))] for each in (queue, *others)
    ]


async def test_a_lease_that_a_dead_session_commits_late_is_still_found(queue, clock, sessions):
    """A claim that was under way when its session died may commit after the rescue."""
    dying = await queue.session(TTL_S)
    job_id = await queue.put()
    conn = await sessions.connect()
    transaction = conn.transaction()
    await transaction.start()
    await conn.fetch("select job_id from trunkline.claim($1, $2, $3, 1, 0, '{}', '{}')", queue.tenant_id, queue.queue_id, dying)
    await clock.forward(TTL_S + 1)
    await queue.tick()
    await transaction.commit()
    held = await queue.homes(job_id)
    await clock.forward(6)
    await queue.tick()

    assert (["lease"], ["ready"]) == (held, await queue.homes(job_id))


async def test_dead_sessions_are_forgotten_after_a_minute_unless_they_still_hold_something(queue, clock):
    """The table stays small."""
    for _ in range(3):
        await queue.session(TTL_S)
    await clock.forward(TTL_S + 1)
    await queue.tick()
    remembered = await queue.count("session")
    await clock.forward(61)
    await queue.tick()

    assert (4, 1) == (remembered, await queue.count("session"))


async def test_rescue_has_one_performer_a_second(queue, clock):
    """Any number of processes may call it."""
    for _ in range(3):
        await queue.put()
        await queue.claim_one(session_id=await queue.session(TTL_S))
    await clock.forward(TTL_S + 1)

    assert [3, 0, 0] == [await queue.rescue() for _ in range(3)]


async def test_a_duty_is_taken_by_one_caller_per_interval(queue, clock, sessions):
    """The row lock keeps a second one out while the first works."""
    take = "select trunkline.take_duty('retention', 60, 1)"
    one, other = await sessions.connect(), await sessions.connect()
    transaction = one.transaction()
    await transaction.start()
    answers = [await one.fetchval(take), await other.fetchval(take)]
    await transaction.commit()
    answers.append(await other.fetchval(take))
    await clock.forward(61)
    answers.append(await other.fetchval(take))

    assert [True, False, False, True] == answers


async def test_the_tick_says_when_the_next_job_is_due(queue, clock):
    """So that the process ticks again in time."""
    nothing = await queue.tick()
    await queue.put(delay=7)
    soon = await queue.tick()

    assert None is nothing.due_in_s
    assert 7 == pytest.approx(soon.due_in_s, abs=1)


async def test_the_tick_names_the_queues_with_work_behind_the_mark(queue):
    """A lost signal costs one tick."""
    nothing = await queue.tick()
    await queue.put(priority=3)
    work = await queue.tick()
    behind = await queue.tick(mark=(await queue.store.fetchval("select max(ord) from trunkline.ready")))

    assert (None, [queue.queue_id], None) == (nothing.work, work.work, behind.work)


async def test_a_place_is_safe_only_when_every_older_transaction_has_ended(queue, sessions):
    """A transaction that began early may commit a smaller place late."""
    slow = await sessions.connect()
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute("select trunkline.enqueue('work')")
    during = await queue.tick()
    assert during.xmin < during.xmax, "the newest transaction of all counts as well"
    await transaction.commit()

    assert await until(lambda: is_safe(queue, during.xmax), "the place is safe")
    assert during.ord_now > await queue.store.fetchval("select max(ord) from trunkline.ready")


async def test_an_old_snapshot_that_only_reads_does_not_hold_the_safe_mark_back(queue, sessions):
    """A report that runs for an hour must not slow the queue."""
    reader = await sessions.connect()
    transaction = reader.transaction(isolation="repeatable_read")
    await transaction.start()
    await reader.fetch("select 1 from trunkline.job")
    await queue.put()
    first = await queue.tick()

    assert await until(lambda: is_safe(queue, first.xmax), "the place is safe while the snapshot is open")
    await transaction.rollback()


async def test_a_rescue_that_meets_a_lock_costs_no_heartbeat(queue):
    """Somebody's tick is slow to commit; ours is answered all the same, and rescues next time."""
    await queue.store.fetch("insert into trunkline.duty (name) values ('patience') on conflict do nothing")
    await queue.store.fetch(
        "update trunkline.duty set last_run_at = clock_timestamp() - interval '1 minute', next_run_at = '-infinity' where name = 'rescue'"
    )
    async with queue.store.connection() as other, other.transaction():
        await other.execute("update trunkline.duty set next_run_at = next_run_at where name = 'patience'")
        tick = await store_sessions.tick(queue.store, queue.session_id, 60, [queue.queue_id], 0)

    assert tick.alive
