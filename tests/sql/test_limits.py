"""Concurrency: never more leases than a limiter has slots, and nobody waits in its line when it has room."""

from __future__ import annotations

import pytest

from tests.support.limited import bound, ids, keyed, wrongs
from trunkline.errors import InvalidInput, Unavailable
from trunkline.model import Policy, new_job
from trunkline.store import limits, operate, work
from trunkline.store import sessions as store_sessions


@pytest.mark.parametrize(("scope", "name"), [("queue", "work"), ("kind", "work"), ("key", "k")])
async def test_no_more_leases_than_the_limit_whatever_it_is_set_on(queue, scope, name):
    """A queue, a kind, a key: the rest waits, and counts as limited."""
    await bound(queue, scope, name, concurrency=2)
    jobs = await keyed(queue, 5)

    assert jobs[:2] == ids(await queue.claim(10))
    assert ["limited"] * 3 == [await queue.state(job_id) for job_id in jobs[2:]]
    assert [] == await queue.claim(10)
    assert [] == await wrongs(queue.store)


@pytest.mark.parametrize("ending", ["completed", "failed", "fatal", "snoozed", "released", "lost", "no_handler", "cancelled"])
async def test_whatever_ends_a_lease_frees_its_slot(queue, ending):
    """The next in line comes at its old place, in the same transaction."""
    await bound(queue, concurrency=1)
    jobs = await keyed(queue, 3)
    first = await queue.claim_one()
    if ending == "completed":
        await queue.claim(5)
        await queue.complete(first)
    else:
        await queue.claim(5)
        await queue.settle(first, ending, delay_s=100)
    second = await queue.claim(5)

    assert 1 == len(second)
    assert second[0].job_id in ((jobs[0], jobs[1]) if ending in ("released", "lost") else (jobs[1],))
    assert [] == await wrongs(queue.store)


async def test_a_dead_session_gives_its_slots_back(queue, clock):
    """kill -9 of a worker: rescue ends the leases, and with them the slots."""
    await bound(queue, concurrency=2)
    jobs = await keyed(queue, 4)
    victim = await queue.session(ttl_s=5)
    assert jobs[:2] == ids(await queue.claim(10, session_id=victim))
    await queue.claim(10)
    await clock.forward(20)
    await queue.rescue()
    after = ids(await queue.claim(10))

    assert 2 == len(after)
    assert [] == await wrongs(queue.store)


async def test_jobs_of_other_keys_are_found_behind_a_thousand_that_are_refused(queue):
    """A full key does not stand at the head of its queue."""
    await bound(queue, concurrency=1)
    await queue.put_jobs([new_job("work", n, limit_key="k") for n in range(1000)])
    other = await queue.put(limit_key="other")
    taken = ids(await queue.claim(10))

    assert 2 == len(taken)
    assert other in taken
    assert 999 == await queue.count("deferred")
    assert [] == await wrongs(queue.store)


async def test_a_line_longer_than_one_claim_may_move_is_moved_by_the_next(queue):
    """One claim stays short; its claimers are told to look again."""
    await bound(queue, concurrency=1)
    for _ in range(5):
        await queue.put_jobs([new_job("work", n, limit_key="k") for n in range(1000)])
    other = await queue.put(limit_key="other")
    found: list = []
    for _ in range(8):
        found += ids(await queue.claim(10))

    assert other in found
    assert 2 == len(found)
    assert [] == await wrongs(queue.store)


async def test_a_newcomer_goes_behind_those_who_wait(queue):
    """A free slot belongs to the head of the line, not to whoever comes by."""
    await bound(queue, concurrency=1)
    second = (await keyed(queue, 2))[1]
    held = await queue.claim_one()
    await queue.claim(5)
    await queue.complete(held)
    late = await queue.put(limit_key="k", priority=9)

    assert [second] == ids(await queue.claim(5))
    assert "limited" == await queue.state(late)


async def test_the_line_is_served_by_priority_then_by_place(queue):
    """As the queue itself is."""
    await bound(queue, concurrency=1)
    await keyed(queue, 1)
    held = await queue.claim_one()
    low, high, low2 = [await queue.put(limit_key="k", priority=p) for p in (0, 5, 0)]
    await queue.claim(5)
    order = []
    while held is not None:
        await queue.complete(held)
        came = await queue.claim(5)
        held = came[0] if came else None
        order += ids(came)

    assert [high, low, low2] == order


