"""One tenant in trouble, many beside it, the same workers for all."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from tests.support.until import until

WAITS = """select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
   and query like '%enqueue%')"""
LIVE = """select count(*) from trunkline.job as j join trunkline.tenant as t using (tenant_id)
 where t.name = $1 and not exists (select from trunkline.outcome as o where o.tenant_id = j.tenant_id and o.job_id = j.id)"""


async def test_a_tenant_in_a_retry_storm_holds_up_nobody(sender, children, journal, trunkline_url, verdict):
    """Six hundred jobs that fail and come back at once, again and again; twenty others get their work done meanwhile."""
    for _ in range(2):
        await children.worker(trunkline_url, concurrency=10, tenants="all").is_up()
    storm = await sender.send_each("flaky", 600, {"fails": 8}, at_once=200, tenant="stormy", retry_delay=0)
    await journal.wait_for("acked", 600)
    quiet = [f"quiet-{n}" for n in range(20)]
    batches = await asyncio.gather(*(sender.send_each("noop", 10, at_once=2, tenant=tenant) for tenant in quiet))
    mine = {job_id for batch in batches for job_id in batch}
    await journal.wait_for("done", 200, kind="noop")
    still_stormy = await sender.app.store.fetchval(LIVE, "stormy")
    final = await verdict(within_s=90)

    assert 200 == len(mine)
    assert still_stormy > 0
    assert {9} == {final.jobs[job_id].attempt for job_id in storm}
    assert 800 == final.count("completed")


async def test_a_tenant_whose_rows_are_locked_holds_up_nobody(sender, children, journal, trunkline_url, verdict):
    """Somebody works on one tenant's leases by hand; the acks of that tenant wait, and no others do."""
    await children.worker(trunkline_url, concurrency=20, tenants="all").is_up()
    await sender.send_each("slow", 5, {"seconds": 0.5}, tenant="locked")
    await journal.wait_for("started", 5)
    conn = await asyncpg.connect(trunkline_url)
    try:
        async with conn.transaction():
            await conn.execute("select from trunkline.lease for update")
            await journal.wait_for("done", 5, kind="slow")
            await sender.send_each("noop", 200, tenant="free")
            await journal.wait_for("acked", 200)
    finally:
        await conn.close()
    final = await verdict()

    assert 205 == final.count("completed")


@pytest.mark.parametrize("neighbour", [{}, {"tenant": "another"}, {"idempotency_key": "free"}])
async def test_an_enqueue_that_waits_for_a_key_holds_up_no_other(sender, trunkline_url, neighbour):
    """Somebody's open transaction holds the key; callers of the same process without that key go on."""
    await sender.app.enqueue("noop")  # so that kind and queue are there
    conn = await asyncpg.connect(trunkline_url)
    try:
        transaction = conn.transaction()
        await transaction.start()
        await sender.app.enqueue("noop", idempotency_key="held", connection=conn)
        waiting = asyncio.create_task(sender.app.enqueue("noop", idempotency_key="held"))
        await until(lambda: sender.app.store.fetchval(WAITS), "the first caller waits for the key")
        async with asyncio.timeout(20):
            await asyncio.gather(*(sender.app.enqueue("noop", **neighbour) for _ in range(5)))
        is_done = waiting.done()
        await transaction.rollback()
        await waiting
    finally:
        await conn.close()

    assert not is_done


async def test_a_locked_lease_holds_up_no_other_report_of_its_tenant(sender, children, journal, gate, trunkline_url, verdict):
    """One report waits for somebody's open transaction; those before and behind it are written."""
    await children.worker(trunkline_url, concurrency=50, command_timeout=2).is_up()
    held = await sender.send_each("gated", 20, {"gate": str(gate)})
    await journal.wait_for("started", 20)
    conn = await asyncpg.connect(trunkline_url)
    try:
        async with conn.transaction():
            await conn.execute("select from trunkline.lease where job_id = $1 for update", held[7])
            gate.touch()
            await journal.wait_for("acked", 19)
            await sender.send_each("noop", 100)
            await journal.wait_for("acked", 119, within_s=15)
    finally:
        await conn.close()
    final = await verdict()

    assert 120 == final.count("completed")


async def test_an_open_transaction_that_asked_for_a_held_key_holds_up_no_report(sender, children, journal, gate, trunkline_url, verdict):
    """It was answered with the holder and goes on with other things; the holder ends meanwhile, and so do its neighbours."""
    await children.worker(trunkline_url, concurrency=50, command_timeout=2).is_up()
    holder = await sender.send("gated", {"gate": str(gate)}, unique_key="k")
    await journal.wait_for("started")
    conn = await asyncpg.connect(trunkline_url)
    try:
        async with conn.transaction():
            answered = await sender.app.enqueue("gated", unique_key="k", connection=conn)
            gate.touch()
            await sender.send_each("noop", 100)
            await journal.wait_for("acked", 101)
    finally:
        await conn.close()
    await verdict()

    assert holder == answered
