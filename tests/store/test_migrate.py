"""Bringing a database to this version: once, by anybody, in any schema, and never over somebody else's tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from trunkline import Trunkline, sql
from trunkline.errors import MigrationFailed, SchemaOutdated
from trunkline.model import new_job
from trunkline.settings import Settings
from trunkline.store import Store, copy, enqueue, limits, migrate, read, sessions, work
from trunkline.store.admin import create_database, drop_database
from trunkline.testing import DatabaseClock


@pytest.fixture
async def empty(trunkline_server_url: str) -> AsyncIterator[str]:
    """URL of a database with nothing in it."""
    name = f"trunkline_test_{uuid4().hex[:16]}"
    yield await create_database(trunkline_server_url, name)
    await drop_database(trunkline_server_url, name)


@pytest.fixture
async def conn(empty: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to it."""
    conn = await asyncpg.connect(empty)
    yield conn
    await conn.close()


async def test_an_empty_database_gets_everything_and_a_second_run_nothing(conn):
    """Migrations once, functions when their text changed."""
    first = await migrate.migrate(conn, "trunkline")
    second = await migrate.migrate(conn, "trunkline")

    assert (tuple(f.name for f in sql.migrations()), tuple(f.name for f in sql.functions())) == (first.migrations, first.functions)
    assert ((), ()) == (second.migrations, second.functions)
    await migrate.check(conn, "trunkline")


async def test_two_migrators_at_once_do_the_work_once(empty):
    """A deployment starts several processes."""
    conns = [await asyncpg.connect(empty) for _ in range(3)]
    done = await asyncio.gather(*(migrate.migrate(each, "trunkline") for each in conns))
    for each in conns:
        await each.close()

    assert [0, 0, len(sql.migrations())] == sorted(len(each.migrations) for each in done)


async def test_a_function_whose_text_changed_is_replaced(conn):
    """And no other."""
    await migrate.migrate(conn, "trunkline")
    await conn.execute("update trunkline.function_file set checksum = 'old' where name = '40_ack'")
    await conn.execute("create or replace function trunkline.kind_name(p_name text) returns text language sql as $$ select 'broken' $$")
    done = await migrate.migrate(conn, "trunkline")

    assert ("40_ack",) == done.functions
    assert "broken" == await conn.fetchval("select trunkline.kind_name('x')")


async def test_new_tables_are_granted_though_no_function_changed(conn, monkeypatch):
    """The worker role reads whatever a later migration brings."""
    await migrate.migrate(conn, "trunkline")
    text = "create table trunkline.later (tenant_id bigint primary key); alter table trunkline.later enable row level security"
    migrations = (*sql.migrations(), sql.SqlFile("9999_later", text))
    monkeypatch.setattr(sql, "migrations", lambda: migrations)
    done = await migrate.migrate(conn, "trunkline")

    assert (("9999_later",), ()) == (done.migrations, done.functions)
    assert await conn.fetchval("select has_table_privilege('trunkline_worker', 'trunkline.later', 'select')")
    assert "worker_reads" == await conn.fetchval("select policyname from pg_policies where tablename = 'later'")


async def test_a_migration_that_was_changed_after_it_ran_is_refused(conn):
    """What ran is history; a change is a new migration."""
    await migrate.migrate(conn, "trunkline")
    await conn.execute("update trunkline.migration set checksum = 'other' where name = '0002_jobs'")

    with pytest.raises(MigrationFailed, match="0002_jobs was changed"):
        await migrate.migrate(conn, "trunkline")


async def test_a_failure_in_the_middle_leaves_nothing(conn, monkeypatch):
    """Everything happens in one transaction."""
    broken = (*sql.functions(), sql.SqlFile("99z_broken", "select 1 / 0"))
    monkeypatch.setattr(sql, "functions", lambda: broken)

    with pytest.raises(Exception, match="division"):
        await migrate.migrate(conn, "trunkline")
    assert not await conn.fetchval("select exists (select from pg_namespace where nspname = 'trunkline')")


@pytest.mark.parametrize("what", ["table theirs (id int)", "view theirs as select 1", "materialized view theirs as select 1"])
async def test_a_schema_with_somebody_elses_tables_is_refused(conn, what):
    """Their names might be ours."""
    await conn.execute(f"create schema trunkline; set search_path = trunkline; create {what}")

    with pytest.raises(MigrationFailed, match="theirs"):
        await migrate.migrate(conn, "trunkline")


