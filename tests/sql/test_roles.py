"""Walls: what the worker role may do, and what the app role may see."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

TABLES = [
    "tenant",
    "queue",
    "kind",
    "session",
    "duty",
    "job",
    "ready",
    "deferred",
    "lease",
    "outcome",
    "attempt",
    "idempotency",
    "unique_key",
    "checkpoint",
    "job_log",
    "connection_schema",
    "connection",
    "prompt",
]


@pytest.fixture
async def worker(sessions) -> AsyncIterator[asyncpg.Connection]:
    """A connection with the rights of the worker role."""
    conn = await sessions.connect()
    await conn.execute("set role trunkline_worker")
    yield conn


@pytest.fixture
async def reader(sessions) -> AsyncIterator[asyncpg.Connection]:
    """A connection with the rights of the app role."""
    conn = await sessions.connect()
    await conn.execute("set role trunkline_app")
    yield conn


async def seen(reader: asyncpg.Connection, tenant_id: int | None, what: str) -> int:
    """Rows of `what` in one transaction as that tenant."""
    async with reader.transaction():
        if tenant_id is not None:
            await reader.execute(f"set local trunkline.tenant_id = '{tenant_id}'")
        return await reader.fetchval(f"select count(*) from trunkline.{what}")


async def test_the_worker_role_lives_a_whole_life_through_the_functions(queue, worker):
    """Enqueue, claim, progress, ack, tick."""
    job_id = await worker.fetchval("select trunkline.enqueue('work')")
    session_id = await worker.fetchval("select trunkline.open_session('w', 8)")
    claimed = await worker.fetch(
        "select * from trunkline.claim($1, $2, $3, 10, 0, '{}', '{}')", queue.tenant_id, queue.queue_id, session_id
    )
    await worker.fetch("select trunkline.save_progress($1, $2, '{1}', array['{}'::json])", queue.tenant_id, [job_id])
    stale = await worker.fetch("select trunkline.ack_completed($1, $2, '{1}', array[null]::json[])", queue.tenant_id, [job_id])
    await worker.fetch("select * from trunkline.tick($1, 8, '{}', 0)", session_id)

    assert ([job_id], []) == ([row["job_id"] for row in claimed], stale)
    assert "completed" == await queue.state(job_id)


@pytest.mark.parametrize("statement", ["delete from trunkline.{}", "truncate trunkline.{}"])
async def test_the_worker_role_writes_no_table(queue, worker, statement):
    """It may read and execute, nothing else."""
    for table in TABLES:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await worker.execute(statement.format(table))


async def test_the_worker_role_cannot_stand_in_for_a_function(queue, worker):
    """A definer's search path is fixed, so a temporary look-alike is not found."""
    await worker.execute("create temp table job (id int); create temp table ready (id int)")
    await worker.execute("set search_path = pg_temp, public")

    assert await worker.fetchval("select trunkline.enqueue('work')") == (await queue.claim_one()).job_id


async def test_nobody_else_may_execute_anything(queue, sessions, reader):
    """Public has no rights here; the reading role has the clock, which views compare with, and nothing else."""
    functions = await queue.store.fetch(
        "select oid::regprocedure::text as name from pg_proc where pronamespace = 'trunkline'::regnamespace"
    )

    assert ["trunkline.now()"] == [
        row["name"]
        for row in functions
        if await queue.store.fetchval("select has_function_privilege('trunkline_app', $1, 'execute')", row["name"])
    ]


async def test_every_definer_function_fixes_its_search_path(queue):
    """Otherwise its caller decides which tables it means."""
    loose = await queue.store.fetch(
        """select oid::regprocedure::text from pg_proc where pronamespace = 'trunkline'::regnamespace and prosecdef
              and not exists (select from unnest(proconfig) as c where c like 'search\\_path=%')"""
    )

    assert [] == loose


async def test_every_table_has_row_level_security(queue):
    """A new table that forgets it would be open to every reader."""
    open_tables = await queue.store.fetch(
        """select relname from pg_class where relnamespace = 'trunkline'::regnamespace and relkind in ('r', 'p') and not relrowsecurity
              and relname not in ('migration', 'function_file')"""
    )

    assert [] == open_tables


@pytest.fixture
async def two_tenants(queue, store):
    """Two customers, each with a job in every place."""
    theirs = await type(queue).open(store, tenant="other")
    for each in (queue, theirs):
        for _ in range(3):
            await each.put(unique_key=None)
        done, _ = await each.claim(2)
        await each.complete(done)
        await each.put(delay=60, unique_key="u", idempotency_key="i")
    return queue, theirs


async def test_the_app_role_sees_its_tenant_and_no_other(two_tenants, reader):
    """A query that forgets to filter sees the tenant that was set."""
    mine, theirs = two_tenants
    for what in ["jobs", "queues", "job", "ready", "deferred", "lease", "outcome", "idempotency", "unique_key", "kind", "queue"]:
        counts = [await seen(reader, tenant_id, what) for tenant_id in (mine.tenant_id, theirs.tenant_id, 99)]

        assert counts[0] == counts[1] > 0 == counts[2], what


async def test_the_app_role_sees_nothing_when_no_tenant_is_set(two_tenants, reader):
    """Also after a transaction that had set one."""
    mine, _ = two_tenants
    await seen(reader, mine.tenant_id, "jobs")

    assert dict.fromkeys((*TABLES, "jobs", "queues"), 0) == {what: await seen(reader, None, what) for what in (*TABLES, "jobs", "queues")}


async def test_the_app_role_reads_its_own_tenants_name_only(two_tenants, reader):
    """A customer cannot learn who the others are."""
    mine, _ = two_tenants
    async with reader.transaction():
        await reader.execute(f"set local trunkline.tenant_id = '{mine.tenant_id}'")
        names = [row["name"] for row in await reader.fetch("select name from trunkline.tenant")]

    assert ["default"] == names


async def test_no_role_reads_the_hashes_of_tokens(worker, reader):
    """An imported token may be weak; the functions alone compare."""
    for role in (worker, reader):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await role.fetch("select * from trunkline.token")


async def test_the_app_role_writes_nothing(two_tenants, reader):
    """It may read."""
    for table in TABLES:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute(f"delete from trunkline.{table}")


async def test_the_app_role_finds_no_way_round_through_a_slice(two_tenants, reader):
    """The walls stand around each partition too."""
    mine, _ = two_tenants
    await mine.store.fetch("grant select on all tables in schema trunkline to trunkline_app")  # as 99_grants does at its next run
    slices = await mine.store.fetch(
        "select c.relname as name from pg_class as c where c.relispartition and c.relkind = 'r' and c.relnamespace = 'trunkline'::regnamespace"
    )
    counts = [await seen(reader, mine.tenant_id, row["name"]) for row in slices]

    assert 0 == sum(counts)
    assert len(counts) > 3


async def test_a_function_added_later_is_closed_to_the_public_too(queue):
    """Rights are set again whenever a function file changes."""
    assert not await queue.store.fetchval(
        "select bool_or(a.grantee = 0) from pg_proc as p cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a"
        " where p.pronamespace = 'trunkline'::regnamespace"
    )
