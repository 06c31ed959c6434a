"""Who waits for whom: two sessions, one made to wait, and proof on the server that it does; then that nobody deadlocks."""

from __future__ import annotations

import json

import pytest

from trunkline.model import new_job

ACK = "select trunkline.ack_completed($1, $2, $3, $4)"
SETTLE = "select job_id from trunkline.settle($1, $2, $3, $4, $5, $6)"


async def hold(conn, statement: str, *arguments) -> object:
    """Begin a transaction that holds what `statement` locks."""
    transaction = conn.transaction()
    await transaction.start()
    await conn.fetch(statement, *arguments)
    return transaction


def send(conn, queue, *options: dict) -> object:
    """Enqueue several jobs in one flush on `conn`."""
    jobs = [new_job("work", **each) for each in options]
    columns = list(zip(*jobs, strict=True))
    return conn.fetch(
        "select id, created from trunkline.enqueue_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        queue.tenant_id, *(columns[n] for n in range(10)),
    )  # fmt: skip


@pytest.mark.parametrize("second_way", ["ack", "settle"])
async def test_two_flushes_that_share_jobs_in_opposite_order_do_not_deadlock(queue, sessions, second_way):
    """Both lock in job order, whatever the order of their arrays; the second waits, then is told what it lost."""
    ids = await queue.put_plain(4)
    await queue.claim(4)
    gate, one, other = [await sessions.connect() for _ in range(3)]
    holding = await hold(gate, "select 1 from trunkline.lease where job_id = $1 for update", ids[1])
    first = sessions.start(one.fetch(ACK, queue.tenant_id, ids, [1] * 4, [None] * 4))
    await sessions.blocked(one)
    back = ids[::-1]
    if second_way == "ack":
        second = sessions.start(other.fetch(ACK, queue.tenant_id, back, [1] * 4, [None] * 4))
    else:
        second = sessions.start(other.fetch(SETTLE, queue.tenant_id, back, [1] * 4, ["failed"] * 4, [None] * 4, [None] * 4))
    await sessions.blocked(other)
    await holding.rollback()

    assert ([], []) == (await first, await second)
    assert 4 == await queue.count("outcome")


async def test_an_ack_that_comes_while_its_job_is_being_rescued_is_told_so(queue, sessions, clock):
    """The row lock decides who took the lease."""
    (job_id,) = await queue.put_plain(1)
    claimed = await queue.claim_one(session_id=await queue.session(ttl_s=5))
    await clock.forward(10)
    rescuing, acking = await sessions.connect(), await sessions.connect()
    rescue = await hold(rescuing, "select trunkline.rescue($1)", queue.session_id)
    ack = sessions.start(acking.fetch(ACK, queue.tenant_id, [job_id], [1], [None]))
    await sessions.blocked(acking)
    await rescue.commit()

    assert [job_id] == [row[0] for row in await ack]
    assert ["ready"] == await queue.homes(claimed.job_id)


async def test_a_rescue_that_comes_while_its_job_is_being_acked_takes_nothing(queue, sessions, clock):
    """A report that arrives first wins, late as it is."""
    (job_id,) = await queue.put_plain(1)
    await queue.claim_one(session_id=await queue.session(ttl_s=5))
    await clock.forward(10)
    rescuing, acking = await sessions.connect(), await sessions.connect()
    ack = await hold(acking, ACK, queue.tenant_id, [job_id], [1], [None])
    rescued = await rescuing.fetchval("select trunkline.rescue($1)", queue.session_id)  # it passes over locked leases
    await ack.commit()

    assert 0 == rescued
    assert "completed" == await queue.state(job_id)
    assert [] == await queue.endings(job_id)


@pytest.mark.parametrize("key", ["unique_key", "idempotency_key"])
async def test_two_enqueues_with_the_same_keys_in_opposite_order_do_not_deadlock(queue, sessions, key):
    """Keys are taken in key order; the second waits and is given the holders."""
    gate, one, other = [await sessions.connect() for _ in range(3)]
    holding = await hold(gate, "select trunkline.enqueue('work', '{}', $1::jsonb)", json.dumps({key: "b"}))
    first = sessions.start(send(one, queue, {key: "a"}, {key: "b"}, {key: "c"}))
    await sessions.blocked(one)
    second = sessions.start(send(other, queue, {key: "c"}, {key: "b"}, {key: "a"}))
    await sessions.blocked(other)
    await holding.commit()
    a, b, c = [row["id"] for row in await first]

    assert [(c, False), (b, False), (a, False)] == [tuple(row) for row in await second]
    assert 3 == await queue.count("job")