async def test_a_key_gets_its_bound_from_the_kind_and_its_own_bound_wins(queue, store):
    """`key_concurrency` is for every key of the kind; `set_limit` on a key replaces it."""
    await work.declare_kind(store, queue.tenant_id, "work", Policy(key_concurrency=1))
    await bound(queue, name="b", concurrency=2)
    await keyed(queue, 3, "a")
    await keyed(queue, 3, "b")
    claimed = [c.options for c in await queue.claim(10)]

    assert (1, 2) == (sum('"a"' in c for c in claimed), sum('"b"' in c for c in claimed))
    assert [] == await wrongs(store)


async def test_a_kind_declares_its_bound_for_every_tenant(queue, store):
    """Also for tenants and queues that come later."""
    await work.declare_kind(store, None, "shared", Policy(concurrency=1))
    theirs = await type(queue).open(store, tenant="later", kind="lane")
    await theirs.put_jobs([new_job("shared", n, queue="lane") for n in range(3)])

    assert 1 == len(await theirs.claim(10))
    assert 2 == await queue.count("deferred")


async def test_a_limit_that_is_raised_lets_more_come_and_one_that_is_lowered_fewer(queue):
    """At once, without anybody's report; what runs is not stopped."""
    await bound(queue, concurrency=2)
    await keyed(queue, 8)
    held = await queue.claim(10)
    await queue.claim(10)
    await bound(queue, concurrency=4)
    held += await queue.claim(10)
    assert 4 == len(held)
    await bound(queue, concurrency=1)
    for claimed in held[:3]:
        await queue.complete(claimed)
        assert [] == await queue.claim(10)
    await queue.complete(held[3])

    assert 1 == len(await queue.claim(10))
    assert [] == await wrongs(queue.store)


async def test_a_limit_that_is_removed_lets_everybody_go(queue):
    """Also those who wait."""
    await bound(queue, concurrency=1)
    await keyed(queue, 5)
    await queue.claim(10)
    await queue.claim(10)

    assert await limits.remove_limit(queue.store, queue.tenant_id, "key", "k")
    assert not await limits.remove_limit(queue.store, queue.tenant_id, "key", "k")
    assert 4 == len(await queue.claim(10))
    assert [] == await wrongs(queue.store)


async def test_a_limit_counts_what_runs_already(queue):
    """Three run when the limit of two comes: none starts until fewer than two run."""
    await keyed(queue, 5)
    held = await queue.claim(3)
    await bound(queue, concurrency=2)
    assert [] == await queue.claim(5)
    await queue.complete(held[0])
    assert [] == await queue.claim(5)
    await queue.complete(held[1])

    assert 1 == len(await queue.claim(5))
    assert [] == await wrongs(queue.store)


async def test_every_limiter_of_a_job_must_have_room(queue):
    """A queue of three and a key of one: the key's second job waits, others do not."""
    await bound(queue, "queue", "work", concurrency=3)
    await bound(queue, concurrency=1)
    first = (await keyed(queue, 2))[0]
    others = await queue.put_plain(5)

    assert [first, others[0], others[1]] == ids(await queue.claim(10))
    assert [] == await queue.claim(10)
    assert [] == await wrongs(queue.store)


async def test_a_job_that_was_promised_a_slot_and_is_cancelled_passes_it_on(queue):
    """Between its promise and its claim it is an ordinary queued job."""
    await bound(queue, concurrency=1)
    jobs = await keyed(queue, 4)
    held = await queue.claim_one()
    await queue.claim(5)
    await queue.complete(held)
    await queue.cancel(jobs[1])
    assert await operate.reschedule(queue.store, queue.tenant_id, jobs[2], (await queue.view(jobs[3])).created_at.replace(year=2099))

    assert [jobs[3]] == ids(await queue.claim(5))
    assert [] == await wrongs(queue.store)


async def test_a_promise_nobody_takes_up_goes_to_the_next(queue, clock):
    """The promised job stands in a paused queue: another queue's job of the same key must not wait for it."""
    await bound(queue, concurrency=1)
    other = await type(queue).open(queue.store, kind="other")
    await keyed(queue, 1)
    held = await queue.claim_one()
    await keyed(queue, 1)
    await queue.claim(5)
    (waiting,) = await keyed(other, 1)
    await other.claim(5)
    await operate.pause_queue(queue.store, queue.tenant_id, "work", True)
    await queue.complete(held)
    assert [] == await other.claim(5)
    await clock.forward(30)
    await queue.tick()

    assert [waiting] == ids(await other.claim(5))
    assert [] == await wrongs(queue.store)


