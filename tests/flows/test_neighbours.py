"""One tenant in trouble, many beside it, the same workers for all."""

from __future__ import annotations

import asyncio

LIVE = """select count(*) from trunkline.job as j join trunkline.tenant as t using (tenant_id)
 where t.name = $1 and not exists (select from trunkline.outcome as o where o.tenant_id = j.tenant_id and o.job_id = j.id)"""


async def test_a_tenant_in_a_retry_storm_holds_up_nobody(sender, children, journal, trunkline_url, verdict):
    """A thousand jobs that fail and come back at once, again and again; twenty others get their work done meanwhile."""
    for _ in range(2):
        await children.worker(trunkline_url, concurrency=10, tenants="all").is_up()
    storm = await sender.send_each("flaky", 1000, {"fails": 12}, at_once=200, tenant="stormy", retry_delay=0)
    await journal.wait_for("acked", 1000)
    quiet = [f"quiet-{n}" for n in range(20)]
    batches = await asyncio.gather(*(sender.send_each("noop", 10, at_once=2, tenant=tenant) for tenant in quiet))
    mine = {job_id for batch in batches for job_id in batch}
    await journal.wait_for("done", 200, kind="noop")
    still_stormy = await sender.app.store.fetchval(LIVE, "stormy")
    final = await verdict(within_s=90)

    assert 200 == len(mine)
    assert still_stormy > 0
    assert {13} == {final.jobs[job_id].attempt for job_id in storm}
    assert 1200 == final.count("completed")


async def test_a_tenant_whose_rows_are_locked_holds_up_nobody(sender, children, journal, trunkline_url, verdict):
    """Somebody works on one tenant's leases by hand; the acks of that tenant wait, and no others do."""
    import asyncpg

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