async def test_an_empty_schema_that_is_there_already_is_used(conn):
    """Somebody with the right to create schemas made it for us."""
    await conn.execute("create schema trunkline")

    assert len(sql.migrations()) == len((await migrate.migrate(conn, "trunkline")).migrations)


async def test_a_database_without_our_schema_is_said_to_be_so(conn):
    """With the command that helps."""
    with pytest.raises(SchemaOutdated, match="trunkline migrate"):
        await migrate.check(conn, "trunkline")


async def test_a_database_that_lacks_a_migration_is_said_to_be_so(conn):
    """An old schema under new code."""
    await migrate.migrate(conn, "trunkline")
    await conn.execute("delete from trunkline.migration where name = '0003_walls'")

    with pytest.raises(SchemaOutdated, match="lacks 0003_walls"):
        await migrate.check(conn, "trunkline")


@pytest.mark.parametrize(("works_from", "fits"), [("0.0.1", True), ("0.1", True), ("99.0", False)])
async def test_a_newer_schema_says_which_code_works_with_it(conn, works_from, fits):
    """New schema, old code: a rolling deployment goes on where the migration allows it."""
    await migrate.migrate(conn, "trunkline")
    await conn.execute("insert into trunkline.migration (name, checksum, works_from) values ('9999_later', 'x', $1)", works_from)

    if fits:
        await migrate.check(conn, "trunkline")
    else:
        with pytest.raises(SchemaOutdated, match="Upgrade this process"):
            await migrate.check(conn, "trunkline")


async def test_the_printed_script_makes_the_same_schema(conn, trunkline_server_url):
    """For people who apply SQL by hand."""
    await conn.execute(migrate.script("trunkline"))
    by_hand = await shape(conn)
    done = await migrate.migrate(conn, "trunkline")
    other = await create_database(trunkline_server_url, name := f"trunkline_test_{uuid4().hex[:16]}")
    second = await asyncpg.connect(other)
    await migrate.migrate(second, "trunkline")
    by_code = await shape(second)
    await second.close()
    await drop_database(trunkline_server_url, name)

    assert ((), ()) == (done.migrations, done.functions)
    assert by_hand == by_code


async def shape(conn: asyncpg.Connection) -> list[str]:
    """Every relation, column and function with its text."""
    rows = await conn.fetch(
        """select format('%s.%s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod)) as thing
             from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 where c.relnamespace = 'trunkline'::regnamespace
           union all select p.oid::regprocedure::text || md5(p.prosrc) || coalesce(p.proconfig::text, '') || coalesce(p.proacl::text, '')
             from pg_proc as p where p.pronamespace = 'trunkline'::regnamespace order by 1"""
    )
    return [row["thing"] for row in rows]


async def test_another_schema_name_serves_a_whole_life(conn, empty):
    """Two installations in one database do not see each other."""
    await migrate.migrate(conn, "trunkline")
    await migrate.migrate(conn, "jobs_2")
    settings = [Settings.load({}, database_url=empty, schema_name=name) for name in ("trunkline", "jobs_2")]
    async with Trunkline(settings=settings[0]) as first, Trunkline(settings=settings[1]) as second:

        @second.job("work")
        async def work_(n: int) -> int:
            return n + 1

        await first.enqueue("work", {"n": 1})
        await second.start_worker()
        ids = [await second.enqueue("work", {"n": 1}), (await second.enqueue_many([new_job("work", {"n": 2})] * 1))[0].id]
        many = await second.enqueue_many([new_job("work", {"n": n}) for n in range(300)])

        assert [2, 3, 300] == [await second.wait(job_id, 30) for job_id in (*ids, many[-1].id)]
        assert 1 == await first.store.fetchval("select count(*) from trunkline.ready")


