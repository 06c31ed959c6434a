"""How the hot statements reach their rows: by index or by TID, however large the tables and however wrong the statistics.

Every assertion is a shape or a count of blocks, never a time.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import asyncpg
import pytest

from tests.support.filled import filled
from tests.support.plans import Plan, may_walk, plan_of
from trunkline.store import read

ROWS = 20_000
BLOCKS_A_JOB = 45  # several index descents and one heap row each in five tables; a scan of 20,000 rows would take hundreds


class Names(NamedTuple):
    """The line and the session of the filled database."""

    tenant_id: int
    queue_id: int
    session_id: int


@pytest.fixture(scope="module", params=["analyzed", "not analyzed", "analyzed empty"])
def full_url(request, trunkline_server_url: str, trunkline_template: str) -> Iterator[str]:
    """A database with 20,000 jobs in each place, and statistics that are right, missing or of before. Tests change nothing."""
    with filled(trunkline_server_url, trunkline_template, lambda url: fill(url, request.param)) as url:
        yield url


@pytest.fixture
async def full(full_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to it."""
    conn = await asyncpg.connect(full_url, server_settings={"search_path": "trunkline, public"})
    yield conn
    await conn.close()


@pytest.fixture
async def queue(full: asyncpg.Connection) -> Names:
    """What the calls name."""
    return Names(*await full.fetchrow("select tenant_id, queue_id, (select min(session_id) from session) from queue where name = 'work'"))


async def fill(url: str, statistics: str) -> None:
    """Put 20,000 jobs into each place."""
    conn = await asyncpg.connect(url, server_settings={"search_path": "trunkline, public"})
    analyze = "analyze job, ready, deferred, lease, outcome, unique_key, idempotency"
    await conn.execute("select enqueue('work'); select open_session('s', 1e6); delete from ready; delete from job")
    if statistics == "analyzed empty":
        await conn.execute(analyze)
    await conn.execute(f"""
        create temp table made as
        select n, new_id() as id, tenant_id, queue_id, kind_id, (select min(session_id) from session) as session_id
          from generate_series(1, {4 * ROWS}) as n, queue join kind using (tenant_id) where queue.name = 'work' and kind.name = 'work';
        insert into job (tenant_id, id, created_at, queue_id, kind_id, payload) select tenant_id, id, clock_timestamp(), queue_id, kind_id, '{{}}' from made;
        insert into ready select tenant_id, n, id, queue_id, 0, 0, 0, 0 from made where n <= {ROWS};
        insert into deferred select tenant_id, id, clock_timestamp() + make_interval(secs => n - {2 * ROWS - 100}), queue_id, 0, 0, 0, 0, 'scheduled'
          from made where n > {ROWS} and n <= {2 * ROWS};
        insert into lease select tenant_id, id, n, clock_timestamp(), clock_timestamp() + interval '1 hour', session_id, 1, queue_id, 0, 0, 1
          from made where n > {2 * ROWS} and n <= {3 * ROWS};
        insert into unique_key select tenant_id, queue_id, 'u' || n, id, null from made where n > {2 * ROWS} and n <= {3 * ROWS};
        insert into outcome (tenant_id, job_id, finished_at, attempt, state) select tenant_id, id, clock_timestamp(), 1, 1 + n % 3 from made where n > {3 * ROWS};
        insert into idempotency select tenant_id, kind_id, 'i' || n, id, null from made where n <= {ROWS}""")
    if statistics == "analyzed":
        await conn.execute(analyze)
    await conn.close()


async def leased(conn, count: int) -> str:
    """An array literal of jobs that are leased."""
    return await conn.fetchval(
        "select quote_literal(array_agg(job_id)) || '::uuid[]' from (select job_id from lease order by md5(job_id::text) limit $1) as l",
        count,
    )


def assert_no_walk(plan: Plan, jobs: int) -> None:
    """No table is read from end to end, and the work is in proportion to the jobs of the flush."""
    assert set() == plan.sequential
    assert plan.blocks < BLOCKS_A_JOB * jobs + 300