async def test_a_head_that_was_locked_when_the_slot_came_free_is_found_by_the_duty(queue, sessions, clock):
    """Somebody just reprioritises the only one who waits: the report does not wait for them, and nothing is stranded."""
    await bound(queue, concurrency=1)
    second = (await keyed(queue, 2))[1]
    held = await queue.claim_one()
    await queue.claim(5)
    conn = await sessions.connect()
    async with conn.transaction():
        await conn.execute("select from trunkline.deferred where job_id = $1 for update", second)
        await queue.complete(held)
        assert [] == await queue.claim(5)
    await clock.forward(6)
    await queue.tick()

    assert [second] == ids(await queue.claim(5))


async def test_an_enqueue_in_a_long_transaction_stops_neither_claims_nor_reports(queue, sessions):
    """Its keys are those of jobs that run and wait."""
    await bound(queue, concurrency=1)
    await keyed(queue, 2, ordering_key="o")
    conn = await sessions.connect()
    async with conn.transaction():
        await conn.fetch('select trunkline.enqueue(\'work\', \'{}\', \'{"limit_key": "k", "ordering_key": "o"}\')')
        held = await queue.claim_one()
        await queue.complete(held)
        second = await queue.claim_one()
    await queue.complete(second)

    assert 1 == len(await queue.claim(5))
    assert [] == await wrongs(queue.store)


async def test_a_claim_that_is_rolled_back_has_charged_nothing(queue, sessions):
    """A claimer that dies before its commit."""
    await bound(queue, concurrency=1)
    jobs = await keyed(queue, 3)
    conn = await sessions.connect()
    transaction = conn.transaction()
    await transaction.start()
    claim = "select job_id from trunkline.claim($1, $2, $3, 5, 0, '{}', '{}')"
    taken = await conn.fetch(claim, queue.tenant_id, queue.queue_id, queue.session_id)
    await transaction.rollback()

    assert [jobs[0]] == [row[0] for row in taken]
    assert [jobs[0]] == ids(await queue.claim(5))
    assert [] == await wrongs(queue.store)


async def test_a_session_that_says_goodbye_gives_its_slots_back(queue):
    """Released jobs go back to their places, the first in line first."""
    await bound(queue, concurrency=1)
    jobs = await keyed(queue, 2)
    leaver = await queue.session()
    await queue.claim(1, session_id=leaver)
    await store_sessions.close_session(queue.store, leaver)

    assert [jobs[0]] == ids(await queue.claim(5))
    assert [] == await wrongs(queue.store)


async def test_idle_limiters_that_nobody_set_are_forgotten(queue, store, clock):
    """A million keys that were used once leave nothing behind."""
    await work.declare_kind(store, queue.tenant_id, "work", Policy(key_concurrency=1))
    await bound(queue, name="kept", concurrency=1)
    for key in "abc":
        await keyed(queue, 1, key)
    await queue.complete(*await queue.claim(10))
    await clock.forward(100)
    await queue.tick()

    assert ["kept"] == [limit.key for limit in await limits.limits(store, queue.tenant_id) if limit.key]


async def test_two_thousand_jobs_of_one_key_move_a_few_times_each(queue):
    """Into the line, out of it, into a lease: rows written do not grow with the line."""
    await bound(queue, concurrency=2)
    for _ in range(2):
        await queue.put_jobs([new_job("work", n, limit_key="k") for n in range(1000)])
    done = 0
    while claimed := await queue.claim(100):
        await queue.complete(*claimed)
        done += len(claimed)
    moves = "select sum(n_tup_ins) from pg_stat_user_tables where relname in ('ready', 'deferred', 'lease')"
    await queue.store.fetch("select pg_stat_force_next_flush()")

    assert 2000 == done
    assert int(await queue.store.fetchval(moves)) <= 2000 * 5


async def test_a_claim_that_does_not_know_of_limits_cannot_take_a_job_with_a_key(queue):
    """It read that its queue has no gates before the first such job was committed, and looked for jobs after: it is repeated."""
    (job_id,) = await keyed(queue, 1)
    await queue.store.fetch("update trunkline.queue set gates = 0")
    with pytest.raises(Unavailable, match="It is repeated"):
        await queue.claim(5)
    await queue.store.fetch("update trunkline.queue set gates = 1")

    assert [job_id] == ids(await queue.claim(5))


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"concurrency": None}, {"rate": 0.0}, {"rate": 1.0, "burst": -1}, {"rate": 1e9}])
async def test_bounds_that_cannot_be_are_refused(queue, wrong):
    """Each is named with its value."""
    with pytest.raises(InvalidInput):
        await bound(queue, **wrong)
