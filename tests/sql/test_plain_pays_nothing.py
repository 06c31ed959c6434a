"""A plain job's life opens none of the tables that limits, orders and quotas are kept in: what is not opened costs nothing."""

from __future__ import annotations

from trunkline.model import new_job
from trunkline.store import enqueue, work

OPENED = """select array_agg(distinct c.relname::text order by c.relname::text) from pg_locks as l join pg_class as c on c.oid = l.relation
 where l.pid = pg_backend_pid() and c.relname in ('limiter', 'slot', 'ordering', 'quota', 'tenant')"""


async def test_a_plain_life_opens_no_table_of_limits(queue, sessions):
    """All ways in, the claim and the ack, in one transaction, by the locks it holds at its end."""
    await queue.put_plain(1)  # names are made
    conn = await sessions.connect()
    async with conn.transaction():
        for text, jobs in ((enqueue.ONE, 1), (enqueue.PLAIN, 3)):
            made = [new_job("work", n) for n in range(jobs)]
            columns = [[getattr(job, name) for job in made] for name in ("id", "kind", "queue", "priority", "payload", "user_id")]
            await conn.fetch(text, queue.tenant_id, *([column[0] for column in columns] if jobs == 1 else columns))
        claimed = await conn.fetch(work.CLAIM, queue.tenant_id, queue.queue_id, queue.session_id, 10, 0, [], [])
        ids, attempts = [row["job_id"] for row in claimed], [row["attempt"] for row in claimed]
        await conn.fetch(work.ACK_COMPLETED, queue.tenant_id, ids[:3], attempts[:3], None)
        await conn.fetch(work.SETTLE, queue.tenant_id, ids[3:], attempts[3:], ["failed"] * 2, ["{}"] * 2, [None] * 2)
        opened = await conn.fetchval(OPENED)

    assert 5 == len(claimed)
    assert None is opened


async def test_a_limited_job_does_open_them(queue, sessions):
    """The test above looks at the right thing."""
    await queue.put(limit_key="k")
    conn = await sessions.connect()
    async with conn.transaction():
        await conn.fetch(work.CLAIM, queue.tenant_id, queue.queue_id, queue.session_id, 10, 0, [], [])

        assert {"limiter", "slot"} <= set(await conn.fetchval(OPENED))