async def test_a_claim_walks_its_index_once_and_deletes_by_tid(full, queue):
    """Whatever lies behind the hundred jobs that it takes."""
    values = {
        "p_tenant_id": str(queue.tenant_id),
        "p_queue_id": str(queue.queue_id),
        "p_session_id": str(queue.session_id),
        "p_limit": "100",
    }
    values |= {"p_floor": "0", "p_priorities": "'{}'", "p_marks": "'{}'", "v_used": "'{0}'", "v_now": "now()"}
    plan = await plan_of(full, "claim", "with taken as", values)

    assert {"Tid Scan", "Index Scan"} == plan.of("ready")
    assert ("Index Scan", "ready", "ready_claim") in plan.scans
    assert {"Index Scan"} == plan.of("job")
    assert_no_walk(plan, 100)


async def test_a_claim_behind_a_mark_does_not_look_at_what_lies_before_it(full, queue):
    """That is what the mark is for."""
    values = {
        "p_tenant_id": str(queue.tenant_id),
        "p_queue_id": str(queue.queue_id),
        "p_session_id": str(queue.session_id),
        "p_limit": "10",
    }
    values |= {"p_floor": str(ROWS - 10), "p_priorities": "'{}'", "p_marks": "'{}'", "v_used": "'{0}'", "v_now": "now()"}
    plan = await plan_of(full, "claim", "with taken as", values)

    assert_no_walk(plan, 10)


async def test_an_ack_finds_its_leases_by_their_key(full, queue):
    """The array is an index condition."""
    ids = await leased(full, 200)
    values = {
        "p_tenant_id": str(queue.tenant_id),
        "p_job_ids": ids,
        "p_attempts": "array_fill(1, array[200])",
        "p_results": "array_fill('1'::json, array[200])",
    }
    plan = await plan_of(full, "ack_completed", "with report as", values | {"v_now": "now()"})

    assert {"Index Scan"} == plan.of("lease")
    assert_no_walk(plan, 200)


async def test_a_settle_finds_its_leases_and_their_bodies_by_their_keys(full, queue):
    """A flush of failures is no more than a flush."""
    ids = await leased(full, 200)
    values = {
        "p_tenant_id": str(queue.tenant_id),
        "p_job_ids": ids,
        "p_attempts": "array_fill(1, array[200])",
        "v_now": "now()",
        "v_ord": "1",
    }
    values |= {
        "p_endings": "array_fill('failed'::text, array[200])",
        "p_errors": "array_fill('1'::json, array[200])",
        "p_delays": "array_fill(0::float8, array[200])",
    }
    plan = await plan_of(full, "settle", "with report as", values)

    assert {"Index Scan"} == plan.of("lease")
    assert {"Index Scan"} == plan.of("job")
    assert_no_walk(plan, 200)


async def test_a_promotion_takes_what_is_due_from_the_front_of_its_index(full, queue):
    """However many wait for later."""
    plan = await plan_of(full, "promote", "with due as", {"v_now": "now()", "v_ord": "1", "p_limit": "50"})

    assert {"Tid Scan", "Index Scan"} == plan.of("deferred")
    assert ("Index Scan", "deferred", "deferred_due") in plan.scans
    assert_no_walk(plan, 50)


KEYS = "array['u50001', 'u50002', 'new']"


@pytest.mark.parametrize(
    "begins",
    ["insert into trunkline.unique_key", "with over as materialized", "select case when a.slot is null"],
    ids=["take", "take over", "read"],
)
async def test_unique_keys_are_found_by_their_key(full, queue, begins):
    """Twenty thousand other keys do not matter."""
    values = {"p_tenant_id": str(queue.tenant_id), "p_ids": "array_fill(trunkline.new_id(), array[3])", "v_now": "now()", "v_slots": KEYS}
    values |= {"v_lines": f"array_fill({queue.queue_id}, array[3])", "v_ends": "array_fill(now(), array[3])", "v_replaces": "'{t,t,t}'"}
    plan = await plan_of(full, "take_unique", begins, values)

    assert set() == plan.sequential
    assert plan.blocks < 100


async def test_idempotency_keys_are_found_by_their_key(full, queue):
    """Twenty thousand other keys do not matter."""
    values = {
        "p_tenant_id": str(queue.tenant_id),
        "p_ids": "array_fill(trunkline.new_id(), array[3])",
        "p_kinds": "array_fill('work'::text, array[3])",
    }
    values |= {"p_keys": "array['i1', 'i2', 'new']", "p_options": "array_fill('{}'::json, array[3])", "v_now": "now()", "v_try": "1"}
    plan = await plan_of(full, "take_idempotency", "insert into trunkline.idempotency", values)

    assert set() == plan.sequential
    assert plan.blocks < 150


