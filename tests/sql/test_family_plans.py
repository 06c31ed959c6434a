"""What reports and enqueues of children touch: blocks in proportion to their jobs, however many others wait and whatever statistics say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from tests.support.filled import filled
from tests.support.plans import may_walk

ROWS = 10_000
BLOCKS_A_JOB = 200  # some twenty index descents and rows; a walk through one table of 10,000 costs 1,000 a job here
FLUSH = 10


@pytest.fixture(scope="module", params=["analyzed", "analyzed empty"])
def families_url(request, trunkline_server_url: str, trunkline_template: str) -> Iterator[str]:
    """A database with 10,000 leased parents in one batch, each with a child that waits, and 10,000 jobs beside them."""
    with filled(trunkline_server_url, trunkline_template, lambda url: fill(url, request.param)) as url:
        yield url


async def fill(url: str, statistics: str) -> None:
    conn = await asyncpg.connect(url, server_settings={"search_path": "trunkline, public"})
    await conn.execute("select enqueue('work'); select open_session('s', 1e6); delete from ready; delete from job")
    if statistics == "analyzed empty":
        await conn.execute("analyze")
    await conn.execute(f"""
        create temp table made as
        select n, new_id() as id, new_id() as child, new_id() as other, tenant_id, queue_id, kind_id, (select min(session_id) from session) as session_id,
               json_build_object('batch_id', '01970000-0000-7000-8000-000000000000') as options
          from generate_series(1, {ROWS}) as n, queue join kind using (tenant_id) where queue.name = 'work' and kind.name = 'work';
        insert into batch (tenant_id, batch_id, created_at, sealed_at, total)
        select tenant_id, (options ->> 'batch_id')::uuid, clock_timestamp(), clock_timestamp(), {ROWS} from made limit 1;
        insert into batch select tenant_id, new_id(), clock_timestamp() from made;
        insert into batch_job select tenant_id, (options ->> 'batch_id')::uuid, id from made;
        insert into job (tenant_id, id, created_at, queue_id, kind_id, payload, options) select tenant_id, id, clock_timestamp(), queue_id, kind_id, '{{}}', options from made;
        insert into job (tenant_id, id, created_at, queue_id, kind_id, payload) select tenant_id, child, clock_timestamp(), queue_id, kind_id, '{{}}' from made;
        insert into job (tenant_id, id, created_at, queue_id, kind_id, payload) select tenant_id, other, clock_timestamp(), queue_id, kind_id, '{{}}' from made;
        insert into lease select tenant_id, id, n, clock_timestamp(), clock_timestamp() + interval '1 hour', session_id, 1, queue_id, 0, 0, 6 from made;
        insert into deferred select tenant_id, child, null, queue_id, 0, 0, 0, 0, 'waiting' from made;
        insert into dependency select tenant_id, id, child, 3, null from made;
        insert into ready select tenant_id, n, other, queue_id, 0, 0, 0, 0 from made""")
    if statistics == "analyzed":
        await conn.execute("analyze")
    await conn.close()


@pytest.fixture
async def conn(families_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection on which each statement was planned once."""
    conn = await asyncpg.connect(families_url, server_settings={"search_path": "trunkline, public"})
    yield conn
    await conn.close()


async def blocks(conn: asyncpg.Connection, call: str) -> int:
    """Blocks touched by a call, all that it calls included; undone afterwards. `leased`: an array of ids."""
    touched = 0
    for _ in range(2):  # the first one plans
        transaction = conn.transaction()
        await transaction.start()
        ids = await conn.fetchval(
            "select quote_literal(array_agg(job_id)) || '::uuid[]' from (select job_id from lease order by md5(job_id::text) limit $1) as l",
            FLUSH,
        )
        found = json.loads(await conn.fetchval(f"explain (analyze, buffers, timing off, format json) {call.replace('leased', ids)}"))[0][
            "Plan"
        ]
        touched = found["Shared Hit Blocks"] + found["Shared Read Blocks"]
        await transaction.rollback()
    return touched


@pytest.mark.parametrize(
    "call",
    [
        f"select ack_completed(1, leased, array_fill(1, array[{FLUSH}]), null)",
        f"select * from settle(1, leased, array_fill(1, array[{FLUSH}]), array_fill('fatal'::text, array[{FLUSH}]), null, null)",
        """select enqueue_jobs(1, array_agg(new_id()), array_agg('work'::text), array_agg('work'::text), array_agg(0::smallint), array_agg('{}'::json), null,
                               array_agg(json_build_object('depends_on', array[p])), null, null, null) from unnest(leased) as p""",
        """select enqueue_jobs(1, array_agg(new_id()), array_agg('work'::text), array_agg('work'::text), array_agg(0::smallint), array_agg('{}'::json), null,
                               array_agg(json_build_object('batch_id', '01970000-0000-7000-8000-000000000000')), null, null, null) from unnest(leased) as p""",
    ],
    ids=["complete", "fail", "depend", "join"],
)
async def test_the_work_is_in_proportion_to_the_flush(request, conn, call):
    """Ten jobs among ten thousand."""
    if "depends_on" in call:
        may_walk(conn, request)
    assert await blocks(conn, call) < FLUSH * BLOCKS_A_JOB
