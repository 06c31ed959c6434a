"""Schemas that are made, changed and outgrown while others use them."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from tests.flows.conftest import statements
from trunkline import Trunkline, sql
from trunkline.errors import SchemaOutdated
from trunkline.settings import Settings
from trunkline.store import migrate as migrations
from trunkline.store.admin import create_database, drop_database


@pytest.fixture
async def empty_url(trunkline_server_url):
    """A database with nothing in it."""
    name = f"trunkline_test_{uuid4().hex[:16]}"
    yield await create_database(trunkline_server_url, name)
    await drop_database(trunkline_server_url, name)


async def migrated(url: str) -> migrations.Migrated:
    conn = await asyncpg.connect(url)
    try:
        return await migrations.migrate(conn, "trunkline")
    finally:
        await conn.close()


async def test_many_migrators_at_once_apply_everything_once(empty_url):
    """One does the work, the others wait and find it done."""
    done = await asyncio.gather(*(migrated(empty_url) for _ in range(5)))

    assert [()] * 4 == sorted(one.migrations for one in done)[:4]
    assert [tuple(file.name for file in sql.migrations())] == [one.migrations for one in done if one.migrations]
    assert [tuple(file.name for file in sql.functions())] == [one.functions for one in done if one.functions]


async def test_a_migrator_that_dies_half_way_leaves_nothing_behind(empty_url, through):
    """All of it is one transaction."""
    proxy = through(empty_url)
    proxy.cut(sql="create or replace function trunkline.claim", when="before")
    with pytest.raises(Exception, match=r"connection|closed"):
        await migrated(proxy.url)
    conn = await asyncpg.connect(empty_url)
    try:
        tables = await conn.fetchval("select count(*) from pg_tables where schemaname = 'trunkline'")
    finally:
        await conn.close()

    assert 0 == tables
    assert (await migrated(empty_url)).migrations


async def test_functions_are_replaced_under_load_and_nobody_notices(sender, children, journal, trunkline_url, verdict):
    """A rolling deploy: one process migrates while others send, claim and ack with the old text."""
    for _ in range(2):
        await children.worker(trunkline_url, concurrency=10).is_up()
    sending = [asyncio.create_task(sender.send_each("noop", 150, at_once=5)) for _ in range(4)]
    for n in range(4):
        await journal.wait_for("acked", 100 * n)
        await statements(trunkline_url, "update trunkline.function_file set checksum = 'old'")
        await migrated(trunkline_url)
    await asyncio.gather(*sending)
    final = await verdict()

    assert 600 == final.count("completed")
    assert {1} == set(final.attempts().values())


async def test_old_code_works_with_a_newer_schema_that_allows_it(sender, children, journal, trunkline_url, verdict):
    """A migration that this version does not know says from which version on code works with it."""
    await statements(trunkline_url, "insert into trunkline.migration (name, checksum, works_from) values ('9999_later', 'x', '0.1')")
    await children.worker(trunkline_url).is_up()
    await sender.send_each("noop", 20)
    final = await verdict()

    assert 20 == final.count("completed")


async def test_old_code_refuses_a_schema_that_has_outgrown_it(trunkline_url):
    """It says which version is needed, and touches nothing."""
    await statements(trunkline_url, "insert into trunkline.migration (name, checksum, works_from) values ('9999_later', 'x', '99.0')")

    with pytest.raises(SchemaOutdated, match=r"needs Trunkline 99\.0"):
        async with Trunkline(settings=Settings.load({}, database_url=trunkline_url)):
            pass


async def test_retention_takes_nothing_that_lives_or_ended_lately(sender, clock, children, journal, gate, trunkline_url):
    """A scheduled or running job outlives its neighbours, and is kept for as long as was promised once it has ended."""
    await children.worker(trunkline_url, concurrency=10).is_up()
    await sender.send_each("noop", 100)
    running = await sender.send("gated", {"gate": str(gate)}, timeout=29 * 86400)
    scheduled = await sender.send("noop", delay=25 * 86400)
    await journal.wait_for("acked", 100)
    left = []

    async def retain() -> None:
        await statements(trunkline_url, "update trunkline.duty set next_run_at = '-infinity' where name = 'retention'")
        await sender.app.store.fetch("select from trunkline.keep_history(null, 3600, 7)")
        left.append(await sender.app.store.fetchval("select count(*) from trunkline.job"))

    await clock.forward(20 * 86400)
    await retain()
    gate.touch()
    ended = [await sender.see(running)]
    await retain()
    await clock.forward(5 * 86400 + 60)
    ended.append(await sender.see(scheduled))
    await retain()
    await clock.forward(3700)
    await retain()

    assert ["completed", "completed"] == ended
    assert [2, 2, 1, 0] == left
