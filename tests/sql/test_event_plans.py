"""Reading events and histories finds its rows by index, however many there are and however wrong the statistics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from tests.support.filled import filled
from tests.support.plans import plan_of

ROWS = 20_000


@pytest.fixture(scope="module", params=["analyzed", "not analyzed", "analyzed empty"])
def full_url(request, trunkline_server_url: str, trunkline_template: str) -> Iterator[str]:
    """20,000 events of two tenants, and a job with 200 of them."""
    with filled(trunkline_server_url, trunkline_template, lambda url: fill(url, request.param)) as url:
        yield url


async def fill(url: str, statistics: str) -> None:
    """Old events have old transaction ids."""
    conn = await asyncpg.connect(url, server_settings={"search_path": "trunkline, public"})
    await conn.execute("select enqueue('work'); select tenant_id('other')")
    if statistics == "analyzed empty":
        await conn.execute("analyze")
    await conn.execute(f"""
        insert into event (tenant_id, xid, job_id, queue_id, kind_id, is_said, what)
        select t.tenant_id, n::text::xid8, case when n % 100 = 0 then j.id else new_id() end, j.queue_id, j.kind_id, n % 2 = 0, 'update'
          from generate_series(3, {ROWS // 2}) as n, tenant as t, job as j where t.tenant_id <> 0;
        insert into event (tenant_id, xid, job_id, queue_id, kind_id, is_said, what)
        select j.tenant_id, '1000000'::xid8, j.id, j.queue_id, j.kind_id, true, 'update' from job as j, generate_series(1, 5)""")
    if statistics == "analyzed":
        await conn.execute("analyze")
    await conn.close()


@pytest.fixture
async def full(full_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to it."""
    conn = await asyncpg.connect(full_url, server_settings={"search_path": "trunkline, public"})
    yield conn
    await conn.close()


async def test_a_read_finds_what_is_new_by_two_index_conditions(full):
    """What came before the snapshot is not looked at; nor is what an open transaction had not written."""
    tenant_id = await full.fetchval("select tenant_id from job")
    values = {
        "p_tenant_ids": f"array[{tenant_id}::bigint]",
        "p_froms": "array['900000:999999:900000,900005']",
        "p_tos": "array[null::text]",
    }
    plan = await plan_of(full, "read_events", "select t.tenant_id, e.seq", values | {"p_afters": "'{0}'", "p_limit": "500"})

    assert {"Index Scan"} == {node for node, table, _ in plan.scans if table.startswith("event")}
    assert {f"event_{n}_pkey" for n in range(3)} == {index for _, table, index in plan.scans if table.startswith("event")}
    assert set() == plan.sequential
    assert plan.blocks < 100


async def test_a_history_finds_what_was_said_by_its_job(full):
    """And the moves by theirs."""
    tenant_id, job_id = await full.fetchrow("select tenant_id, id from job")
    values = {"p_tenant_id": str(tenant_id), "p_job_id": f"'{job_id}'", "p_kept_s": "86400", "v_limit": "100"}
    plan = await plan_of(full, "job_history", "with told as", values)

    assert {"event_0_tenant_id_job_id_seq_idx", "event_1_tenant_id_job_id_seq_idx", "event_2_tenant_id_job_id_seq_idx"} == {
        index for _, table, index in plan.scans if table.startswith("event")
    }
    assert set() == plan.sequential
    assert plan.blocks < 300


async def test_trimming_finds_the_rows_of_its_jobs_only(full):
    """The hundredth is found from the newest."""
    tenant_id, job_id = await full.fetchrow("select tenant_id, id from job")
    plan = await plan_of(full, "trim_events", "with bound as", {"p_tenant_id": str(tenant_id), "p_job_ids": f"array['{job_id}'::uuid]"})

    assert set() == plan.sequential
    assert plan.blocks < 1500