async def test_two_enqueues_that_make_the_same_queues_in_opposite_order_do_not_deadlock(queue, sessions):
    """Names are made in the order of names."""
    one, other = await sessions.connect(), await sessions.connect()
    holding = await hold(one, "select trunkline.ensure_names($1, '{b,a}', '{y,x}', '{0,0}')", queue.tenant_id)
    second = sessions.start(other.fetch("select trunkline.ensure_names($1, '{a,b}', '{x,y}', '{5,6}')", queue.tenant_id))
    await sessions.blocked(other)
    await holding.commit()
    await second

    assert {"a": [5, 0], "b": [6, 0]} == {
        row["name"]: row["priorities"]
        for row in await queue.store.fetch("select name, priorities from trunkline.queue where name in ('a', 'b')")
    }


async def test_cancelling_jobs_whose_keys_are_being_replaced_does_not_deadlock(queue, sessions):
    """Both take the keys first and the places in line after them."""
    first, second = await queue.put(unique_key="a"), await queue.put(unique_key="b")
    gate, cancelling, replacing = [await sessions.connect() for _ in range(3)]
    holding = await hold(gate, "select 1 from trunkline.ready where job_id = $1 for update", second)
    cancel = sessions.start(cancelling.fetch("select * from trunkline.cancel($1, $2)", queue.tenant_id, [first, second]))
    await sessions.blocked(cancelling)
    replace = sessions.start(send(replacing, queue, {"unique_key": "a", "unique_replace": True}))
    await sessions.blocked(replacing)
    await holding.rollback()

    assert ["cancelled"] * 2 == [row["answer"] for row in await cancel]
    assert [True] == [row["created"] for row in await replace]


async def test_acking_jobs_whose_keys_are_being_replaced_does_not_deadlock(queue, sessions):
    """A flush frees its keys in key order, as an enqueue takes them."""
    first, second, third = await queue.put(unique_key="b"), await queue.put(unique_key="c"), await queue.put(unique_key="a")
    await queue.claim(3)
    gate, acking, replacing = [await sessions.connect() for _ in range(3)]
    holding = await hold(gate, "select 1 from trunkline.unique_key where key = 'c' for update")
    ack = sessions.start(acking.fetch(ACK, queue.tenant_id, [first, second, third], [1] * 3, [None] * 3))
    await sessions.blocked(acking)
    replace = sessions.start(
        send(replacing, queue, {"unique_key": "a", "unique_replace": True}, {"unique_key": "b", "unique_replace": True})
    )
    await sessions.blocked(replacing)
    await holding.rollback()

    assert [] == await ack
    assert [True, True] == [row["created"] for row in await replace]


async def test_cancelling_the_same_jobs_in_opposite_order_does_not_deadlock(queue, sessions):
    """Places in line are locked in job order."""
    ids = await queue.put_plain(3)
    gate, one, other = [await sessions.connect() for _ in range(3)]
    holding = await hold(gate, "select 1 from trunkline.ready where job_id = $1 for update", ids[1])
    cancel = "select * from trunkline.cancel($1, $2)"
    first = sessions.start(one.fetch(cancel, queue.tenant_id, ids))
    await sessions.blocked(one)
    second = sessions.start(other.fetch(cancel, queue.tenant_id, ids[::-1]))
    await sessions.blocked(other)
    await holding.rollback()

    assert ["cancelled"] * 3 == [row["answer"] for row in await first]
    assert ["terminal"] * 3 == [row["answer"] for row in await second]


async def test_a_claim_waits_for_nobody(queue, sessions):
    """Rows that somebody holds are skipped."""
    ids = await queue.put_plain(3)
    gate = await sessions.connect()
    holding = await hold(gate, "select 1 from trunkline.ready where job_id = $1 for update", ids[0])
    claimed = await queue.claim(3)
    await holding.rollback()

    assert ids[1:] == [c.job_id for c in claimed]