async def test_another_schema_name_has_roles_walls_and_a_clock_of_its_own(conn, empty):
    """Nothing of it is called trunkline but the setting that users agree on."""
    await migrate.migrate(conn, "jobs_2")
    store = await Store.connect(Settings.load({}, database_url=empty, schema_name="jobs_2"))
    await DatabaseClock(store).forward(5000)
    tenant_id = await sessions.tenant_id(store, "default")
    await enqueue.jobs(store, tenant_id, [new_job("work", user_id="u")])
    await copy.copy(store, tenant_id, [new_job("work")])
    await store.close()
    await conn.execute("set role jobs_2_app")
    unseen = await conn.fetchval("select count(*) from jobs_2.jobs")
    async with conn.transaction():
        await conn.execute(f"set local trunkline.tenant_id = '{tenant_id}'")
        seen = await conn.fetchval("select count(*) from jobs_2.jobs")
    await conn.execute("reset role")

    assert (0, 2) == (unseen, seen)
    assert await conn.fetchval("select jobs_2.now() - clock_timestamp() > interval '1 hour'")
    assert "jobs_2:signals" == await conn.fetchval("select jobs_2.channel()")
    assert not await conn.fetchval("select exists (select from pg_namespace where nspname = 'trunkline')")
    left = await conn.fetch(
        "select proname from pg_proc where pronamespace = 'jobs_2'::regnamespace and prosrc ~ '(?<!'')trunkline\\.(?!tenant_id)'"
    )
    assert [] == left


@pytest.mark.parametrize("file", [*sql.migrations(), *sql.functions()], ids=lambda file: file.name)
def test_rendering_changes_the_schema_and_nothing_else(file):
    """Rendered there and back it is the same text."""
    there = sql.render(file.text, "other_name")
    code = "\n".join(line.split("--")[0] for line in there.splitlines())

    assert "trunkline." not in code.replace("'trunkline.tenant_id'", "").replace("'trunkline.secret_fields'", "")
    assert "trunkline_" not in code
    assert file.text == there.replace("other_name_worker", "trunkline_worker").replace("other_name_app", "trunkline_app").replace(
        "other_name", "trunkline"
    )


async def test_a_role_that_may_not_create_roles_can_still_migrate(conn):
    """A managed database gives its user one schema and no more."""
    role, database = f"limited_{uuid4().hex[:8]}", await conn.fetchval("select current_database()")
    await conn.execute(f"create role {role} login; grant create on database {database} to {role}; set role {role}")
    done = await migrate.migrate(conn, f"s_{role[8:]}")
    made = await conn.fetchval("select count(*) from pg_roles where rolname like $1", f"s_{role[8:]}%")
    await conn.execute(f"drop schema s_{role[8:]} cascade; reset role; revoke all on database {database} from {role}; drop role {role}")

    assert (len(sql.migrations()), 0) == (len(done.migrations), made)


async def test_a_job_list_reads_each_state_from_its_own_table(trunkline_url):
    """Every state can be asked for, and shows what is in it."""
    store = await Store.connect(Settings.load({}, database_url=trunkline_url))
    tenant_id = await sessions.tenant_id(store, "default")
    made = await enqueue.jobs(store, tenant_id, [new_job("work", n, **({"delay": 60} if n == 9 else {})) for n in range(10)])
    made += await enqueue.jobs(store, tenant_id, [new_job("work", depends_on=[made[9][0]])])
    ((_, queue_id, _),) = await work.open_lines(store, tenant_id, ["work"])
    session_id = await sessions.open_session(store, "s", 100)
    claimed = await work.claim(store, tenant_id, queue_id, session_id, limit=7, floor=0, marks={})
    endings = ["failed", "fatal", "cancelled", "no_handler", "snoozed"]
    await work.ack_completed(store, tenant_id, [claimed[5].job_id], [1], [None])
    await work.settle(store, tenant_id, [c.job_id for c in claimed[:5]], [1] * 5, endings, [None] * 5, [60.0] * 5)
    await limits.pause(store, tenant_id, "key", "k", True)
    await enqueue.jobs(store, tenant_id, [new_job("work", queue="held", limit_key="k")])
    ((_, held_id, _),) = await work.open_lines(store, tenant_id, ["held"])
    await work.claim(store, tenant_id, held_id, session_id, limit=1, floor=0, marks={})
    found = {state: len(await read.jobs(store, tenant_id, state=state)) for state in read.STATES}
    newest = [view.id for view in await read.jobs(store, tenant_id, kind="work", queue="work", limit=3)]
    await store.close()

    once = dict.fromkeys(("retrying", "no_handler", "waiting", "limited", "active", "failed", "cancelled", "completed"), 1)
    assert {"queued": 2, "scheduled": 2, **once} == found
    assert sorted((id_ for id_, _ in made), reverse=True)[:3] == newest
