"""Where a run takes place."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import asyncpg
import pytest

from trunkline.measure import server as servers
from trunkline.measure.floors import COUNTS, FILL
from trunkline.measure.roles.producers import line_of
from trunkline.measure.server import Server, database_of, embedded, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")
ALL = f"select datname from pg_database where datname like 'trunkline_bench_{os.getpid()}_%'"  # others may run beside us


async def test_a_database_is_fresh_and_dropped(server: Server):
    """Both sides of a comparison start alike."""
    async with server.fresh() as url:
        conn = await asyncpg.connect(url)
        counts = await conn.fetchrow(COUNTS)
        await conn.close()
        names = [row[0] for row in await server.admin.fetch(ALL)]
        assert database_of(url) in names

    assert (0, 0) == tuple(counts)
    assert database_of(url) not in [row[0] for row in await server.admin.fetch(ALL)]


async def test_a_failed_start_leaves_no_template(server: Server, monkeypatch: pytest.MonkeyPatch):
    """A server that was given belongs to somebody."""
    before = await server.admin.fetch(ALL)
    monkeypatch.setattr(servers, "INSTALL", "select no_such_function()")
    with pytest.raises(asyncpg.UndefinedFunctionError):
        async with opened(server.url):
            pass
    after = await server.admin.fetch(ALL)

    assert before == after


async def test_rows_that_were_there_before_look_like_jobs(server: Server):
    """Ids in order, UUIDv7, each queued one claimable; finished ones have their outcome."""
    async with server.fresh() as url:
        tenant_id, queue_id, kind_id, _ = await line_of(url)
        conn = await asyncpg.connect(url)
        await conn.execute(FILL, tenant_id, queue_id, kind_id, 30, 70)
        claimed = await conn.fetch(
            "select c.* from trunkline.claim($1, $2, trunkline.open_session('t', 60), 50, 0, '{}', '{}') as c", tenant_id, queue_id
        )
        jobs, versions = await conn.fetchrow("select count(*), array_agg(distinct get_byte(uuid_send(id), 6) >> 4) from trunkline.job")
        outcomes = await conn.fetchval("select count(*) from trunkline.outcome")
        await conn.close()

    assert (100, 70, [7]) == (jobs, outcomes, versions)
    assert list(range(71, 101)) == [int(row["payload"].split(":")[1].strip(" }")) for row in claimed]
    assert sorted(row["job_id"] for row in claimed) == [row["job_id"] for row in claimed]


@pytest.mark.private_server
async def test_our_own_server_is_durable_and_goes_without_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What it is told to be is in the facts, so a figure can be judged by them."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("trunkline.measure.server.SEGMENTS", 3)
    async with embedded(lambda text: None) as server:
        facts = server.facts

    assert facts["durable"]
    assert ("512MB", "4GB") == (facts["postgres_settings"]["shared_buffers"], facts["postgres_settings"]["max_wal_size"])
    assert {"cores", "cpu", "postgres", "python", "loop", "date"} <= facts.keys()
    assert [] == list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_statements_of_a_database_are_counted(server: Server):
    """By whatever this server has for it."""
    async with server.fresh() as url:
        counted_by = await server.count_statements(url)
        before = await server.statements(url)
        conn = await asyncpg.connect(url)
        for _ in range(3):
            await conn.execute("select 1")
        await conn.close()  # pg_stat_database learns of them now at the latest
        counted = await server.statements(url) - before

    assert counted_by in ("pg_stat_statements", "pg_stat_database")
    assert counted >= 3 or counted_by == "pg_stat_database"
