"""Pauses of a kind, a key and a tenant, and what "exact at commit" means, with two connections."""

from __future__ import annotations

import pytest

from tests.support.limited import bound, ids, keyed, wrongs
from trunkline.model import new_job
from trunkline.store import limits, operate

CLAIM = "select job_id from trunkline.claim($1, $2, $3, 5, 0, '{}', '{}')"


@pytest.mark.parametrize(("scope", "name"), [("kind", "work"), ("key", "k"), ("queue", "work"), ("tenant", None)])
async def test_what_is_paused_gives_nothing_and_loses_nothing(queue, scope, name):
    """Its jobs come back with their places; saying it twice changes nothing."""
    jobs = await keyed(queue, 3)
    assert await limits.pause(queue.store, queue.tenant_id, scope, name, True)
    assert not await limits.pause(queue.store, queue.tenant_id, scope, name, True)
    assert [] == await queue.claim(10)
    assert await limits.pause(queue.store, queue.tenant_id, scope, name, False)

    assert jobs == ids(await queue.claim(10))
    assert [] == await wrongs(queue.store)


async def test_a_paused_kind_leaves_other_kinds_of_its_queue_alone(queue):
    """They are found behind it."""
    await queue.put_plain(50)
    other = (await queue.put_jobs([new_job("other", queue="work")]))[0][0]
    await limits.pause(queue.store, queue.tenant_id, "kind", "work", True)

    assert [other] == ids(await queue.claim(10))


async def test_a_paused_tenant_pauses_queues_that_come_later_and_nobody_else(queue, store):
    """A new queue begins with its tenant's gates."""
    await limits.pause(store, queue.tenant_id, "tenant", None, True)
    later = await type(queue).open(store, kind="later")
    theirs = await type(queue).open(store, tenant="other")
    await later.put()
    await theirs.put()

    assert [] == await later.claim(10)
    assert 1 == len(await theirs.claim(10))
    assert None is (await later.tick()).work


async def test_a_queue_that_is_made_while_its_tenant_is_paused_is_paused(queue, sessions):
    """The queue's transaction is open when the pause comes: the pause waits and finds it."""
    conn, other = await sessions.connect(), await sessions.connect()
    transaction = conn.transaction()
    await transaction.start()
    await conn.fetch("select trunkline.enqueue('fresh')")
    pausing = sessions.start(other.fetch("select trunkline.pause_limit($1, 'tenant', null, true)", queue.tenant_id))
    await sessions.blocked(other)
    await transaction.commit()
    await pausing

    assert 2 == await queue.store.fetchval("select gates from trunkline.queue where name = 'fresh'")


async def test_a_pause_waits_for_a_claim_of_its_key_that_is_under_way(queue, sessions):
    """The limiter's row is the lock: when the pause is committed, no claim can still start such a job."""
    await bound(queue, concurrency=5)
    jobs = await keyed(queue, 2)
    claimer, pauser = await sessions.connect(), await sessions.connect()
    transaction = claimer.transaction()
    await transaction.start()
    taken = await claimer.fetch(CLAIM, queue.tenant_id, queue.queue_id, queue.session_id)
    pausing = sessions.start(pauser.fetch("select trunkline.pause_limit($1, 'key', 'k', true)", queue.tenant_id))
    await sessions.blocked(pauser)
    await transaction.commit()
    await pausing
    await keyed(queue, 1)

    assert jobs == [row[0] for row in taken]
    assert [] == await queue.claim(10)


async def test_a_claim_that_waits_for_the_pause_sees_it(queue, sessions):
    """It began before the pause was committed, and reads the limiter after it has its lock."""
    await bound(queue, concurrency=5)
    await keyed(queue, 2)
    claimer, pauser = await sessions.connect(), await sessions.connect()
    transaction = pauser.transaction()
    await transaction.start()
    await pauser.fetch("select trunkline.pause_limit($1, 'key', 'k', true)", queue.tenant_id)
    claiming = sessions.start(claimer.fetch(CLAIM, queue.tenant_id, queue.queue_id, queue.session_id))
    await sessions.blocked(claimer)
    await transaction.commit()

    assert [] == await claiming


async def test_waiting_for_claims_ends_when_the_claim_under_way_does(queue, sessions):
    """A plain claim takes no lock that a pause could wait for; it is waited for by the locks it holds on tables."""
    await queue.put_plain(1)
    claimer = await sessions.connect()
    transaction = claimer.transaction()
    await transaction.start()
    taken = await claimer.fetch(CLAIM, queue.tenant_id, queue.queue_id, queue.session_id)
    await operate.pause_queue(queue.store, queue.tenant_id, "work", True)
    in_vain = await limits.await_claims(queue.store, 2.2)  # longer than a mere reader is waited for
    waiting = sessions.start(limits.await_claims(queue.store, 30))
    await transaction.commit()

    assert 1 == len(taken)
    assert not in_vain
    assert await waiting


async def test_waiting_for_claims_does_not_wait_for_an_enqueue_in_a_long_transaction(queue, sessions):
    """It reads queues as a claim does, and is told apart by what it writes."""
    conn = await sessions.connect()
    async with conn.transaction():
        await conn.fetch("select trunkline.enqueue('work')")

        assert await limits.await_claims(queue.store, 0.0)


async def test_jobs_of_a_resumed_kind_come_back_however_many_they_are(queue):
    """A thousand at a time are promised; whoever is claimed makes room for the next."""
    for _ in range(2):
        await queue.put_jobs([new_job("work", n) for n in range(900)])
    await limits.pause(queue.store, queue.tenant_id, "kind", "work", True)
    while await queue.count("ready"):
        assert [] == await queue.claim(1000)
    await limits.pause(queue.store, queue.tenant_id, "kind", "work", False)
    came = 0
    while claimed := await queue.claim(500):
        came += len(claimed)

    assert 1800 == came
    assert [] == await wrongs(queue.store)