@pytest.mark.parametrize(
    ("call", "at_most"),
    [
        ("select * from trunkline.claim({tenant}, {queue}, {session}, 10, 0, '{{}}', '{{}}')", 900),
        ("select trunkline.cancel({tenant}, array(select job_id from trunkline.ready order by ord desc limit 5))", 1200),
        ("select trunkline.retry({tenant}, array(select job_id from trunkline.outcome where state = 2 and tenant_id = {tenant} order by finished_at desc limit 5))", 1500),
        ("select trunkline.save_progress({tenant}, array(select job_id from trunkline.lease limit 5), array_fill(1, array[5]), array_fill('1'::json, array[5]))", 600),
        ("select trunkline.enqueue('work', '{{}}', '{{\"unique_key\": \"u50001\", \"idempotency_key\": \"i999999\"}}')", 600),
        ("select trunkline.reprioritize({tenant}, array(select job_id from trunkline.ready where tenant_id = {tenant} order by job_id limit 5), 0::smallint)", 900),
        ("select trunkline.reschedule({tenant}, (select job_id from trunkline.ready where tenant_id = {tenant} order by job_id limit 1), clock_timestamp() + interval '1 h')", 600),
        ("select trunkline.ack_completed({tenant}, array(select job_id from trunkline.outcome order by job_id limit 3), '{{1,1,1}}', array_fill(null::json, array[3]))", 900),
    ],
    ids=["claim", "cancel", "retry", "progress", "enqueue", "reprioritize", "reschedule", "repeated ack"],
)  # fmt: skip
async def test_a_whole_call_touches_few_blocks(request, full, queue, call, at_most):
    """All statements of the function together, on 20,000 jobs in each place; a walk through one table is 150 blocks and more a table."""
    if "reprioritize" in call:
        may_walk(full, request)
    text = call.format(tenant=queue.tenant_id, queue=queue.queue_id, session=queue.session_id)
    touched = []
    for _ in range(3):  # plans are made and catalogs read; a vacuum that comes by sends them back to the catalogs
        await full.execute("begin")
        found = json.loads(await full.fetchval(f"explain (analyze, buffers, timing off, format json) {text}"))[0]["Plan"]
        await full.execute("rollback")
        touched.append(found["Shared Hit Blocks"] + found["Shared Read Blocks"])

    assert min(touched) < at_most


PLACES = {"ready": "queued", "deferred": "scheduled", "lease": "active", "outcome": "failed"}
LISTED = read.LIST.format(picked="{picked}", columns="j.id").replace("$2", "null").replace("$3", "null").replace("$4", "20")


@pytest.mark.parametrize(
    ("text", "jobs"),
    [
        ("select * from trunkline.jobs where tenant_id = $1 and id = (select job_id from {place} limit 1)", 1),
        ("select id, state from trunkline.jobs where tenant_id = $1 and id = any(array(select job_id from {place} limit 5))", 5),
        (LISTED, 20),
    ],
    ids=["one", "some", "list"],
)
async def test_where_jobs_stand_is_read_by_their_keys(request, full, queue, text, jobs):
    """Whoever asks the view touches a few blocks a job, in whichever place it is, also where that place was believed empty."""
    if "any(array" in text:
        may_walk(full, request)
    for place, state in PLACES.items():
        asked = text.format(place=place, picked=read._IN_STATE[state])
        await full.execute(f"prepare asked (bigint) as {asked}; set plan_cache_mode = force_generic_plan")
        try:
            found = json.loads(
                await full.fetchval(f"explain (analyze, buffers, timing off, format json) execute asked ({queue.tenant_id})")
            )
        finally:
            await full.execute("deallocate asked; reset plan_cache_mode")
        root = found[0]["Plan"]

        assert root["Actual Rows"] == jobs
        assert root["Shared Hit Blocks"] + root["Shared Read Blocks"] < BLOCKS_A_JOB * jobs + 500, place