async def test_a_promotion_waits_for_nobody(queue, sessions, clock):
    """Two processes promote at the same moment."""
    ids = [await queue.put(delay=5) for _ in range(3)]
    await clock.forward(10)
    gate = await sessions.connect()
    holding = await hold(gate, "select 1 from trunkline.deferred where job_id = $1 for update", ids[0])
    moved = await queue.store.fetchval("select trunkline.promote(10)")
    await holding.rollback()

    assert 2 == moved


async def test_retrying_the_same_job_by_hand_twice_at_once_brings_it_back_once(queue, sessions):
    """The second waits and finds nothing."""
    job_id = await queue.put(unique_key="u")
    await queue.end(job_id, "failed")
    one, other = await sessions.connect(), await sessions.connect()
    first = await hold(one, "select trunkline.retry($1, $2)", queue.tenant_id, [job_id])
    second = sessions.start(other.fetch("select trunkline.retry($1, $2)", queue.tenant_id, [job_id]))
    await sessions.blocked(other)
    await first.commit()

    assert [] == await second
    assert (["ready"], [job_id]) == (await queue.homes(job_id), await queue.keys())


async def test_reprioritising_and_cancelling_jobs_of_two_queues_do_not_deadlock(queue, sessions):
    """Both lock jobs in job order, whatever the names of their queues."""
    first, second = await queue.put(queue="z"), await queue.put(queue="a")
    gate, cancelling, changing = [await sessions.connect() for _ in range(3)]
    holding = await hold(gate, "select 1 from trunkline.ready where job_id = $1 for update", first)
    cancel = sessions.start(cancelling.fetch("select * from trunkline.cancel($1, $2)", queue.tenant_id, [first, second]))
    await sessions.blocked(cancelling)
    change = sessions.start(changing.fetchval("select trunkline.reprioritize($1, $2, 7::smallint)", queue.tenant_id, [first, second]))
    await sessions.blocked(changing)
    await holding.rollback()

    assert ["cancelled"] * 2 == [row["answer"] for row in await cancel]
    assert 0 == await change


async def test_a_wish_to_cancel_running_jobs_and_their_reports_do_not_deadlock(queue, sessions):
    """Leases are locked in job order, not in the order in which they lie in the table."""
    first, second = await queue.put(), await queue.put()
    await queue.store.fetch("update trunkline.ready set ord = ord + 1000000000 where job_id = $1", first)  # the later one is claimed first
    await queue.claim_one()
    await queue.claim_one()
    await queue.store.fetch("analyze trunkline.lease")
    gate, acking, cancelling = [await sessions.connect() for _ in range(3)]
    holding = await hold(gate, "select 1 from trunkline.lease where job_id = $1 for update", first)
    ack = sessions.start(acking.fetch(ACK, queue.tenant_id, [first, second], [1] * 2, [None] * 2))
    await sessions.blocked(acking)
    cancel = sessions.start(cancelling.fetch("select trunkline.request_cancel($1, $2)", queue.tenant_id, [first, second]))
    await sessions.blocked(cancelling)
    await holding.rollback()

    assert ([], []) == (await ack, await cancel)


async def test_a_pause_of_the_tenant_and_jobs_with_keys_do_not_deadlock(queue, sessions):
    """Both lock queues in the order of names."""
    for name in ("z", "a"):  # so they lie in the table
        await queue.put(queue=name)
    gate, putting, pausing = [await sessions.connect() for _ in range(3)]
    holding = await hold(gate, "select 1 from trunkline.queue where name = 'a' for update")
    put = sessions.start(send(putting, queue, {"queue": "z", "limit_key": "k"}, {"queue": "a", "limit_key": "k"}))
    await sessions.blocked(putting)
    pause = sessions.start(pausing.fetchval("select trunkline.pause_limit($1, 'tenant', null, true)", queue.tenant_id))
    await sessions.blocked(pausing)
    await holding.rollback()

    assert [True] * 2 == [row["created"] for row in await put]
    assert await pause
