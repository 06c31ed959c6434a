"""Gates go down when nothing that limits is left, and never while something does, whoever comes at the same moment."""

from __future__ import annotations

import json

import pytest

from tests.support.limited import bound, ids, keyed, ordered, wrongs
from trunkline.store import limits

CLEAR = "select trunkline.clear_gates($1)"
ENQUEUE = "select trunkline.enqueue('work', '{}', $1::jsonb)"
SET = "select trunkline.set_limit($1, $2, 'work', p_concurrency => 1)"


async def gates(queue) -> int:
    """Bit 1 of the queue."""
    return await queue.store.fetchval("select gates & 1 from trunkline.queue where name = 'work'")


async def begun(conn, statement: str, *arguments) -> object:
    """A transaction that has done `statement`."""
    transaction = conn.transaction()
    await transaction.start()
    await conn.fetch(statement, *arguments)
    return transaction


@pytest.mark.parametrize("scope", ["queue", "kind"])
async def test_a_limit_that_is_removed_takes_its_gate_along(queue, scope):
    """At once, where nobody runs under it; plain claims go their short way again."""
    await queue.put_plain(3)
    await bound(queue, scope, "work", concurrency=2)
    with_limit = await gates(queue)
    await limits.remove_limit(queue.store, queue.tenant_id, scope, "work")

    assert (1, 0, 0) == (with_limit, await gates(queue), await queue.count("limiter"))
    assert 3 == len(await queue.claim(10)) and [] == await wrongs(queue.store)


async def test_a_pause_of_a_kind_and_a_quota_leave_nothing_behind(queue):
    """Resumed and taken away, all bits are as they were."""
    await queue.put_plain(1)
    for paused in (True, False):
        await limits.pause(queue.store, queue.tenant_id, "kind", "work", paused)
        await limits.pause(queue.store, queue.tenant_id, "tenant", None, paused)
        await limits.set_quota(queue.store, queue.tenant_id, queued=10 if paused else None, rate=None, per_s=1, burst=0)

    assert 0 == await queue.store.fetchval(
        "select bit_or(gates) from (select gates from trunkline.queue union all select gates from trunkline.tenant) as g"
    )
    assert 0 == await queue.count("limiter")


async def test_the_gate_stays_until_the_last_job_with_a_key_has_ended(queue):
    """Queued, running, and blocked behind a failed one; then the duty clears it."""
    await ordered(queue, 2)
    seen = [await queue.store.fetchval(CLEAR, queue.tenant_id)]
    for _ in range(2):
        first = await queue.claim_one()
        seen.append(await queue.store.fetchval(CLEAR, queue.tenant_id))
        await queue.complete(first)

    assert [0, 0, 0] == seen
    await queue.store.fetch("update trunkline.duty set next_run_at = '-infinity' where name in ('limits', 'limits_gone')")
    await queue.tick()
    assert 0 == await gates(queue)


async def test_asking_for_less_makes_no_limiter(queue):
    """Unblock, remove and resume of what nobody set leave no row."""
    await limits.block_key(queue.store, queue.tenant_id, "k", None)
    for scope in ("key", "queue", "kind"):
        assert not await limits.remove_limit(queue.store, queue.tenant_id, scope, "work")
    assert not await limits.pause(queue.store, queue.tenant_id, "key", "k", False)
    await limits.block_key(queue.store, queue.tenant_id, "k", 60)
    await limits.block_key(queue.store, queue.tenant_id, "k", None)
    await limits.pause(queue.store, queue.tenant_id, "key", "k", True)
    await limits.pause(queue.store, queue.tenant_id, "key", "k", False)
    await bound(queue, concurrency=1)
    await limits.remove_limit(queue.store, queue.tenant_id, "key", "k")

    assert (0, []) == (await queue.count("limiter"), await limits.limits(queue.store, queue.tenant_id))


async def test_bounds_of_a_handler_are_listed_before_the_first_job(queue):
    """Of the kind and of each of its keys; a limiter that is in use takes the place of the former."""
    await queue.store.fetch(
        "select trunkline.declare_kind($1, 'mail', 3, 1, true, 60, 0.1, 60, null, 4, null, 0, 2, 10, 3)", queue.tenant_id
    )
    before = await limits.limits(queue.store, queue.tenant_id)
    await limits.pause(queue.store, queue.tenant_id, "kind", "mail", True)
    after = await limits.limits(queue.store, queue.tenant_id)

    assert [("kind", "mail", None, 4, None, 0), ("kind_key", "mail", None, 2, 10.0, 3)] == [
        (each.scope, each.kind, each.key, each.concurrency, each.rate, each.burst) for each in before
    ]
    assert [True, False] == [each.paused_at is not None for each in after]


async def test_who_clears_passes_by_while_a_job_with_a_key_is_being_put_in(queue, sessions):
    """Its gate was up when it came, so it set nothing: the bit must stay, or no claim could ever take the job."""
    await keyed(queue, 1)
    await queue.complete(await queue.claim_one())
    putting = await sessions.connect()
    open_ = await begun(putting, ENQUEUE, json.dumps({"limit_key": "k"}))
    cleared = await queue.store.fetchval(CLEAR, queue.tenant_id)
    await open_.commit()

    assert (0, 1) == (cleared, await gates(queue))
    assert 1 == len(await queue.claim(10)) and [] == await wrongs(queue.store)


@pytest.mark.parametrize("what", ["keyed job", "queue", "kind"])
async def test_who_comes_while_the_gate_is_being_cleared_puts_it_up_again(queue, sessions, what):
    """It waits for the other's commit and looks then."""
    await bound(queue, "queue", "work", concurrency=5)
    await queue.store.fetch("delete from trunkline.limiter")
    clearing, coming = await sessions.connect(), await sessions.connect()
    open_ = await begun(clearing, CLEAR, queue.tenant_id)
    if what == "keyed job":
        work = coming.fetch(ENQUEUE, json.dumps({"ordering_key": "o"}))
    else:
        work = coming.fetch(SET, queue.tenant_id, what)
    task = sessions.start(work)
    await sessions.blocked(coming)
    await open_.commit()
    await task
    jobs = await queue.put_plain(2)

    assert 1 == await gates(queue) and [] == await wrongs(queue.store)
    assert (1 if what != "keyed job" else 3) == len(ids(await queue.claim(10))) and jobs
